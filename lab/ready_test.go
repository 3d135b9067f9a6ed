package lab

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/ovnsim/forward"
)

// shipped is the spk topology with the objects of a lab in which every pod runs.
func shipped(t *testing.T) (*Source, api.Resources) {
	t.Helper()
	src, err := Load(t.TempDir(), "spk")
	if err != nil {
		t.Fatal(err)
	}
	res, _, err := api.Decode(src.Objects)
	if err != nil {
		t.Fatal(err)
	}
	res, findings := settled(src.Spec, res, nil)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	return src, res
}

// perfect is what the processes of a lab say that lacks nothing.
func perfect(t *testing.T, src *Source, res api.Resources) *Inspection {
	t.Helper()
	in := &Inspection{OVN: map[string]json.RawMessage{}}
	upstream := bgp.RouterState{Name: "upstream"}
	for i := range res.Pods {
		if !kubesim.IsTMM(&res.Pods[i]) {
			continue
		}
		st := control.Status{Pod: "default/" + res.Pods[i].Name, Interfaces: []control.InterfaceStatus{
			{Number: "1.1", Name: "net1", Network: "default/macvlan-internal"}, {Number: "1.2", Name: "net2", Network: "default/macvlan-external"}}}
		want := control.Compute(res, selfOf(&st))
		for _, vs := range want.State.VirtualServers {
			s := control.VirtualServerStatus{Name: vs.Name, Protocol: vs.Protocol.String(), Destination: vs.Destination, Programmed: true}
			for _, m := range vs.Members {
				s.Members = append(s.Members, control.MemberStatus{Address: m.Addr, State: control.MemberReady})
			}
			st.VirtualServers = append(st.VirtualServers, s)
		}
		for _, n := range want.Speaker.Neighbors {
			st.BGP.Peers = append(st.BGP.Peers, bgp.Peer{Addr: n.Addr, State: bgp.StateEstablished})
		}
		for _, a := range want.Announce {
			st.BGP.Announced = append(st.BGP.Announced, a.Prefix)
			upstream.Routes = append(upstream.Routes, bgp.Route{Prefix: a.Prefix, NextHops: []netip.Addr{a.NextHop}})
		}
		in.TMMs = append(in.TMMs, st)
	}
	in.Routers = []bgp.RouterState{upstream}
	if len(in.TMMs) != 2 || len(upstream.Routes) != 20 {
		t.Fatalf("%d TMMs and %d routes, want 2 and 20: the test stands on nothing", len(in.TMMs), len(upstream.Routes))
	}
	return in
}

