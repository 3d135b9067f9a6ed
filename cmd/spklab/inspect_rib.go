package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/lab"
)

func readRIBs(ctx context.Context, l *lab.Lab) (any, error) { return l.RIBs(ctx) }

// showEnds prints the sessions of all ends, then the paths of each, then what each forwards by.
func showEnds(w io.Writer, doc any, wide bool) {
	var sessions, routes [][]string
	for _, r := range doc.([]lab.NodeRIB) {
		for _, p := range r.Peers {
			told := func(paths []bgp.Path) string {
				n := 0
				for _, path := range paths {
					if path.Peer == p.Addr {
						n++
					}
				}
				return fmt.Sprint(n)
			}
			row := []string{
				r.Node, r.Kind, fmt.Sprint(r.ASN), p.Addr.String(), fmt.Sprint(p.ASN), stateWord(w, p.Established(), p.State),
				dash(p.BFD), since(p.Uptime), told(r.In), told(r.Out), dash(strings.Join(nonEmpty(p.Notification, p.Error), "; ")),
			}
			sessions = append(sessions, row)
		}
		for _, f := range r.FIB {
			var hops []string
			for _, h := range f.NextHops {
				hops = append(hops, h.String())
			}
			routes = append(routes, []string{r.Node, f.Prefix.String(), list(hops)})
		}
	}
	printTable(w, "SESSIONS", []string{"node", "kind", "asn", "peer", "peer asn", "state", "bfd", "up for", "received", "sent", "why"}, sessions)
	fmt.Fprintln(w)
	showRIBs(w, doc, wide)
	printTable(w, "FORWARDING (kernels of routers, eBPF maps of TMMs)", []string{"node", "prefix", "next hops"}, routes)
}

func nonEmpty(items ...string) []string {
	return slices.DeleteFunc(items, func(s string) bool { return s == "" })
}

// showRIBs prints a table a node: what peers told it, what stands of that, what it tells peers.
func showRIBs(w io.Writer, doc any, wide bool) {
	header := []string{"table", "prefix", "peer", "next hop", "as path", "best", "forwarded"}
	if wide {
		header = append(header, "origin", "med", "local pref", "communities")
	}
	for _, r := range doc.([]lab.NodeRIB) {
		printTable(w, r.Node, header, ribRows(w, r, wide))
		if r.Silent != "" {
			fmt.Fprintf(w, "%s %s\n", mark(w, false), r.Silent)
		}
		fmt.Fprintln(w)
	}
}

func ribRows(w io.Writer, r lab.NodeRIB, wide bool) [][]string {
	var rows [][]string
	for _, t := range []struct {
		name  string
		paths []bgp.Path
	}{{"adj-rib-in", r.In}, {"loc-rib", r.Loc}, {"adj-rib-out", r.Out}} {
		for _, p := range t.paths {
			best, forwarded := "-", "-"
			if t.name == "loc-rib" {
				best = yes(w, p.Best)
				forwarded = mark(w, r.Forwards(p))
				if r.Kind == lab.KindTMM {
					forwarded = yes(w, r.Forwards(p)) // an address of a SNAT pool is no virtual server
				}
			}
			row := []string{t.name, p.Prefix.String(), peerWord(p), p.NextHop.String(), dash(asWords(p.ASPath)), best, forwarded}
			if wide {
				row = append(row, dash(p.Origin), optional(p.MED), optional(p.LocalPref), dash(strings.Join(p.Communities, " ")))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func peerWord(p bgp.Path) string {
	if !p.Peer.IsValid() {
		return "-"
	}
	return p.Peer.String()
}

// yes marks what is so, and leaves alone what is not: a path that is not the best is no mistake.
func yes(w io.Writer, is bool) string {
	if is {
		return mark(w, true)
	}
	return "-"
}

func asWords(path []uint32) string { return strings.Trim(fmt.Sprint(path), "[]") }

func optional(n *uint32) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}
