package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
)

// view is one word of `spklab inspect`: what it reads, and how it looks to people.
type view struct {
	name, short string
	read        func(context.Context, *lab.Lab) (any, error)
	show        func(w io.Writer, doc any, wide bool)
}

func views() []view {
	return []view{
		{"nodes", "namespaces and their processes", readInspection, func(w io.Writer, doc any, _ bool) { showNodes(w, doc.(*lab.Inspection)) }},
		{"vs", "virtual servers of each TMM: state, connections, packets", readInspection, func(w io.Writer, doc any, _ bool) { showVirtualServers(w, doc.(*lab.Inspection)) }},
		{"frontends", "where the programs of each TMM sit, and why there", readInspection, func(w io.Writer, doc any, _ bool) { showFrontends(w, doc.(*lab.Inspection)) }},
		{"members", "pool members of each TMM: state, monitors, connections, packets", readInspection, func(w io.Writer, doc any, _ bool) { showMembers(w, doc.(*lab.Inspection)) }},
		{"maps", "eBPF maps of the TMMs, how full they are, and counters", readMaps, func(w io.Writer, doc any, _ bool) { showMaps(w, doc.(*mapsDoc)) }},
		{"bgp", "sessions of TMMs and routers, what each end tells, hears and has chosen, and what it forwards by", readRIBs, showEnds},
		{"rib", "BGP paths of TMMs and routers: Adj-RIB-In, Loc-RIB, Adj-RIB-Out", readRIBs, showRIBs},
		{"ovn", "external gateways: northbound routes and who asks for them, policies, BFD, the nodes' forwarding and conntrack", readOVN, showOVN},
		{"links", "interfaces", func(_ context.Context, l *lab.Lab) (any, error) { return l.Links() }, showLinks},
		{"routes", "kernel routes", func(_ context.Context, l *lab.Lab) (any, error) { return l.Routes() }, showRoutes},
		{"events", "what happened, on one clock", func(ctx context.Context, l *lab.Lab) (any, error) { return l.Events(ctx) }, showEvents},
	}
}

func readInspection(ctx context.Context, l *lab.Lab) (any, error) { return l.Inspect(ctx) }

func newInspect() *cobra.Command {
	all := view{"inspect", "", readInspection, func(w io.Writer, doc any, _ bool) { showAll(w, doc.(*lab.Inspection)) }}
	c := inspectCommand(all)
	c.Use, c.Short = "inspect [WHAT]", "Look into a running lab"
	c.Long = "Look into a running lab. Everything comes from its processes and from the kernel, nothing from what\nwas configured. Without a word: an overview; with -o json the whole state."
	for _, v := range views() {
		sub := inspectCommand(v)
		sub.Use, sub.Short = v.name, v.short
		if v.name == "vs" || v.name == "members" {
			addWatch(sub)
		}
		c.AddCommand(sub)
	}
	c.AddCommand(newInspectConns())
	return c
}

func inspectCommand(v view) *cobra.Command {
	var name *string
	var out *format
	c := &cobra.Command{
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needRoot("inspect"); err != nil {
				return err
			}
			l, _, err := openLab(c, *name)
			if err != nil {
				return err
			}
			return watched(c, func(w io.Writer) error {
				doc, err := v.read(c.Context(), l)
				if err != nil {
					return fail(err)
				}
				return out.print(w, doc, func(w io.Writer, wide bool) { v.show(w, doc, wide) })
			})
		},
	}
	name = addLab(c)
	out = addOutput(c)
	return c
}

func showAll(w io.Writer, in *lab.Inspection) {
	fmt.Fprintf(w, "%s  (%s, fabric %s, state in %s)\n\n", bold(w, "lab "+in.Lab), in.Source, in.Fabric, in.State)
	showNodes(w, in)
	showServers(w, in)
	showBGP(w, in)
	showConditions(w, in)
}

// serverRow is a virtual server over all TMMs.
type serverRow struct {
	status                control.VirtualServerStatus
	programmed, announced int
	connections           uint64
}

// showServers is a line a virtual server; `inspect vs` and `inspect members` have every TMM.
func showServers(w io.Writer, in *lab.Inspection) {
	var order []string
	servers := map[string]*serverRow{}
	for _, t := range in.TMMs {
		for _, vs := range t.VirtualServers {
			key := vs.Name + vs.Protocol + vs.Destination.String()
			s := servers[key]
			if s == nil {
				s = &serverRow{status: vs}
				servers[key] = s
				order = append(order, key)
			}
			s.add(vs)
		}
	}
	var rows [][]string
	for _, key := range order {
		s := servers[key]
		vs := s.status
		rows = append(rows, []string{vs.Name, vs.Protocol, vs.Destination.String(), vs.SNAT, fmt.Sprint(readyMembers(vs)),
			fmt.Sprintf("%d/%d", s.programmed, len(in.TMMs)), fmt.Sprintf("%d/%d", s.announced, len(in.TMMs)), fmt.Sprint(s.connections)})
	}
	printTable(w, "VIRTUAL SERVERS", []string{"name", "protocol", "destination", "snat", "ready members", "programmed", "announced", "connections"}, rows)
	fmt.Fprintln(w)
}

