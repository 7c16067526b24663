package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/internal/session"
)

func newKeygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "keygen FILE",
		Short:   "Make the key of a new network",
		Example: "iris keygen demo.key",
		Long: `Writes a fresh network key to FILE, which must not exist yet. Whoever has the
key is a full member of the network: keep it as you keep passwords.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the one file to write the key to")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := args[0]
			if err := session.GenerateKey(path); err != nil {
				return err
			}
			key, err := session.LoadKey(path, false)
			if err != nil {
				return err
			}
			w := cmd.ErrOrStderr()
			fmt.Fprintf(w, "wrote the network key %s\n", key.Fingerprint())
			fmt.Fprintf(w, "start a node with: iris node --net NAME --key %s\n", path)
			return nil
		},
	}
}
