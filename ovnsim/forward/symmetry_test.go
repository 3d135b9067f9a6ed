package forward

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ovnsim/forward/bpf"
)

const otherMAC = "02:00:00:00:00:17"

// event is one packet of a connection that is looked at, or silence.
type event struct {
	from    string        // the MAC of the gateway it comes by; empty: the pod's
	packet  packet        // as the pod sends it; turned when it has a MAC
	silence time.Duration // before it
	hops    int           // gateways that the pod has from now on, 0: as before
}

// play sends the event's packet and returns to which MAC it went, empty where the kernel finds it.
func (e event) play(t *testing.T, d *datapath) string {
	t.Helper()
	if e.hops > 0 {
		d.route(t, e.hops)
	}
	d.age(t, e.silence)
	s := step{packet: e.packet}
	if e.from != "" {
		s.up, s.packet = true, e.packet.back()
		if e.packet.quotes != nil {
			s.packet = e.packet
		}
	}
	got := d.playFrom(t, s, e.from)
	if got.verdict != redirect {
		t.Fatalf("%+v: verdict %d, counter %s", e, got.verdict, got.counter)
	}
	return got.to
}

// age makes every entry of conntrack older.
func (d *datapath) age(t *testing.T, by time.Duration) {
	t.Helper()
	aged := map[bpf.Key]bpf.Flow{}
	if err := d.eachFlow(func(k bpf.Key, f bpf.Flow) bool {
		for _, at := range []*uint64{&f.Seen, &f.Learnt, &f.Replied, &f.Heard} {
			*at -= min(uint64(by), *at)
		}
		aged[k] = f
		return false
	}); err != nil {
		t.Fatal(err)
	}
	for k, f := range aged {
		if err := d.objs.LrFlows.Put(k, f); err != nil {
			t.Fatal(err)
		}
	}
}

// route gives both pods that many gateways.
func (d *datapath) route(t *testing.T, hops int) {
	t.Helper()
	want := d.have
	want.Groups = maps.Clone(want.Groups)
	for pod, format := range map[string]string{"10.131.1.100": "10.144.100.%d", "fd01:0:0:1::100": "fd00:10:144:100::%d"} {
		g := group{Symmetric: true}
		for i := range hops {
			g.Hops = append(g.Hops, netip.MustParseAddr(fmt.Sprintf(format, 16+i)))
		}
		want.Groups[netip.MustParseAddr(pod)] = g
	}
	if err := d.apply(want); err != nil {
		t.Fatal(err)
	}
}

