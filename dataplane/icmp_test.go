package dataplane

// translatedCases: ICMP errors about packets of flows.
func translatedCases() []packetCase {
	const (
		in = `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			pod> tcp pod:8080 > inside:$p SA; client< tcp web:80 > client:40001 SA; `
		udp    = `client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300; `
		direct = `client> udp client:40001 > nosnat:53; pod< udp client:40001 > pod:5300; `
		out    = `pod> udp pod:40001 > client:53; client< udp outside:$p > client:53; `
	)
	another := func(s *State) { s.VirtualServers = s.VirtualServers[1:] }
	return []packetCase{
		{name: "of the member's port", script: udp + `
			pod> unreachable pod > inside code 3 about udp inside:$p > pod:5300; tc: client< unreachable web > client code 3 about udp client:40001 > web:53; count icmp_translated`},
		{name: "of a router inside", script: in + `
			pod> unreachable node > inside code 1 about tcp inside:$p > pod:8080 A; tc: client< unreachable node > client code 1 about tcp client:40001 > web:80 A`},
		{name: "of the client", script: udp + `
			pod> udp pod:5300 > inside:$p; client< udp web:53 > client:40001
			client> unreachable client > web code 3 about udp web:53 > client:40001; tc: pod< unreachable inside > pod code 3 about udp pod:5300 > inside:$p`},
		{name: "of a router outside, with an MTU", script: in + `
			client> too-big hop > web mtu 1400 about tcp web:80 > client:40001 A len 1300; tc: pod< too-big hop > pod mtu 1400 about tcp pod:8080 > inside:$p A len 1300; conns 0
			client> tcp client:40001 > web:80 A; pod< tcp inside:$p > pod:8080 A
			client> too-big hop > web mtu 1400 about tcp web:80 > client:40001 A; tc: pod< too-big hop > pod mtu 1400 about tcp pod:8080 > inside:$p A; conns 1`},
		{name: "without translated sources", script: direct + `
			pod> unreachable pod > client code 3 about udp client:40001 > pod:5300; tc: client< unreachable nosnat > client code 3 about udp client:40001 > nosnat:53
			client> unreachable hop > nosnat code 1 about udp nosnat:53 > client:40001; tc: pod< unreachable hop > pod code 1 about udp pod:5300 > client:40001`},
		{name: "egress", script: out + `
			client> unreachable hop > outside code 1 about udp outside:$p > client:53; tc: pod< unreachable hop > pod code 1 about udp pod:40001 > client:53
			client> unreachable client > outside code 3 about udp outside:$p > client:53; tc: pod< unreachable client > pod code 3 about udp pod:40001 > client:53
			client> udp client:53 > outside:$p; pod< udp client:53 > pod:40001
			pod> unreachable pod > client code 3 about udp client:53 > pod:40001; tc: client< unreachable outside > client code 3 about udp client:53 > outside:$p`},
		{name: "egress as itself", script: `
			pod> udp plain:40001 > client:53; client< udp plain:40001 > client:53
			client> unreachable hop > plain code 1 about udp plain:40001 > client:53; tc: pod< unreachable hop > plain code 1 about udp plain:40001 > client:53`},
		{name: "time exceeded about a ping", script: `
			pod> echo pod > client id 7 seq 1; client< echo outside > client id $p seq 1
			client> time-exceeded hop > outside code 0 about echo outside > client id $p seq 1 ttl 1; tc: pod< time-exceeded hop > pod code 0 about echo pod > client id 7 seq 1 ttl 1`},
		{name: "unreachable about a pong", script: `
			pod> echo pod > client id 7 seq 1; client< echo outside > client id $p seq 1
			client> echo-reply client > outside id $p seq 1; pod< echo-reply client > pod id 7 seq 1
			pod> unreachable node > client code 1 about echo-reply client > pod id 7 seq 1; tc: client< unreachable node > client code 1 about echo-reply client > outside id $p seq 1`},
		{name: "parameter problem", script: udp + `
			pod> parameter pod > inside pointer 1 code 0 about udp inside:$p > pod:5300; tc: client< parameter web > client pointer 1 code 0 about udp client:40001 > web:53`},
		{name: "quoting as little as may be", only: "4", script: in + `
			client> too-big hop > web mtu 1400 cut 28 about tcp web:80 > client:40001 A; tc: pod< too-big hop > pod mtu 1400 cut 28 about tcp pod:8080 > inside:$p A`},
		{name: "quoting as little as may be over IPv6", only: "6", script: in + `
			client> too-big hop > web mtu 1400 cut 48 about tcp web:80 > client:40001 A; tc: pod< too-big hop > pod mtu 1400 cut 48 about tcp pod:8080 > inside:$p A`},
		{name: "quoting too little", only: "4", script: in + `
			client> too-big hop > web mtu 1400 cut 27 about tcp web:80 > client:40001 A; tc: drop icmp_error`},
		{name: "quoting too little over IPv6", only: "6", script: in + `
			client> too-big hop > web mtu 1400 cut 47 about tcp web:80 > client:40001 A; tc: drop icmp_error`},
		{name: "quoting up to the checksum", only: "4", script: in + `
			client> too-big hop > web mtu 1400 cut 36 about tcp web:80 > client:40001 A; tc: pod< too-big hop > pod mtu 1400 cut 36 about tcp pod:8080 > inside:$p A`},
		{name: "quoting an odd length", script: in + `
			client> too-big hop > web mtu 1400 cut 61 about tcp web:80 > client:40001 A len 200; tc: pod< too-big hop > pod mtu 1400 cut 61 about tcp pod:8080 > inside:$p A len 200`},
		{name: "about a datagram without a checksum", only: "4", script: udp + `
			pod> unreachable pod > inside code 3 about udp inside:$p > pod:5300 nosum; tc: client< unreachable web > client code 3 about udp client:40001 > web:53 nosum`},
		{name: "about options", only: "4", script: udp + `
			pod> unreachable pod > inside code 3 about udp inside:$p > pod:5300 opt rr; tc: client< unreachable web > client code 3 about udp client:40001 > web:53 opt rr`},
		{name: "about extension headers", only: "6", script: udp + `
			pod> unreachable pod > inside code 4 about udp inside:$p > pod:5300 ext hop,dst,route; tc: client< unreachable web > client code 4 about udp client:40001 > web:53 ext hop,dst,route`},
		{name: "with options of its own", only: "4", script: udp + `
			pod> unreachable pod > inside code 3 opt ra about udp inside:$p > pod:5300; tc: client< unreachable web > client code 3 opt ra about udp client:40001 > web:53`},
		{name: "with extension headers of its own", only: "6", script: udp + `
			pod> unreachable pod > inside code 4 ext hop about udp inside:$p > pod:5300; tc: client< unreachable web > client code 4 ext hop about udp client:40001 > web:53`},
		{name: "about the first fragment", script: udp + `
			pod> time-exceeded pod > inside code 1 about udp inside:$p > pod:5300 len 200 ipid 9 part 0-104; tc: client< time-exceeded web > client code 1 about udp client:40001 > web:53 len 200 ipid 9 part 0-104`},
		{name: "about a later fragment", script: udp + `
			pod> time-exceeded pod > inside code 1 about udp inside:$p > pod:5300 len 200 ipid 9 part 104-208; tc: kernel
			client> udp client:40002 > nosnat:53; pod< udp client:40002 > pod:5300
			pod> time-exceeded pod > client code 1 about udp client:40002 > pod:5300 len 200 ipid 9 part 104-208; tc: drop icmp_error`},
		{name: "about SCTP", script: `
			client> sctp client:40001 > web:80 INIT len 16; pod< sctp inside:$p > pod:8080 INIT len 16
			pod> unreachable pod > inside code 2 about sctp inside:$p > pod:8080 INIT len 16; tc: client< unreachable web > client code 2 about sctp client:40001 > web:80 INIT len 16`},
		{name: "about SCTP, cut behind the checksum", script: `
			client> sctp client:40001 > web:80 INIT len 160; pod< sctp inside:$p > pod:8080 INIT len 160
			pod> unreachable pod > inside code 2 cut 53 about sctp inside:$p > pod:8080 INIT len 160; tc: client< unreachable web > client code 2 cut 53 about sctp client:40001 > web:80 INIT len 160`},
		{name: "when the way has to be found again", change: another, script: udp + `change
			pod> unreachable pod > inside code 3 about udp inside:$p > pod:5300; tc: client< unreachable web > client code 3 about udp client:40001 > web:53`},
		{name: "type of service stays", script: udp + `
			pod> unreachable pod > inside code 3 tos 0xc0 about udp inside:$p > pod:5300; tc: client< unreachable web > client code 3 tos 0xc0 about udp client:40001 > web:53`},
		{name: "at its last hop", script: direct + `
			pod> unreachable pod > client code 3 ttl 1 about udp client:40001 > pod:5300; tc: drop ttl_expired
			pod> unreachable pod > client code 3 ttl 2 about udp client:40001 > pod:5300; tc: client< unreachable nosnat > client code 3 ttl 1 about udp client:40001 > nosnat:53`},
		{name: "about no flow", script: `
			client> unreachable hop > web code 1 about tcp web:80 > client:40001 A; tc: drop icmp_error
			pod> unreachable node > client code 1 about tcp client:40001 > pod:8080 A; tc: drop icmp_error`},
		{name: "about a flow from the other side", script: udp + `
			pod> udp pod:5300 > inside:$p; client< udp web:53 > client:40001
			pod> unreachable hop > web code 1 about udp web:53 > client:40001; tc: drop icmp_error`},
		{name: "to who did not send what it is about", script: udp + `
			pod> udp pod:5300 > inside:$p; client< udp web:53 > client:40001
			client> unreachable hop > nosnat code 1 about udp web:53 > client:40001; tc: drop icmp_error`},
		{name: "about a packet of the TMM's own", script: `
			client> unreachable router > outside code 3 about udp outside:5000 > router:53; tc: kernel; count to_kernel`},
		{name: "in fragments", script: direct + `
			pod> unreachable pod > client code 3 ipid 9 part 0-48 about udp client:40001 > pod:5300 len 100; tc: drop icmp_error`},
		{name: "about an error", only: "4", script: `
			client> proto-1 client > web len 36; drop icmp`},
	}
}
