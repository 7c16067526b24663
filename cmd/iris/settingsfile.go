package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"
)

// A setting is a value in a configuration file, as a flag would take it.
type setting struct {
	texts []string
	line  int
}

// isSetting reports whether a flag may stand in a configuration file.
func isSetting(f *pflag.Flag) bool {
	return f != nil && f.Name != "help" && f.Name != "config" && f.Name != "print-config"
}

// readSettings reads the configuration file at path, whose keys are names of flags.
func readSettings(path string, flags *pflag.FlagSet) (map[string]setting, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var values map[string]any
	meta, err := toml.Decode(string(data), &values)
	if broken := (toml.ParseError{}); errors.As(err, &broken) {
		return nil, fmt.Errorf("%s:%d: %s", path, broken.Position.Line, strings.TrimSuffix(broken.Message, "."))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := make(map[string]setting)
	for _, key := range meta.Keys() {
		name := key[0] // a table has one that no flag has, or a value that none takes
		s := setting{line: lineOf(string(data), name)}
		f := flags.Lookup(name)
		if !isSetting(f) {
			return nil, fmt.Errorf("%s:%d: unknown key %q%s", path, s.line, name, nearest(name, flags))
		}
		if s.texts, err = textsOf(values[name], f); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, s.line, err)
		}
		all[name] = s
	}
	return all, nil
}

// lineOf returns the line of a key that stands alone, or of its table.
func lineOf(text, key string) int {
	re := regexp.MustCompile(`(?m)^[ \t]*\[*[ \t]*["']?` + regexp.QuoteMeta(key) + `["']?[ \t]*[=.\]]`)
	at := re.FindStringIndex(text)
	if at == nil {
		return 1 // an escape is in it
	}
	return 1 + strings.Count(text[:at[0]], "\n")
}

// textsOf returns a value of a file as texts that the flag takes.
func textsOf(value any, f *pflag.Flag) (all []string, err error) {
	list, ok := value.([]any)
	if !ok || !isList(f) {
		list = []any{value}
	}
	for _, v := range list {
		text, ok := textOf(v, f)
		if !ok {
			return nil, fmt.Errorf("%s wants %s", f.Name, wanted(f))
		}
		all = append(all, text)
	}
	return all, nil
}

func textOf(value any, f *pflag.Flag) (text string, ok bool) {
	_, isSize := f.Value.(*size)
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v), f.Value.Type() == "bool"
	case int64:
		return strconv.FormatInt(v, 10), isNumber(f) || isSize
	case string:
		return v, f.Value.Type() != "bool" && !isNumber(f)
	}
	return "", false
}

func isNumber(f *pflag.Flag) bool {
	switch f.Value.(type) {
	case *port, *uids:
		return true
	}
	return false
}

// wanted tells what a file has to have for a flag.
func wanted(f *pflag.Flag) string {
	kind := "a string in quotes"
	switch _, isSize := f.Value.(*size); {
	case f.Value.Type() == "bool":
		kind = "true or false"
	case isNumber(f):
		kind = "a whole number"
	case isSize:
		kind += ` such as "512M", or a number of octets`
	}
	if isList(f) {
		kind += ", or a list of those"
	}
	return kind
}

// nearest returns a hint at the key that an unknown one may be meant to be.
func nearest(key string, flags *pflag.FlagSet) string {
	best, least := "", 1+max(2, len(key)/3)
	flags.VisitAll(func(f *pflag.Flag) {
		if d := distance(key, f.Name); isSetting(f) && d < least {
			best, least = f.Name, d
		}
	})
	if best == "" {
		return ": keys are the names of flags, without dashes before them"
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance returns how many octets have to be changed, added or taken for a to be b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // of the row above, one to the left
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// settingLine returns a flag as it stands in a configuration file.
func settingLine(f *pflag.Flag) string {
	var value any = f.Value.String()
	switch v := f.Value.(type) {
	case *port:
		value = int(*v)
	case *uids:
		value = append([]int{}, *v...)
	case pflag.SliceValue:
		value = append([]string{}, v.GetSlice()...)
	}
	if f.Value.Type() == "bool" {
		value = f.Value.String() == "true"
	}
	line, err := toml.Marshal(map[string]any{f.Name: value})
	if err != nil {
		panic(err) // values have no type that could not be marshalled
	}
	return strings.TrimSpace(string(line))
}
