package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/health"
)

// TestComputeMonitors has two ready IPv4 endpoints, one that drains, and one of IPv6.
func TestComputeMonitors(t *testing.T) {
	second := []string{notReady, notReady + strings.Replace(notReady, "10.131.1.100", "10.131.3.7", 1)}
	monitors := func(text string) []string {
		return append(second, `ipv6destinationAddress: "2001:db8:2::10", destinationPort: 80}`, `ipv6destinationAddress: "2001:db8:2::10", destinationPort: 80, monitors: `+text+"}")
	}
	const (
		first  = "10.131.1.100:8080"
		other  = "10.131.3.7:8080"
		going  = "10.131.1.102:8080~"
		six    = "[fd01:0:0:1::100]:8080"
		probed = " from 10.144.100.16"
	)
	tests := []struct {
		name     string
		monitors string
		down     []string // targets that are down
		targets  []string
		v4, v6   []string // members
		want     []string // of each condition
	}{
		{name: "not judged yet", monitors: "[tcp]",
			targets: []string{"tcp " + first + probed, "tcp " + other + probed, "tcp " + six + " from fd00:10:144:100::16"},
			v4:      []string{first, going, other}, v6: []string{six}},
		{name: "one is down", monitors: "[tcp]", down: []string{"tcp " + other},
			targets: []string{"tcp " + first + probed, "tcp " + other + probed, "tcp " + six + " from fd00:10:144:100::16"},
			v4:      []string{first, going}, v6: []string{six},
			want: []string{"MembersDown F5SPKIngressTCP apps/web: 1 of 2 ready members of tcp 192.0.2.10:80 are down: " + other + " (tcp: connection refused)"}},
		{name: "each monitor counts", monitors: "[tcp, icmp, {type: http, port: 81}]", down: []string{"icmp 10.131.1.100:0", "http 10.131.3.7:81", "tcp " + six},
			targets: []string{
				"tcp " + first + probed, "icmp 10.131.1.100:0" + probed, "http 10.131.1.100:81" + probed,
				"tcp " + other + probed, "icmp 10.131.3.7:0" + probed, "http 10.131.3.7:81" + probed,
				"tcp " + six + " from fd00:10:144:100::16", "icmp [fd01:0:0:1::100]:0 from fd00:10:144:100::16", "http [fd01:0:0:1::100]:81 from fd00:10:144:100::16"},
			v4: []string{going}, v6: nil,
			want: []string{
				"MembersDown F5SPKIngressTCP apps/web: every ready member of tcp 192.0.2.10:80 is down: it is not announced: " + first + " (icmp: connection refused), " + other + " (http: connection refused)",
				"MembersDown F5SPKIngressTCP apps/web: every ready member of tcp [2001:db8:2::10]:80 is down: it is not announced: " + six + " (tcp: connection refused)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := resources(t, "", monitors(tt.monitors)...)
			self := twoInterfaces()
			before := Compute(res, self)
			self.Health = map[health.Target]health.Status{}
			var targets []string
			for _, target := range before.targets() {
				targets = append(targets, target.String()+" from "+target.Source.String())
				s := health.Status{State: health.Up}
				if slices.Contains(tt.down, target.String()) {
					s = health.Status{State: health.Down, LastError: "connection refused"}
				}
				self.Health[target] = s
			}
			if diff := cmp.Diff(tt.targets, targets); diff != "" {
				t.Errorf("targets (-want +got)\n%s", diff)
			}
			d := Compute(res, self)
			if diff := cmp.Diff(before.targets(), d.targets(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("what is found out changes what is asked:\n%s", diff)
			}
			for dst, want := range map[string][]string{"192.0.2.10": tt.v4, "2001:db8:2::10": tt.v6} {
				addr := netip.MustParseAddr(dst)
				got, up := membersOf(d.State, addr)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("members of %s (-want +got)\n%s", dst, diff)
				}
				told := false
				for _, a := range d.Announce {
					told = told || a.Prefix.Addr() == addr
				}
				if told != up {
					t.Errorf("%s announced: %v", dst, told)
				}
			}
			var conditions []string
			for _, c := range d.Conditions {
				conditions = append(conditions, c.Reason+" "+c.Object+": "+c.Message)
			}
			if diff := cmp.Diff(tt.want, conditions); diff != "" {
				t.Errorf("conditions (-want +got)\n%s", diff)
			}
		})
	}
}