// TestSymmetryOfProfiles says for each profile to which MAC the pod's last packet goes. Empty is the
// choice of the routes: round robin's, the hash's, or the pinned gateway's.
func TestSymmetryOfProfiles(t *testing.T) {
	all := func(mac string) [3]string { return [3]string{mac, mac, mac} }
	in := func(p packet) event { return event{from: gatewayMAC, packet: p} }
	out := func(p packet) event { return event{packet: p} }
	later := func(d time.Duration, e event) event { e.silence = d; return e }
	with := func(hops int, e event) event { e.hops = hops; return e }
	by := func(mac string, e event) event { e.from = mac; return e }
	syn, synAck, ack := from(1, packet{}), from(1, packet{flags: "SA"}), from(1, packet{flags: "A"})
	udp, sctp, udp6 := from(1, packet{proto: "udp"}), from(1, packet{proto: "sctp"}), from6(1, packet{proto: "udp"})
	echo, reply := from(1, packet{proto: "echo"}), from(1, packet{proto: "reply"})
	tests := []struct {
		name   string
		events []event
		want   [3]string // spk, ovn-23.03, ovn-25.03
	}{
		{"TCP from outside", []event{in(syn), out(synAck)}, all(gatewayMAC)},
		{"UDP from outside", []event{in(udp), out(udp)}, all(gatewayMAC)},
		{"UDP of IPv6 from outside", []event{in(udp6), out(udp6)}, all(gatewayMAC)},
		{"SCTP from outside", []event{in(sctp), out(sctp)}, all(gatewayMAC)},
		{"echo from outside", []event{in(echo), out(reply)}, [3]string{gatewayMAC, "", gatewayMAC}},
		{"one route", []event{with(1, in(syn)), out(synAck)}, [3]string{gatewayMAC, "", gatewayMAC}},
		{"all routes but one go", []event{in(syn), out(synAck), with(1, out(ack))}, [3]string{gatewayMAC, "", gatewayMAC}},
		{"a second route comes", []event{with(1, in(syn)), out(synAck), with(2, in(ack)), out(ack)}, all(gatewayMAC)},
		{"silence of 25 s, the pod speaks first", []event{in(syn), out(synAck), later(25*time.Second, out(ack))}, [3]string{gatewayMAC, "", gatewayMAC}},
		{"silence of 19 s, the pod speaks first", []event{in(syn), out(synAck), later(19*time.Second, out(ack))}, all(gatewayMAC)},
		{"silence of 25 s, the peer speaks first", []event{in(syn), out(synAck), later(25*time.Second, in(ack)), out(ack)}, all(gatewayMAC)},
		{"the pod speaks every 16 s, the peer never", []event{in(udp), later(16*time.Second, out(udp)), later(16*time.Second, out(udp))}, [3]string{gatewayMAC, "", gatewayMAC}},
		{"both speak every 16 s", []event{in(udp), later(16*time.Second, in(udp)), out(udp), later(16*time.Second, in(udp)), out(udp)}, all(gatewayMAC)},
		{"the peer comes by another gateway", []event{in(udp), out(udp), by(otherMAC, in(udp)), out(udp)}, [3]string{gatewayMAC, otherMAC, otherMAC}},
		{"the pod has opened it, the gateway has answered", []event{out(syn), in(synAck), out(ack)}, [3]string{"", "", gatewayMAC}},
		{"the pod has asked, another gateway has answered", []event{out(udp), by(otherMAC, in(udp)), out(udp)}, [3]string{"", "", otherMAC}},
		{"an answer to nothing", []event{in(synAck), out(ack)}, [3]string{gatewayMAC, "", ""}},
		{"an error from outside changes nothing", []event{in(udp), by(otherMAC, event{packet: about(udp)}), out(udp)}, all(gatewayMAC)},
		{"an error of the pod", []event{in(udp), out(about(udp.back()))}, [3]string{gatewayMAC, "", gatewayMAC}},
	}
	var beds []*datapath
	for _, profile := range ProfileNames() {
		beds = append(beds, testbed(t, profile, true))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got [3]string
			for i, d := range beds {
				if err := d.eachFlow(func(bpf.Key, bpf.Flow) bool { return true }); err != nil {
					t.Fatal(err)
				}
				d.route(t, 2)
				for _, e := range tt.events {
					got[i] = e.play(t, d)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("spk, ovn-23.03, ovn-25.03 (-want +got):\n%s", diff)
			}
		})
	}
}

// takes sends n first packets with ports of their own and says which gateway each took.
func (d *datapath) takes(t *testing.T, n int, kind func(port uint16) packet) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	for i := range n {
		p := kind(uint16(1000 + i))
		if verdict, err := d.objs.LrFromPod.Run(&ebpf.RunOptions{Data: p.bytes(t, podMAC, bridgeMAC)}); err != nil || verdict != redirect {
			t.Fatalf("%+v: verdict %d, %v", p, verdict, err)
		}
		key := bpf.Key{Pod: wire(netip.MustParseAddr(p.src)), Peer: wire(netip.MustParseAddr(p.dst)), PodPort: swapped(p.sport), PeerPort: swapped(p.dport), Proto: p.number()}
		if p.proto == "echo" {
			key.PeerPort = key.PodPort
		}
		var f bpf.Flow
		if err := d.objs.LrFlows.Lookup(key, &f); err != nil {
			t.Fatalf("entry of %+v: %v", p, err)
		}
		out = append(out, unwire(f.Hop))
	}
	return out
}

// swapped is a port in network byte order.
func swapped(p uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(p >> 8), byte(p)}) }

// number is the packet's protocol by IANA number.
func (p packet) number() uint8 {
	return map[string]uint8{"": 6, "udp": 17, "sctp": 132, "echo": 1}[p.proto]
}

func spread(hops []netip.Addr) map[string]int {
	out := map[string]int{}
	for _, h := range hops {
		out[h.String()]++
	}
	return out
}

