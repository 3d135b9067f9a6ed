package flow

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/evidence"
)

// TestTold: of BGP both ends and nothing between them, of traffic the first packet each way at a TMM.
func TestTold(t *testing.T) {
	keepalive := []byte(strings.Repeat("\xff", 16) + "\x00\x13\x04")
	at := func(point string, out bool, protocol uint8, src, dst string, payload []byte) evidence.Packet {
		node, link, _ := strings.Cut(point, "/")
		return evidence.Packet{Point: evidence.Point{Node: node, Interface: link}, Out: out, Protocol: protocol,
			Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Payload: payload}
	}
	const speaker, peer, client, vip = "198.51.100.16:40000", "198.51.100.1:179", "203.0.113.10:5000", "192.0.2.12:5300"
	trace := &evidence.Trace{Packets: []evidence.Packet{
		at("tmm/net2", true, evidence.ProtoTCP, speaker, peer, keepalive),
		at("worker/ens256", true, evidence.ProtoTCP, speaker, peer, keepalive),
		at("upstream/eth0", false, evidence.ProtoTCP, speaker, peer, keepalive),
		{Point: evidence.Point{Node: "tmm", Interface: "net2"}}, // no IP packet
		at("tmm/net2", false, evidence.ProtoUDP, "[fe80::1]:1", "[fe80::2]:2", nil),
		at("client/eth0", true, evidence.ProtoUDP, client, vip, nil),
		at("tmm/net2", false, evidence.ProtoUDP, client, vip, nil),
		at("tmm/net1", true, evidence.ProtoUDP, client, vip, nil),
		at("tmm/net2", false, evidence.ProtoUDP, client, vip, nil), // the second one
	}}
	var got []string
	for _, e := range told(trace, Network{TMMs: []TMM{{Name: "tmm"}}, Clients: []Client{{Name: "client", Router: "upstream"}}}) {
		got = append(got, fmt.Sprintf("%s %s %s", e.Source, e.Kind, e.Object))
	}
	want := []string{"tmm bgp-sent keepalive", "upstream bgp-received keepalive", "tmm first-packet-in net2", "tmm first-packet-out net1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
