package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
)

func newBroadcastCommand() *cobra.Command {
	o := &sendFlags{object: "cluster", send: (*iris.Client).Broadcast}
	return o.complete(&cobra.Command{
		Use:   "broadcast CLUSTER [DATA]",
		Short: "Send a message to every member of a cluster",
		Example: `iris broadcast workers "reload your settings"
iris broadcast workers --lines <commands.txt`,
		Long: `Sends DATA to everyone who is a member of CLUSTER at that time. Without DATA, or
with -, what is sent is read from standard input. That there may be no member is no
error.

When the command ends, the node has handed all of it on.`,
	})
}

// sendFlags are the flags of broadcast and publish.
type sendFlags struct {
	clientFlags
	object string // what the messages go to
	send   func(c *iris.Client, ctx context.Context, name string, msg []byte) error
	lines  bool
}

func (o *sendFlags) complete(cmd *cobra.Command) *cobra.Command {
	cmd.Args = nameAndData(o.object)
	cmd.Flags().BoolVar(&o.lines, "lines", false, "send each line of standard input as a message of its own")
	return o.clientFlags.complete(cmd, `write an object with the number "sent"`, o.run)
}

func (o *sendFlags) run(cmd *cobra.Command, args []string) error {
	name, data := args[0], args[1:]
	if o.lines && len(data) > 0 && data[0] != "-" {
		return usageError{errors.New("--lines takes what is sent from standard input: leave out DATA")}
	}
	var body []byte
	var err error
	if !o.lines {
		if body, err = readData(cmd, data); err != nil {
			return err
		}
	}
	ctx, cancel := o.withTimeout(cmd)
	defer cancel()
	client, err := o.connect(ctx, cmd)
	if err != nil {
		return err
	}
	defer client.Close() // once more does nothing

	sent := 0
	if o.lines {
		sent, err = o.sendLines(cmd, client, name)
	} else {
		sent, err = 1, o.send(client, ctx, name, body)
	}
	if err == nil {
		err = client.Close()
	}
	if err != nil || !o.json {
		return err
	}
	return writeJSON(cmd.OutOrStdout(), map[string]int{"sent": sent})
}

// sendLines sends each line of standard input as soon as it is there.
func (o *sendFlags) sendLines(cmd *cobra.Command, client *iris.Client, name string) (sent int, err error) {
	in := bufio.NewScanner(cmd.InOrStdin())
	in.Buffer(nil, maxBody+len("\r\n"))
	for ; in.Scan(); sent++ {
		ctx, cancel := o.withTimeout(cmd)
		err := o.send(client, ctx, name, in.Bytes())
		cancel()
		if err != nil {
			return sent, fmt.Errorf("line %d: %w", sent+1, err)
		}
	}
	err = in.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("line %d is longer than the %s a message may have", sent+1, octets(int64(maxBody)))
	}
	return sent, err
}
