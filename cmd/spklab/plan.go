package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
)

func newPlan() *cobra.Command {
	var out *format
	var overrule *fabricFlags
	c := &cobra.Command{
		Use: "plan [LAB FILE | DIRECTORY | TOPOLOGY]", Short: "Print what up would make, one line a step",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeTopologies,
		RunE: func(c *cobra.Command, args []string) error {
			src, err := loadSource(args)
			if err != nil {
				return err
			}
			if err := choose(src, overrule); err != nil {
				return err
			}
			plan, findings, err := lab.Preview(src, lab.Options{})
			printWarnings(c.ErrOrStderr(), src.Warnings, findings)
			if err != nil {
				return fail(err)
			}
			return out.print(c.OutOrStdout(), plan, func(w io.Writer, _ bool) { fmt.Fprint(w, plan) })
		},
	}
	overrule = addFabric(c)
	out = addOutput(c)
	return c
}

func newValidate() *cobra.Command {
	var overrule *fabricFlags
	c := &cobra.Command{
		Use: "validate [LAB FILE | DIRECTORY | TOPOLOGY]", Short: "Check a lab file and its manifests without making anything",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeTopologies,
		RunE: func(c *cobra.Command, args []string) error {
			src, err := loadSource(args)
			if err != nil {
				return err
			}
			if err := choose(src, overrule); err != nil {
				return err
			}
			findings, err := lab.Check(src)
			printWarnings(c.ErrOrStderr(), src.Warnings, findings)
			if err != nil {
				return fail(err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %d workers, %d objects: fine\n", filepath.ToSlash(src.File), len(src.Spec.Workers), len(src.Objects))
			return nil
		},
	}
	overrule = addFabric(c)
	return c
}
