package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/topo"
)

func newPrune() *cobra.Command {
	return &cobra.Command{
		Use: "prune", Short: "Remove what dead labs left behind",
		Long: `Remove labs that were left half-made or whose namespaces or processes are gone, and namespaces of
labs whose state directory is gone. Labs that run are left alone.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needRoot("prune"); err != nil {
				return err
			}
			removed, err := topo.Host{}.Prune(c.Context())
			for _, line := range removed {
				fmt.Fprintln(c.OutOrStdout(), "removed "+line)
			}
			return fail(err)
		},
	}
}