func (s *serverRow) add(vs control.VirtualServerStatus) {
	if vs.Programmed {
		s.programmed++
	}
	if vs.Announced {
		s.announced++
	}
	for _, m := range vs.Members {
		s.connections += m.Connections
	}
}

func readyMembers(vs control.VirtualServerStatus) int {
	n := 0
	for _, m := range vs.Members {
		if m.State == control.MemberReady {
			n++
		}
	}
	return n
}

func showNodes(w io.Writer, in *lab.Inspection) {
	ready := map[string]lab.PodInfo{}
	for _, p := range in.Pods {
		ready[p.Name] = p
	}
	var rows [][]string
	for _, n := range in.Nodes {
		var processes []string
		for _, p := range n.Processes {
			state := "ended"
			if len(p.PIDs) > 0 {
				state = fmt.Sprint(p.PIDs[0])
			}
			processes = append(processes, p.Name+":"+state)
		}
		phase, where, ips := "-", "-", "-"
		if p, ok := ready[n.Name]; ok {
			phase, where, ips = p.Phase, p.Worker, list(p.IPs)
		}
		rows = append(rows, []string{n.Name, n.Kind, phase, where, ips, list(processes)})
	}
	printTable(w, "NODES", []string{"name", "kind", "phase", "worker", "addresses", "processes"}, rows)
	for _, p := range slices.Sorted(maps.Keys(in.Silent)) {
		fmt.Fprintf(w, "%s %s gives no answer: %s\n", mark(w, false), p, in.Silent[p])
	}
	fmt.Fprintln(w)
}

func showCounters(w io.Writer, in *lab.Inspection) {
	var rows [][]string
	for _, t := range in.TMMs {
		for _, name := range slices.Sorted(maps.Keys(t.Counters)) {
			if n := t.Counters[name]; n > 0 {
				rows = append(rows, []string{short(t.Pod), name, fmt.Sprint(n)})
			}
		}
	}
	if len(rows) > 0 {
		printTable(w, "COUNTERS (zeros left out)", []string{"tmm", "counter", "packets"}, rows)
		fmt.Fprintln(w)
	}
}

func showBGP(w io.Writer, in *lab.Inspection) {
	var sessions, routes [][]string
	for _, t := range in.TMMs {
		for _, p := range t.BGP.Peers {
			sessions = append(sessions, []string{short(t.Pod), fmt.Sprint(t.BGP.ASN), p.Addr.String(), fmt.Sprint(p.ASN), p.State, since(p.Uptime), dash(p.BFD), fmt.Sprint(len(t.BGP.Announced))})
		}
	}
	for _, r := range in.Routers {
		for _, p := range r.Peers {
			sessions = append(sessions, []string{r.Name, fmt.Sprint(r.ASN), p.Addr.String(), fmt.Sprint(p.ASN), p.State, since(p.Uptime), dash(p.BFD), "-"})
		}
		for _, rt := range r.Routes {
			var hops []string
			for _, h := range rt.NextHops {
				hops = append(hops, h.String())
			}
			routes = append(routes, []string{r.Name, rt.Prefix.String(), list(hops)})
		}
	}
	printTable(w, "BGP SESSIONS", []string{"speaker", "asn", "peer", "peer asn", "state", "up for", "bfd", "announced"}, sessions)
	fmt.Fprintln(w)
	printTable(w, "LEARNED ROUTES", []string{"router", "prefix", "next hops"}, routes)
	fmt.Fprintln(w)
}

func since(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(time.Second).String()
}

func showConditions(w io.Writer, in *lab.Inspection) {
	var rows [][]string
	for _, t := range in.TMMs {
		for _, c := range t.Conditions {
			rows = append(rows, conditionRow(t, c))
		}
	}
	if len(rows) > 0 {
		printTable(w, "CONDITIONS", []string{"tmm", "severity", "reason", "object", "message"}, rows)
	}
}

func conditionRow(t control.Status, c control.Condition) []string {
	return []string{short(t.Pod), c.Severity, c.Reason, c.Object, c.Message}
}

func showLinks(w io.Writer, doc any, _ bool) {
	var rows [][]string
	for _, l := range doc.([]lab.Link) {
		rows = append(rows, []string{l.Node, l.Name, l.Kind, l.State, fmt.Sprint(l.MTU), l.MAC, list(l.Addresses)})
	}
	printTable(w, "", []string{"node", "interface", "kind", "state", "mtu", "mac", "addresses"}, rows)
}

func showRoutes(w io.Writer, doc any, _ bool) {
	var rows [][]string
	for _, r := range doc.([]lab.Route) {
		rows = append(rows, []string{r.Node, r.To, list(r.Via), list(fields(r.Link)), r.Protocol})
	}
	printTable(w, "", []string{"node", "to", "via", "interface", "protocol"}, rows)
}

// showEvents counts milliseconds from the first event.
func showEvents(w io.Writer, doc any, _ bool) {
	events := doc.([]ctl.Event)
	var rows [][]string
	for _, e := range events {
		rows = append(rows, []string{fmt.Sprintf("%.3f", float64(e.At-events[0].At)/1e6), e.Source, e.Kind, e.Object, e.Detail})
	}
	printTable(w, "", []string{"ms", "process", "event", "object", "detail"}, rows)
}

// short is a pod's name without its namespace.
func short(pod string) string { return pod[strings.LastIndexByte(pod, '/')+1:] }
