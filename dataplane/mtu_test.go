package dataplane

import "testing"

// interfaceMTU is that of the external interface in TestInterfaceMTU, in bytes.
const interfaceMTU = 1400

// TestInterfaceMTU: no packet that is longer than the MTU of the interface that it leaves by is redirected there.
// For tagged VLANs that is the interface below their device, whose own MTU is larger here.
func TestInterfaceMTU(t *testing.T) {
	for _, front := range append(frontEnds(), frontEnd{"tc", FrontendAuto, true}) {
		name := front.name
		if front.tagged {
			name += " tagged"
		}
		t.Run(name, func(t *testing.T) {
			r := newRigAt(t, tableState(), front)
			must(t, r.ns.links.LinkSetMTU(r.ns.link(t, "net2"), interfaceMTU))
			r.ns.route(t, "203.0.113.99/32", "198.51.100.9") // a neighbour that nobody knows yet
			r.ns.route(t, "2001:db8:113::99/128", "2001:db8:51::9")
			r.runTable(t, interfaceMTUCases())
		})
	}
}

func interfaceMTUCases() []packetCase {
	return []packetCase{
		{name: "fragmentation needed", cut: true, only: "4", script: `
			pod> udp pod:40001 > client:53 len 1373 df; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1400 cut 548 about udp pod:40001 > client:53 len 1373 df; count icmp_sent
			pod> udp pod:40001 > client:53 len 1372 df; client< udp outside:$p > client:53 len 1372 df`},
		{name: "packet too big", cut: true, only: "6", script: `
			pod> udp pod:40001 > client:53 len 1353; tc: pod< too-big inside > pod tos 0xc0 ttl 64 mtu 1400 cut 1232 about udp pod:40001 > client:53 len 1353; count icmp_sent
			pod> udp pod:40001 > client:53 len 1352; client< udp outside:$p > client:53 len 1352`},
		{name: "of an established connection", cut: true, only: "4", script: `
			pod> tcp pod:40001 > client:443 S; client< tcp outside:$p > client:443 S
			client> tcp client:443 > outside:$p SA; pod< tcp client:443 > pod:40001 SA
			pod> tcp pod:40001 > client:443 A len 1360 df; client< tcp outside:$p > client:443 A len 1360 df; conns 1
			pod> tcp pod:40001 > client:443 A len 1361 df; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1400 cut 548 about tcp pod:40001 > client:443 A len 1361 df
			client> tcp client:443 > outside:$p A len 3000 df; pod< tcp client:443 > pod:40001 A len 3000 df`},
		{name: "segments too big", cut: true, only: "4", script: `
			pod> tcp pod:40001 > client:443 S; client< tcp outside:$p > client:443 S
			pod> tcp pod:40001 > client:443 A len 3000 df gso 1400; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1400 cut 548 about tcp pod:40001 > client:443 A len 3000 df`},
		{name: "segments that fit", front: "tc", script: `
			pod> tcp pod:40001 > client:443 S; client< tcp outside:$p > client:443 S
			pod> tcp pod:40001 > client:443 A len 3000 gso 1300; client< tcp outside:$p > client:443 A len 3000`},
		{name: "to an unknown neighbour", cut: true, only: "4", script: `
			pod> udp pod:40001 > 203.0.113.99:53 len 1373 df; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1400 cut 548 about udp pod:40001 > 203.0.113.99:53 len 1373 df`},
		{name: "to an unknown neighbour over IPv6", cut: true, only: "6", script: `
			pod> udp pod:40001 > [2001:db8:113::99]:53 len 1353; tc: pod< too-big inside > pod tos 0xc0 ttl 64 mtu 1400 cut 1232 about udp pod:40001 > [2001:db8:113::99]:53 len 1353`},
	}
}
