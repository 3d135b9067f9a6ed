package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
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
	inventory                 string
}

// backendHIL is the word of --backend for a lab that uses cards of this machine; what the lab file says of
// its fabric stays.
const backendHIL = "hil"

// backends are the words of --backend.
func backends() []string { return append(topo.Backends(), backendHIL) }

// envRelease names the environment variable that gives --ovn-release its default.
const envRelease = "OVN_RELEASE"

// addFabric gives a command --backend, --inventory, --ovn-release, --profile and --router, and returns where their values will stand.
func addFabric(c *cobra.Command) *fabricFlags {
	f := &fabricFlags{}
	add := func(at *string, name, preset, what string, words []string) {
		c.Flags().StringVar(at, name, preset, what+": "+strings.Join(words, ", ")+" (default: what the lab file says)")
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	add(&f.backend, "backend", "", "who does the forwarding of the fabric ovn; hil: the lab uses SR-IOV cards of this machine", backends())
	c.Flags().StringVarP(&f.inventory, "inventory", "i", "", "with --backend hil: which cards, and what they are cabled to: a file (see hil/sample.yml), or vm for those of a guest of spklab vm")
	_ = c.RegisterFlagCompletionFunc("inventory", completeInventories)
	add(&f.profile, "profile", "", "what the simulated forwarding of the fabric ovn does", topo.Profiles())
	add(&f.release, "ovn-release", os.Getenv(envRelease), "release of OVN that the backends real and real-on-sim run ("+envRelease+")", topo.Releases())
	add(&f.routers, "router", "", "who the upstream routers are", topo.RouterKinds())
	f.asked = func() bool { return c.Flags().Changed("ovn-release") }
	return f
}

// choose gives a lab another backend, release of OVN, profile or kind of routers than its file does.
func choose(src *lab.Source, f *fabricFlags) error {
	backend := f.backend
	if backend != "" && !slices.Contains(backends(), backend) {
		return exitWith(codeInput, fmt.Errorf("--backend %q: want %s", backend, strings.Join(backends(), " or ")))
	}
	if backend == backendHIL {
		backend = ""
	}
	if err := f.hardware(src); err != nil {
		return err
	}
	spec, err := src.Spec.WithBackend(backend)
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

// hardware gives a lab the cards that the command line asks for.
func (f *fabricFlags) hardware(src *lab.Source) error {
	switch {
	case f.backend != backendHIL && f.inventory != "":
		return exitWith(codeInput, errors.New("--inventory belongs to --backend hil; write that, too"))
	case f.backend != backendHIL:
		return nil
	case f.inventory == "":
		return exitWith(codeInput, errors.New("--backend hil asks for --inventory FILE; begin with a copy of hil/sample.yml, `spklab doctor` says which cards there are"))
	}
	h, err := lab.LoadInventory(f.inventory)
	if err == nil {
		err = src.UseHardware(h, topo.Host{})
	}
	return fail(err)
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
