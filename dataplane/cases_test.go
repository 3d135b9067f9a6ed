package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// packetCase is one row of the packet tables: what comes in and what becomes of it. It runs at
// every front end, over both address families with the hosts' addresses of each unless only
// says which.
//
// The script's steps stand on lines of their own or have a ";" between them:
//
//	client> PACKET     it comes in from a client (by the router), pod> from a pod (by its node)
//	pod< PACKET        the packet before leaves to a pod as this one, client< to a client
//	drop NAME          it is dropped and counted so
//	kernel             the TMM's own kernel gets it as it is
//	count NAME...      these counters have grown by one each since the step before, besides
//	conns N            so many connections are tracked, half-open ones not among them
//	after DURATION     time passes without packets
//	change             the case's change is applied
//	flush              every connection is flushed
//
// "tc:" before an outcome says that XDP leaves the packet to traffic control. Packets are in the
// words of package frame with the hosts of tableHosts; one that leaves has a hop limit of 63
// unless it says another. A port or identifier $p stands for any that the program chose, the
// same one throughout, $q for one within the bounds of the SNAT pool, @m for any member, @s for any
// address of a SNAT pool, $i for any identification but 0, another one in each packet.
type packetCase struct {
	name   string
	script string
	only   string       // "4", "6"
	cut    bool         // packets are cut: see rig.noSums
	robs   bool         // a half-open flow loses its way back to another one
	front  string       // "tc": for that front end alone
	state  func(*State) // what differs from tableState
	change func(*State) // what "change" changes
}

func (c packetCase) families() []string {
	if c.only != "" {
		return []string{c.only}
	}
	return []string{"4", "6"}
}

// packetTables are the cases by subject.
func packetTables() map[string][]packetCase {
	return map[string][]packetCase{
		"ingress":         ingressCases(),
		"tcp states":      tcpStateCases(),
		"half-open":       halfOpenCases(),
		"egress":          egressCases(),
		"hairpin":         hairpinCases(),
		"kernel":          kernelCases(),
		"not forwardable": notForwardableCases(),
		"fragments":       fragmentsCases(),
		"options":         optionsCases(),
		"echo":            echoCases(),
		"errors":          errorCases(),
		"translated":      translatedCases(),
		"sizes":           sizesCases(),
		"SNAT pools":      snatPoolCases(),
		"services":        servicesCases(),
		"balance":         balanceCases(),
		"subnets":         subnetCases(),
		"ping":            pingCases(),
		"nat64":           nat64Cases(),
		"nat64 errors":    nat64ErrorCases(),
		"nat46 errors":    nat46ErrorCases(),
		"sctp":            sctpCases(),
		"down actions":    downCases(),
	}
}

// taggedTables are the subjects that also run with every interface a tagged VLAN: ICMP errors, those that
// are passed on and the TMM's own.
func taggedTables() []string {
	return []string{"errors", "translated", "not forwardable", "nat64", "nat64 errors", "nat46 errors", "ping"}
}

// TestTaggedTables runs tables between tagged VLANs.
func TestTaggedTables(t *testing.T) {
	r := newRigAt(t, tableState(), frontEnd{"tc", FrontendAuto, true})
	r.tableRoutes(t)
	must(t, r.d.SetNAT46(tableNAT46()))
	tables := packetTables()
	for _, subject := range taggedTables() {
		t.Run(subject, func(t *testing.T) { r.runTable(t, tables[subject]) })
	}
}

// TestPackets runs the tables: a sub-test for each front end, subject, case and family.
func TestPackets(t *testing.T) {
	for _, front := range frontEnds() {
		t.Run(front.name, func(t *testing.T) {
			r := newRigAt(t, tableState(), front)
			r.tableRoutes(t)
			must(t, r.d.SetNAT46(tableNAT46()))
			tables := packetTables()
			for _, subject := range slices.Sorted(maps.Keys(tables)) {
				t.Run(subject, func(t *testing.T) { r.runTable(t, tables[subject]) })
			}
		})
	}
}

func (r *rig) runTable(t *testing.T, table []packetCase) {
	for _, c := range table {
		if c.front != "" && c.front != r.front.name {
			continue
		}
		for _, family := range c.families() {
			t.Run(c.name+"/ipv"+family, func(t *testing.T) { c.run(t, r, family) })
		}
	}
}

