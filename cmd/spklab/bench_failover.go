package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/lab/churn"
	"github.com/spklab/spklab/topo"
)

// failoverFlags are the flags that the two measurements of dying TMMs share.
type failoverFlags struct {
	options churn.FailoverOptions
	out     *format
}

func addFailover(c *cobra.Command, name string, flows, rate int) *failoverFlags {
	f := &failoverFlags{options: churn.FailoverOptions{}}
	c.Flags().StringVar(&f.options.Name, "name", name, "name of the labs, one after the other")
	c.Flags().IntVar(&f.options.Flows, "flows", flows, "established flows, in equal parts of four kinds of service")
	c.Flags().IntVar(&f.options.Rate, "rate", rate, "new connections a second")
	c.Flags().IntVar(&f.options.Rounds, "rounds", 3, "how often a TMM dies, each in turn, in each setting")
	c.Flags().DurationVar(&f.options.Settle, "settle", 2*time.Second, "from a change of the routes to the look at the flows")
	c.Flags().DurationVar(&f.options.Silence, "silence", 3*time.Second, "without an answer for so long, a flow is not served")
	f.out = addOutput(c)
	return f
}

func (f *failoverFlags) run(c *cobra.Command, settings []churn.Setting, show func(io.Writer, *churn.FailoverReport)) error {
	if f.options.Rounds < 1 {
		return exitWith(codeInput, errors.New("--rounds: want 1 or more"))
	}
	if f.options.Flows < 1 || f.options.Rate < 1 {
		return exitWith(codeInput, errors.New("--flows, --rate: want 1 or more"))
	}
	if err := needRoot(c.CommandPath()); err != nil {
		return err
	}
	p := newProgress(c.ErrOrStderr())
	f.options.Progress, f.options.Settings = p.say, settings
	f.options.Lab = lab.Options{}
	r, err := churn.Failover(c.Context(), f.options)
	p.clear()
	if err != nil {
		return fail(err)
	}
	return f.out.print(c.OutOrStdout(), r, func(w io.Writer, _ bool) { show(w, &r) })
}

func newBenchFailover() *cobra.Command {
	var f *failoverFlags
	var routers, bfd []string
	var graceful int
	c := &cobra.Command{
		Use: "failover", Short: "Measure what it costs that a TMM dies, with FRR and BIRD, with and without BFD", Args: cobra.NoArgs,
		Long: `Bring up a lab with three TMMs for each setting, and let one TMM after the other die under established
flows and new connections: its interfaces go down, its process gets SIGKILL, its eBPF programs and maps are
removed. Shown are the times from the death until the router no longer sends there and until the last
connection that failed began, by CLOCK_MONOTONIC, how many failed, and what became of the
established flows. Each lab is taken down afterwards.

    spklab bench failover --rounds 3`,
		RunE: func(c *cobra.Command, _ []string) error {
			if graceful < 0 || graceful > 4095 { // RFC 4724, section 3: twelve bits
				return exitWith(codeInput, errors.New("--graceful-restart: want 0 to 4095 seconds"))
			}
			var settings []churn.Setting
			for _, kind := range routers {
				if kind != topo.RouterFRR && kind != topo.RouterBIRD {
					return exitWith(codeInput, fmt.Errorf("--router %s: want frr or bird", kind))
				}
				for _, with := range bfd {
					if with != "off" && with != "on" {
						return exitWith(codeInput, fmt.Errorf("--bfd %s: want off or on", with))
					}
					settings = append(settings, churn.Setting{Router: kind, BFD: with == "on", Hash: churn.HashL4, GracefulRestart: graceful})
				}
			}
			return f.run(c, settings, showFailover)
		},
	}
	f = addFailover(c, "bench-failover", 200, 1000)
	c.Flags().StringSliceVar(&routers, "router", []string{topo.RouterFRR, topo.RouterBIRD}, "kinds of upstream routers")
	c.Flags().StringSliceVar(&bfd, "bfd", []string{"off", "on"}, "without and with BFD")
	c.Flags().IntVar(&graceful, "graceful-restart", 0, "seconds for which routers keep the routes of a TMM that ended without a word (default off)")
	return c
}

