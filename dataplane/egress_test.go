package dataplane

// egressCases: connections of pods to the outside.
func egressCases() []packetCase {
	return []packetCase{
		{name: "tcp automap", script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p > client:443 S; count flows_started
			client> tcp client:443 > outside:$p SA; pod< tcp client:443 > pod:50001 SA
			pod> tcp pod:50001 > client:443 A; client< tcp outside:$p > client:443 A; conns 1
			client> tcp client:443 > outside:$p PA len 1400; pod< tcp client:443 > pod:50001 PA len 1400`},
		{name: "udp automap", script: `
			pod> udp pod:50001 > client:53; client< udp outside:$p > client:53
			client> udp client:53 > outside:$p len 512; pod< udp client:53 > pod:50001 len 512; conns 1`},
		{name: "tcp none", script: `
			pod> tcp plain:50001 > client:443 S; client< tcp plain:50001 > client:443 S
			client> tcp client:443 > plain:50001 SA; pod< tcp client:443 > plain:50001 SA
			pod> tcp plain:50001 > client:443 A; client< tcp plain:50001 > client:443 A; conns 1`},
		{name: "udp none", script: `
			pod> udp plain:50001 > client:53; client< udp plain:50001 > client:53
			client> udp client:53 > plain:50001; pod< udp client:53 > plain:50001`},
		{name: "udp without a checksum", only: "4", script: `
			pod> udp pod:50001 > client:53 nosum; client< udp outside:$p > client:53 nosum`},
		{name: "two pods with one port to one server", script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p1 > client:443 S
			pod> tcp pod2:50001 > client:443 S; client< tcp outside:$p2 > client:443 S
			client> tcp client:443 > outside:$p2 SA; pod< tcp client:443 > pod2:50001 SA
			client> tcp client:443 > outside:$p1 SA; pod< tcp client:443 > pod:50001 SA`},
		{name: "one pod to two servers", script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p1 > client:443 S
			pod> tcp pod:50001 > client2:443 S; client< tcp outside:$p2 > client2:443 S
			client> tcp client2:443 > outside:$p2 SA; pod< tcp client2:443 > pod:50001 SA`},
		{name: "DSCP and ECN stay", script: `
			pod> tcp pod:50001 > client:443 S tos 0x28; client< tcp outside:$p > client:443 S tos 0x28
			client> tcp client:443 > outside:$p SA tos 0x2b; pod< tcp client:443 > pod:50001 SA tos 0x2b`},
		{name: "SYN with options", script: `
			pod> tcp pod:50001 > client:443 S tcpopt len 0; client< tcp outside:$p > client:443 S tcpopt len 0`},
		{name: "hop limit 2", script: `
			pod> tcp pod:50001 > client:443 S ttl 2; client< tcp outside:$p > client:443 S ttl 1`},
		{name: "other server's answer", script: `
			pod> udp pod:50001 > client:53; client< udp outside:$p > client:53
			client> udp client2:53 > outside:$p; tc: kernel`},
		{name: "answer to another port", script: `
			pod> udp plain:50001 > client:53; client< udp plain:50001 > client:53
			client> udp client:53 > plain:50002; drop not_permitted`},
		{name: "answer by the wrong side", script: `
			pod> udp plain:50001 > client:53; client< udp plain:50001 > client:53
			pod> udp client:53 > plain:50001; drop not_permitted`},
		{name: "no flow", script: `pod> tcp pod:50001 > client:443 A; drop no_flow`},
		{name: "from outside", script: `client> tcp pod:50001 > client:443 S; drop not_permitted`},
		{name: "a pod that may not leave", script: `pod> tcp jailed:50001 > client:443 S; drop not_permitted`},
		{name: "to the inside", script: `pod> tcp pod:50001 > pod2:443 S; drop bad_interface`},
		{name: "idle", script: `
			pod> udp pod:50001 > client:53; client< udp outside:$p > client:53
			client> udp client:53 > outside:$p; pod< udp client:53 > pod:50001; after 50s; conns 1
			after 63s; conns 0; client> udp client:53 > outside:$p; tc: kernel`},
		{name: "no self-IP to leave by", state: func(s *State) { s.SelfIPs = s.SelfIPs[:2] },
			script: `pod> tcp pod:50001 > client:443 S; drop no_self_ip`},
		{name: "egress removed", change: func(s *State) { s.Egresses = s.Egresses[1:] }, script: `
			pod> udp pod:50001 > client:53; client< udp outside:$p > client:53
			client> udp client:53 > outside:$p; pod< udp client:53 > pod:50001; conns 1
			change; conns 0; pod> udp pod:50001 > client:53; drop not_permitted`},
		{name: "port of the kernel's own", script: `
			client> tcp client:443 > outside:40000 SA; tc: kernel`},
		{name: "closed at both ends", script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p > client:443 S
			client> tcp client:443 > outside:$p SA; pod< tcp client:443 > pod:50001 SA
			pod> tcp pod:50001 > client:443 FA; client< tcp outside:$p > client:443 FA
			client> tcp client:443 > outside:$p FA; pod< tcp client:443 > pod:50001 FA
			after 15s; conns 0; client> tcp client:443 > outside:$p A; tc: kernel`},
		{name: "port used again", script: `
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p > client:443 S
			client> tcp client:443 > outside:$p SA; pod< tcp client:443 > pod:50001 SA
			pod> tcp pod:50001 > client:443 FA; client< tcp outside:$p > client:443 FA
			pod> tcp pod:50001 > client:443 S; client< tcp outside:$p2 > client:443 S; count flows_replaced`},
	}
}

// hairpinCases: pods that reach virtual servers.
func hairpinCases() []packetCase {
	return []packetCase{
		{name: "automap", script: `
			pod> tcp pod3:50001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			pod> tcp pod:8080 > inside:$p SA; pod< tcp web:80 > pod3:50001 SA
			pod> tcp pod3:50001 > web:80 A; pod< tcp inside:$p > pod:8080 A; conns 1`},
		{name: "its own", script: `
			pod> tcp pod:50001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			pod> tcp pod:8080 > inside:$p SA; pod< tcp web:80 > pod:50001 SA
			pod> tcp pod:50001 > web:80 A; pod< tcp inside:$p > pod:8080 A; conns 1`},
		{name: "none: the answer must come by the TMM", script: `
			pod> tcp pod3:50001 > nosnat:80 S; pod< tcp inside:$p > pod:8080 S
			pod> tcp pod:8080 > inside:$p SA; pod< tcp nosnat:80 > pod3:50001 SA
			pod> tcp pod3:50001 > nosnat:80 A; pod< tcp inside:$p > pod:8080 A; conns 1`},
		{name: "its own, none", script: `
			pod> tcp pod:50001 > nosnat:80 S; pod< tcp inside:$p > pod:8080 S
			pod> tcp pod:8080 > inside:$p SA; pod< tcp nosnat:80 > pod:50001 SA`},
		{name: "udp", script: `
			pod> udp pod3:50001 > nosnat:53; pod< udp inside:$p > pod:5300
			pod> udp pod:5300 > inside:$p; pod< udp nosnat:53 > pod3:50001; conns 1`},
		{name: "a pod that may not leave", script: `
			pod> tcp jailed:50001 > web:80 S; pod< tcp inside:$p > pod:8080 S`},
		{name: "other port of a VIP", script: `pod> tcp pod3:50001 > web:81 S; drop no_virtual_server`},
	}
}
