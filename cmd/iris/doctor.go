package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/doctor"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/node"
)

func newDoctorCommand() *cobra.Command {
	var (
		which        chosenNode
		other, write string
		asJSON       bool
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell why nodes do not meet, and what to do",
		Example: `iris doctor
iris doctor --write here.json   # carry it to the other host, and there:
iris doctor --report here.json`,
		Long: `Asks the node of this host what it has heard, dialled and refused, and tells what
keeps it and others from meeting: the cause that weighs most comes first. A node
tells a stranger nothing, so that one end does not always know: with the report of
another host, both are compared, and it shows which of them to change. A report holds
addresses and names, and no secret. Where no node runs, the host is looked at.

Exit status 0 says that all is well, 1 that something was found.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := which.ask(cmd, "/report")
			if nobody := (noNodeError{}); errors.As(err, &nobody) {
				writeFindings(cmd.OutOrStdout(), bareHost())
				return err
			}
			if err != nil {
				return err
			}
			if write != "" {
				return os.WriteFile(write, append(raw, '\n'), 0o600)
			}
			return examine(cmd.OutOrStdout(), raw, other, asJSON)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	which.flags(f)
	f.StringVar(&other, "report", "", "compare with the report of another host in `FILE`")
	f.StringVar(&write, "write", "", "write the report of this host to `FILE`, for another")
	f.BoolVar(&asJSON, "json", false, "write the report and what was found as JSON, which is a report too")
	nameEnvironment(f)
	return cmd
}

// errFound is the end of an examination that found something.
var errFound = errors.New("something was found: see above")

// examine writes what there is to find in the report of a node.
func examine(w io.Writer, raw json.RawMessage, other string, asJSON bool) error {
	own, err := readReport(raw, "a node's answer")
	if err != nil {
		return err
	}
	var its *node.Report
	if other != "" {
		text, err := os.ReadFile(other)
		if err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		if its, err = readReport(text, "--report "+other); err != nil {
			return usageError{fmt.Errorf(`%w: make one with "iris doctor --write FILE" on the other host`, err)}
		}
		if its.Status.Node == own.Status.Node {
			return usageError{fmt.Errorf("--report %s is of this very node: take one of another", other)}
		}
	}
	found := doctor.Diagnose(own, its)
	switch {
	case asJSON:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		err = e.Encode(struct {
			Causes []doctor.Finding `json:"causes"`
			*node.Report
		}{append([]doctor.Finding{}, found...), own})
	case len(found) == 0:
		_, err = fmt.Fprintf(w, "all is well: other nodes known %d, linked %d\n", len(own.Status.Peers), len(own.Status.Links))
	default:
		err = writeFindings(w, found)
	}
	if err == nil && len(found) > 0 {
		err = errFound
	}
	return err
}

// readReport returns a report that is complete enough to be examined.
func readReport(raw []byte, what string) (*node.Report, error) {
	r := new(node.Report)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s is no report: %w", what, err)
	}
	if r.Status == nil || !r.Status.Dev && len(r.Keys) == 0 {
		return nil, fmt.Errorf("%s is no report", what)
	}
	return r, nil
}

// writeFindings writes findings for people.
func writeFindings(w io.Writer, all []doctor.Finding) error {
	var b strings.Builder
	for i, f := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		how, where := "", ""
		if !f.Certain {
			how = ", perhaps"
		}
		if f.There {
			where = " (on the other host)"
		}
		fmt.Fprintf(&b, "%s%s: %s\n", f.Cause, how, visible(f.Text))
		for _, do := range f.Do {
			fmt.Fprintf(&b, "  do%s: %s\n", where, visible(do))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// bareHost looks at a host without a node.
func bareHost() (all []doctor.Finding) {
	add := func(cause, text string, do ...string) {
		all = append(all, doctor.Finding{Cause: cause, Certain: true, Text: text, Do: do})
	}
	if err := portFree(); err != nil {
		add(doctor.Port, "port "+nodePort+" of this host is taken: "+err.Error(), "ss -lntup  # shows whose it is", "iris node --listen :PORT ...  # with a free one")
	}
	some, err := discovery.Interfaces(nil)
	if err == nil && len(some) == 0 {
		err = errors.New("none is up and has an address, but loopback")
	}
	if err != nil {
		add(doctor.NoNetwork, "this host has no interface that leads to others: "+err.Error(), "ip addr")
	}
	_, source, err := session.FindKey("", false, os.Getenv, strings.NewReader(""))
	switch {
	case errors.Is(err, session.ErrNoKey):
		add(doctor.NoNode, "no node of this host answers, and no key is named by IRIS_KEY_FILE",
			"iris keygen demo.key && iris node --net demo --key demo.key  # the same name and key file on all hosts")
	case err != nil:
		add(doctor.Key, "the key of the network cannot be used: "+err.Error(), "see the above")
	default:
		add(doctor.NoNode, "no node of this host answers", fmt.Sprintf("iris node --net NAME --key %s", source))
	}
	return all
}

// portFree tries whether a node could listen where nodes do.
func portFree() error {
	l, err := net.Listen("tcp", ":"+nodePort)
	if err != nil {
		return err
	}
	l.Close()
	u, err := net.ListenPacket("udp", ":"+nodePort)
	if err != nil {
		return err
	}
	return u.Close()
}
