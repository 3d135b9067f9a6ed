package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/topo"
)

// addLab gives a command the flag --lab and returns where its value will stand.
func addLab(c *cobra.Command) *string {
	name := c.Flags().String("lab", "", "name of the lab (default: the only one running)")
	_ = c.RegisterFlagCompletionFunc("lab", completeLabs)
	return name
}

func completeLabs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	labs, err := topo.Host{}.Labs()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return labs, cobra.ShellCompDirectiveNoFileComp
}

func completeTopologies(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := lab.Shipped()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveDefault
}

// completeInventories offers the shipped inventories beside files.
func completeInventories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := lab.Inventories()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveDefault
}

// openLab opens a running lab with progress on the command's standard error.
func openLab(c *cobra.Command, name string) (*lab.Lab, *progress, error) {
	p := newProgress(c.ErrOrStderr())
	l, err := lab.Open(name, lab.Options{Progress: p.show})
	return l, p, fail(err)
}

// loadSource reads the lab file that the argument means, from the working directory.
func loadSource(args []string) (*lab.Source, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fail(fmt.Errorf("find working directory: %w", err))
	}
	arg := ""
	if len(args) > 0 {
		arg = args[0]
	}
	src, err := lab.Load(dir, arg)
	return src, fail(err)
}

// fail gives an error its exit code by what it is.
func fail(err error) error {
	var file *topo.InputError
	var manifest *api.InputError
	var coded *exitError
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.As(err, &file), errors.As(err, &manifest), errors.Is(err, lab.ErrNotFound), errors.Is(err, lab.ErrNoLab):
		return exitWith(codeInput, err)
	case errors.Is(err, ovn.ErrMissing), errors.Is(err, debs.ErrUnsupported):
		return exitWith(codeCapability, err)
	}
	return exitWith(codeLifecycle, err)
}

// needRoot refuses early what would fail half-way.
func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return exitWith(codeCapability, fmt.Errorf("%s needs root (network namespaces, BPF): run it with sudo", what))
	}
	return nil
}

// printWarnings shows what deserves a look, on standard error.
func printWarnings(w io.Writer, warnings []api.Warning, findings []api.Finding) {
	for _, x := range warnings {
		fmt.Fprintln(w, "warning: "+x.String())
	}
	for _, f := range findings {
		fmt.Fprintln(w, f.String())
	}
}
