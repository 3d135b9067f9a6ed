package dataplane

// onePort leaves the addresses of the pool two ports each.
func twoPorts(s *State) { s.SNATPools[0].PortMin, s.SNATPools[0].PortMax = 20000, 20001 }

// snatPoolCases: sources that are translated to the addresses of a pool.
func snatPoolCases() []packetCase {
	const taken = `
		pod> udp pooled:50001 > client:53; client< udp @s1:$q1 > client:53
		pod> udp pooled:50001 > client:53; client< udp @s1:$q1 > client:53
		pod> udp pooled:50002 > client:53; client< udp @s2:$q2 > client:53
		pod> udp pooled:50002 > client:53; client< udp @s2:$q2 > client:53
		pod> udp pooled:50003 > client:53; client< udp @s3:$q3 > client:53
		pod> udp pooled:50003 > client:53; client< udp @s3:$q3 > client:53
		pod> udp pooled:50004 > client:53; client< udp @s4:$q4 > client:53
		pod> udp pooled:50004 > client:53; client< udp @s4:$q4 > client:53; conns 4;`
	return []packetCase{
		{name: "tcp to a virtual server", script: `
			client> tcp client:40001 > pool:80 S; pod< tcp @s:$p > pod:8080 S
			pod> tcp pod:8080 > @s:$p SA; client< tcp pool:80 > client:40001 SA
			client> tcp client:40001 > pool:80 A; pod< tcp @s:$p > pod:8080 A; conns 1`},
		{name: "udp to a virtual server", script: `
			client> udp client:40001 > pool:53; pod< udp @s:$p > pod:5300
			pod> udp pod:5300 > @s:$p; client< udp pool:53 > client:40001; conns 1`},
		{name: "egress tcp", script: `
			pod> tcp pooled:50001 > client:443 S; client< tcp @s:$p > client:443 S
			client> tcp client:443 > @s:$p SA; pod< tcp client:443 > pooled:50001 SA
			pod> tcp pooled:50001 > client:443 A; client< tcp @s:$p > client:443 A; conns 1`},
		{name: "egress udp", script: `
			pod> udp pooled:50001 > client:53; client< udp @s:$p > client:53
			client> udp client:53 > @s:$p; pod< udp client:53 > pooled:50001; conns 1`},
		{name: "one client, one address", script: `
			pod> udp pooled:50001 > client:53; client< udp @s:$p1 > client:53
			pod> udp pooled:50002 > client:53; client< udp @s:$p2 > client:53
			pod> udp pooled:50003 > client2:53; client< udp @s:$p3 > client2:53`},
		{name: "ports of the pool", state: twoPorts, script: `
			pod> udp pooled:50001 > client:53; client< udp @s:$q > client:53
			client> udp client:53 > @s:$q; pod< udp client:53 > pooled:50001`},
		{name: "the next address when ports run out", state: twoPorts, script: taken + `
			client> udp client:53 > @s1:$q1; pod< udp client:53 > pooled:50001
			client> udp client:53 > @s2:$q2; pod< udp client:53 > pooled:50002
			client> udp client:53 > @s3:$q3; pod< udp client:53 > pooled:50003
			client> udp client:53 > @s4:$q4; pod< udp client:53 > pooled:50004; conns 4`},
		{name: "every port of every address is taken", state: twoPorts, script: taken + `
			pod> udp pooled:50005 > client:53; drop ports_exhausted
			pod> udp pooled:50001 > client:53; client< udp @s1:$q1 > client:53`},
		{name: "a flow that has only begun holds no port against others", state: twoPorts, script: taken + `
			client> udp client:53 > @s1:$q1; pod< udp client:53 > pooled:50001
			pod> udp pooled:50001 > client2:53; client< udp @s5:$q5 > client2:53; pod> udp pooled:50002 > client2:53; client< udp @s6:$q6 > client2:53
			pod> udp pooled:50003 > client2:53; client< udp @s7:$q7 > client2:53; pod> udp pooled:50004 > client2:53; client< udp @s8:$q8 > client2:53
			pod> udp pooled:50005 > client2:53; client< udp @s9:$q9 > client2:53; conns 4
			client> udp client2:53 > @s9:$q9; pod< udp client2:53 > pooled:50005; conns 5`, robs: true},
		{name: "taken for one server only", state: twoPorts, script: taken + `
			pod> udp pooled:50005 > client2:53; client< udp @s5:$q5 > client2:53`},
		{name: "free again after a while", state: twoPorts, script: taken + `after 63s
			pod> udp pooled:50005 > client:53; client< udp @s5:$q5 > client:53`},
		{name: "taken by another protocol", state: twoPorts, script: taken + `
			pod> tcp pooled:50005 > client:53 S; client< tcp @s5:$q5 > client:53 S`},
		{name: "no address of the family", only: "6", script: `pod> udp pooled:50001 > client:53; drop no_snat_pool`,
			state: func(s *State) { s.SNATPools[0].Addrs = s.SNATPools[0].Addrs[:2] }},
		{name: "no address of the family, but of the other one", only: "4", script: `pod> udp pooled:50001 > client:53; client< udp @s:$p > client:53`,
			state: func(s *State) { s.SNATPools[0].Addrs = s.SNATPools[0].Addrs[:2] }},
		{name: "no flow to a pool's address", script: `client> tcp client:443 > snat1:2000 SA; drop no_flow`},
		{name: "SYN to a pool's address", script: `client> tcp client:443 > snat1:2000 S; drop no_flow`},
		{name: "ping of a pool's address", script: `client> echo client > snat1 id 7 seq 1; drop no_flow`},
		{name: "fragments", script: `
			pod> udp pooled:50001 > client:53 len 200 ipid 9 part 0-104; client< udp @s:$p > client:53 len 200 ipid 9 part 0-104
			pod> udp pooled:50001 > client:53 len 200 ipid 9 part 104-208; client< udp @s:$p > client:53 len 200 ipid 9 part 104-208`},
		{name: "hairpin", script: `
			pod> tcp pod3:50001 > pool:80 S; pod< tcp @s:$p > pod:8080 S
			pod> tcp pod:8080 > @s:$p SA; pod< tcp pool:80 > pod3:50001 SA`},
	}
}

