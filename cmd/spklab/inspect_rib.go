package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/lab"
)

// showRIBs prints a table a node: what peers told it, what stands of that, what it tells peers.
func showRIBs(w io.Writer, doc any, wide bool) {
	header := []string{"table", "prefix", "peer", "next hop", "as path", "best", "in the kernel"}
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
			best, kernel := "-", "-"
			if t.name == "loc-rib" {
				best = yes(w, p.Best)
				if r.FIB != nil {
					kernel = mark(w, r.Forwards(p))
				}
			}
			row := []string{t.name, p.Prefix.String(), peerWord(p), p.NextHop.String(), dash(asWords(p.ASPath)), best, kernel}
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
