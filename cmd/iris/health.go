package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func newHealthCommand() *cobra.Command {
	var (
		which chosenNode
		ready bool
	)
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tell by the exit status whether a node is alive",
		Example: `iris health
iris health --ready || echo "not now"`,
		Long: `Asks a node over its admin socket whether its control loop answers; the exit status
is 0 if so. Fit for the HEALTHCHECK of a container.

With --ready it asks whether programs should use the node: its relay is open, it has
joined its network or found nobody else there, and it is not shutting down.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), answerTime)
			defer cancel()
			cmd.SetContext(ctx)
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			answer, err := which.open(cmd, path)
			if err != nil {
				return err
			}
			defer answer.Close()
			_, err = io.Copy(cmd.OutOrStdout(), answer)
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	which.flags(f)
	f.BoolVar(&ready, "ready", false, "ask whether programs should use it")
	nameEnvironment(f)
	return cmd
}