func TestMissingProxies(t *testing.T) {
	web := netip.MustParsePrefix("192.0.2.10/32")
	for _, tc := range []struct {
		name   string
		change func(*api.Resources, *Inspection)
		want   []string
	}{
		{"nothing", func(*api.Resources, *Inspection) {}, nil},
		{"an interface that is gone", func(_ *api.Resources, in *Inspection) {
			in.TMMs[0].Interfaces, in.Routers[0].Routes = in.TMMs[0].Interfaces[:1], in.Routers[0].Routes[10:]
		}, []string{"interface 1.2 (default/macvlan-external) of default/f5-tmm-1"}},
		{"members not noticed yet", func(_ *api.Resources, in *Inspection) {
			in.TMMs[0].VirtualServers[0].Members = nil
		}, []string{"virtual server spk-apps/web 192.0.2.10:80 in default/f5-tmm-1"}},
		{"not programmed", func(_ *api.Resources, in *Inspection) {
			in.TMMs[1].VirtualServers[0].Programmed = false
		}, []string{"virtual server spk-apps/web 192.0.2.10:80 in default/f5-tmm-2"}},
		{"not announced", func(_ *api.Resources, in *Inspection) {
			in.TMMs[0].BGP.Announced = in.TMMs[0].BGP.Announced[1:]
		}, []string{"announcement of 192.0.2.10/32 by default/f5-tmm-1"}},
		{"session down, with the likely reason", func(_ *api.Resources, in *Inspection) {
			in.TMMs[0].BGP.Peers[0].State = "ACTIVE"
			in.TMMs[0].Conditions = []control.Condition{{Severity: api.SeverityError, Reason: control.ReasonInterfacesSwapped, Message: "swapped"}}
		}, []string{"BGP session of default/f5-tmm-1 with 198.51.100.1 (ACTIVE)", "(default/f5-tmm-1 says InterfacesSwapped: swapped)"}},
		{"speaker not begun", func(_ *api.Resources, in *Inspection) { in.TMMs[0].BGP.Peers = nil }, []string{
			"BGP session of default/f5-tmm-1 with 198.51.100.1 (not begun)", "BGP session of default/f5-tmm-1 with 2001:db8:51::1 (not begun)"}},
		{"not learned", func(_ *api.Resources, in *Inspection) {
			routes := in.Routers[0].Routes
			in.Routers[0].Routes = slices.DeleteFunc(routes, func(r bgp.Route) bool {
				return r.Prefix == web && r.NextHops[0] == netip.MustParseAddr("198.51.100.17")
			})
		}, []string{"route to 192.0.2.10/32 by default/f5-tmm-2 (198.51.100.17) in router upstream"}},
		{"not withdrawn", func(_ *api.Resources, in *Inspection) {
			in.Routers[0].Routes = append(in.Routers[0].Routes, bgp.Route{Prefix: web, NextHops: []netip.Addr{netip.MustParseAddr("198.51.100.18")}})
		}, []string{"removal of the route to 192.0.2.10/32 by 198.51.100.18 in router upstream"}},
		{"a TMM without a self-IP lacks nothing", func(res *api.Resources, in *Inspection) {
			for i := range res.VLANs {
				res.VLANs[i].Spec.SelfIPv4s = res.VLANs[i].Spec.SelfIPv4s[:1]
				res.VLANs[i].Spec.SelfIPv6s = res.VLANs[i].Spec.SelfIPv6s[:1]
			}
			in.TMMs[1].VirtualServers, in.TMMs[1].BGP = nil, control.BGPStatus{}
			in.Routers[0].Routes = in.Routers[0].Routes[:10]
		}, nil},
		{"no dynamic routing", func(res *api.Resources, in *Inspection) {
			res.Values.TMM.DynamicRouting.Enabled = false
			in.TMMs[0].BGP, in.TMMs[1].BGP, in.Routers[0].Routes = control.BGPStatus{}, control.BGPStatus{}, nil
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, res := shipped(t)
			in := perfect(t, src, res)
			tc.change(&res, in)
			if diff := cmp.Diff(tc.want, missingProxies(src.Spec, res, in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefusedRoutesAreNotMissed has the router's import filter keep out what it would learn.
func TestRefusedRoutesAreNotMissed(t *testing.T) {
	src, res := shipped(t)
	in := perfect(t, src, res)
	kept := in.Routers[0].Routes
	in.Routers[0].Routes = slices.DeleteFunc(slices.Clone(kept), func(r bgp.Route) bool { return r.Prefix.Addr().Is4() })
	if missing := missingProxies(src.Spec, res, in); len(missing) != 2 { // the first one of each TMM
		t.Fatalf("without a filter %d routes are missed, want 2: %v", len(missing), missing)
	}
	src.Spec.Routers[0].Refuse = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	if missing := missingProxies(src.Spec, res, in); len(missing) > 0 {
		t.Errorf("missed although refused: %v", missing)
	}
	in.Routers[0].Routes = kept
	if missing := missingProxies(src.Spec, res, in); len(missing) != 10 {
		t.Errorf("%d routes are there although refused, want 10 named: %v", len(missing), missing)
	}
}

func TestMissingForwarding(t *testing.T) {
	_, res := shipped(t)
	want := wantRows(res)
	if len(want) != 8 { // two pods, two TMMs, two families
		t.Fatalf("%d routes, want 8: %v", len(want), want)
	}
	all := forward.State{}
	for row := range want {
		all.Pods = append(all.Pods, forward.PodState{Pod: netip.MustParseAddr(row.prefix), Gateways: []forward.GatewayState{{Address: netip.MustParseAddr(row.nexthop)}}})
	}
	slices.SortFunc(all.Pods, func(a, b forward.PodState) int {
		return a.Pod.Compare(b.Pod)*2 + a.Gateways[0].Address.Compare(b.Gateways[0].Address)
	})
	stale := forward.State{Pods: []forward.PodState{{Pod: netip.MustParseAddr("10.131.2.9"), Gateways: []forward.GatewayState{{Address: netip.MustParseAddr("10.144.100.16")}}}}}
	for _, tc := range []struct {
		name  string
		nodes map[string]forward.State
		want  []string
	}{
		{"all is there", map[string]forward.State{"ovn-node-worker-1": all, "ovn-node-worker-2": {}}, nil},
		{"a silent datapath is named elsewhere", nil, nil},
		{"one route is not obeyed yet", map[string]forward.State{"ovn-node-worker-1": {Pods: all.Pods[1:]}},
			[]string{"forwarding in worker-1 of pod 10.131.1.100 by 10.144.100.16"}},
		{"nobody answers BFD there", map[string]forward.State{"ovn-node-worker-1": {Pods: all.Pods[1:],
			BFD: []forward.SessionState{{Gateway: netip.MustParseAddr("10.144.100.16"), Status: "down"}}}}, nil},
		{"somebody answers BFD there", map[string]forward.State{"ovn-node-worker-1": {Pods: all.Pods[1:],
			BFD: []forward.SessionState{{Gateway: netip.MustParseAddr("10.144.100.16"), Status: "up"}}}},
			[]string{"forwarding in worker-1 of pod 10.131.1.100 by 10.144.100.16"}},
		{"one is obeyed still", map[string]forward.State{"ovn-node-worker-2": stale},
			[]string{"removal of the forwarding in worker-2 of pod 10.131.2.9 by 10.144.100.16"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &Inspection{OVN: map[string]json.RawMessage{}}
			for name, st := range tc.nodes {
				data, err := json.Marshal(st)
				if err != nil {
					t.Fatal(err)
				}
				in.OVN[name] = data
			}
			if diff := cmp.Diff(tc.want, missingForwarding(want, nil, res, in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
