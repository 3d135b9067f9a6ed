package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/fabric"
)

// rename gives a lab another name than its file does.
func rename(src *lab.Source, name string) error {
	if name == "" {
		return nil
	}
	if !topo.ValidName(name) {
		return exitWith(codeInput, fmt.Errorf("--name %q: want a lower-case DNS label of at most 15 characters", name))
	}
	src.Spec.Name = name
	return nil
}

// addBackend gives a command the flag --backend and returns where its value will stand.
func addBackend(c *cobra.Command) *string {
	backend := c.Flags().String("backend", "", "who does the forwarding of the fabric ovn: "+strings.Join(topo.Backends(), ", ")+" (default: what the lab file says)")
	_ = c.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions(topo.Backends(), cobra.ShellCompDirectiveNoFileComp))
	return backend
}

// choose gives a lab another backend than its file does.
func choose(src *lab.Source, backend string) error {
	spec, err := src.Spec.WithBackend(backend)
	if err == nil {
		err = fabric.Check(spec)
	}
	if err != nil {
		return exitWith(codeInput, fmt.Errorf("--backend %s: %w", backend, err))
	}
	src.Spec = spec
	return nil
}

// labsToTakeDown are the labs that `down` means. No lab at all is nothing to do.
func labsToTakeDown(args []string, all bool) ([]string, error) {
	if len(args) == 1 {
		return []string{strings.TrimSuffix(args[0], ".spklab.yml")}, nil
	}
	labs, err := topo.Host{}.Labs()
	if err != nil || all || len(labs) <= 1 {
		return labs, err
	}
	return nil, exitWith(codeInput, errors.New("several labs are running ("+strings.Join(labs, ", ")+"): name one, or use --all"))
}
