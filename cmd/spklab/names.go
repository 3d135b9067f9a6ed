package main

import (
	"errors"
	"fmt"
	"os"
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

// fabricFlags are the flags that overrule what a lab file says of its fabric and its routers.
type fabricFlags struct {
	backend, profile, routers string
	release                   string
	asked                     func() bool // whether the release is the command line's
}

// envRelease names the environment variable that gives --ovn-release its default.
const envRelease = "OVN_RELEASE"

// addFabric gives a command --backend, --ovn-release, --profile and --router, and returns where their values will stand.
func addFabric(c *cobra.Command) *fabricFlags {
	f := &fabricFlags{}
	add := func(at *string, name, preset, what string, words []string) {
		c.Flags().StringVar(at, name, preset, what+": "+strings.Join(words, ", ")+" (default: what the lab file says)")
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	add(&f.backend, "backend", "", "who does the forwarding of the fabric ovn", topo.Backends())
	add(&f.profile, "profile", "", "what the simulated forwarding of the fabric ovn does", topo.Profiles())
	add(&f.release, "ovn-release", os.Getenv(envRelease), "release of OVN that the backends real and real-on-sim run ("+envRelease+")", topo.Releases())
	add(&f.routers, "router", "", "who the upstream routers are", topo.RouterKinds())
	f.asked = func() bool { return c.Flags().Changed("ovn-release") }
	return f
}

// choose gives a lab another backend, release of OVN, profile or kind of routers than its file does.
func choose(src *lab.Source, f *fabricFlags) error {
	spec, err := src.Spec.WithBackend(f.backend)
	if err == nil {
		err = fabric.Check(spec)
	}
	if err != nil {
		return exitWith(codeInput, fmt.Errorf("--backend %s: %w", f.backend, err))
	}
	if spec, err = spec.WithProfile(f.profile); err != nil {
		return exitWith(codeInput, fmt.Errorf("--profile %s: %w", f.profile, err))
	}
	if spec, err = spec.WithRouters(f.routers); err != nil {
		return exitWith(codeInput, fmt.Errorf("--router %s: %w", f.routers, err))
	}
	if !spec.Fabric.Real() {
		if f.asked() {
			return exitWith(codeInput, fmt.Errorf("--ovn-release %s: no OVN runs in this lab: add --backend real, or choose what the simulation does by --profile", f.release))
		}
		src.Spec = spec
		return nil
	}
	if src.Spec, err = spec.WithRelease(f.release); err != nil {
		return exitWith(codeInput, fmt.Errorf("--ovn-release %s: %w", f.release, err))
	}
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