// servicesCases: what the TMM itself accepts on an interface.
func servicesCases() []packetCase {
	guard := func(allowed ...Service) func(*State) {
		return func(s *State) { s.Services = []Services{{Interface: "1.2", Allowed: allowed}} }
	}
	bgp := guard(Service{TCP, 179}, Service{UDP, 3784})
	return []packetCase{
		{name: "listed", state: bgp, script: `client> tcp router:40000 > outside:179 S; tc: kernel`},
		{name: "listed, udp", state: bgp, script: `client> udp router:49152 > outside:3784 ttl 255; tc: kernel`},
		{name: "not listed", state: bgp, script: `client> tcp client:40000 > outside:22 S; drop not_allowed`},
		{name: "listed for the other protocol", state: bgp, script: `client> udp router:40000 > outside:179; drop not_allowed`},
		{name: "none", state: guard(), script: `client> tcp router:40000 > outside:179 S; drop not_allowed`},
		{name: "every port", state: guard(Service{TCP, 0}), script: `
			client> tcp client:40000 > outside:22 S; tc: kernel; client> udp client:40000 > outside:53; drop not_allowed`},
		{name: "another interface", state: bgp, script: `pod> tcp pod:40000 > inside:22 S; tc: kernel`},
		{name: "an answer", state: guard(), script: `client> tcp router:179 > outside:40000 SA; tc: kernel`},
		{name: "a datagram's answer", state: guard(), script: `client> udp router:53 > outside:40000; tc: kernel`},
		{name: "ping", state: guard(), script: `client> echo client > outside id 7 seq 1; tc: kernel`},
		{name: "echo reply", state: guard(), script: `client> echo-reply client > outside id 7 seq 1; tc: kernel`},
		{name: "other protocol", state: guard(), script: `client> proto-89 router > outside; drop not_allowed`},
		{name: "multicast", state: guard(), script: `client> udp router:646 > all:646 ttl 1; tc: kernel`},
		{name: "virtual servers are no service", state: guard(), script: `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S`},
		{name: "answers to egress are no service", state: guard(), script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p > client:443 S
			client> tcp client:443 > outside:$p SA; pod< tcp client:443 > pod:50001 SA`},
	}
}
