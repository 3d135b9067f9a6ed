package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// schemas are what `spklab schema` can print, by name.
func schemas() map[string]func() ([]byte, error) {
	return map[string]func() ([]byte, error){"lab": topo.Schema, "inventory": topo.HardwareSchema, "run": report.Schema}
}

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [lab|inventory|run]",
		Short: "Print the JSON schema of lab files, of inventories of cards, or of run.json",
		Long: `Print the JSON schema of lab files (lab, the default), of inventories of SR-IOV cards (inventory) or
of run.json (run). An editor that knows
YAML's language server uses that of lab files when a lab file begins with

    # yaml-language-server: $schema=FILE`,
		Args: cobra.MaximumNArgs(1), ValidArgs: []string{"lab", "inventory", "run"},
		RunE: func(c *cobra.Command, args []string) error {
			of := "lab"
			if len(args) > 0 {
				of = args[0]
			}
			print, ok := schemas()[of]
			if !ok {
				return exitWith(codeInput, fmt.Errorf("schema %q: want lab, inventory or run", of))
			}
			schema, err := print()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", schema)
			return err
		},
	}
}
