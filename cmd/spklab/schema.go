package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/topo"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of lab files",
		Long: `Print the JSON schema of lab files. An editor that knows YAML's language server uses it when a
lab file begins with

    # yaml-language-server: $schema=FILE`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			schema, err := topo.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", schema)
			return err
		},
	}
}
