package dataplane_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/frame"
	"github.com/spklab/spklab/dataplane/model"
)

// pair is the programs beside the model, both told the same.
type pair struct {
	rig     *dataplane.Rig
	model   *model.Model
	state   dataplane.State
	history []string // what was done, for messages
}

func newModel(r *dataplane.Rig) *model.Model {
	low, high := r.Ports()
	var routes []model.Route
	route := func(prefix string, side model.Side, mtu int) {
		routes = append(routes, model.Route{Prefix: netip.MustParsePrefix(prefix), Side: side, MTU: mtu})
	}
	for _, p := range []string{"10.144.100.0/24", "fd00:10:144:100::/64", "10.131.0.0/23", "fd01:0:0:1::/64"} {
		route(p, model.Internal, 9000)
	}
	for _, p := range []string{"0.0.0.0/0", "::/0"} {
		route(p, model.External, 9000)
	}
	route("203.0.113.200/32", model.External, 1400)
	route("2001:db8:113::c8/128", model.External, 1400)
	for _, p := range []string{"203.0.113.250/32", "2001:db8:113::fa/128"} {
		routes = append(routes, model.Route{Prefix: netip.MustParsePrefix(p), Unreachable: true})
	}
	return model.New(map[string]model.Side{"1.1": model.Internal, "1.2": model.External}, routes, model.Ports{Low: low, High: high})
}

func newPair(t testing.TB, r *dataplane.Rig, s dataplane.State) *pair {
	t.Helper()
	r.Reset(t, s)
	m := newModel(r)
	m.Apply(s)
	p := &pair{rig: r, model: m, state: s}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("what was done:\n" + strings.Join(p.history, "\n"))
		}
	})
	return p
}

// send runs a packet through both and compares. It answers the packet that left, if one did.
func (p *pair) send(t testing.TB, internal bool, in frame.Packet) (out frame.Packet, left, leftInternal bool) {
	t.Helper()
	before := p.rig.Counted(t)
	b, err := in.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p.history = append(p.history, fmt.Sprintf("internal %t: %s", internal, frame.Words(b)))
	verdict, b, got := p.rig.Send(t, internal, p.mayAnswer(in), in)
	counted := dataplane.Grown(before, p.rig.Counted(t))
	p.history = append(p.history, fmt.Sprintf("\t%s %s", verdict, frame.Words(got)))
	var chosen model.Choice
	if verdict == "forwarded" {
		chosen.Src, chosen.Dst = frame.Ends(got)
	}
	side := model.External
	if internal {
		side = model.Internal
	}
	want, err := p.model.Decide(side, in, chosen)
	if err != nil {
		p.fail(t, "not legal: %v", err)
	}
	p.compare(t, want, verdict, b, got, counted)
	return want.Out, want.Verdict == model.Forward, want.Side == model.Internal
}

// mayAnswer reports whether a packet may be answered with less than itself.
func (p *pair) mayAnswer(in frame.Packet) bool {
	lost := slices.ContainsFunc([]string{"4", "6"}, func(f string) bool { return in.Dst.Addr() == dataplane.TableHosts(f)["lost"] })
	return in.TTL < 2 || lost || in.Length > 1000 || p.model.HasRemoved()
}

// compareAnswer: an answer is right in itself and goes back to the sender. There may be none when
// there have been many, or none may be given.
func (p *pair) compareAnswer(t testing.TB, verdict string, in, out []byte) {
	t.Helper()
	switch verdict {
	case "dropped":
	case "forwarded":
		if err := frame.Verify(out); err != nil {
			p.fail(t, "%s: %v", frame.Show(out), err)
		}
		if string(in[:6]) != string(out[6:12]) || string(in[6:12]) != string(out[:6]) {
			p.fail(t, "the answer goes elsewhere: %s", frame.Show(out))
		}
	default:
		p.fail(t, "%s, want an answer", verdict)
	}
}

