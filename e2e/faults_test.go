package e2e

import (
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/diagnose"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// fault is something that breaks a lab from outside, and what has to be said of it.
type fault struct {
	name  string
	focus string // a scenario that fails by it
	layer report.Layer
	says  string // in the reason
	// inject breaks the lab and returns the first hop that differs by it, and what repairs it.
	inject func(*broken) (hop string, repair func()) // hop is a pattern of path.Match
}

// What most faults break.
const (
	echoScenario = "^spklab .*UDP over IPv4, source translation automap, hop by hop"
	webScenario  = "^spklab .*TCP over IPv4, source translation automap, hop by hop"
)

func faults() []fault {
	return []fault{{
		name: "wrong next hop in a map", focus: echoScenario, layer: report.LayerDataplane, says: "next hop",
		inject: func(b *broken) (string, func()) {
			e := b.flow(40010)
			e.bad.Ct.Dmac = b.mac("f5-tmm-2", "net1")
			return echoTMM + "/spk_ct4", b.hold(e)
		},
	}, {
		name: "SNAT port reuse", focus: echoScenario, layer: report.LayerDataplane, says: "same translated source",
		inject: func(b *broken) (string, func()) {
			e, other := b.twins(40020)
			e.bad.Ct.PortDelta = sum(e.bad.Ct.PortDelta, ^e.bad.Ct.Sport, other.bad.Ct.Sport)
			e.bad.Ct.Sport = other.bad.Ct.Sport
			return echoTMM + "/spk_ct4", b.hold(e)
		},
	}, {
		name: "missing endpoint", focus: "new connections go round robin over the ready endpoints",
		layer: report.LayerDataplane, says: "never get to the endpoint",
		inject: func(b *broken) (string, func()) {
			m := b.open("f5-tmm-1", "spk_vs4")
			key := bpf.VSKey4{Addr: wire4(netip.MustParseAddr("192.0.2.10")), Port: wire16(80), Proto: 6}
			var vs bpf.VS
			b.must(m.Lookup(key, &vs))
			less := vs
			less.Count--
			b.must(m.Put(key, less))
			return "f5-tmm-1/spk_vs4", func() { b.must(m.Put(key, vs)) }
		},
	}, {
		name: "dead application", focus: "new connections go round robin over the ready endpoints", layer: report.LayerApp, says: "application app-1 has ended",
		inject: func(b *broken) (string, func()) {
			b.kill("app-1")
			return "app-1", func() {}
		},
	}, {
		name: "route filter", focus: webScenario, layer: report.LayerRoute, says: "does not take it in",
		inject: func(b *broken) (string, func()) {
			file := filepath.Join(built.state, b.lab, "conf", "router-upstream.json")
			before, err := os.ReadFile(file)
			b.must(err)
			b.must(os.WriteFile(file, []byte(strings.Replace(string(before), "{", `{"refuse": ["192.0.2.10/32"],`, 1)), 0o600))
			p := find(b.t, filepath.Join(built.state, b.lab, "upstream"))
			filtering := p.replace(b.t, p.argv)
			b.lost("upstream", "192.0.2.10")
			return "upstream", func() {
				b.must(os.WriteFile(file, before, 0o600))
				filtering.replace(b.t, p.argv)
			}
		},
	}, {
		name: "swapped interfaces", focus: webScenario, layer: report.LayerLink, says: "cniNetworks",
		inject: func(b *broken) (string, func()) {
			values, err := os.ReadFile("../lab/topologies/spk/values.yaml")
			b.must(err)
			right, wrong := "default/macvlan-internal,default/macvlan-external", "default/macvlan-external,default/macvlan-internal"
			b.apply(strings.Replace(string(values), right, wrong, 1))
			return "f5-tmm-[12]/net[12]", func() { b.apply(string(values)) } // all four are
		},
	}, {
		name: "dead TMM", focus: "200 new connections over TCP and IPv4 are spread evenly", layer: report.LayerProcess, says: "has ended",
		inject: func(b *broken) (string, func()) {
			b.kill("f5-tmm-1")
			return "f5-tmm-1", func() {}
		},
	}, {
		name: "MTU too small", focus: "ICMP path MTU over IPv4", layer: report.LayerLink, says: "carries 1300 octets",
		inject: func(b *broken) (string, func()) {
			b.in("upstream", "ip", "link", "set", "eth0", "mtu", "1300")
			return "upstream/eth0", func() { b.in("upstream", "ip", "link", "set", "eth0", "mtu", "1500") }
		},
	}, {
		name: "address without local route", focus: "^spklab .*UDP over IPv6, source translation automap, hop by hop", layer: report.LayerLink, says: "does not take it for its own",
		inject: func(b *broken) (string, func()) {
			route := []string{"local", "2001:db8:113::10", "dev", "eth0", "table", "local"}
			b.in("client", append([]string{"ip", "-6", "route", "del"}, route...)...)
			return "client/eth0", func() { b.in("client", append([]string{"ip", "-6", "route", "add"}, route...)...) }
		},
	}, {
		name: "checksum broken", focus: echoScenario, layer: report.LayerDataplane, says: "checksum",
		inject: func(b *broken) (string, func()) {
			b.in("client", "ethtool", "-K", "eth0", "tx", "off") // else the sum is left to whoever receives it
			e := b.flow(40030)
			e.bad.Ct.PortDelta ^= 0x0100
			release := b.hold(e)
			return echoTMM + "/spk_ct4", func() {
				release()
				b.in("client", "ethtool", "-K", "eth0", "tx", "on")
			}
		},
	}, {
		name: "asymmetric reply", focus: "a client that comes in by one TMM over IPv4", layer: report.LayerOVN, says: "sends the answers",
		inject: func(b *broken) (string, func()) {
			p := find(b.t, filepath.Join(built.state, b.lab, "ovn-node-worker-1"))
			asymmetric := p.replace(b.t, append(slices.Clone(p.argv), "--disable", "symmetry"))
			return "worker-1/conntrack", func() { asymmetric.replace(b.t, p.argv) }
		},
	}, {
		name: "stale conntrack", focus: echoScenario, layer: report.LayerConntrack, says: "no endpoint any more",
		inject: func(b *broken) (string, func()) {
			e := b.flow(40040)
			mustSpklab(b.t, "delete", "pod", b.pod(e), "-n", "spk-apps", "--lab", b.lab)
			release := b.hold(e)
			return echoTMM + "/spk_ct4", func() {
				release()
				mustSpklab(b.t, "apply", "--lab", b.lab, "-f", "../lab/topologies/spk/manifests/apps.yaml")
			}
		},
	}}
}

// TestSeededFaults breaks a running lab in twelve ways, each from outside. Each time a scenario has to
// fail, its verdict has to name the layer and the first hop that differs, and once the fault is repaired
// the scenario has to pass again.
func TestSeededFaults(t *testing.T) {
	roottest.Need(t)
	t.Parallel()
	for _, tool := range []string{"ethtool", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
	const name = "e2e-faults"
	up(t, "spk", name)
	t.Run("nothing, before", func(t *testing.T) { findsNothing(t, name) })
	right := 0
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			b := &broken{t: t, lab: name}
			hop, repair := f.inject(b)
			dir := t.TempDir()
			code, run := test(t, name, "--focus", f.focus, "--artifacts", dir)
			repair()
			mustSpklab(t, "up", "spk", "--name", name)
			if v, ok := failure(t, code, run); !ok || v.Layer != f.layer || !matches(hop, v.Hop) || !strings.Contains(v.Reason, f.says) {
				t.Errorf("want layer %s, hop %s, and a reason with %q", f.layer, hop, f.says)
			} else {
				right++
				saysSo(t, dir, v)
			}
			if code, run := test(t, name, "--focus", f.focus); code != 0 {
				t.Errorf("repaired, exit code %d: %+v", code, run.Scenarios)
			}
		})
	}
	t.Run("nothing, after", func(t *testing.T) { findsNothing(t, name) })
	t.Logf("%d of %d verdicts name the right layer and hop", right, len(faults()))
}