// TestChoices says how many gateways share 301 connections between one pod and one peer, and how
// evenly: OVN gave 88, 120 and 92 of 300 to three, so a hash may give a gateway 75 to 130.
func TestChoices(t *testing.T) {
	tcp := func(port uint16) packet { return from(port, packet{}) }
	udp := func(port uint16) packet { return from(port, packet{proto: "udp"}) }
	sctp := func(port uint16) packet { return from(port, packet{proto: "sctp"}) }
	echo := func(port uint16) packet { return from(port, packet{proto: "echo"}) }
	tests := []struct {
		name, profile, udpHash string
		kind                   func(uint16) packet
		gateways, least, most  int
	}{
		{"TCP", ProfileSPK, "", tcp, 3, 100, 101},
		{"TCP", ProfileOVN2303, "", tcp, 3, 75, 130},
		{"TCP", ProfileOVN2503, "", tcp, 3, 75, 130},
		{"UDP", ProfileSPK, "", udp, 3, 100, 101},
		{"UDP", ProfileOVN2303, "", udp, 1, 301, 301},
		{"UDP", ProfileOVN2503, "", udp, 1, 301, 301},
		{"UDP by ports", ProfileSPK, UDPHashPorts, udp, 3, 75, 130},
		{"UDP by ports", ProfileOVN2303, UDPHashPorts, udp, 3, 75, 130},
		{"UDP by addresses", ProfileSPK, UDPHashAddresses, udp, 1, 301, 301},
		{"SCTP", ProfileOVN2303, "", sctp, 3, 75, 130},
		{"echo", ProfileSPK, "", echo, 3, 100, 101},
		{"echo", ProfileOVN2303, "", echo, 1, 301, 301},
		{"echo", ProfileOVN2503, "", echo, 1, 301, 301},
	}
	for _, tt := range tests {
		t.Run(tt.name+" of "+tt.profile, func(t *testing.T) {
			p, err := Config{Profile: tt.profile, UDPHash: tt.udpHash}.profile()
			if err != nil {
				t.Fatal(err)
			}
			d := testbedOf(t, p, true)
			d.route(t, 3)
			took := d.takes(t, 301, tt.kind)
			got := spread(took)
			if len(got) != tt.gateways {
				t.Errorf("%v: want %d gateways", got, tt.gateways)
			}
			for hop, n := range got {
				if n < tt.least || n > tt.most {
					t.Errorf("%s has %d connections of 301, want %d to %d", hop, n, tt.least, tt.most)
				}
			}
			if _, err := d.flush(netip.MustParseAddr("10.131.1.100"), func(bpf.Flow) bool { return true }); err != nil {
				t.Fatal(err)
			}
			again := cmp.Equal(took, d.takes(t, 301, tt.kind), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
			if want := p.Deterministic(tt.kind(1).number()); again != want {
				t.Errorf("the same choices for the same packets: %v, want %v", again, want)
			}
		})
	}
}

// TestHashIsSymmetric checks that both directions of a connection hash alike.
func TestHashIsSymmetric(t *testing.T) {
	d := testbed(t, ProfileOVN2303, true)
	want := d.have
	want.Pods, want.Groups = maps.Clone(want.Pods), maps.Clone(want.Groups)
	pod, a, b := netip.MustParseAddr("10.131.1.100"), netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("192.0.2.51")
	for _, x := range []netip.Addr{a, b} { // pods in no network of the cluster, so that both directions leave by the routes
		want.Pods[x], want.Groups[x] = want.Pods[pod], want.Groups[pod]
	}
	if err := d.apply(want); err != nil {
		t.Fatal(err)
	}
	there := d.takes(t, 50, func(port uint16) packet { return packet{src: a.String(), dst: b.String(), sport: port, dport: 80} })
	back := d.takes(t, 50, func(port uint16) packet { return packet{src: b.String(), dst: a.String(), sport: 80, dport: port} })
	if !cmp.Equal(there, back, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("there by %v, back by %v", there, back)
	}
}

// TestGatewayComes opens 40 connections by two gateways, has each answer by its own MAC, adds a third
// and counts the connections whose next packet takes another way. Of OVN 23.03 25 to 27 did.
func TestGatewayComes(t *testing.T) {
	macs := map[string]string{"10.144.100.16": gatewayMAC, "10.144.100.17": otherMAC}
	for profile, want := range map[string][2]int{ProfileSPK: {0, 0}, ProfileOVN2303: {18, 36}, ProfileOVN2503: {0, 0}} {
		t.Run(profile, func(t *testing.T) {
			d := testbed(t, profile, true)
			took := d.takes(t, 40, func(port uint16) packet { return from(port, packet{}) })
			for i, hop := range took {
				event{from: macs[hop.String()], packet: from(uint16(1000+i), packet{flags: "SA"})}.play(t, d)
			}
			d.route(t, 3)
			moved := 0
			for i, hop := range took {
				to := event{packet: from(uint16(1000+i), packet{flags: "A"})}.play(t, d)
				if to == "" {
					to = macs[d.hopOf(t, uint16(1000+i)).String()]
				}
				if to != macs[hop.String()] {
					moved++
				}
			}
			if moved < want[0] || moved > want[1] {
				t.Errorf("%d of 40 connections moved, want %d to %d", moved, want[0], want[1])
			}
		})
	}
}

// hopOf is the gateway that the last packet of a connection took.
func (d *datapath) hopOf(t *testing.T, port uint16) netip.Addr {
	t.Helper()
	conns, err := d.conns()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		if c.Pod.Port() == port {
			return c.Gateway
		}
	}
	t.Fatalf("no connection of port %d", port)
	return netip.Addr{}
}
