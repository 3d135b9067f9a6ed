package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovnsim/exgw"
)

func newExplain() *cobra.Command {
	c := &cobra.Command{Use: "explain", Short: "Why something in a running lab is as it is"}
	c.AddCommand(newExplainPod(), newExplainVIP())
	return c
}

func newExplainPod() *cobra.Command {
	var name *string
	var out *format
	c := &cobra.Command{
		Use: "pod [NAMESPACE/]NAME", Aliases: []string{"egress"}, Short: "Why a pod does or does not have which egress routes",
		Long: `Why a pod does or does not leave by which external gateways: for each of them the chain of conditions,
with the object and the field that decides. The chain goes from annotations and policies over the gateway
pod to the row in the northbound database and the datapath of the pod's node, and through a TMM: the egress, the
address for its source, the route on to the lab's clients; it ends where one fails.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: completePods,
		RunE: func(c *cobra.Command, args []string) error {
			if err := needRoot("explain"); err != nil {
				return err
			}
			l, _, err := openLab(c, *name)
			if err != nil {
				return err
			}
			namespace, pod, ok := strings.Cut(args[0], "/")
			if !ok {
				namespace, pod = "", args[0]
			}
			o, err := theOne(l, api.KindPod, namespace, pod)
			if err != nil {
				return fail(err)
			}
			e, err := l.Explain(c.Context(), o.Namespace, o.Name)
			if err != nil {
				return fail(err)
			}
			return out.print(c.OutOrStdout(), e, func(w io.Writer, _ bool) { showExplanation(w, e) })
		},
	}
	name = addLab(c)
	out = addOutput(c)
	return c
}

func completePods(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	name, _ := c.Flags().GetString("lab")
	l, err := lab.Open(name, lab.Options{})
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	objs, err := l.Get(api.KindPod, "", "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, o := range objs {
		names = append(names, o.Namespace+"/"+o.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// showExplanation prints a table for the pod and one for each offer, with a mark a condition.
func showExplanation(w io.Writer, e *exgw.Explanation) {
	var addrs []string
	for _, a := range e.Addresses {
		addrs = append(addrs, a.String())
	}
	fmt.Fprintf(w, "%s on %s, %s\n", bold(w, "pod "+e.Pod), dash(e.Node), list(addrs))
	printTable(w, "", conditionHeader(), conditionRows(w, e.Conditions))
	routes := map[string]bool{} // two sources may ask for one
	for i := range e.Gateways {
		g := &e.Gateways[i]
		fmt.Fprintf(w, "\n%s %s\n", mark(w, offerHolds(e, g)), bold(w, offerTitle(g)))
		rows := conditionRows(w, g.Conditions)
		for j := range g.Ways {
			rows = append(rows, conditionRows(w, g.Ways[j].Conditions)...)
			if g.Ways[j].OK() {
				routes[g.Ways[j].Address.String()+" by "+g.Address.String()] = true
			}
		}
		printTable(w, "", conditionHeader(), rows)
	}
	fmt.Fprintf(w, "\n%s %d offers of gateways to its namespace, %d routes\n", mark(w, len(routes) > 0), len(e.Gateways), len(routes))
}

// offerHolds says whether the pod leaves by an offer.
func offerHolds(e *exgw.Explanation, g *exgw.Offer) bool {
	holds := e.OK() && g.OK() && len(g.Ways) > 0
	for i := range g.Ways {
		holds = holds && g.Ways[i].OK()
	}
	return holds
}

// offerTitle is who offers what.
func offerTitle(g *exgw.Offer) string {
	title := g.Object
	if g.Pod != "" && g.Object != "Pod "+g.Pod {
		title += ": pod " + g.Pod
	}
	if g.Address.IsValid() {
		title += ", gateway " + g.Address.String()
	}
	if g.BFD {
		title += " with BFD"
	}
	return title + " (" + g.Source + ")"
}

func conditionHeader() []string {
	return []string{"", "condition", "object", "field", "what stands there"}
}

func conditionRows(w io.Writer, conditions []exgw.Condition) [][]string {
	var rows [][]string
	for _, c := range conditions {
		rows = append(rows, []string{mark(w, c.OK), c.Name, c.Object, c.Field, c.Text})
	}
	return rows
}

// daemonsTitle says of which release OVN's daemons are, and where it is not the installed one that
// the programs stand in.
func daemonsTitle(o *lab.OVN) string {
	title := "DAEMONS"
	if o.Release != "" {
		title += " of OVN " + o.Release
	}
	if o.Root != "" {
		title += " (" + o.Root + ")"
	}
	return title
}

func readOVN(ctx context.Context, l *lab.Lab) (any, error) { return l.OVN(ctx) }

// showOVN prints a table for each thing that there is.
func showOVN(w io.Writer, doc any, wide bool) {
	o := doc.(*lab.OVN)
	if p := o.Profile; p != nil {
		fmt.Fprintf(w, "%s\n%s\n\n", bold(w, "simulated OVN, profile "+p.Name), indent(p.Text))
	}
	var routes, policies, reroutes, sessions, groups, conns, daemons [][]string
	for _, d := range o.Daemons {
		daemons = append(daemons, []string{d.Process, d.Program, d.Version, fmt.Sprint(d.PID), dash(d.Says)})
	}
	for _, r := range o.Routes {
		routes = append(routes, []string{dash(r.Pod), r.Address.String(), r.Nexthop.String(), dash(r.Gateway), list(r.Sources), dash(r.BFD), r.Router})
	}
	for _, p := range o.Policies {
		policies = append(policies, []string{p.Name, stateWord(w, p.Status.Status == api.ExternalRouteSuccess, p.Status.Status), strings.Join(p.Status.Messages, "; ")})
	}
	for _, r := range o.Reroutes {
		reroutes = append(reroutes, []string{fmt.Sprint(r.Priority), r.Match, r.Action, list(r.Nexthops), list(r.Addresses)})
	}
	for _, b := range o.Sessions {
		sessions = append(sessions, []string{b.Port, b.Peer, stateWord(w, b.Status == "up", b.Status), fmt.Sprint(b.Routes)})
	}
	for _, g := range o.Groups {
		groups = append(groups, []string{g.Node, g.Address.String(), g.Gateway.String(), fmt.Sprint(g.Connections)})
	}
	for _, c := range o.Conntrack {
		address := ""
		if c.Address.IsValid() {
			address = c.Address.String()
		}
		conns = append(conns, []string{c.Node, dash(c.Gateway), dash(c.MAC), dash(address), fmt.Sprint(c.TCP), fmt.Sprint(c.UDP), fmt.Sprint(c.Other)})
	}
	for _, t := range []struct {
		title  string
		header []string
		rows   [][]string
		always bool
	}{
		{"NORTHBOUND ROUTES", []string{"pod", "address", "next hop", "gateway", "asked for by", "bfd", "router"}, routes, true},
		{"EXTERNAL ROUTE POLICIES", []string{"name", "status", "messages"}, policies, wide},
		{"REROUTES (local gateway mode)", []string{"priority", "match", "action", "next hops", "addresses"}, reroutes, wide},
		{"BFD SESSIONS", []string{"port", "peer", "status", "routes"}, sessions, wide},
		{"DATAPATH GROUPS", []string{"node", "pod address", "gateway", "new connections"}, groups, true},
		{"CONNTRACK BY GATEWAY", []string{"node", "gateway", "mac", "address", "tcp", "udp", "other"}, conns, true},
		{daemonsTitle(o), []string{"process", "program", "version", "pid", "says"}, daemons, false},
	} {
		if t.always || len(t.rows) > 0 {
			printTable(w, t.title, t.header, t.rows)
			fmt.Fprintln(w)
		}
	}
	for _, p := range o.Problems {
		fmt.Fprintf(w, "%s %s\n", mark(w, false), p)
	}
}
