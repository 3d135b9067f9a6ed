package lab

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
)

// learned is what the router of a perfect lab holds: every route as told and as chosen.
func learned(in *Inspection) []NodeRIB {
	r := NodeRIB{Node: "upstream", FIB: slices.Clone(in.Routers[0].Routes)}
	for _, route := range in.Routers[0].Routes {
		for _, hop := range route.NextHops {
			p := bgp.Path{Prefix: route.Prefix, NextHop: hop}
			r.Loc = append(r.Loc, p)
			r.In = append(r.In, p)
		}
	}
	return []NodeRIB{r}
}

// TestExplainVIP breaks one link after the other of the chain to 192.0.2.10: the last condition of the
// first TMM's way to the IPv4 neighbor names it.
func TestExplainVIP(t *testing.T) {
	web := netip.MustParsePrefix("192.0.2.10/32")
	without := func(paths []bgp.Path) []bgp.Path {
		return slices.DeleteFunc(slices.Clone(paths), func(p bgp.Path) bool { return p.Prefix == web })
	}
	first := netip.MustParseAddr("198.51.100.16") // of the TMM that is asked
	byOthers := func(paths []bgp.Path) []bgp.Path {
		return slices.DeleteFunc(slices.Clone(paths), func(p bgp.Path) bool { return p.Prefix == web && p.NextHop == first })
	}
	type world struct {
		spec  *topo.Lab
		res   api.Resources
		in    *Inspection
		ribs  []NodeRIB
		signs map[sessionEnd]sessionSigns
	}
	for _, tc := range []struct {
		name       string
		change     func(*world)
		condition  string // that fails; empty: the way holds
		object     string
		ofResource bool // the object's own chain fails
	}{
		{name: "nothing", change: func(*world) {}},
		{"no Service", func(w *world) { w.res.Services = nil }, "Service", "F5SPKIngressTCP spk-apps/web", true},
		{"Service without the port", func(w *world) {
			for i := range w.res.Services {
				w.res.Services[i].Spec.Ports = nil
			}
		}, "port", "Service spk-apps/web", true},
		{"endpoints not ready", func(w *world) {
			no := false
			for i := range w.res.EndpointSlices {
				for j := range w.res.EndpointSlices[i].Endpoints {
					w.res.EndpointSlices[i].Endpoints[j].Conditions = discoveryv1.EndpointConditions{Ready: &no}
				}
			}
		}, "endpoints", "EndpointSlices of spk-apps/web", true},
		{"TMM gives no answer", func(w *world) {
			w.in.TMMs = nil
			w.in.Nodes = append(w.in.Nodes, Node{Name: "f5-tmm-1", Kind: KindTMM})
			w.in.Silent = map[string]string{"f5-tmm-1": "no such process"}
		}, "answers", "TMM f5-tmm-1", false},
		{"interfaces swapped", func(w *world) {
			w.in.TMMs[0].Conditions = []control.Condition{{Reason: control.ReasonInterfacesSwapped, Severity: api.SeverityError, Object: "F5SPKVlan default/external"}}
		}, "serving", "F5SPKVlan default/external", false},
		{"no internal VLAN", func(w *world) {
			for i := range w.res.VLANs {
				w.res.VLANs[i].Spec.Internal = false
			}
		}, "serving", "F5SPKVlan", false},
		{"two untagged VLANs on one interface", func(w *world) {
			for i := range w.res.VLANs {
				w.res.VLANs[i].Spec.Interfaces = []string{"1.1"}
			}
		}, "serving", "F5SPKVlan default/internal", false},
		{"refused by the dataplane", func(w *world) {
			w.in.TMMs[0].Conditions = []control.Condition{{Reason: control.ReasonRefused, Object: "F5SPKIngressTCP spk-apps/web", Message: "no room"}}
		}, "accepted", "default/f5-tmm-1", false},
		{"no virtual server", func(w *world) { w.in.TMMs[0].VirtualServers = nil }, "virtual server", "default/f5-tmm-1", false},
		{"not programmed", func(w *world) { w.in.TMMs[0].VirtualServers[0].Programmed = false }, "programmed", "default/f5-tmm-1", false},
		{"monitors found it down", func(w *world) { w.in.TMMs[0].VirtualServers[0].State = control.StateDown }, "up", "default/f5-tmm-1", false},
		{"dynamic routing off", func(w *world) { w.res.Values.TMM.DynamicRouting.Enabled = false }, "BGP", "Helm values", false},
		{"family not accepted", func(w *world) {
			for i := range w.res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors {
				w.res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors[i].AcceptsIPv4 = false
			}
		}, "family", "BGP neighbor 198.51.100.1", false},
		{"a route map hides it", func(w *world) {
			b := &w.res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP
			b.RouteMaps = []api.RouteMapEntry{{Name: "none", Seq: 10, Deny: true}}
			for i := range b.Neighbors {
				b.Neighbors[i].RouteMap = "none"
			}
		}, "route map", "Helm values", false},
		{"no next hop", func(w *world) {
			for i := range w.res.VLANs {
				if !w.res.VLANs[i].Spec.Internal {
					w.res.VLANs[i].Spec.SelfIPv4s = nil
				}
			}
		}, "to be announced", "F5SPKVlan default/external", false},
		{"refused by the lab file", func(w *world) { w.spec.Routers[0].Refuse = []netip.Prefix{web} }, "permitted there", "lab file: router upstream", false},
		{"not announced", func(w *world) { w.in.TMMs[0].BGP.Announced = nil }, "originated", "default/f5-tmm-1", false},
		{"damped", func(w *world) {
			w.in.TMMs[0].BGP.Announced = nil
			w.in.TMMs[0].BGP.Damped = []control.DampedPrefix{{Prefix: web, Withdrawals: 5}}
		}, "originated", "default/f5-tmm-1", false},
		{"session down", func(w *world) { w.in.TMMs[0].BGP.Peers[0].State = "ACTIVE" }, "session", "BGP neighbor 198.51.100.1", false},
		{"session not begun", func(w *world) { w.in.TMMs[0].BGP.Peers = nil }, "session", "BGP neighbor 198.51.100.1", false},
		{"router silent", func(w *world) { w.ribs[0].Silent = "no answer" }, "router", "upstream", false},
		{"not received", func(w *world) { w.ribs[0].In, w.ribs[0].Loc = without(w.ribs[0].In), without(w.ribs[0].Loc) }, "received", "upstream", false},
		{"refused there", func(w *world) { w.ribs[0].Loc = without(w.ribs[0].Loc) }, "accepted there", "upstream", false},
		{"another path is better", func(w *world) {
			rib, low := &w.ribs[0], uint32(50)
			for i := range rib.Loc {
				if p := &rib.Loc[i]; p.Prefix == web && p.NextHop == first {
					p.LocalPref = &low
				} else {
					p.Best = true
				}
			}
			rib.FIB = nil
		}, "best there", "upstream", false},
		{"told by the other TMM alone", func(w *world) {
			w.ribs[0].In, w.ribs[0].Loc = byOthers(w.ribs[0].In), byOthers(w.ribs[0].Loc)
		}, "received", "upstream", false},
		{"the kernel goes by the other TMM alone", func(w *world) {
			w.ribs[0].FIB = slices.DeleteFunc(w.ribs[0].FIB, func(r bgp.Route) bool { return r.Prefix == web && slices.Contains(r.NextHops, first) })
		}, "forwarded", "upstream", false},
		{"not in the kernel", func(w *world) { w.ribs[0].FIB = nil }, "forwarded", "upstream", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, res := shipped(t)
			in := perfect(t, src, res)
			w := &world{src.Spec, res, in, learned(in), nil}
			tc.change(w)
			e := explainVIP(w.spec, w.res, w.in, w.ribs, w.signs, web.Addr())
			if len(e.Resources) != 1 {
				t.Fatalf("%d resources, want web's alone: %+v", len(e.Resources), e.Resources)
			}
			r := &e.Resources[0]
			if r.OK() == tc.ofResource {
				t.Errorf("the resource's own chain: %+v", r.Conditions)
			}
			conditions := r.Conditions
			if !tc.ofResource {
				conditions = r.Ways[0].Conditions
			}
			last := conditions[len(conditions)-1]
			switch {
			case e.OK != (tc.condition == ""):
				t.Errorf("OK is %v", e.OK)
			case tc.condition == "" && (!r.Ways[0].OK() || len(e.Causes) > 0):
				t.Errorf("the way does not hold: %+v", conditions)
			case tc.condition == "":
			case last.OK || last.Name != tc.condition || last.Object != tc.object || last.Text == "" && tc.condition != "up" && tc.condition != "serving":
				t.Errorf("the chain ends with %+v, want %s of %s to fail", last, tc.condition, tc.object)
			case len(e.Causes) == 0 || e.Causes[0].Condition != last:
				t.Errorf("causes: %+v, want the end of the chain first: %+v", e.Causes, last)
			}
		})
	}
	t.Run("IPv6 is not accepted", func(t *testing.T) {
		src, res := shipped(t)
		in := perfect(t, src, res)
		for i := range res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors {
			res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors[i].AcceptsIPv6 = false
		}
		e := explainVIP(src.Spec, res, in, learned(in), nil, netip.MustParseAddr("2001:db8:2::10"))
		if len(e.Causes) != 1 || e.Causes[0].Object != "BGP neighbor 2001:db8:51::1" || e.Causes[0].Field != "acceptsIPv6" {
			t.Errorf("causes %+v, want acceptsIPv6 of the IPv6 neighbor", e.Causes)
		}
	})
	t.Run("nobody asks for it", func(t *testing.T) {
		src, res := shipped(t)
		in := perfect(t, src, res)
		nobody := netip.MustParseAddr("192.0.2.200")
		if e := explainVIP(src.Spec, res, in, learned(in), nil, nobody); len(e.Resources) != 0 || e.OK {
			t.Errorf("resources of an address that nobody has: %+v", e)
		}
		if err := knownVIP(res, nobody); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "there are 192.0.2.10, 192.0.2.11,") {
			t.Errorf("%v names no address that exists", err)
		}
		if err := knownVIP(api.Resources{}, nobody); !errors.Is(err, ErrNotFound) || !strings.HasSuffix(err.Error(), "there is none at all") {
			t.Errorf("%v of no resources", err)
		}
	})
}

