package dataplane

import "net/netip"

// nat64Cases: connections that leave as the other family (RFC 7915, RFC 6146). Hosts with a 4 or
// a 6 behind their names are of that family whatever the case's; nat64 and nat46 stand for the
// client.
func nat64Cases() []packetCase {
	families := func(s *State) {
		for i := range s.Egresses {
			s.Egresses[i].NAT64 = netip.MustParsePrefix("64:ff9b::/96")
			s.Egresses[i].NAT46 = netip.MustParsePrefix("10.2.2.0/24")
		}
	}
	six := func(name, script string) packetCase {
		return packetCase{name: name, only: "6", state: families, script: script}
	}
	four := func(name, script string) packetCase {
		return packetCase{name: name, only: "4", state: families, script: script}
	}
	return []packetCase{
		six("tcp to IPv4", `
			pod> tcp pod:50001 > nat64:443 S; tc: client< tcp outside4:$p > client4:443 S
			client> tcp client4:443 > outside4:$p SA; tc: pod< tcp nat64:443 > pod:50001 SA
			pod> tcp pod:50001 > nat64:443 A len 1000; tc: client< tcp outside4:$p > client4:443 A len 1000
			client> tcp client4:443 > outside4:$p PA len 1300 df; tc: pod< tcp nat64:443 > pod:50001 PA len 1300; conns 1`),
		six("udp to IPv4", `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53
			client> udp client4:53 > outside4:$p len 700; tc: pod< udp nat64:53 > pod:50001 len 700`),
		six("ping to IPv4", `
			pod> echo pod > nat64 id 7 seq 1; tc: client< echo outside4 > client4 id $p seq 1
			client> echo-reply client4 > outside4 id $p seq 1; tc: pod< echo-reply nat64 > pod id 7 seq 1`),
		six("long packets may not be cut", `
			pod> udp pod:50001 > nat64:53 len 1232; tc: client< udp outside4:$p > client4:53 len 1232
			pod> udp pod:50001 > nat64:53 len 1233; tc: client< udp outside4:$p > client4:53 len 1233 df`),
		six("by a SNAT pool", `
			pod> tcp pooled:50001 > nat64:443 S; tc: client< tcp @s:$p > client4:443 S
			client> tcp client4:443 > @s:$p SA; tc: pod< tcp nat64:443 > pooled:50001 SA`),
		six("traffic class stays", `
			pod> udp pod:50001 > nat64:53 tos 0xb9; tc: client< udp outside4:$p > client4:53 tos 0xb9
			client> udp client4:53 > outside4:$p tos 0x2a; tc: pod< udp nat64:53 > pod:50001 tos 0x2a`),
		six("hop limit", `pod> udp pod:50001 > nat64:53 ttl 2; tc: client< udp outside4:$p > client4:53 ttl 1`),
		six("extension headers go", `pod> udp pod:50001 > nat64:53 ext hop,dst; tc: client< udp outside4:$p > client4:53`),
		six("options go", `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53
			client> udp client4:53 > outside4:$p opt rr; tc: pod< udp nat64:53 > pod:50001`),
		six("fragments to IPv4", `
			pod> udp pod:50001 > nat64:53 len 200 ipid 9 part 0-104; tc: client< udp outside4:$p > client4:53 len 200 ipid 9 part 0-104
			pod> udp pod:50001 > nat64:53 len 200 ipid 9 part 104-208; tc: client< udp outside4:$p > client4:53 len 200 ipid 9 part 104-208`),
		six("fragments from IPv4", `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53
			client> udp client4:53 > outside4:$p len 200 ipid 9 part 0-104; tc: pod< udp nat64:53 > pod:50001 len 200 ipid 9 part 0-104
			client> udp client4:53 > outside4:$p len 200 ipid 9 part 104-208; tc: pod< udp nat64:53 > pod:50001 len 200 ipid 9 part 104-208`),
		{name: "no checksum cannot be said in IPv6", only: "6", state: families, cut: true, script: `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53
			client> udp client4:53 > outside4:$p nosum; tc: drop nat64`},
		six("no flow", `pod> tcp pod:50001 > nat64:443 A; drop no_flow`),
		six("from outside", `client> tcp client:50001 > nat64:443 S; drop not_permitted`),
		six("a pod that may not leave", `pod> tcp jailed:50001 > nat64:443 S; drop not_permitted`),
		four("tcp to IPv6", `
			pod> tcp pod:50001 > nat46:443 S; tc: client< tcp outside6:$p > client6:443 S
			client> tcp client6:443 > outside6:$p SA; tc: pod< tcp nat46:443 > pod:50001 SA
			pod> tcp pod:50001 > nat46:443 A len 1000 df; tc: client< tcp outside6:$p > client6:443 A len 1000`),
		four("udp to IPv6", `
			pod> udp pod:50001 > nat46:53; tc: client< udp outside6:$p > client6:53
			client> udp client6:53 > outside6:$p len 700; tc: pod< udp nat46:53 > pod:50001 len 700`),
		four("ping to IPv6", `
			pod> echo pod > nat46 id 7 seq 1; tc: client< echo outside6 > client6 id $p seq 1
			client> echo-reply client6 > outside6 id $p seq 1; tc: pod< echo-reply nat46 > pod id 7 seq 1`),
		four("fragments to IPv6", `
			pod> udp pod:50001 > nat46:53 len 200 ipid 9 part 0-104; tc: client< udp outside6:$p > client6:53 len 200 ipid 9 part 0-104
			pod> udp pod:50001 > nat46:53 len 200 ipid 9 part 104-208; tc: client< udp outside6:$p > client6:53 len 200 ipid 9 part 104-208`),
		four("an address that stands for nothing is itself", `pod> udp pod:50001 > nobody46:53; client< udp outside:$p > nobody46:53`),
	}
}
