package dataplane

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestChoose(t *testing.T) {
	const all = XDPBasic | XDPRedirect | XDPTransmit | XDPFrags | XDPTransmitFrags
	dev := func(name, kind string, f XDPFeatures) device {
		return device{Name: name, Kind: kind, MTU: 1500, Features: f, Known: true}
	}
	jumbo := func(d device) device { d.MTU = 9000; return d }
	unknown := func(d device) device { d.Known = false; return d }
	tagged := func(d device) device { d.Tagged = true; return d }
	vf, other := dev("net1", "device", all), dev("net2", "device", all)
	veth, macvlan := dev("net1", "veth", all), dev("net1", "macvlan", 0)
	tests := []struct {
		name   string
		want   Frontend
		device device
		other  device
		noTCX  bool
		at     Frontend
		tc     Frontend
		why    string // a part of it, or of the error where at is empty
	}{
		{"auto, hardware", FrontendAuto, vf, other, false, FrontendXDP, FrontendTCX, "the driver has XDP"},
		{"nothing said", "", vf, other, false, FrontendXDP, FrontendTCX, "the driver has XDP"},
		{"auto, hardware, old kernel", FrontendAuto, vf, other, true, FrontendXDP, FrontendClsact, "the driver has XDP"},
		{"auto, nothing known", FrontendAuto, unknown(vf), other, false, FrontendTCX, FrontendTCX, "Linux 6.3"},
		{"auto, no redirection", FrontendAuto, dev("net1", "device", XDPBasic|XDPTransmit), other, false, FrontendTCX, FrontendTCX, "no XDP with redirection"},
		{"auto, the other does not transmit", FrontendAuto, vf, dev("net2", "macvlan", 0), false, FrontendTCX, FrontendTCX, "net2 does not take"},
		{"auto, jumbo", FrontendAuto, jumbo(vf), other, false, FrontendXDP, FrontendTCX, "the driver has XDP"},
		{"auto, jumbo in one buffer", FrontendAuto, jumbo(dev("net1", "device", all&^XDPFrags)), other, false, FrontendTCX, FrontendTCX, "the MTU is 9000"},
		{"auto, jumbo cannot leave", FrontendAuto, jumbo(vf), dev("net2", "device", all&^XDPTransmitFrags), false, FrontendTCX, FrontendTCX, "ndo-xmit-sg"},
		{"auto, tags", FrontendAuto, tagged(vf), other, false, FrontendTCX, FrontendTCX, "tagged VLANs"},
		{"auto, veth", FrontendAuto, veth, other, false, FrontendTCX, FrontendTCX, "unfinished"},
		{"auto, macvlan", FrontendAuto, macvlan, other, false, FrontendTCX, FrontendTCX, "no hardware"},
		{"auto, macvlan, old kernel", FrontendAuto, macvlan, other, true, FrontendClsact, FrontendClsact, "no hardware"},
		{"tcx", FrontendTCX, vf, other, false, FrontendTCX, FrontendTCX, "configured"},
		{"tcx, old kernel", FrontendTCX, vf, other, true, "", "", "front end tcx of net1 (device): the kernel has none (Linux 6.6); it can do auto, clsact, xdp, xdp-generic"},
		{"clsact", FrontendClsact, vf, other, false, FrontendClsact, FrontendClsact, "configured"},
		{"xdp", FrontendXDP, veth, other, false, FrontendXDP, FrontendTCX, "configured"},
		{"xdp, nothing known", FrontendXDP, unknown(macvlan), unknown(other), false, FrontendXDP, FrontendTCX, "configured"},
		{"xdp, macvlan", FrontendXDP, macvlan, other, false, "", "", "front end xdp of net1 (macvlan): its driver has no XDP with redirection; it can do auto, tcx, clsact, xdp-generic"},
		{"xdp, veth that does not transmit", FrontendXDP, veth, dev("net2", "veth", XDPBasic|XDPRedirect), false, "", "", "its other end needs GRO"},
		{"xdp, tags", FrontendXDP, tagged(vf), other, false, "", "", "it can do auto, tcx, clsact"},
		{"xdp-generic", FrontendXDPGeneric, macvlan, other, false, FrontendXDPGeneric, FrontendTCX, "configured"},
		{"xdp-generic, tags", FrontendXDPGeneric, tagged(vf), other, false, "", "", "tagged VLANs"},
		{"no word for it", "dpdk", vf, other, false, "", "", "no such front end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := choose(tt.want, tt.device, []device{tt.device, tt.other}, !tt.noTCX)
			if tt.at == "" {
				if err == nil || !strings.Contains(err.Error(), tt.why) {
					t.Errorf("error %v, want %q", err, tt.why)
				}
				return
			}
			must(t, err)
			if diff := cmp.Diff(Choice{Frontend: tt.at, Traffic: tt.tc}, c, cmpopts.IgnoreFields(Choice{}, "Why")); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(c.Why, tt.why) {
				t.Errorf("why: %q", c.Why)
			}
		})
	}
}