func (c packetCase) run(t *testing.T, r *rig, family string) {
	s := tableState()
	if c.state != nil {
		c.state(&s)
	}
	r.reset(t, s)
	r.noSums = c.cut
	p := &player{r: r, c: c, state: s, hosts: tableHosts(family), bound: map[string]string{}, ids: map[string]bool{}}
	for _, step := range steps(c.script) {
		p.step(t, step)
	}
	if p.pending != "" {
		t.Errorf("%s: nothing is said of what becomes of it", p.pending)
	}
	if !c.robs {
		r.checkPairs(t)
	}
}

// steps takes a script apart.
func steps(script string) []string {
	var out []string
	for _, step := range strings.FieldsFunc(script, func(r rune) bool { return r == ';' || r == '\n' }) {
		if step = strings.TrimSpace(step); step != "" {
			out = append(out, step)
		}
	}
	return out
}

// player plays one case.
type player struct {
	r     *rig
	c     packetCase
	state State
	hosts map[string]netip.Addr
	bound map[string]string // what $p and the like stand for
	ids   map[string]bool   // that $i has stood for

	pending string // the packet whose outcome is not compared yet
	in      []byte
	got     outcome
	grown   map[string]uint64
}

func (p *player) step(t *testing.T, step string) {
	t.Helper()
	verb, rest, _ := strings.Cut(step, " ")
	if verb == "tc:" {
		p.handledBy(t, step, "tc")
		verb, rest, _ = strings.Cut(rest, " ")
	} else if strings.HasSuffix(verb, "<") || verb == "drop" {
		p.handledBy(t, step, p.r.front.name)
	}
	switch verb {
	case "client>", "pod>":
		p.send(t, step, verb, rest)
	case "client<", "pod<":
		p.left(t, step, verb, rest)
	case "drop":
		p.ended(t, step, dropped, rest)
	case "kernel":
		p.ended(t, step, given, "")
		if string(p.got.frame) != string(p.in) {
			t.Errorf("%s: the kernel gets another packet: %s", step, frame.Show(p.got.frame))
		}
	case "count":
		for name := range strings.FieldsSeq(rest) {
			if p.grown[name] != 1 {
				t.Errorf("%s: grown %v", step, p.grown)
			}
		}
	case "conns":
		if n := p.r.established(t); strconv.Itoa(n) != rest {
			t.Errorf("%s: %d", step, n)
		}
	default:
		p.event(t, step, verb, rest)
	}
}

// event is a step that is no packet.
func (p *player) event(t *testing.T, step, verb, rest string) {
	t.Helper()
	switch verb {
	case "after":
		after, err := time.ParseDuration(rest)
		must(t, err)
		now, err := nowTicks()
		must(t, err)
		_, err = p.r.d.collect(now + ticksOf(after))
		must(t, err)
	case "change":
		p.c.change(&p.state)
		p.r.apply(t, p.state)
	case "flush":
		_, err := p.r.d.Flush(func(Conn) bool { return true })
		must(t, err)
	default:
		t.Fatalf("%s: unknown step", step)
	}
}

func (p *player) send(t *testing.T, step, verb, text string) {
	t.Helper()
	if p.pending != "" {
		t.Fatalf("%s: nothing is said of what becomes of it", p.pending)
	}
	side, smac, dmac := bpf.External, macRouter, macExternal
	if verb == "pod>" {
		side, smac, dmac = bpf.Internal, macNode, macInternal
	}
	in := p.parse(t, step, text)
	in.SrcMAC, in.DstMAC = mac(t, smac), mac(t, dmac)
	b, err := in.Bytes()
	must(t, err)
	before := p.r.counted(t)
	p.pending, p.in = step, b
	p.got = p.r.through(t, side, b, in.Segment)
	p.grown = grown(before, p.r.counted(t))
}

// handledBy compares which front end has the packet's outcome.
func (p *player) handledBy(t *testing.T, step, by string) {
	t.Helper()
	if p.pending != "" && p.got.by != by {
		t.Errorf("%s: %s: handled by %s", p.pending, step, p.got.by)
	}
}

// left compares a packet that leaves, byte for byte.
func (p *player) left(t *testing.T, step, verb, text string) {
	t.Helper()
	p.ended(t, step, forwarded, "")
	if p.got.verdict != forwarded {
		t.FailNow()
	}
	p.bind(text)
	want := p.parse(t, step, text)
	if !strings.Contains(strings.Split(text, " about ")[0], " ttl ") {
		want.TTL--
	}
	want.SrcMAC, want.DstMAC = mac(t, macExternal), mac(t, macRouter)
	if verb == "pod<" {
		want.SrcMAC, want.DstMAC = mac(t, macInternal), mac(t, macNode)
	}
	b, err := want.Bytes()
	must(t, err)
	if err := frame.Verify(p.got.frame); err != nil {
		t.Errorf("%s: %v", step, err)
	}
	if string(b) != string(p.got.frame) {
		t.Errorf("%s (-want +got):\n%s%x\n%x", step, cmp.Diff(frame.Show(b), frame.Show(p.got.frame)), b, p.got.frame)
	}
}

