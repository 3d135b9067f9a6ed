package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
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
			return out.print(c.OutOrStdout(), plan, func(w io.Writer, _ bool) { printPlan(w, plan) })
		},
	}
	overrule = addFabric(c)
	out = addOutput(c)
	return c
}

// printPlan prints a line a step, and of a card what changes and whose its VFs are as comments below.
func printPlan(w io.Writer, plan topo.Plan) {
	for _, s := range plan.Steps() {
		fmt.Fprintln(w, s)
		if s.PF == nil {
			continue
		}
		changes := "nothing changes"
		if len(s.PF.Changes) > 0 {
			changes = strings.Join(s.PF.Changes, ", ")
		}
		fmt.Fprintf(w, "#  PF %s of %s: %s\n", s.PF.Name, s.PF.Worker, changes)
		for _, v := range s.PF.VFs {
			fmt.Fprintf(w, "#  VF %d %s is %s\n", v.Index, v.Address, v.Resource)
		}
	}
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
