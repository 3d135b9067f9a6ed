package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
)

// showVirtualServers is a line for each virtual server and egress of each TMM.
func showVirtualServers(w io.Writer, in *lab.Inspection) {
	var rows, egresses [][]string
	for _, t := range in.TMMs {
		for i := range t.VirtualServers {
			vs := &t.VirtualServers[i]
			rows = append(rows, slices.Concat([]string{short(t.Pod), vs.Name, vs.Protocol, vs.Where(), stateWord(w, vs.State == control.StateUp, vs.State), announced(vs)},
				load(vs.Current, vs.Traffic), []string{fmt.Sprint(vs.Refused), dash(vs.Reason)}))
		}
		for i := range t.Egresses {
			e := &t.Egresses[i]
			state := control.StateUp
			if !e.Programmed {
				state = control.StateDown
			}
			egresses = append(egresses, slices.Concat([]string{short(t.Pod), e.Name, e.SNAT, stateWord(w, e.Programmed, state)}, load(e.Current, e.Traffic)))
		}
	}
	printTable(w, "VIRTUAL SERVERS", slices.Concat([]string{"tmm", "name", "protocol", "destination", "state", "bgp"}, loadHeader(), []string{"refused", "reason"}), rows)
	fmt.Fprintln(w)
	if len(egresses) > 0 {
		printTable(w, "EGRESSES", slices.Concat([]string{"tmm", "name", "snat", "state"}, loadHeader()), egresses)
		fmt.Fprintln(w)
	}
	showSilent(w, in)
}

// showFrontends is a line for each interface that carries packets.
func showFrontends(w io.Writer, in *lab.Inspection) {
	var rows [][]string
	for _, t := range in.TMMs {
		for _, f := range t.Frontends {
			features := "not told"
			if f.FeaturesKnown {
				features = dash(strings.Join(f.XDPFeatures, " "))
			}
			rows = append(rows, []string{short(t.Pod), dash(f.Number), f.Name, f.Kind, dash(f.Tags), fmt.Sprint(f.MTU), string(f.Wanted), placed(w, f), sends(f), features, f.Why})
		}
	}
	printTable(w, "FRONT ENDS", []string{"tmm", "number", "interface", "kind", "tags", "mtu", "wanted", "front end", "sends", "xdp features", "why"}, rows)
	fmt.Fprintln(w)
	showSilent(w, in)
}

// placed is where an interface's programs sit, and whether somebody has taken one away.
func placed(w io.Writer, f dataplane.FrontendStatus) string {
	for _, p := range f.Programs {
		if p.ID == 0 {
			return stateWord(w, false, fmt.Sprintf("%s (%s at %s is gone)", f.Frontend, p.Role, p.At))
		}
	}
	return string(f.Frontend)
}

// sends says how what leaves by an interface is sent.
func sends(f dataplane.FrontendStatus) string {
	if f.ToPeer {
		return "to the other end"
	}
	return "itself"
}

// showMembers is a line for each member of each virtual server of each TMM.
func showMembers(w io.Writer, in *lab.Inspection) {
	var rows [][]string
	for _, t := range in.TMMs {
		for i := range t.VirtualServers {
			vs := &t.VirtualServers[i]
			for _, m := range slices.Concat(vs.Members, vs.Out) {
				rows = append(rows, slices.Concat([]string{short(t.Pod), vs.Name, vs.Protocol, vs.Where(), m.Address.String(), stateWord(w, m.State == control.MemberReady, m.State),
					ago(m.Since), latency(m.Latency)}, load(m.Current, m.Traffic), []string{dash(m.Reason)}))
			}
		}
	}
	printTable(w, "POOL MEMBERS", slices.Concat([]string{"tmm", "virtual server", "protocol", "destination", "member", "state", "since", "latency"}, loadHeader(), []string{"reason"}), rows)
	fmt.Fprintln(w)
	showSilent(w, in)
}

func showSilent(w io.Writer, in *lab.Inspection) {
	for _, n := range in.Nodes {
		if why, ok := in.Silent[n.Name]; ok && n.Kind == lab.KindTMM {
			fmt.Fprintf(w, "%s %s gives no answer: %s\n", mark(w, false), n.Name, why)
		}
	}
}

func announced(vs *control.VirtualServerStatus) string {
	if vs.Announced {
		return "announced"
	}
	return "-"
}

// loadHeader names the cells of load.
func loadHeader() []string {
	return []string{"current", "total", "pkts in", "pkts out", "bytes in", "bytes out"}
}

func load(current int, t dataplane.Traffic) []string {
	return []string{fmt.Sprint(current), fmt.Sprint(t.Connections), fmt.Sprint(t.PacketsIn), fmt.Sprint(t.PacketsOut), octets(t.BytesIn), octets(t.BytesOut)}
}