// ended compares the verdict and the drops that were counted.
func (p *player) ended(t *testing.T, step string, verdict verdictWord, counter string) {
	t.Helper()
	if p.pending == "" {
		t.Fatalf("%s: no packet before", step)
	}
	if p.got.verdict != verdict {
		t.Errorf("%s: %s: %s by %s, grown %v: %s", p.pending, step, p.got.verdict, p.got.by, p.grown, frame.Show(p.got.frame))
	}
	want, drops := map[string]uint64{}, map[string]uint64{}
	if counter != "" {
		want["drop_"+counter] = 1
	}
	for name, n := range p.grown {
		if strings.HasPrefix(name, "drop_") {
			drops[name] = n
		}
	}
	if diff := cmp.Diff(want, drops); diff != "" {
		t.Errorf("%s: %s: drops counted (-want +got):\n%s", p.pending, step, diff)
	}
	p.pending = ""
}

// bind takes what the program chose from the packet that it sent.
func (p *player) bind(text string) {
	words := strings.Fields(frame.Words(p.got.frame))
	delete(p.bound, "$i")
	for _, key := range []string{"id", "ipid"} {
		if i, j := slices.Index(strings.Fields(text), key), slices.Index(words, key); i >= 0 && j >= 0 && j+1 < len(words) {
			p.bindOne(strings.Fields(text)[i+1], words[j+1])
		}
	}
	if id := p.bound["$i"]; id != "" {
		p.ids[id] = true
	}
	for i, word := range strings.Fields(text) {
		if i >= len(words) || word == "about" {
			return
		}
		host, port, _ := strings.Cut(word, ":")
		gotHost, gotPort := words[i], ""
		if colon := strings.LastIndexByte(words[i], ':'); strings.HasPrefix(word, host+":") && colon > 0 {
			gotHost, gotPort = strings.Trim(words[i][:colon], "[]"), words[i][colon+1:]
		}
		p.bindOne(host, gotHost)
		p.bindOne(port, gotPort)
	}
}

func (p *player) bindOne(name, value string) {
	if name == "" || !strings.ContainsAny(name[:1], "$@") || p.bound[name] != "" || !p.legal(name, value) {
		return
	}
	p.bound[name] = value
}

// legal reports whether the program may choose value for name.
func (p *player) legal(name, value string) bool {
	switch name[:2] {
	case "$p":
		low, high := p.r.ports()
		n, err := strconv.Atoi(value)
		return err == nil && n >= int(low) && n <= int(high)
	case "$i":
		return value != "0" && !p.ids[value]
	case "$q":
		n, err := strconv.Atoi(value)
		return err == nil && n >= int(p.state.SNATPools[0].PortMin) && n <= int(p.state.SNATPools[0].PortMax)
	case "@m":
		for _, vs := range p.state.VirtualServers {
			if slices.ContainsFunc(vs.Members, func(m Member) bool { return m.Addr.Addr().String() == value }) {
				return true
			}
		}
	case "@s":
		for _, pool := range p.state.SNATPools {
			if slices.ContainsFunc(pool.Addrs, func(a netip.Addr) bool { return a.String() == value }) {
				return true
			}
		}
	}
	return false
}

func (p *player) parse(t *testing.T, step, text string) frame.Packet {
	t.Helper()
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(p.bound))) {
		if name[0] == '$' {
			text = strings.ReplaceAll(text, name, p.bound[name])
		}
	}
	if strings.Contains(text, "$") {
		t.Fatalf("%s: the program's choice is not legal: %s", step, frame.Show(p.got.frame))
	}
	out, err := frame.Parse(text, func(name string) (netip.Addr, bool) {
		if a, err := netip.ParseAddr(p.bound[name]); err == nil {
			return a, true
		}
		a, ok := p.hosts[name]
		return a, ok
	})
	if err != nil {
		t.Fatalf("%s: %v", step, fmt.Errorf("%w (bound %v)", err, p.bound))
	}
	return out
}
