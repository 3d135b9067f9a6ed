package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/flow"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// traceFlags are the flags of `spklab trace`.
type traceFlags struct {
	from, to, proto string
	duration        time.Duration
	lab             *string
	out             *format
}

// traceDoc is the document of `spklab trace`.
type traceDoc struct {
	Flow  string        `json:"flow"`
	Probe string        `json:"probe,omitempty"` // what came of the probe
	Paths []report.Path `json:"paths"`
	Gaps  []string      `json:"gaps,omitempty"`
}

func newTrace() *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use: "trace [FLOW]", Short: "Follow a flow's packets over every interface of a running lab",
		Long: `Follow a flow's packets over every interface of a running lab, through address translation: each hop
with what changed there, and where they were dropped, by whom and why, or where they were expected and
are missing. FLOW is [PROTO:][SRC]>[DST]: tcp, udp, sctp, icmp or icmpv6; an address, a prefix or an address with a
port; empty stands for any. Addresses before and after a translation are both good. With --from and --to a
probe is sent; without, what passes within --duration is followed.
Exit code 1: nothing was seen, or a packet did not take the way that the topology makes one expect.`,
		Example: "  spklab trace --from client --to 192.0.2.10:80 --proto tcp\n  spklab trace 'tcp:203.0.113.10>192.0.2.10:80' --duration 30s",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.StringVar(&f.from, "from", "", "send a probe from this node")
	flags.StringVar(&f.to, "to", "", "address:port that the probe goes to")
	flags.StringVar(&f.proto, "proto", "tcp", "protocol of the probe: tcp or udp")
	flags.DurationVar(&f.duration, "duration", 5*time.Second, "how long to look, and how long a probe may take")
	f.lab = addLab(c)
	f.out = addOutput(c)
	return c
}

func (f *traceFlags) run(c *cobra.Command, args []string) error {
	pattern, to, err := f.pattern(args)
	if err != nil {
		return exitWith(codeInput, err)
	}
	if err := needRoot("trace"); err != nil {
		return err
	}
	l, p, err := openLab(c, *f.lab)
	if err != nil {
		return err
	}
	p.clear()
	if err := f.knows(l); err != nil {
		return err
	}
	doc, err := f.follow(c.Context(), l, pattern, to)
	if err != nil {
		return exitWith(codeLifecycle, err)
	}
	if err := f.out.print(c.OutOrStdout(), doc, func(w io.Writer, _ bool) { showTrace(w, doc) }); err != nil {
		return exitWith(codeLifecycle, err)
	}
	if len(doc.Paths) == 0 || slices.ContainsFunc(doc.Paths, flow.Wrong) {
		return exitWith(codeFail, nil)
	}
	return nil
}

// pattern is the flow that the arguments mean, and where a probe goes; invalid: none is sent.
func (f *traceFlags) pattern(args []string) (flow.Flow, netip.AddrPort, error) {
	var to netip.AddrPort
	if (f.from == "") != (f.to == "") {
		return flow.Flow{}, to, errors.New("--from and --to belong together")
	}
	if f.from == "" && len(args) == 0 {
		return flow.Flow{}, to, errors.New("say which flow, or --from and --to for a probe")
	}
	if f.duration <= 0 {
		return flow.Flow{}, to, fmt.Errorf("--duration %s: want more than 0", f.duration)
	}
	if f.from != "" {
		var err error
		if to, err = netip.ParseAddrPort(f.to); err != nil {
			return flow.Flow{}, to, fmt.Errorf("--to %q: want address:port", f.to)
		}
		if f.proto != "tcp" && f.proto != "udp" {
			return flow.Flow{}, to, fmt.Errorf("--proto %q: want tcp or udp", f.proto)
		}
	}
	if len(args) > 0 {
		p, err := flow.Parse(args[0])
		return p, to, err
	}
	p, err := flow.Parse(fmt.Sprintf("%s:>%s", f.proto, to))
	return p, to, err
}

