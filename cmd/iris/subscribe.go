package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// subscribeFlags are the flags of the subscribe command.
type subscribeFlags struct {
	clientFlags
	count count
	raw   bool
}

func newSubscribeCommand() *cobra.Command {
	o := &subscribeFlags{}
	cmd := &cobra.Command{
		Use:     "subscribe TOPIC",
		Short:   "Show the events of a topic",
		Example: "iris subscribe weather",
		Long: `Writes each event of TOPIC to standard output as one line, until SIGINT or
SIGTERM. On a terminal what could do more than be read is written as in \n; in a
pipe or file it is exact.`,
		Args: oneName("topic"),
	}
	f := cmd.Flags()
	f.Var(&o.count, "count", "end after that many events")
	f.BoolVar(&o.raw, "raw", false, "write the events alone, with nothing between them")
	return o.complete(cmd, `write each as an object with "topic" and "event" (where it is no text "event_base64")`, o.run)
}

func (o *subscribeFlags) run(cmd *cobra.Command, args []string) error {
	topic := args[0]
	if o.raw && o.json {
		return usageError{errors.New("--raw and --json are two forms of output: leave out one")}
	}
	defer untilSignal(cmd)()
	attaching, cancel := o.withTimeout(cmd)
	defer cancel()
	client, err := o.connect(attaching, cmd)
	if err != nil {
		return err
	}
	defer client.Close()

	out := newPrinter(cmd, o.json, "event", "topic", topic)
	out.raw = o.raw
	printed := make(chan error, 1) // all that were asked for, or as far as that went
	seen := count(0)
	sub, err := client.Subscribe(attaching, topic, func(_ context.Context, event []byte) {
		if o.count != 0 && seen == o.count {
			return
		}
		seen++
		err := out.print(event)
		if err != nil || seen == o.count {
			select {
			case printed <- err:
			default: // it failed before
			}
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "subscribed to %s\n", printable(topic))
	select {
	case err = <-printed:
	case <-cmd.Context().Done():
	case <-client.Done():
		err = ended(client)
	}
	if n := sub.Dropped(); n > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d events were dropped: standard output was too slow for them\n", n)
	}
	return err
}