// membersOf are the members of the virtual server at an address, and whether one is ready.
func membersOf(s dataplane.State, dst netip.Addr) (members []string, ready bool) {
	for _, vs := range s.VirtualServers {
		if vs.Destination.Addr() != dst {
			continue
		}
		for _, m := range vs.Members {
			text := m.Addr.String()
			if m.Draining {
				text += "~"
			}
			members = append(members, text)
			ready = ready || !m.Draining
		}
	}
	return members, ready
}

// TestMonitorWithoutPort has a virtual server of every port.
func TestMonitorWithoutPort(t *testing.T) {
	d := Compute(resources(t, "", "ports: [{name: http, port: 8080}]", "ports: [{name: http}]", "destinationPort: 80}", "destinationPort: 0, monitors: [tcp, icmp, {type: udp, port: 53}]}"), twoInterfaces())
	var got []string
	for _, target := range d.targets() {
		got = append(got, target.String())
	}
	want := []string{"icmp 10.131.1.100:0", "udp 10.131.1.100:53", "icmp [fd01:0:0:1::100]:0", "tcp [fd01:0:0:1::100]:8080", "udp [fd01:0:0:1::100]:53"}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(d.Conditions) != 1 || d.Conditions[0].Reason != ReasonInput {
		t.Errorf("conditions %+v", d.Conditions)
	}
}

// TestStatusOfMonitors looks at a status with members in every state, and computes from it.
func TestStatusOfMonitors(t *testing.T) {
	res := resources(t, "", notReady, notReady+strings.Replace(notReady, "10.131.1.100", "10.131.3.7", 1), "destinationPort: 80}", "destinationPort: 80, monitors: tcp}")
	self := twoInterfaces()
	self.Health = map[health.Target]health.Status{}
	before := Compute(res, self)
	for _, target := range before.targets() {
		if target.Member.Addr() != netip.MustParseAddr("10.131.1.100") {
			self.Health[target] = health.Status{State: health.Down, LastError: "no answer within 3s"}
		}
	}
	d := Compute(res, self)
	snap := snapshot{desired: d, health: self.Health, programmed: map[serverKey]dataplane.VirtualServer{}}
	for i := range d.State.VirtualServers {
		snap.programmed[keyOf(&d.State.VirtualServers[i])] = d.State.VirtualServers[i]
	}
	gone := netip.MustParseAddrPort("10.131.1.99:8080")
	stats := []dataplane.VirtualServerStats{{Protocol: dataplane.TCP, Destination: netip.MustParseAddrPort("192.0.2.10:80"), Members: []dataplane.MemberStats{
		{Addr: netip.MustParseAddrPort("10.131.3.7:8080"), Removed: true, Traffic: dataplane.Traffic{Connections: 7}},
		{Addr: gone, Removed: true, Traffic: dataplane.Traffic{Connections: 9}},
	}}}
	st := Status{VirtualServers: snap.servers(stats)}
	var got []string
	for _, vs := range st.VirtualServers {
		got = append(got, fmt.Sprintf("%s %s %s", vs.Destination, vs.State, vs.Reason))
		for _, m := range slices.Concat(vs.Members, vs.Out) {
			line := vs.Destination.String() + " " + m.Address.String() + " " + m.State
			if m.Connections > 0 {
				line += " used"
			}
			line += " " + m.Reason
			got = append(got, line)
		}
	}
	want := []string{
		"192.0.2.10:80 up ",
		"192.0.2.10:80 10.131.1.100:8080 ready tcp: not probed yet", "192.0.2.10:80 10.131.1.102:8080 draining ",
		"192.0.2.10:80 10.131.3.7:8080 down used tcp: no answer within 3s", "192.0.2.10:80 10.131.1.99:8080 removed used no endpoint any more",
		"[2001:db8:2::10]:80 down its member is down",
		"[2001:db8:2::10]:80 [fd01:0:0:1::100]:8080 down tcp: no answer within 3s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	self.Health = HealthOf(&st)
	if diff := cmp.Diff(d.State.VirtualServers, Compute(res, self).State.VirtualServers, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("computed from the status, something else follows:\n%s", diff)
	}
}
