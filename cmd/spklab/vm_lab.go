package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/hil"
	"github.com/spklab/spklab/vm/guest"
)

// testWord is the word that has a guest bring a lab up before it runs.
const testWord = "test"

// guestTest are the words for spklab in a guest that runs scenarios against a lab of its own there.
func guestTest(lab, inventory string, keep bool, words []string) []string {
	out := []string{"run", "vm-test", lab, "--inventory", inventory, "--", testWord}
	if keep {
		out = append(out, "--artifacts", guest.Out)
	}
	return append(out, words...)
}

// newRunGuestTest brings a lab up, and ends as the command does that follows. Its processes end with the guest.
func newRunGuestTest() *cobra.Command {
	var inventory string
	c := &cobra.Command{
		Use: "vm-test LAB -- WORDS...", Short: "spklab with a lab in a virtual machine", Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			up, err := guestUp(args[0], inventory)
			if err != nil {
				return err
			}
			if err := again(c, up...); err != nil {
				return err
			}
			return again(c, args[1:]...)
		},
	}
	c.Flags().StringVar(&inventory, "inventory", hil.VM, "cards that a lab with SriovNetworkNodePolicies uses")
	return c
}

// guestUp are the words that bring a lab up, on cards where its policies make VFs.
func guestUp(arg, inventory string) ([]string, error) {
	src, err := loadSource([]string{arg})
	if err != nil {
		return nil, err
	}
	if !src.HasPolicies() {
		return []string{"up", arg}, nil
	}
	return []string{"up", arg, "--backend", backendHIL, "--inventory", inventory}, nil
}

// again runs spklab with other words, and ends with its exit code.
func again(c *cobra.Command, words ...string) error {
	self, err := os.Executable()
	if err != nil {
		return fail(fmt.Errorf("find spklab: %w", err))
	}
	cmd := exec.CommandContext(c.Context(), self, words...)
	cmd.Stdout, cmd.Stderr = c.OutOrStdout(), c.ErrOrStderr()
	err = cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return exitWith(ended.ExitCode(), nil)
	}
	if err != nil {
		return exitWith(codeLifecycle, err)
	}
	return nil
}
