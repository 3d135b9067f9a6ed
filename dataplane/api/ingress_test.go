package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestAffinity(t *testing.T) {
	tests := []struct {
		name  string
		text  any
		want  time.Duration
		known bool
	}{
		{"nothing", nil, 0, true},
		{"none", "NONE", 0, true},
		{"tmsh", "source_addr", DefaultAffinity, true},
		{"AS3", "source-address", DefaultAffinity, true},
		{"iControl", "PERSISTENCE_MODE_SOURCE_ADDRESS_AFFINITY", DefaultAffinity, true},
		{"camel", "sourceAddressAffinity", DefaultAffinity, true},
		{"Service", "ClientIP", DefaultAffinity, true},
		{"cookie", "cookie", 0, false},
		{"a list", []any{"source_addr"}, 0, false},
		{"mapping", map[string]any{"type": "SOURCE_ADDR", "timeout": 60.0}, time.Minute, true},
		{"mapping of a profile", map[string]any{"profile": "source-address", "timeoutSeconds": 4294967295.0}, 4294967295 * time.Second, true},
		{"mapping without a timeout", map[string]any{"mode": "clientip"}, DefaultAffinity, true},
		{"mapping with more", map[string]any{"mode": "clientip", "mask": "255.255.255.0"}, DefaultAffinity, false},
		{"timeout 0", map[string]any{"mode": "clientip", "timeout": 0.0}, DefaultAffinity, false},
		{"timeout too long", map[string]any{"mode": "clientip", "timeout": 4294967296.0}, DefaultAffinity, false},
		{"timeout a word", map[string]any{"mode": "clientip", "timeout": "1h"}, DefaultAffinity, false},
		{"type a number", map[string]any{"type": 1.0}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, known := (&IngressSpec{Persistence: tt.text}).Affinity()
			if got != tt.want || known != tt.known {
				t.Errorf("%s, %v; want %s, %v", got, known, tt.want, tt.known)
			}
		})
	}
}

func TestDownAction(t *testing.T) {
	tests := []struct {
		text  any
		want  string
		known bool
	}{
		{nil, ServiceDownNone, true}, {"", ServiceDownNone, true}, {"NONE", ServiceDownNone, true},
		{"RESET", ServiceDownReject, true}, {"reject", ServiceDownReject, true}, {"DROP", ServiceDownDrop, true},
		{"RESELECT", ServiceDownReselect, true}, {"PANIC", ServiceDownNone, false}, {5.0, ServiceDownNone, false},
	}
	for _, tt := range tests {
		if got, known := (&IngressSpec{ServiceDownAction: tt.text}).DownAction(); got != tt.want || known != tt.known {
			t.Errorf("%v: %s, %v; want %s, %v", tt.text, got, known, tt.want, tt.known)
		}
	}
}

func TestDestinations(t *testing.T) {
	addr := func(s string) VirtualAddr { return VirtualAddr{netip.MustParseAddr(s)} }
	tests := []struct {
		name string
		spec IngressSpec
		want []string
	}{
		{name: "none"},
		{name: "hosts", spec: IngressSpec{DestinationAddress: addr("192.0.2.1"), IPv6DestinationAddress: addr("2001:db8::1")}, want: []string{"192.0.2.1/32", "2001:db8::1/128"}},
		{name: "subnets", spec: IngressSpec{DestinationAddress: addr("192.0.2.0"), DestinationPrefixLen: new(24), IPv6DestinationAddress: addr("2001:db8::"), IPv6DestinationPrefixLen: new(64)},
			want: []string{"192.0.2.0/24", "2001:db8::/64"}},
		{name: "wildcards", spec: IngressSpec{DestinationAddress: addr("0.0.0.0"), IPv6DestinationAddress: addr("::")}, want: []string{"0.0.0.0/0", "::/0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range tt.spec.Destinations() {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllows(t *testing.T) {
	port := func(protocol string, p intstr.IntOrString) []AllowedService {
		return []AllowedService{{Protocol: protocol, Port: p}}
	}
	tests := []struct {
		name     string
		allowed  []AllowedService
		bgp, bfd bool
	}{
		{"nothing listed", nil, true, true},
		{"empty list", []AllowedService{}, false, false},
		{"number", port("tcp", intstr.FromInt32(179)), true, false},
		{"port as a string", port("TCP", intstr.FromString("179")), true, false},
		{"name", port("tcp", intstr.FromString("bgp")), true, false},
		{"BFD by name", port("udp", intstr.FromString("BFD")), false, true},
		{"any port of UDP", port("udp", intstr.FromInt32(0)), false, true},
		{"any", port("any", intstr.FromString("any")), true, true},
		{"echo only", port("icmp", intstr.FromInt32(0)), false, false},
		{"unknown protocol", port("ospf", intstr.FromInt32(0)), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &VLANSpec{Allowed: tt.allowed}
			if got := s.Allows(corev1.ProtocolTCP, PortBGP); got != tt.bgp {
				t.Errorf("BGP %v", got)
			}
			if got := s.Allows(corev1.ProtocolUDP, PortBFD); got != tt.bfd {
				t.Errorf("BFD %v", got)
			}
		})
	}
}

func TestSnatpoolAddresses(t *testing.T) {
	pool := func(shared bool) *F5SPKSnatpool {
		a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
		return &F5SPKSnatpool{Spec: SnatpoolSpec{AddressList: AddressList{{a}, {b, c}, {b}}, SharedSnatAddressEnabled: shared}}
	}
	tests := []struct {
		name   string
		shared bool
		index  int
		want   int
	}{
		{"first", false, 0, 1}, {"second", false, 1, 2}, {"beyond", false, 3, 0}, {"shared", true, 7, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := pool(tt.shared).Addresses(tt.index); len(got) != tt.want {
				t.Errorf("%v", got)
			}
		})
	}
}
