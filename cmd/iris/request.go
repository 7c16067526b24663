package main

import (
	"bytes"
	"time"

	"github.com/spf13/cobra"
)

func newRequestCommand() *cobra.Command {
	o := &clientFlags{}
	return o.complete(&cobra.Command{
		Use:   "request CLUSTER [DATA]",
		Short: "Send a request to a member of a cluster",
		Example: `iris request greeter Ada
iris request thumbnails <photo.jpg >small.jpg`,
		Long: `Sends DATA to one member of CLUSTER and writes its reply to standard output as it
is. Without DATA, or with -, what is sent is read from standard input.

With no member anywhere the request waits for one until the time is over.`,
		Args: nameAndData("cluster"),
	}, `write an object with "cluster", "reply" (where it is no text "reply_base64") and "took_ms"`, o.request)
}

func (o *clientFlags) request(cmd *cobra.Command, args []string) error {
	cluster := args[0]
	body, err := readData(cmd, args[1:])
	if err != nil {
		return err
	}
	ctx, cancel := o.withTimeout(cmd)
	defer cancel()
	client, err := o.connect(ctx, cmd)
	if err != nil {
		return err
	}
	defer client.Close()

	began := time.Now()
	reply, err := client.Request(ctx, cluster, body)
	took := time.Since(began)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if o.json {
		object := map[string]any{"took_ms": milliseconds(took)}
		addText(object, "cluster", []byte(cluster))
		addText(object, "reply", reply)
		return writeJSON(w, object)
	}
	if isTerminal(w) && !bytes.HasSuffix(reply, []byte{'\n'}) {
		reply = append(reply, '\n')
	}
	_, err = w.Write(reply)
	return err
}

// milliseconds returns d as a number that is exact to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