// octets is a number of bytes with at most three digits before its unit.
func octets(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	f, units := float64(n), " kMGTPE"
	for f >= 999.5 && len(units) > 1 {
		f, units = f/1000, units[1:]
	}
	return fmt.Sprintf("%.3g%c", f, units[0])
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ago is for how long something has been so.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return time.Since(t).Round(time.Second).String()
}

func latency(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(time.Microsecond).String()
}

// mapsDoc is the document of `inspect maps`.
type mapsDoc struct {
	TMMs     []lab.TMMMaps                `json:"tmms"`
	Counters map[string]map[string]uint64 `json:"counters"` // by TMM and name
	in       *lab.Inspection
}

func readMaps(ctx context.Context, l *lab.Lab) (any, error) {
	maps, err := l.Maps(ctx)
	if err != nil {
		return nil, err
	}
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	doc := &mapsDoc{TMMs: maps, Counters: map[string]map[string]uint64{}, in: in}
	for _, t := range in.TMMs {
		doc.Counters[short(t.Pod)] = t.Counters
	}
	return doc, nil
}

func showMaps(w io.Writer, doc *mapsDoc) {
	var rows [][]string
	for _, t := range doc.TMMs {
		for _, m := range t.Maps {
			used := "-"
			if m.MaxEntries > 0 {
				used = fmt.Sprintf("%.1f%%", 100*float64(m.Entries)/float64(m.MaxEntries))
			}
			if !strings.Contains(m.Type, "hash") && m.Type != "lpm_trie" {
				used = "-" // all entries of an array exist
			}
			rows = append(rows, []string{t.TMM, m.Name, m.Type, fmt.Sprint(m.KeySize), fmt.Sprint(m.ValueSize), fmt.Sprint(m.Entries), fmt.Sprint(m.MaxEntries), used, octets(m.Memory)})
		}
	}
	printTable(w, "MAPS", []string{"tmm", "map", "type", "key", "value", "entries", "of", "used", "memory"}, rows)
	for _, t := range doc.TMMs {
		if t.Error != "" {
			fmt.Fprintf(w, "%s %s gives no answer: %s\n", mark(w, false), t.TMM, t.Error)
		}
	}
	fmt.Fprintln(w)
	showCounters(w, doc.in)
}

// newInspectConns is `inspect conns`, which asks the TMMs for a part of their connections.
func newInspectConns() *cobra.Command {
	var vip, client, member string
	var q control.ConnQuery
	c := inspectCommand(view{
		read: func(ctx context.Context, l *lab.Lab) (any, error) {
			for m, text := range map[*control.AddrMatch]string{&q.VIP: vip, &q.Client: client, &q.Member: member} {
				var err error
				if *m, err = control.ParseAddrMatch(text); err != nil {
					return nil, exitWith(codeInput, err)
				}
			}
			if q.Limit < 1 || q.Limit > control.MaxConnLimit {
				return nil, exitWith(codeInput, fmt.Errorf("--limit %d: write 1 to %d", q.Limit, control.MaxConnLimit))
			}
			return l.Connections(ctx, q)
		},
		show: func(w io.Writer, doc any, _ bool) { showConns(w, doc.([]lab.TMMConns)) },
	})
	c.Use, c.Short = "conns", "connections that the TMMs track"
	c.Example = "  spklab inspect conns --vip 192.0.2.10:80\n  spklab inspect conns --client 203.0.113.0/24 --limit 1000 -o json"
	c.Flags().StringVar(&vip, "vip", "", "only to this `address`, prefix or address:port")
	c.Flags().StringVar(&client, "client", "", "only from this `address`, prefix or address:port")
	c.Flags().StringVar(&member, "member", "", "only those that this `address`, prefix or address:port got")
	c.Flags().IntVar(&q.Limit, "limit", control.DefaultConnLimit, "how many of each TMM")
	return c
}

func showConns(w io.Writer, tmms []lab.TMMConns) {
	var rows [][]string
	for _, t := range tmms {
		for _, c := range t.Conns {
			via := c.VirtualServer
			if c.Egress != "" {
				via = c.Egress + " (egress)"
			}
			rows = append(rows, []string{t.TMM, c.Protocol.String(), c.Source.String(), c.Destination.String(), c.TranslatedSource.String(), c.TranslatedDestination.String(),
				string(c.State), c.Idle.Round(time.Second).String(), via})
		}
	}
	printTable(w, "CONNECTIONS", []string{"tmm", "protocol", "client", "destination", "translated source", "member", "state", "idle", "by"}, rows)
	for _, t := range tmms {
		if t.Error != "" {
			fmt.Fprintf(w, "%s %s gives no answer: %s\n", mark(w, false), t.TMM, t.Error)
			continue
		}
		fmt.Fprintf(w, "%s: showing %d of %d that match, %d tracked\n", t.TMM, len(t.Conns), t.Matched, t.Total)
	}
}
