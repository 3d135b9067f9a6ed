package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab/churn"
)

func newBenchGate() *cobra.Command {
	var o churn.Options
	var out *format
	c := &cobra.Command{
		Use: "gate [LAB]", Short: "Measure how a running lab follows an endpoint that goes and comes back", Args: cobra.MaximumNArgs(1),
		Long: `Measure the gate of a running lab: the only endpoint of a virtual server loses its readiness and gets it
back, round after round, while a client sends a datagram to it every 5 ms in each family. Shown are the
times from the removal to the withdrawal in the router, and from the endpoint to the first answer, all by
CLOCK_MONOTONIC, and which requests were lost. Damping is off meanwhile; afterwards the lab is as it was.

    spklab up spk --router frr
    spklab bench gate --rounds 100`,
		ValidArgsFunction: completeLabs,
		RunE: func(c *cobra.Command, args []string) error {
			if o.Rounds < 1 {
				return exitWith(codeInput, errors.New("--rounds: want 1 or more"))
			}
			if err := needRoot("bench gate"); err != nil {
				return err
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			l, p, err := openLab(c, name)
			if err != nil {
				return err
			}
			o.Progress = p.say
			r, err := churn.Run(c.Context(), l, o)
			p.clear()
			if err != nil {
				return fail(err)
			}
			return out.print(c.OutOrStdout(), r, func(w io.Writer, _ bool) { showGate(w, &r) })
		},
	}
	c.Flags().IntVar(&o.Rounds, "rounds", 100, "how often the endpoint goes and comes back")
	out = addOutput(c)
	return c
}

func showGate(w io.Writer, r *churn.Report) {
	rows := make([][]string, len(r.Figures))
	for i, f := range r.Figures {
		rows[i] = []string{f.Name, number(f.Median), number(f.P99), number(f.Max)}
	}
	printTable(w, fmt.Sprintf("lab %s, router %s, %d rounds", r.Lab, r.Router, r.Rounds), []string{"what", "median", "p99", "max ms"}, rows)
	rows = make([][]string, len(r.Losses))
	for i, l := range r.Losses {
		rows[i] = []string{l.Name, fmt.Sprint(l.Sent), fmt.Sprint(l.Lost), fmt.Sprint(l.Holes), number(l.Earliest)}
	}
	fmt.Fprintln(w)
	printTable(w, "requests by when they were sent", []string{"when", "sent", "lost", "before one answered", "first lost, ms before the route went"}, rows)
	rows = make([][]string, len(r.Drops))
	for i, d := range r.Drops {
		rows[i] = []string{d.Reason, fmt.Sprint(d.Packets)}
	}
	fmt.Fprintln(w)
	printTable(w, "packets of anybody that the TMMs dropped meanwhile", []string{"reason", "packets"}, rows)
}
