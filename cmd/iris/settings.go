package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// environment is what a flag is taken from when the command line lacks it. Those of
// "iris node" have one each: see variable.
var environment = map[string]string{
	"port":     "IRIS_PORT",
	"net":      "IRIS_NET",
	"discover": "IRIS_DISCOVER",
	"socket":   "IRIS_SOCKET",
	"state":    "IRIS_STATE",
	"memory":   "IRIS_MEMORY",
	"address":  "IRIS_ADDRESS",
	"timeout":  "IRIS_TIMEOUT",
}

// variable returns the name of what a flag of "iris node" is taken from.
func variable(flag string) string {
	if flag == "key" {
		return "IRIS_KEY_FILE" // a variable is no place for a key
	}
	return "IRIS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// What is noted beside a flag.
const (
	noteVariable = "iris_variable" // what it may be taken from
	noteOrigin   = "iris_origin"   // what it was taken from
)

// nameEnvironment notes beside each flag the variable it may come from, and adds it to
// the help.
func nameEnvironment(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if name := environment[f.Name]; name != "" {
			note(f, noteVariable, name)
			f.Usage += " [" + name + "]"
		}
	})
}

func note(f *pflag.Flag, key, text string) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[key] = []string{text}
}

// noted returns what was noted beside a flag; empty: nothing.
func noted(f *pflag.Flag, key string) string { return strings.Join(f.Annotations[key], "") }

// origin returns where the value of a flag comes from.
func origin(f *pflag.Flag) string {
	switch from := noted(f, noteOrigin); {
	case f.Changed:
		return "--" + f.Name
	case from != "":
		return from
	}
	return "default"
}

// withOrigins adds to an error where the values of flags that it names come from, if
// nobody typed them.
func withOrigins(err error, flags *pflag.FlagSet) error {
	flags.VisitAll(func(f *pflag.Flag) {
		named, _ := regexp.MatchString("--"+f.Name+`\b`, err.Error())
		if from := noted(f, noteOrigin); named && from != "" {
			err = fmt.Errorf("%w (%s is from %s)", err, f.Name, from)
		}
	})
	return err
}

// settle sets the flags that the command line lacks: from the environment, or else from
// the file that --config names, where there is that flag. They do not count as changed.
func settle(flags *pflag.FlagSet) (err error) {
	var file map[string]setting
	path := ""
	if f := flags.Lookup("config"); f != nil {
		if err := fromEnvironment(f); err != nil {
			return err
		}
		if path = f.Value.String(); path != "" {
			if file, err = readSettings(path, flags); err != nil {
				return err
			}
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if err == nil {
			err = fromEnvironment(f)
		}
		s, ok := file[f.Name]
		if err != nil || !ok || f.Changed || noted(f, noteOrigin) != "" {
			return
		}
		at := fmt.Sprintf("%s:%d", path, s.line)
		if e := assign(f, s.texts); e != nil {
			err = fmt.Errorf("%s: invalid value of %s: %w", at, f.Name, e)
		}
		note(f, noteOrigin, at)
	})
	return err
}

// fromEnvironment sets a flag that the command line lacks from its variable.
func fromEnvironment(f *pflag.Flag) error {
	name := noted(f, noteVariable)
	value := os.Getenv(name)
	if f.Changed || value == "" {
		return nil
	}
	texts := []string{value}
	if isList(f) {
		texts = splitList(value)
	}
	if err := assign(f, texts); err != nil {
		return fmt.Errorf("invalid value %q of %s: %w", value, name, err)
	}
	note(f, noteOrigin, name)
	return nil
}

// splitList splits a list at its commas, but not what begins with exec:, which is a
// command with commas of its own, and the last.
func splitList(list string) (all []string) {
	for rest := list; rest != ""; {
		rest = strings.TrimLeft(rest, " ")
		if strings.HasPrefix(rest, "exec:") {
			return append(all, rest)
		}
		var one string
		one, rest, _ = strings.Cut(rest, ",")
		all = append(all, strings.TrimSpace(one))
	}
	return all
}

func isList(f *pflag.Flag) bool {
	_, ok := f.Value.(pflag.SliceValue)
	return ok
}

// assign gives a flag what texts returned.
func assign(f *pflag.Flag, texts []string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.Replace(texts)
	}
	return f.Value.Set(texts[0])
}

// texts returns the value of a flag, exactly; of a list, each of its members.
func texts(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return slices.Clone(list.GetSlice())
	}
	return []string{f.Value.String()}
}
