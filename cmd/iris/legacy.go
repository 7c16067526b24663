package main

import "strings"

// legacyFlags are the flags of the node that came before, and what they are
// called now.
var legacyFlags = map[string]string{
	"dev":       "dev",
	"port":      "port",
	"net":       "net",
	"rsa":       "key",
	"cpuprof":   "cpuprof",
	"heapprof":  "heapprof",
	"blockprof": "blockprof",
}

// legacy returns args, a command line without the name of the program, in
// today's form. Where it begins with a flag of the node that came before, that
// is "node" and its flags; any other is returned as it is.
//
// Those flags have one dash or two, and "-flag value" means "-flag=value". What
// follows the last of them is left for the node command to judge.
func legacy(args []string) []string {
	if len(args) == 1 && args[0] == "-help" {
		return []string{"--help"}
	}
	var flags []string
	for len(args) > 0 {
		name, value, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(args[0], "-"), "-"), "=")
		now, known := legacyFlags[name]
		if !known || !strings.HasPrefix(args[0], "-") {
			break
		}
		args = args[1:]
		switch {
		case hasValue:
			flags = append(flags, "--"+now+"="+value)
		case name != "dev" && len(args) > 0:
			flags = append(flags, "--"+now+"="+args[0])
			args = args[1:]
		default:
			flags = append(flags, "--"+now)
		}
	}
	if len(flags) == 0 {
		return args
	}
	return append(append([]string{"node"}, flags...), args...)
}