// matches says whether a hop is the one of a pattern of path.Match.
func matches(pattern, hop string) bool {
	ok, err := path.Match(pattern, hop)
	return ok && err == nil
}

// findsNothing asks for the cause of a failure that a healthy lab has not had, while its packets are fresh.
func findsNothing(t *testing.T, name string) {
	t.Helper()
	began := ctl.Now()
	l, err := lab.Open(name, lab.Options{Host: topo.Host{Run: built.state}})
	if err != nil {
		t.Fatal(err)
	}
	before, err := diagnose.Counts(l)
	if err != nil {
		t.Fatal(err)
	}
	if code, run := test(t, name, "--focus", "UDP over IPv4.*hop by hop"); code != 0 {
		t.Errorf("exit code %d: %+v", code, run.Scenarios)
	}
	e, err := diagnose.Collect(t.Context(), l, report.Scenario{Began: began}, before)
	if err != nil {
		t.Error(err)
	}
	if v := diagnose.Judge(e); v.Layer != report.LayerTest || len(e.Flows) == 0 || len(e.Conns) == 0 {
		t.Errorf("%d flows and %d connections of a healthy lab: %s", len(e.Flows), len(e.Conns), v)
	}
}

// failure is the verdict of the only scenario that failed.
func failure(t *testing.T, code int, run report.Run) (report.Verdict, bool) {
	t.Helper()
	if code != 1 || run.Counts().Failed != 1 || len(run.Scenarios) != 1 {
		t.Errorf("exit code %d, %s; want one scenario, failed", code, run.Counts())
		return report.Verdict{}, false
	}
	s := run.Scenarios[0]
	for _, g := range s.Gaps {
		t.Logf("gap: %s: %s", g.Collector, g.Why)
	}
	if s.Verdict == nil {
		t.Errorf("no verdict of %s: %s", s.Name, s.Message)
		return report.Verdict{}, false
	}
	t.Logf("%s %s: %s", s.Duration, s.Name, s.Verdict)
	return *s.Verdict, true
}

// saysSo looks for the verdict in what people read.
func saysSo(t *testing.T, dir string, v report.Verdict) {
	t.Helper()
	for _, name := range []string{report.FileJUnit, report.FileSummary} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "first divergent hop "+v.Hop+", likely layer "+string(v.Layer)) {
			t.Errorf("%s does not say %s:\n%s", name, v, text)
		}
	}
}
