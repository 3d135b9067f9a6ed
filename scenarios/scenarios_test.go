package scenarios

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

func TestOptionsValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		opt  Options
		want string // part of the error, empty for none
	}{
		{"nothing", Options{}, ""},
		{"all at once", Options{Focus: []string{"TCP.*IPv4"}, Skip: []string{"UDP"}, LabelFilter: "ingress && !ipv6", Repeat: 2}, ""},
		{"bad focus", Options{Focus: []string{"("}}, "missing closing )"},
		{"bad skip", Options{Skip: []string{"*"}}, "missing argument to repetition"},
		{"bad labels", Options{LabelFilter: "ingress &&"}, "ingress &&"},
		{"repeat and flake attempts", Options{Repeat: 1, FlakeAttempts: 2}, "choose"},
		{"negative", Options{Repeat: -1}, "0 or more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.opt.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("Validate() = %v", err)
			case tc.want != "" && (!errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("Validate() = %v, want ErrOptions with %q", err, tc.want)
			}
		})
	}
}

func TestEveryScenarioIsNamedAndLabelled(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range chapters() {
		for _, s := range c.specs {
			name := c.name + " " + s.name
			if seen[name] {
				t.Errorf("two scenarios are called %q", name)
			}
			seen[name] = true
			if len(s.labels) == 0 || s.body == nil || len(s.needs) == 0 {
				t.Errorf("%q lacks labels, needs or a body", name)
			}
		}
	}
}

func TestConcerns(t *testing.T) {
	spk := Env{Has: []Capability{SimOVN, BGP, Macvlan, IPv6}}
	for _, tc := range []struct {
		name     string
		needs    []Capability
		concerns bool
		missing  []Capability
	}{
		{"all there", []Capability{SimOVN, BGP}, true, nil},
		{"a tool to install", []Capability{SimOVN, NBCtl}, true, []Capability{NBCtl}},
		{"another kind of lab", []Capability{FlannelHostGW}, false, []Capability{FlannelHostGW}},
		{"another kind of lab and a tool", []Capability{FlannelHostGW, Iperf3}, false, []Capability{FlannelHostGW, Iperf3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := spk.concerns(tc.needs); got != tc.concerns {
				t.Errorf("concerns = %v, want %v", got, tc.concerns)
			}
			if diff := cmp.Diff(tc.missing, spk.missing(tc.needs)); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScenarioFromSpecReport(t *testing.T) {
	base := types.SpecReport{
		ContainerHierarchyTexts: []string{"Ingress"}, LeafNodeText: "TCP", LeafNodeType: types.NodeTypeIt,
		State: types.SpecStatePassed, NumAttempts: 1, RunTime: time.Second,
	}
	with := func(f func(*types.SpecReport)) types.SpecReport {
		r := base
		f(&r)
		return r
	}
	for _, tc := range []struct {
		name     string
		in       types.SpecReport
		selected bool
		state    report.State
		message  string
	}{
		{"passed", base, true, report.Passed, ""},
		{"not selected", with(func(r *types.SpecReport) { r.State, r.NumAttempts = types.SpecStateSkipped, 0 }), false, "", ""},
		{"skipped by name", with(func(r *types.SpecReport) {
			r.State, r.Failure.Message = types.SpecStateSkipped, "needs iperf3"
		}), true, report.Skipped, "needs iperf3"},
		{"flaky", with(func(r *types.SpecReport) { r.NumAttempts, r.MaxFlakeAttempts = 2, 3 }), true, report.Flaky, ""},
		{"repeated is not flaky", with(func(r *types.SpecReport) { r.NumAttempts, r.MaxMustPassRepeatedly = 3, 3 }), true, report.Passed, ""},
		{"failed", with(func(r *types.SpecReport) {
			r.State, r.Failure.Message = types.SpecStateFailed, "  no\n"
		}), true, report.Failed, "no"},
		{"timed out", with(func(r *types.SpecReport) {
			r.State, r.Failure.Message = types.SpecStateTimedout, "late"
		}), true, report.Failed, "late"},
		{"interrupted", with(func(r *types.SpecReport) {
			r.State, r.Failure.Message = types.SpecStateInterrupted, "by the user"
		}), true, report.Interrupted, "by the user"},
		{"no scenario", with(func(r *types.SpecReport) { r.LeafNodeType = types.NodeTypeAfterSuite }), false, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, selected := scenario(tc.in)
			if selected != tc.selected || s.State != tc.state || s.Message != tc.message {
				t.Errorf("scenario = %+v, %v; want state %q, message %q, %v", s, selected, tc.state, tc.message, tc.selected)
			}
		})
	}
}

func TestColumn(t *testing.T) {
	const out = `_uuid               : 61b6f74d-2319-4e61-908c-0f27c927c450
ip_prefix           : "10.131.1.102"
nexthop             : "fd00:10:144:100::16"
options             : {ecmp_symmetric_reply="true"}

_uuid               : 04c121ff-34ca-4a54-ab08-c94b7d62ff1b
ip_prefix           : "10.131.1.100"
nexthop             : "fd00:10:144:100::16"
`
	if diff := cmp.Diff([]string{"10.131.1.100", "10.131.1.102"}, column(out, "ip_prefix")); diff != "" {
		t.Errorf("ip_prefix (-want +got):\n%s", diff)
	}
	if got := column(out, "nexthop")[0]; got != "fd00:10:144:100::16" {
		t.Errorf("nexthop = %q", got)
	}
}

func TestCount(t *testing.T) {
	vip := gateVIPs()[0]
	local := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.10"), port) }
	wait := fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})
	greeting := fmt.Errorf("greeting: %w", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded})
	reached := map[podConn]bool{}
	for port := uint16(5); port <= 10; port++ {
		reached[podConn{vip, local(port)}] = true
	}
	got := count([]attempt{
		{vip: vip, local: local(1)},
		{vip: vip, local: local(2), err: fmt.Errorf("dial: %w", syscall.EHOSTUNREACH)},
		{vip: vip, local: local(3), err: syscall.ENETUNREACH},
		{vip: vip, local: local(4), err: wait},     // never left the router
		{vip: vip, local: local(5), err: wait},     // forwarded, no answer
		{vip: vip, local: local(6), err: wait},     // answered as the time ran out
		{vip: vip, local: local(7), err: greeting}, // connected, then the way was gone
		{vip: vip, local: local(8), err: syscall.ECONNRESET},
		{vip: vip, local: local(10), err: wait}, // served, and noticed late
	}, handshakes{
		forwarded: reached, greeted: map[podConn]bool{{vip, local(10)}: true},
		answered: map[podConn]bool{{vip, local(6)}: true, {vip, local(7)}: true, {vip, local(10)}: true},
	})
	if got.served != 2 || got.late != 1 || got.noWay != 3 || got.cut != 2 || len(got.bad) != 2 {
		t.Errorf("count = %d served, %s: %q", got.served, got, got.bad)
	}
}

