package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/project-iris/iris/internal/relaywire"
)

// printConfig writes the configuration as a file that --config takes. What is left to
// the node stands behind a #, as far as it is known: another start may choose otherwise.
func (o *nodeFlags) printConfig(w io.Writer, flags *pflag.FlagSet) error {
	var b strings.Builder
	automatic := o.automatic()
	flags.VisitAll(func(f *pflag.Flag) {
		if !isSetting(f) {
			return
		}
		line, from := settingLine(f), origin(f)
		if from == "default" && (f.DefValue == "" || f.DefValue == "0" || f.DefValue == "[]") {
			line = "# " + line
			if is := automatic[f.Name]; is != "" {
				from += ": " + is
			}
		}
		fmt.Fprintf(&b, "%-40s # %s\n", line, visible(from))
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// automatic tells what the node makes of flags without a value, as far as that is known.
func (o *nodeFlags) automatic() map[string]string {
	is := map[string]string{
		"listen":      ":" + nodePort + ", or any port where that is taken",
		"memory":      o.memoryFrom(""),
		"max-message": octets(int64(relaywire.DefaultLimits.Body)),
	}
	if socket := o.socketPath(int(o.port)); socket != "" {
		is["socket"] = socket
	}
	if state, err := stateDir(o.chosen(o.state)); err == nil && state != "" {
		is["state"] = state
	}
	return is
}
