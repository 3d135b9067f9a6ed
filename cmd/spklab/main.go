// Command spklab builds a service-proxy network from one file, runs the proxy in it, sends real
// packets through it and says which scenarios hold.
//
//go:debug multipathtcp=0
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker (see Makefile).
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil {
		if msg := err.Error(); msg != "" {
			fmt.Fprintln(os.Stderr, "spklab: "+msg)
		}
	}
	os.Exit(exitCode(err, interrupted))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "spklab",
		Short:         "A testbed with a real dataplane for service proxies in Kubernetes",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exitWith(codeInput, fmt.Errorf("%w (see %s --help)", err, c.CommandPath()))
	})
	root.AddCommand(commands()...)
	return root
}
