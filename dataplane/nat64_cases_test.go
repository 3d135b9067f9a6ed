package dataplane

import "net/netip"

// families has every egress change them.
func families(s *State) {
	for i := range s.Egresses {
		s.Egresses[i].NAT64 = netip.MustParsePrefix("64:ff9b::/96")
		s.Egresses[i].NAT46 = netip.MustParsePrefix("10.2.2.0/24")
	}
}

// fromIPv6 and fromIPv4 are cases of pods with that family.
func fromIPv6(name, script string) packetCase {
	return packetCase{name: name, only: "6", state: families, script: script}
}

func fromIPv4(name, script string) packetCase {
	return packetCase{name: name, only: "4", state: families, script: script}
}

// nat64Cases: connections that leave as the other family (RFC 7915, RFC 6146). Hosts with a 4 or
// a 6 behind their names are of that family whatever the case's; nat64 and nat46 stand for the
// client.
func nat64Cases() []packetCase {
	six, four := fromIPv6, fromIPv4
	return []packetCase{
		six("tcp to IPv4", `
			pod> tcp pod:50001 > nat64:443 S; tc: client< tcp outside4:$p > client4:443 S ipid $i
			client> tcp client4:443 > outside4:$p SA; tc: pod< tcp nat64:443 > pod:50001 SA
			pod> tcp pod:50001 > nat64:443 A len 1000; tc: client< tcp outside4:$p > client4:443 A len 1000 ipid $i
			client> tcp client4:443 > outside4:$p PA len 1300 df; tc: pod< tcp nat64:443 > pod:50001 PA len 1300; conns 1`),
		six("udp to IPv4", `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53 ipid $i
			client> udp client4:53 > outside4:$p len 700; tc: pod< udp nat64:53 > pod:50001 len 700`),
		six("ping to IPv4", `
			pod> echo pod > nat64 id 7 seq 1; tc: client< echo outside4 > client4 id $p seq 1 ipid $i
			client> echo-reply client4 > outside4 id $p seq 1; tc: pod< echo-reply nat64 > pod id 7 seq 1`),
		six("long packets may not be cut", `
			pod> udp pod:50001 > nat64:53 len 1232; tc: client< udp outside4:$p > client4:53 len 1232 ipid $i
			pod> udp pod:50001 > nat64:53 len 1233; tc: client< udp outside4:$p > client4:53 len 1233 df`),
		six("by a SNAT pool", `
			pod> tcp pooled:50001 > nat64:443 S; tc: client< tcp @s:$p > client4:443 S ipid $i
			client> tcp client4:443 > @s:$p SA; tc: pod< tcp nat64:443 > pooled:50001 SA`),
		six("traffic class stays", `
			pod> udp pod:50001 > nat64:53 tos 0xb9; tc: client< udp outside4:$p > client4:53 tos 0xb9 ipid $i
			client> udp client4:53 > outside4:$p tos 0x2a; tc: pod< udp nat64:53 > pod:50001 tos 0x2a`),
		six("hop limit", `pod> udp pod:50001 > nat64:53 ttl 2; tc: client< udp outside4:$p > client4:53 ttl 1 ipid $i`),
		six("extension headers go", `pod> udp pod:50001 > nat64:53 ext hop,dst; tc: client< udp outside4:$p > client4:53 ipid $i`),
		six("options go", `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53 ipid $i
			client> udp client4:53 > outside4:$p opt rr; tc: pod< udp nat64:53 > pod:50001`),
		six("fragments to IPv4", `
			pod> udp pod:50001 > nat64:53 len 200 ipid 9 part 0-104; tc: client< udp outside4:$p > client4:53 len 200 ipid 9 part 0-104
			pod> udp pod:50001 > nat64:53 len 200 ipid 9 part 104-208; tc: client< udp outside4:$p > client4:53 len 200 ipid 9 part 104-208`),
		six("fragments from IPv4", `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53 ipid $i
			client> udp client4:53 > outside4:$p len 200 ipid 9 part 0-104; tc: pod< udp nat64:53 > pod:50001 len 200 ipid 9 part 0-104
			client> udp client4:53 > outside4:$p len 200 ipid 9 part 104-208; tc: pod< udp nat64:53 > pod:50001 len 200 ipid 9 part 104-208`),
		{name: "no checksum cannot be said in IPv6", only: "6", state: families, cut: true, script: `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53 ipid $i
			client> udp client4:53 > outside4:$p nosum; tc: drop nat64`},
		{name: "segments with options that fit the way to IPv4", only: "6", state: families, front: "tc", script: `
			pod> tcp pod:50001 > narrow64:443 S; tc: client< tcp outside4:$p > narrow4:443 S ipid $i
			pod> tcp pod:50001 > narrow64:443 A tcpopt len 3000 gso 1340; tc: client< tcp outside4:$p > narrow4:443 A tcpopt len 3000 df`},
		{name: "segments with options too big for the way to IPv4", only: "6", state: families, cut: true, script: `
			pod> tcp pod:50001 > narrow64:443 S; tc: client< tcp outside4:$p > narrow4:443 S ipid $i
			pod> tcp pod:50001 > narrow64:443 A tcpopt len 3000 gso 1345; tc: pod< too-big inside > pod tos 0xc0 ttl 64 mtu 1420 cut 1232 about tcp pod:50001 > narrow64:443 A tcpopt len 3000`},
		{name: "datagrams in one", only: "6", state: families, front: "tc", script: `
			pod> udp pod:50001 > narrow64:53 len 3000 gso 1372; tc: client< udp outside4:$p > narrow4:53 len 3000 df`},
		{name: "datagrams in one too big for the way to IPv4", only: "6", state: families, cut: true, script: `
			pod> udp pod:50001 > narrow64:53 len 3000 gso 1373; tc: pod< too-big inside > pod tos 0xc0 ttl 64 mtu 1420 cut 1232 about udp pod:50001 > narrow64:53 len 3000`},
		six("sctp to IPv4", `
			pod> sctp pod:50001 > nat64:80 INIT len 16; tc: client< sctp outside4:$p > client4:80 INIT len 16 ipid $i
			client> sctp client4:80 > outside4:$p INIT-ACK len 20; tc: pod< sctp nat64:80 > pod:50001 INIT-ACK len 20`),
		six("no way to IPv4", `
			pod> tcp pod:50001 > lost64:443 S; tc: pod< unreachable inside > pod tos 0xc0 ttl 64 code 0 about tcp pod:50001 > lost64:443 S`),
		six("last hop before IPv4", `
			pod> udp pod:50001 > nat64:53 ttl 1; tc: pod< time-exceeded inside > pod tos 0xc0 ttl 64 code 0 about udp pod:50001 > nat64:53 ttl 1`),
		six("a narrow way to IPv4", `
			pod> udp pod:50001 > narrow64:53 len 1372; tc: client< udp outside4:$p > narrow4:53 len 1372 df`),
		{name: "too big for the way to IPv4", only: "6", state: families, cut: true, script: `
			pod> udp pod:50001 > narrow64:53 len 1373; tc: pod< too-big inside > pod tos 0xc0 ttl 64 mtu 1420 cut 1232 about udp pod:50001 > narrow64:53 len 1373`},
		{name: "segments too big for the way to IPv4", only: "6", state: families, cut: true, script: `
			pod> tcp pod:50001 > narrow64:443 S; tc: client< tcp outside4:$p > narrow4:443 S ipid $i
			pod> tcp pod:50001 > narrow64:443 A len 3000 gso 1361; tc: pod< too-big inside > pod tos 0xc0 ttl 64 mtu 1420 cut 1232 about tcp pod:50001 > narrow64:443 A len 3000`},
		six("no flow", `pod> tcp pod:50001 > nat64:443 A; drop no_flow`),
		six("from outside", `client> tcp client:50001 > nat64:443 S; drop not_permitted`),
		six("a pod that may not leave", `pod> tcp jailed:50001 > nat64:443 S; drop not_permitted`),
		four("tcp to IPv6", `
			pod> tcp pod:50001 > nat46:443 S; tc: client< tcp outside6:$p > client6:443 S
			client> tcp client6:443 > outside6:$p SA; tc: pod< tcp nat46:443 > pod:50001 SA ipid $i
			pod> tcp pod:50001 > nat46:443 A len 1000 df; tc: client< tcp outside6:$p > client6:443 A len 1000`),
		four("udp to IPv6", `
			pod> udp pod:50001 > nat46:53; tc: client< udp outside6:$p > client6:53
			client> udp client6:53 > outside6:$p len 700; tc: pod< udp nat46:53 > pod:50001 len 700 ipid $i`),
		four("ping to IPv6", `
			pod> echo pod > nat46 id 7 seq 1; tc: client< echo outside6 > client6 id $p seq 1
			client> echo-reply client6 > outside6 id $p seq 1; tc: pod< echo-reply nat46 > pod id 7 seq 1 ipid $i`),
		four("pong of nothing but zeros", `
			pod> echo pod > nat46 id 0 seq 0 len 0; tc: client< echo outside6 > client6 id $p seq 0 len 0
			client> echo-reply client6 > outside6 id $p seq 0 len 0; tc: pod< echo-reply nat46 > pod id 0 seq 0 len 0 ipid $i`),
		four("fragments to IPv6", `
			pod> udp pod:50001 > nat46:53 len 200 ipid 9 part 0-104; tc: client< udp outside6:$p > client6:53 len 200 ipid 9 part 0-104
			pod> udp pod:50001 > nat46:53 len 200 ipid 9 part 104-208; tc: client< udp outside6:$p > client6:53 len 200 ipid 9 part 104-208`),
		four("no way to IPv6", `
			pod> tcp pod:50001 > lost46:443 S; tc: pod< unreachable inside > pod tos 0xc0 df ttl 64 code 1 about tcp pod:50001 > lost46:443 S`),
		four("a narrow way to IPv6", `
			pod> udp pod:50001 > narrow46:53 len 1352; tc: client< udp outside6:$p > narrow6:53 len 1352`),
		{name: "too big for the way to IPv6", only: "4", state: families, cut: true, script: `
			pod> udp pod:50001 > narrow46:53 len 1353 df; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1380 cut 548 about udp pod:50001 > narrow46:53 len 1353 df
			pod> udp pod:50001 > narrow46:53 len 1353; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1380 cut 548 about udp pod:50001 > narrow46:53 len 1353`},
		{name: "fragments too big for the way to IPv6", only: "4", state: families, cut: true, script: `
			pod> udp pod:50001 > narrow46:53 len 2000 ipid 9 part 0-1352; tc: client< udp outside6:$p > narrow6:53 len 2000 ipid 9 part 0-1352
			pod> udp pod:50001 > narrow46:53 len 2000 ipid 9 df part 0-1360; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1372 cut 548 about udp pod:50001 > narrow46:53 len 2000 ipid 9 df part 0-1360`},
		{name: "segments too big for the way to IPv6", only: "4", state: families, cut: true, script: `
			pod> tcp pod:50001 > narrow46:443 S; tc: client< tcp outside6:$p > narrow6:443 S
			pod> tcp pod:50001 > narrow46:443 A len 3000 df gso 1341; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1380 cut 548 about tcp pod:50001 > narrow46:443 A len 3000 df`},
		four("sctp to IPv6", `
			pod> sctp pod:50001 > nat46:80 INIT len 16; tc: client< sctp outside6:$p > client6:80 INIT len 16
			client> sctp client6:80 > outside6:$p INIT-ACK len 20; tc: pod< sctp nat46:80 > pod:50001 INIT-ACK len 20 ipid $i`),
		four("an address that stands for nothing is itself", `pod> udp pod:50001 > nobody46:53; client< udp outside:$p > nobody46:53`),
	}
}