// knows refuses a probe from a node that is not there.
func (f *traceFlags) knows(l *lab.Lab) error {
	if f.from == "" {
		return nil
	}
	nodes, err := l.Nodes()
	if err != nil {
		return fail(err)
	}
	if !slices.ContainsFunc(nodes, func(n lab.Node) bool { return n.Name == f.from }) {
		return exitWith(codeInput, fmt.Errorf("--from %s: the lab has no such node; `spklab inspect nodes` lists them", f.from))
	}
	return nil
}

// follow looks, and says what it saw.
func (f *traceFlags) follow(ctx context.Context, l *lab.Lab, pattern flow.Flow, to netip.AddrPort) (*traceDoc, error) {
	watch, err := flow.Look(ctx, l)
	if err != nil {
		return nil, err
	}
	doc := &traceDoc{}
	if to.IsValid() {
		var local netip.AddrPort
		local, doc.Probe = probe(ctx, l.Runtime().Netns(f.from), f.proto, to, f.duration)
		if local.Port() != 0 {
			pattern.Src = control.AddrMatch{Prefix: netip.PrefixFrom(local.Addr(), local.Addr().BitLen()), Port: local.Port()}
		}
	} else {
		select {
		case <-ctx.Done():
		case <-time.After(f.duration):
		}
	}
	doc.Flow = pattern.String()
	// An interrupt ends the looking, not what is said about it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	trace, known, err := watch.End(ctx)
	if err != nil {
		return nil, err
	}
	doc.Gaps = watch.Gaps()
	for _, l := range trace.Losses {
		doc.Gaps = append(doc.Gaps, l.String())
	}
	doc.Paths = flow.Follow(trace, pattern, known)
	if doc.Paths == nil {
		doc.Paths = []report.Path{}
	}
	return doc, nil
}

// probe opens a connection and has a line echoed, and says what came of it.
func probe(ctx context.Context, netns, proto string, to netip.AddrPort, limit time.Duration) (local netip.AddrPort, came string) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := traffic.Dialer{Netns: netns, Timeout: limit}
	open := d.TCP
	if proto == "udp" {
		open = d.UDP
	}
	conn, err := open(ctx, netip.AddrPort{}, to)
	if err != nil {
		return netip.AddrPort{}, err.Error()
	}
	defer conn.Close()
	if err := conn.Echo(fmt.Appendf(nil, "<spklab trace %d>", ctl.Now())); err != nil {
		return conn.Local(), err.Error()
	}
	return conn.Local(), "answered by " + conn.Greeting.Pod
}

// showTrace is a table for each path.
func showTrace(w io.Writer, doc *traceDoc) {
	fmt.Fprintln(w, doc.Flow)
	if doc.Probe != "" {
		fmt.Fprintln(w, "probe: "+doc.Probe)
	}
	if len(doc.Paths) == 0 {
		fmt.Fprintln(w, "no packet of it was seen")
	}
	for _, p := range doc.Paths {
		fmt.Fprintln(w)
		var rows [][]string
		for _, h := range p.Hops {
			since := "-"
			if h.At != 0 {
				since = fmt.Sprintf("%.3f ms", float64(h.At-p.Hops[0].At)/1e6)
			}
			rows = append(rows, []string{since, h.Point, direction(h), stateWord(w, h.Sight != report.Dropped && h.Sight != report.Absent, string(h.Sight)), h.Src + " > " + h.Dst, wrap(h.Detail)})
		}
		printTable(w, mark(w, !flow.Wrong(p))+" "+p.Title, []string{"time", "hop", "", "", "from > to", "what"}, rows)
		if p.Diverges >= 0 {
			h := p.Expected[p.Diverges]
			fmt.Fprintf(w, "differs from the expected way at hop %d: %s\n", p.Diverges+1, strings.TrimSpace(fmt.Sprintf("%s %s %s > %s %s", h.Point, direction(h), h.Src, h.Dst, h.Detail)))
		}
	}
	for _, g := range doc.Gaps {
		fmt.Fprintln(w, "not captured: "+g)
	}
}

func direction(h report.Hop) string {
	switch {
	case h.Sight == report.Dropped:
		return ""
	case h.Out:
		return "out"
	}
	return "in"
}
