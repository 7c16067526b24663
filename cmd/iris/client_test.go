package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
)

func TestWhatWasTypedSaysWhereTheNodeIs(t *testing.T) {
	for _, test := range []struct {
		env, args string
		want      string // or what the error has in it
	}{
		{"", "", "55555"},
		{"", "--port 7", "7"},
		{"", "--address h:7", "h:7"},
		{"", "--address /s", "/s"},
		{"IRIS_PORT=6", "", "6"},
		{"IRIS_SOCKET=/e", "", "/e"},
		{"IRIS_SOCKET=none", "", "localhost:55555"},
		{"IRIS_SOCKET=none IRIS_PORT=6", "", "localhost:6"},
		{"IRIS_SOCKET=none", "--port 7", "localhost:7"},
		{"IRIS_SOCKET=/e IRIS_PORT=6", "", "/e"},
		{"IRIS_SOCKET=/e", "--port 7", "7"},
		{"IRIS_ADDRESS=e:5 IRIS_SOCKET=/e IRIS_PORT=6", "", "e:5"},
		{"IRIS_ADDRESS=e:5", "--port 7", "7"},
		{"IRIS_ADDRESS=e:5 IRIS_SOCKET=/e", "--address h:7", "h:7"},
		{"IRIS_PORT=0", "", "port 0"},
		{"IRIS_ADDRESS=e", "", `"e" is no address`},
		{"", "--port 7 --address h:7", "leave out one"},
	} {
		t.Run(test.env+" "+test.args, func(t *testing.T) {
			for _, name := range []string{"IRIS_ADDRESS", "IRIS_PORT", "IRIS_SOCKET"} {
				t.Setenv(name, "")
			}
			for _, setting := range strings.Fields(test.env) {
				name, value, _ := strings.Cut(setting, "=")
				t.Setenv(name, value)
			}
			var o clientFlags
			cmd := o.complete(&cobra.Command{}, "", nil)
			if err := cmd.ParseFlags(strings.Fields(test.args)); err != nil {
				t.Fatal(err)
			}
			if err := settle(cmd.Flags()); err != nil {
				t.Fatal(err)
			}
			c, err := o.config(cmd)
			if err != nil && (exitStatus(err) != statusUsage || !strings.Contains(err.Error(), test.want)) || err == nil && c.Address != test.want {
				t.Errorf("config() has the address %q, error %v, want %q", c.Address, err, test.want)
			}
		})
	}
}

func TestErrorsHaveTheirStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{errors.New("other"), 1},
		{iris.ErrTooLarge, 1},
		{iris.ErrClosed, 1},
		{context.DeadlineExceeded, 1}, // of something else than an answer
		{usageError{errors.New("wrong")}, 2},
		{iris.ErrTimeout, 3},
		{&iris.RemoteError{Text: "fault"}, 4},
		{iris.ErrNoNode, 5},
		{iris.ErrNotIris, 5},
		{iris.ErrUntrusted, 5},
		{iris.ErrLost, 5},
		{&iris.DeniedError{Reason: "version"}, 5},
		{fmt.Errorf("%w: %w", iris.ErrLost, iris.ErrTimeout), 5},
	} {
		for _, err := range []error{test.err, fmt.Errorf("wrapped: %w", test.err), errors.Join(test.err, errors.New("and more"))} {
			if got := exitStatus(err); got != test.want {
				t.Errorf("exitStatus(%v) = %d, want %d", err, got, test.want)
			}
		}
	}
}

func TestMessagesArePrintedInTheirForm(t *testing.T) {
	messages := [][]byte{[]byte("a\tb"), {}, {0xff}, []byte("<c>\n")}
	for form, test := range map[string]struct {
		json, raw, terminal bool
		want                string
	}{
		"lines":    {want: "a\tb\n\n\xff\n<c>\n\n"},
		"terminal": {terminal: true, want: `a\tb` + "\n\n" + `\xff` + "\n" + `<c>\n` + "\n"},
		"raw":      {raw: true, want: "a\tb\xff<c>\n"},
		"json": {json: true, want: `{"event":"a\tb","topic":"t"}
{"event":"","topic":"t"}
{"event_base64":"/w==","topic":"t"}
{"event":"<c>\n","topic":"t"}
`},
	} {
		var cmd cobra.Command
		var b bytes.Buffer
		cmd.SetOut(&b)
		p := newPrinter(&cmd, test.json, "event", "topic", "t")
		p.raw, p.terminal = test.raw, test.terminal
		for _, m := range messages {
			if err := p.print(m); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.String(); got != test.want {
			t.Errorf("%s: printed %q, want %q", form, got, test.want)
		}
	}
}