// TestCauses breaks two or three links at once: those that fail by themselves are named in the order of
// the chain, and nothing that only follows.
func TestCauses(t *testing.T) {
	down := func(in *Inspection) {
		for i := range in.TMMs {
			for j := range in.TMMs[i].BGP.Peers {
				in.TMMs[i].BGP.Peers[j].State = "ACTIVE"
			}
		}
	}
	for _, tc := range []struct {
		name   string
		change func(spec *topo.Lab, res *api.Resources, in *Inspection)
		want   []string // names of conditions
	}{
		{"no endpoints and no session", func(_ *topo.Lab, res *api.Resources, in *Inspection) { res.EndpointSlices = nil; down(in) }, []string{"endpoints", "session"}},
		{"not programmed, no session, refused", func(spec *topo.Lab, _ *api.Resources, in *Inspection) {
			for i := range in.TMMs {
				in.TMMs[i].VirtualServers[0].Programmed = false
			}
			down(in)
			spec.Routers[0].Refuse = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}, []string{"programmed", "session", "permitted there"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, res := shipped(t)
			in := perfect(t, src, res)
			ribs := learned(in)
			tc.change(src.Spec, &res, in)
			e := explainVIP(src.Spec, res, in, ribs, nil, netip.MustParseAddr("192.0.2.10"))
			var got []string
			for _, c := range e.Causes {
				if !slices.Contains(got, c.Name) { // it is another one in each TMM
					got = append(got, c.Name)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v: %+v", got, tc.want, e.Causes)
			}
		})
	}
}

// TestSessionCause tells apart what keeps a session down by its signs.
func TestSessionCause(t *testing.T) {
	const timeout = "connect to neighbor 198.51.100.1: i/o timeout"
	n := bgp.Neighbor{Addr: netip.MustParseAddr("198.51.100.1"), ASN: 64999}
	upstream := topo.Router{Name: "upstream", ASN: 65000}
	for _, tc := range []struct {
		name                string
		signs               sessionSigns
		object, field, says string
	}{
		{"wrong asn of the neighbor", sessionSigns{peer: bgp.Peer{Notification: "sent " + bgp.NotificationBadPeerAS}}, "BGP neighbor 198.51.100.1", "asn", "asn is 64999 here, and router upstream is AS 65000"},
		{"wrong own asn", sessionSigns{peer: bgp.Peer{Notification: "received " + bgp.NotificationBadPeerAS}}, "Helm values", "bgp.asn", "than 65001"},
		{"too many prefixes", sessionSigns{peer: bgp.Peer{Notification: "received " + bgp.NotificationMaxPrefix}}, "upstream", "neighbors[].maxPrefix", "takes fewer prefixes"},
		{"another notification", sessionSigns{peer: bgp.Peer{Notification: "received 6/5 Cease: Connection Rejected"}}, "BGP neighbor 198.51.100.1", "state", "6/5"},
		{"nobody listens", sessionSigns{peer: bgp.Peer{Error: "connection refused"}}, "upstream", "TCP port 179", "nothing listens"},
		{"link down", sessionSigns{peer: bgp.Peer{Error: timeout}, neighbour: neighbourFailed}, "neighbour table of TMM", "198.51.100.1", "nobody answers"},
		{"link just down", sessionSigns{peer: bgp.Peer{Error: timeout}, neighbour: neighbourIncomplete}, "neighbour table of TMM", "198.51.100.1", "nobody answers"},
		{"link down after it was up", sessionSigns{peer: bgp.Peer{Error: timeout}, neighbour: neighbourProbed}, "neighbour table of TMM", "198.51.100.1", "nobody answers"},
		{"other password", sessionSigns{peer: bgp.Peer{Error: timeout}, unsigned: []growth{{"upstream", "TCPMD5Failure", 2}}}, "BGP neighbor 198.51.100.1", "password", "upstream refuses segments signed with another password"},
		{"password here alone", sessionSigns{peer: bgp.Peer{Error: timeout}, unsigned: []growth{{"upstream", "TCPMD5Unexpected", 2}}}, "BGP neighbor 198.51.100.1", "password", "no password is set"},
		{"password there alone", sessionSigns{peer: bgp.Peer{Error: timeout}, unsigned: []growth{{"upstream", "TCPMD5NotFound", 2}}}, "BGP neighbor 198.51.100.1", "password", "without a signature"},
		{"filter", sessionSigns{peer: bgp.Peer{Error: timeout}, filtered: []growth{{"upstream", "table x chain in: TCP port 179", 2}}}, "nftables of upstream", "table x chain in: TCP port 179", "dropped 2 packets"},
		{"filter of somebody else", sessionSigns{peer: bgp.Peer{Error: timeout}, neighbour: "STALE"}, "upstream", "TCP port 179", "something on the way"},
		{"no address", sessionSigns{peer: bgp.Peer{State: "CONNECT", Error: "cannot assign requested address"}}, "BGP neighbor 198.51.100.1", "state", "cannot assign"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			object, field, text := tc.signs.cause(n, upstream, 65001)
			if object != tc.object || field != tc.field || !strings.Contains(text, tc.says) {
				t.Errorf("%s, %s: %s; want %s, %s: %s", object, field, text, tc.object, tc.field, tc.says)
			}
		})
	}
}

func TestSignatureCounters(t *testing.T) {
	const text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure\nTcpExt: 1 2 3 4\nIpExt: InNoRoutes\nIpExt: 9\n"
	want := map[string]uint64{"TCPMD5NotFound": 2, "TCPMD5Unexpected": 3, "TCPMD5Failure": 4}
	if diff := cmp.Diff(want, signatureCounters(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := signatureCounters("TcpExt: TCPMD5NotFound"); len(got) != 0 {
		t.Errorf("%v of a text without numbers", got)
	}
}
