package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// BenchmarkUp measures `spklab up spk` until the lab is ready, a second `up` of it, and, in the
// same turn, the bare wiring of the same plan by `ip -batch`: no process, no sysctl, no waiting.
func BenchmarkUp(b *testing.B) {
	roottest.Need(b)
	const name = "e2e-bench"
	batches := wiring(b, name+"-ip")
	var first, second, bare time.Duration
	for b.Loop() {
		first += timed(func() { mustSpklab(b, "up", "spk", "--name", name) })
		second += timed(func() { mustSpklab(b, "up", "spk", "--name", name) })
		mustSpklab(b, "down", name)
		bare += timed(func() { batches.apply(b) })
		batches.undo(b)
	}
	n := float64(b.N)
	b.ReportMetric(first.Seconds()/n, "up-s")
	b.ReportMetric(second.Seconds()/n, "second-up-s")
	b.ReportMetric(bare.Seconds()/n, "ip-batch-s")
	b.ReportMetric(first.Seconds()/bare.Seconds(), "up/ip-batch")
}

func timed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// batches are ip(8) commands by phase and namespace, as one `ip -batch` takes them.
type batches struct {
	netns  []string // as they are made; the empty one is the machine's own
	phases [3]map[string]*bytes.Buffer
}

// The phases: macvlan children come from the NICs of nodes and go into pods.
const (
	phaseNetns = iota
	phaseMacvlan
	phaseRest
)

// wiring writes the plan of the spk lab down as ip(8) commands.
func wiring(b *testing.B, name string) batches {
	b.Helper()
	src, err := lab.Load(".", "spk")
	if err != nil {
		b.Fatal(err)
	}
	src.Spec.Name = name
	plan, _, err := lab.Preview(src, lab.Options{})
	if err != nil {
		b.Fatal(err)
	}
	out := batches{netns: []string{""}}
	for _, s := range plan.Steps() {
		out.add(s)
	}
	return out
}

// in writes a command of a phase that runs inside a namespace, or outside where it is empty.
func (l *batches) in(phase int, netns, format string, args ...any) {
	if l.phases[phase] == nil {
		l.phases[phase] = map[string]*bytes.Buffer{}
	}
	if l.phases[phase][netns] == nil {
		l.phases[phase][netns] = &bytes.Buffer{}
	}
	fmt.Fprintf(l.phases[phase][netns], format+"\n", args...)
}

func (l *batches) add(s topo.Step) {
	switch {
	case s.Netns != nil:
		l.netns = append(l.netns, s.Netns.Name)
		l.in(phaseNetns, "", "netns add %s", s.Netns.Name)
		l.in(phaseRest, s.Netns.Name, "link set lo up")
	case s.Bridge != nil:
		l.in(phaseRest, s.Bridge.Netns, "link add %s type bridge", s.Bridge.Name)
		l.in(phaseRest, s.Bridge.Netns, "link set %s up", s.Bridge.Name)
	case s.Veth != nil:
		l.in(phaseNetns, "", "link add %s netns %s type veth peer name %s netns %s", s.Veth.A.Name, s.Veth.A.Netns, s.Veth.B.Name, s.Veth.B.Netns)
		for _, end := range []topo.VethEnd{s.Veth.A, s.Veth.B} {
			master := ""
			if end.Master != "" {
				master = " master " + end.Master
			}
			l.in(phaseRest, end.Netns, "link set %s%s up", end.Name, master)
		}
	case s.Macvlan != nil:
		m := s.Macvlan
		l.in(phaseMacvlan, m.ParentNetns, "link add %s link %s netns %s type macvlan mode %s", m.Name, m.Parent, m.Netns, m.Mode)
		l.in(phaseRest, m.Netns, "link set %s up", m.Name)
	case s.Addr != nil:
		l.in(phaseRest, s.Addr.Netns, "addr add %s dev %s", s.Addr.Prefix, s.Addr.Link)
	case s.Link != nil:
		l.in(phaseRest, s.Link.Netns, "link set %s promisc on", s.Link.Name)
	case s.Route != nil:
		l.in(phaseRest, s.Route.Netns, "%s", route(s.Route))
	}
}

func route(r *topo.RouteStep) string {
	words := []string{"route", "add", r.To.String()}
	if r.Via.IsValid() {
		words = append(words, "via", r.Via.String())
	}
	if r.Link != "" {
		words = append(words, "dev", r.Link)
	}
	if r.Metric != 0 {
		words = append(words, "metric", fmt.Sprint(r.Metric))
	}
	return strings.Join(words, " ")
}

// apply runs the batches, one ip(8) a phase and namespace.
func (l *batches) apply(b *testing.B) {
	b.Helper()
	for _, phase := range l.phases {
		for _, n := range l.netns {
			if phase[n] != nil {
				batch(b, n, phase[n].Bytes())
			}
		}
	}
}

func batch(b *testing.B, netns string, lines []byte) {
	b.Helper()
	args := []string{"-batch", "-"}
	if netns != "" {
		args = append([]string{"-n", netns}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = bytes.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("ip -batch in %q: %v: %s\n%s", netns, err, out, lines)
	}
}

func (l *batches) undo(b *testing.B) {
	b.Helper()
	for _, n := range l.netns[1:] {
		if out, err := exec.Command("ip", "netns", "del", n).CombinedOutput(); err != nil {
			b.Errorf("remove %s: %v: %s", n, err, out)
		}
	}
}

// BenchmarkThroughput is iperf3 through a virtual server beside plain kernel forwarding on the
// same path, as the scenarios measure it.
func BenchmarkThroughput(b *testing.B) {
	roottest.Need(b)
	const name = "e2e-iperf"
	up(b, "spk", name)
	sums := map[string]float64{}
	for b.Loop() {
		code, run := test(b, name, "--label-filter", "throughput")
		if code != 0 {
			b.Fatalf("exit code %d: %s", code, run.Counts())
		}
		for _, s := range run.Scenarios {
			for _, f := range s.Figures {
				unit := strings.ReplaceAll(f.Name, " ", "-")
				for _, l := range s.Labels {
					if strings.HasPrefix(l, "ipv") {
						unit = l + "-" + unit
					}
				}
				sums[unit] += f.Value
			}
		}
	}
	for unit, sum := range sums {
		b.ReportMetric(sum/float64(b.N), unit)
	}
}