func TestServing(t *testing.T) {
	events := []ctl.Event{
		{At: 10, Source: "tmm", Kind: control.EventUnprogrammed, Object: "a"},
		{At: 15, Source: "other", Kind: control.EventProgrammed, Object: "a"},
		{At: 20, Source: "tmm", Kind: control.EventProgrammed, Object: "b"},
		{At: 30, Source: "tmm", Kind: control.EventProgrammed, Object: "a"},
	}
	for at, want := range map[int64]bool{5: true, 12: false, 25: false, 30: true, 40: true} {
		if got := serving(events, "tmm", "a", at); got != want {
			t.Errorf("serving at %d = %v, want %v", at, got, want)
		}
	}
}

func TestSplitFindsTheAsymmetricFlow(t *testing.T) {
	mac := evidence.MAC{1}
	w := &world{
		tmms:    []tmm{{name: "t1", internal: leg{link: "net1"}}, {name: "t2", internal: leg{link: "net1"}}},
		accepts: map[string][]evidence.MAC{"t1/net1": {mac}, "t2/net1": {mac}},
	}
	pod, peer := netip.MustParseAddrPort("10.131.1.100:1000"), netip.MustParseAddrPort("203.0.113.10:7007")
	packet := func(node string, out bool, src, dst netip.AddrPort) evidence.Packet {
		return evidence.Packet{Point: evidence.Point{Node: node, Interface: "net1"}, Out: out, Src: src, Dst: dst, DstMAC: mac}
	}
	other := netip.AddrPortFrom(pod.Addr(), 1001)
	trace := &evidence.Trace{Packets: []evidence.Packet{
		packet("t1", false, pod, peer), packet("t1", true, peer, pod), packet("t1", false, pod, peer),
		packet("t2", false, other, peer), packet("t1", true, peer, other), // comes back by another TMM
	}}
	by, asymmetric := w.split(trace, func(evidence.Packet) bool { return true })
	if diff := cmp.Diff(map[string]int{"t1": 1, "t2": 1}, by); diff != "" || asymmetric != 1 {
		t.Errorf("split: %d asymmetric, want 1; by TMM (-want +got):\n%s", asymmetric, diff)
	}
}

func TestLastButOne(t *testing.T) {
	for in, want := range map[string]string{
		"198.51.100.0/24":       "198.51.100.254",
		"10.131.0.0/23":         "10.131.1.254",
		"fd00:10:144:100::/64":  "fd00:10:144:100:ffff:ffff:ffff:fffe",
		"2001:db8:51::1234/112": "2001:db8:51::fffe",
	} {
		if got := lastButOne(netip.MustParsePrefix(in)).String(); got != want {
			t.Errorf("lastButOne(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestWayWritesHops(t *testing.T) {
	c, vip := netip.MustParseAddrPort("203.0.113.10:4000"), netip.MustParseAddrPort("192.0.2.10:80")
	var w way
	w.start(c, vip)
	w.clientToTMM(client{name: "client", link: "eth0", router: "up", near: "eth1", far: "eth0"},
		tmm{name: "t1", worker: "w1", external: leg{link: "net2", master: "ens256"}})
	var got []string
	for _, h := range w.Hops {
		got = append(got, h.String())
	}
	way := " 203.0.113.10:4000 > 192.0.2.10:80 ttl "
	want := []string{
		"client/eth0 out" + way + "64", "up/eth1 in" + way + "64", "up/eth0 out" + way + "63",
		"w1/ens256 in" + way + "63", "t1/net2 in" + way + "63",
	}
	if !slices.Equal(got, want) {
		t.Errorf("hops:\n%s", cmp.Diff(want, got))
	}
}