func TestXDPFeatureWords(t *testing.T) {
	if diff := cmp.Diff([]string{"basic", "redirect", "ndo-xmit", "rx-sg", "ndo-xmit-sg"}, XDPFeatures(0x67).Words()); diff != "" {
		t.Error(diff)
	}
	if words := XDPFeatures(0).Words(); words != nil {
		t.Errorf("%v", words)
	}
}

func TestParseFeatures(t *testing.T) {
	head := "\x01\x01\x00\x00"
	ifindex, features := "\x08\x00\x01\x00\x05\x00\x00\x00", "\x0c\x00\x03\x00\x07\x00\x00\x00\x00\x00\x00\x00"
	tests := []struct {
		name, message string
		features      XDPFeatures
		known, fails  bool
	}{
		{"there", head + ifindex + features, XDPBasic | XDPRedirect | XDPTransmit, true, false},
		{"not told", head + ifindex, 0, false, false},
		{"cut in the value", head + ifindex + features[:8], 0, false, true},
		{"cut in the head", head[:3], 0, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, known, err := parseFeatures([]byte(tt.message))
			if f != tt.features || known != tt.known || (err != nil) != tt.fails {
				t.Errorf("%v %v %v", f, known, err)
			}
		})
	}
}

func TestParseSpot(t *testing.T) {
	for _, s := range []spot{{12, FrontendTCX, roleIngress}, {3, FrontendClsact, roleEgress}, {4, FrontendXDP, roleIngress}, {5, FrontendXDPGeneric, roleIngress}, {6, FrontendTCX, roleTagged}} {
		pin := pins{dir: "/x"}.attachment(s)
		got, ok := parseSpot(pin[strings.LastIndex(pin, "/")+1:])
		if !ok || got != s {
			t.Errorf("%s: %v %v", pin, got, ok)
		}
	}
	for _, name := range []string{"spk_ct4", "tcx-ingress-", "tcx-ingress-0", "tcx-ingress-x", "tcx-12", "spk_progs_xdp"} {
		if s, ok := parseSpot(name); ok {
			t.Errorf("%s: %v", name, s)
		}
	}
}

// TestSeeTags: an interface that is served beside a VLAN of the kernel's sees that VLAN's frames.
func TestSeeTags(t *testing.T) {
	plans := map[int]*port{
		1: {iface: Interface{Name: "net1", Index: 1}},
		2: {iface: Interface{Name: "net2", Index: 2}},
		3: {iface: Interface{Name: "net2.100", Index: 3, Parent: "net2", Tag: 100}},
	}
	if err := planParents(plans); err != nil {
		t.Fatal(err)
	}
	for index, want := range map[int]bool{1: false, 2: true, 3: false} {
		if got := plans[index].device.Tagged; got != want {
			t.Errorf("%s sees tags: %t, want %t", plans[index].iface.Name, got, want)
		}
	}
}
