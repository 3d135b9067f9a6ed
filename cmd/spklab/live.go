package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab/live"
)

func newWatch() *cobra.Command {
	var port int
	c := &cobra.Command{
		Use: "watch [LAB]", Short: "Serve a web page of a running lab, for this machine and its reader alone",
		Long: `Serve a web page that shows a running lab as it is: its picture, BGP sessions, virtual servers and
members, flows, counters and events. It changes nothing. It listens on 127.0.0.1; the address that is
printed holds a token without which nobody sees anything, so do not pass it on. Ends with an interrupt.`,
		Example: "  spklab watch spk\n  ssh -L 8080:127.0.0.1:8080 HOST spklab watch --port 8080    # from another machine",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: completeLabs,
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = strings.TrimSuffix(args[0], ".spklab.yml")
			}
			l, p, err := openLab(c, name)
			if err != nil {
				return err
			}
			p.clear()
			s, err := live.Listen(c.Context(), l, port)
			if err != nil {
				return exitWith(codeInput, err)
			}
			fmt.Fprintln(c.OutOrStdout(), s.URL())
			if err := s.Serve(c.Context()); err != nil {
				return exitWith(codeLifecycle, err)
			}
			return nil
		},
	}
	c.Flags().IntVar(&port, "port", 0, "port to listen on (0: one that is free)")
	return c
}