func (p *pair) fail(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Fatalf(format, args...)
}

// compare holds what the programs did against what they must do.
func (p *pair) compare(t testing.TB, want model.Decision, verdict string, in, out []byte, counted map[string]uint64) {
	t.Helper()
	words := map[model.Verdict]string{model.Forward: "forwarded", model.Drop: "dropped", model.Kernel: "given to the kernel"}
	word, ok := words[want.Verdict]
	if want.Verdict == model.Answer {
		p.compareAnswer(t, verdict, in, out)
	}
	if !ok { // what is in answers, and ICMP errors, have tables of their own
		return
	}
	if verdict != word {
		p.fail(t, "%s, want %s %s; counters %v", verdict, want.Verdict, want.Counter, counted)
	}
	wantCounted, gotCounted := map[string]uint64{}, map[string]uint64{}
	for _, name := range want.Counted {
		wantCounted[name]++
	}
	if want.Verdict == model.Drop {
		wantCounted[want.Counter]++
	}
	for name, n := range counted {
		if strings.HasPrefix(name, "drop_") || slices.Contains([]string{"flows_started", "flows_established", "flows_replaced", "flows_reselected"}, name) {
			gotCounted[name] = n
		}
	}
	if diff := cmp.Diff(wantCounted, gotCounted); diff != "" {
		p.fail(t, "counters (-want +got):\n%s", diff)
	}
	switch want.Verdict {
	case model.Kernel:
		if string(in) != string(out) {
			p.fail(t, "the kernel gets another packet")
		}
	case model.Forward:
		if b := p.rig.Expect(t, want.Side == model.Internal, want.Out); string(b) != string(out) {
			p.fail(t, "packet out (-want +got):\n%s", cmp.Diff(frame.Show(b), frame.Show(out)))
		}
		if err := frame.Verify(out); err != nil {
			p.fail(t, "%v", err)
		}
	}
}

// compareTables holds conntrack against the model's.
func (p *pair) compareTables(t testing.TB) {
	t.Helper()
	p.rig.CheckPairs(t)
	want, got := map[string]bool{}, map[string]bool{}
	for _, c := range p.model.Connections() {
		want[fmt.Sprint(c.Protocol, c.Source, c.Destination, c.TranslatedSource, c.TranslatedDestination)] = c.Half
	}
	for c, half := range p.rig.Tracked(t) {
		got[fmt.Sprint(c.Protocol, c.Source, c.Destination, c.TranslatedSource, c.TranslatedDestination)] = half
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.fail(t, "connections, true is half-open (-want +got):\n%s", diff)
	}
}

func (p *pair) age(t testing.TB, idle time.Duration) {
	t.Helper()
	p.history = append(p.history, fmt.Sprintf("idle for %s", idle))
	p.rig.Age(t, idle)
	p.model.Age(idle)
}

func (p *pair) flush(t testing.TB) {
	t.Helper()
	p.history = append(p.history, "flush")
	p.rig.Forget(t)
	p.model.Flush()
}

func (p *pair) apply(t testing.TB, what string, s dataplane.State) {
	t.Helper()
	p.history = append(p.history, what)
	p.rig.Apply(t, s)
	p.state = s
	p.model.Apply(s)
}

// FuzzDifferential makes a sequence of packets and events of the bytes and has the programs of
// both front ends and the model agree on each: the verdict, the packet that leaves to the last
// byte, what is counted, and in the end the connections that are tracked.
func FuzzDifferential(f *testing.F) {
	var rigs []*dataplane.Rig
	for _, front := range dataplane.FrontEnds() {
		rigs = append(rigs, dataplane.NewRig(f, front))
	}
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 400 {
			return
		}
		for _, r := range rigs {
			p := newPair(t, r, dataplane.TableState())
			s := &script{bytes: program, pair: p}
			for !s.done() {
				s.step(t)
			}
			p.compareTables(t)
		}
	})
}
