package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
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
