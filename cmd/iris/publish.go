package main

import (
	"github.com/spf13/cobra"

	"github.com/project-iris/iris"
)

func newPublishCommand() *cobra.Command {
	o := &sendFlags{object: "topic", send: (*iris.Client).Publish}
	return o.complete(&cobra.Command{
		Use:   "publish TOPIC [DATA]",
		Short: "Send an event to every subscriber of a topic",
		Example: `iris publish weather "sunny, 21 C"
tail -f app.log | iris publish app-log --lines`,
		Long: `Sends DATA to everyone who is subscribed to TOPIC at that time. Without DATA, or
with -, what is sent is read from standard input. That there may be no subscriber
is no error.

When the command ends, the node has handed all of it on.`,
	})
}
