package state

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/ovnsim/northbound"
	"github.com/spklab/spklab/scenarios/conform"
)

// rowKeys are the columns that tell the rows of a table apart; the others are a row's value. Rows
// that share them (the routes of one address, which together are an ECMP group) are one object.
func rowKeys() map[string][]string {
	return map[string][]string{
		"BFD":                         {"logical_port", "dst_ip"},
		"Logical_Router":              {"name"},
		"Logical_Router_Port":         {"name"},
		"Logical_Router_Static_Route": {"router", "ip_prefix", "policy"},
		"Logical_Router_Policy":       {"router", "priority", "match"},
		"NAT":                         {"router", "type", "logical_ip"},
		"Logical_Switch":              {"name"},
		"Logical_Switch_Port":         {"name"},
		"Address_Set":                 {"name"},
	}
}

// nbRows are the rows of the northbound database, and the status of its BFD sessions, which the
// rows' text leaves out.
func nbRows(t northbound.Topology) Objects {
	out := Objects{}
	keys := rowKeys()
	for _, row := range conform.Rows(t) {
		table, rest, _ := strings.Cut(row, " ")
		key, value := table, []string(nil)
		for _, column := range columns(rest) {
			name, _, _ := strings.Cut(column, "=")
			if slices.Contains(keys[table], name) {
				key += " " + column
			} else {
				value = append(value, column)
			}
		}
		if len(value) == 0 {
			value = []string{"stands"}
		}
		out[key] = join(out[key], strings.Join(value, " "))
	}
	for _, b := range t.BFDs {
		if b.Status != nil {
			out[fmt.Sprintf("BFD logical_port=%s dst_ip=%s status", b.LogicalPort, b.DstIP)] = *b.Status
		}
	}
	return out
}

// columns splits a row's text where a column ends: at blanks outside of brackets and quotes.
func columns(row string) []string {
	var out []string
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(row); i++ {
		switch c := row[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ' ' && depth <= 0:
			out = append(out, row[from:i])
			from = i + 1
		}
	}
	if from < len(row) {
		out = append(out, row[from:])
	}
	return out
}

// forwardingObjects are what a simulated datapath obeys.
func forwardingObjects(st *forward.State) Objects {
	out := Objects{"northbound database": "not connected"}
	if st.Connected {
		out["northbound database"] = "connected"
	}
	for _, p := range st.Pods {
		var hops []string
		for _, g := range p.Gateways {
			hops = append(hops, g.Address.String())
		}
		slices.Sort(hops)
		text := "gateways " + strings.Join(hops, " ")
		if !p.Symmetric {
			text += ", replies are hashed"
		}
		out["pod "+p.Pod.String()] = text
	}
	for _, s := range st.BFD {
		out["bfd "+s.Gateway.String()] = s.Status
	}
	for _, e := range st.Errors {
		out["problem "+e] = "said"
	}
	for _, f := range st.Disabled {
		out["disabled "+string(f)] = "yes"
	}
	return out
}

// connObjects are the connections of a simulated node's conntrack.
func connObjects(conns []forward.Conn) delivery {
	if len(conns) > maxEntries {
		return tooMany(Conntrack, len(conns))
	}
	out := Objects{}
	for _, c := range conns {
		text := "led by the hash"
		switch {
		case c.MAC != "":
			text = "gateway " + c.MAC
		case c.Gateway.IsValid():
			text = "gateway " + c.Gateway.String()
		}
		if c.Over {
			text += ", over"
		}
		out[fmt.Sprintf("%s pod %s peer %s", protocol(c.Protocol), c.Pod, c.Peer)] = text
	}
	return delivery{values: map[string]Objects{Conntrack: out}}
}

// tooMany is what is said instead of more than can be compared.
func tooMany(collector string, n int) delivery {
	return delivery{
		values: map[string]Objects{collector: {}},
		gaps:   []Gap{{Collector: collector, Why: fmt.Sprintf("%d entries, more than %d: not compared", n, maxEntries)}},
	}
}

func protocol(number uint8) string {
	switch number {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(number))
}

// portObjects are what a real node has plugged.
func portObjects(st ovn.NodeState) Objects {
	out := Objects{"shared address": fmt.Sprint(st.Shared)}
	for _, p := range st.Ports {
		out["port "+p.Name] = p.Link
	}
	for _, e := range st.Errors {
		out["problem "+e] = "said"
	}
	return out
}

// trackedObjects are the entries that `ovs-appctl dpctl/dump-conntrack` prints, under their protocol,
// original tuple and zone.
func trackedObjects(text string) delivery {
	out := Objects{}
	n := strings.Count(text, "\n")
	if n > maxEntries {
		return tooMany(Conntrack, n)
	}
	for line := range strings.Lines(text) {
		key, value := trackedEntry(strings.TrimSpace(line))
		if key != "" {
			out[key] = join(out[key], value)
		}
	}
	return delivery{values: map[string]Objects{Conntrack: out}}
}

// trackedEntry splits PROTO,orig=(…),reply=(…),zone=N,labels=0x…,protoinfo=(…); a line of another
// form has no key.
func trackedEntry(line string) (key, value string) {
	proto, rest, ok := strings.Cut(line, ",orig=(")
	orig, rest, closed := strings.Cut(rest, "),")
	if !ok || !closed {
		return "", ""
	}
	key = proto + " " + orig
	var parts []string
	for _, field := range fieldsOutside(rest) {
		if zone, ok := strings.CutPrefix(field, "zone="); ok {
			key += " zone " + zone
			continue
		}
		parts = append(parts, field)
	}
	return key, strings.Join(parts, " ")
}

// fieldsOutside splits at commas outside of brackets.
func fieldsOutside(text string) []string {
	depth := 0
	return strings.FieldsFunc(text, func(r rune) bool {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		return r == ',' && depth == 0
	})
}

// readFlows reads the flows of a node's bridges.
func readFlows(ctx context.Context, programs ovn.Programs, dir string) (delivery, error) {
	out := Objects{}
	for _, bridge := range ovn.Bridges() {
		text, err := programs.Flows(ctx, dir, bridge)
		if err != nil {
			return delivery{}, err
		}
		addFlows(out, bridge, text)
	}
	return delivery{values: map[string]Objects{Flows: out}}, nil
}

// addFlows adds the flows that ovs-ofctl prints, under what they match. Cookies are numbers that OVN
// draws anew; flows that end by themselves were learned from packets, and are left out.
func addFlows(out Objects, bridge, text string) {
	for line := range strings.Lines(text) {
		match, actions, ok := strings.Cut(strings.TrimSpace(line), " actions=")
		if !ok || strings.Contains(match, "_timeout=") {
			continue
		}
		fields := slices.DeleteFunc(strings.FieldsFunc(match, func(r rune) bool { return r == ',' || r == ' ' }), func(f string) bool {
			return strings.HasPrefix(f, "cookie=")
		})
		key := bridge + " " + strings.Join(fields, ",")
		out[key] = join(out[key], actions)
	}
}
