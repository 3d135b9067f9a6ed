package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// schemas are what `spklab schema` can print, by name.
func schemas() map[string]func() ([]byte, error) {
	return map[string]func() ([]byte, error){"lab": topo.Schema, "run": report.Schema}
}

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [lab|run]",
		Short: "Print the JSON schema of lab files, or of run.json",
		Long: `Print the JSON schema of lab files (lab, the default) or of run.json (run). An editor that knows
YAML's language server uses that of lab files when a lab file begins with

    # yaml-language-server: $schema=FILE`,
		Args: cobra.MaximumNArgs(1), ValidArgs: []string{"lab", "run"},
		RunE: func(c *cobra.Command, args []string) error {
			of := "lab"
			if len(args) > 0 {
				of = args[0]
			}
			print, ok := schemas()[of]
			if !ok {
				return exitWith(codeInput, fmt.Errorf("schema %q: want lab or run", of))
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