func newBenchECMP() *cobra.Command {
	var f *failoverFlags
	var kind string
	c := &cobra.Command{
		Use: "ecmp", Short: "Measure how a router spreads flows over TMMs, and what becomes of those that it moves", Args: cobra.NoArgs,
		Long: `Bring up a lab with three TMMs for each way to hash, and let one TMM after the other die and come back.
Shown are the flows' shares by TMM, the share that the router moves each time, and what becomes of
flows that come to a TMM which has no state for them.

    spklab bench ecmp --rounds 3`,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c, []churn.Setting{{Router: kind, BFD: true, Hash: churn.HashL3}, {Router: kind, BFD: true, Hash: churn.HashL4, Resilient: true}}, showECMP)
		},
	}
	f = addFailover(c, "bench-ecmp", 400, 50)
	c.Flags().StringVar(&kind, "router", topo.RouterFRR, "kind of upstream router: frr or bird")
	return c
}

func showFailover(w io.Writer, r *churn.FailoverReport) {
	rows := make([][]string, len(r.Columns))
	for i := range r.Columns {
		c := &r.Columns[i]
		died := 0
		for _, f := range c.Fates {
			died += f.Dead.Flows
		}
		rows[i] = []string{
			c.Setting.String(), number(c.Times[0].Median), number(c.Times[0].Max), number(c.Times[1].Median), number(c.Times[1].Max),
			fmt.Sprint(c.Conns.Begun), fmt.Sprint(c.Conns.Failed), fmt.Sprint(c.Conns.After), fmt.Sprint(died), fmt.Sprint(c.Broken()),
		}
	}
	printTable(w, fmt.Sprintf("three TMMs, one dies under %d flows and %d new connections a second, %d rounds; times in ms since the death", r.Flows, r.Rate, r.Rounds),
		[]string{"router", "next hop gone", "max", "last failed connection", "max", "new connections", "failed", "of these after", "flows that died", "others broken"}, rows)
	showFates(w, r)
}

func showECMP(w io.Writer, r *churn.FailoverReport) {
	var rows [][]string
	row := func(name string, s churn.Share) {
		spread := ""
		for _, x := range s.Spread {
			spread += fmt.Sprintf("%.1f ", x)
		}
		rows = append(rows, []string{name, spread, fmt.Sprint(s.Died), number(s.Others), number(s.All), number(s.Back)})
	}
	for i := range r.Columns {
		for _, s := range r.Columns[i].Shares {
			row(r.Columns[i].Setting.String(), s)
		}
	}
	for _, s := range r.Resilient {
		row("the kernel's resilient group, L4 hash", s)
	}
	printTable(w, "shares of flows in percent", []string{"router", "by next hop", "died", "moved of the others'", "moved of all", "moved when back"}, rows)
	showFates(w, r)
}

// showFates prints what became of the established flows, a row for each setting and kind of service.
func showFates(w io.Writer, r *churn.FailoverReport) {
	var rows [][]string
	for i := range r.Columns {
		for _, f := range r.Columns[i].Fates {
			rows = append(rows, slices.Concat([]string{r.Columns[i].Setting.String(), f.Service}, fateCells(f)))
		}
	}
	fmt.Fprintln(w)
	printTable(w, "established flows: served / silent / reset", []string{"router", "service", "on the dead TMM", "on others, stayed", "on others, moved", "moved when it was back"}, rows)
}

func fateCells(f churn.Fate) []string {
	var out []string
	for _, c := range []churn.Counts{f.Dead, f.Stayed, f.Moved, f.Back} {
		out = append(out, fmt.Sprintf("%d / %d / %d", c.Served, c.Silent, c.Reset))
	}
	return out
}
