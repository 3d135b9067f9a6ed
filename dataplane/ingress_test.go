package dataplane

// ingressCases: connections of clients to virtual servers.
func ingressCases() []packetCase {
	return []packetCase{
		{name: "tcp automap", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S; count flows_started
			pod> tcp pod:8080 > inside:$p SA; client< tcp web:80 > client:40001 SA
			client> tcp client:40001 > web:80 A; pod< tcp inside:$p > pod:8080 A; count flows_established
			client> tcp client:40001 > web:80 PA len 1000; pod< tcp inside:$p > pod:8080 PA len 1000
			pod> tcp pod:8080 > inside:$p A len 0; client< tcp web:80 > client:40001 A len 0; conns 1`},
		{name: "tcp none", script: `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S
			pod> tcp pod:8080 > client:40001 SA; client< tcp nosnat:80 > client:40001 SA
			client> tcp client:40001 > nosnat:80 A; pod< tcp client:40001 > pod:8080 A; conns 1`},
		{name: "tcp every port", script: `
			client> tcp client:40001 > every:1234 S; pod< tcp client:40001 > pod:1234 S
			pod> tcp pod:1234 > client:40001 SA; client< tcp every:1234 > client:40001 SA
			client> tcp client:40001 > every:1234 A; pod< tcp client:40001 > pod:1234 A`},
		{name: "a port of its own before every port", script: `
			client> tcp client:40001 > every:443 S; pod< tcp client:40001 > pod2:8443 S
			pod> tcp pod2:8443 > client:40001 SA; client< tcp every:443 > client:40001 SA`},
		{name: "udp automap", script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300
			pod> udp pod:5300 > inside:$p len 500; client< udp web:53 > client:40001 len 500; count flows_established
			client> udp client:40001 > web:53 len 0; pod< udp inside:$p > pod:5300 len 0; conns 1`},
		{name: "udp none", script: `
			client> udp client:40001 > nosnat:53; pod< udp client:40001 > pod:5300
			pod> udp pod:5300 > client:40001; client< udp nosnat:53 > client:40001`},
		{name: "udp every port", script: `
			client> udp client:40001 > every:7; pod< udp client:40001 > pod:7
			pod> udp pod:7 > client:40001; client< udp every:7 > client:40001`},
		{name: "udp without a checksum", only: "4", script: `
			client> udp client:40001 > web:53 nosum; pod< udp inside:$p > pod:5300 nosum
			pod> udp pod:5300 > inside:$p nosum; client< udp web:53 > client:40001 nosum`},
		{name: "two clients with one port", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p1 > pod:8080 S
			client> tcp client2:40001 > web:80 S; pod< tcp inside:$p2 > pod:8080 S
			pod> tcp pod:8080 > inside:$p2 SA; client< tcp web:80 > client2:40001 SA
			pod> tcp pod:8080 > inside:$p1 SA; client< tcp web:80 > client:40001 SA`},
		{name: "a repeated SYN goes the same way", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S`},
		{name: "SYN with options and ECN", script: `
			client> tcp client:40001 > web:80 SEC tcpopt tos 0x2; pod< tcp inside:$p > pod:8080 SEC tcpopt tos 0x2
			pod> tcp pod:8080 > inside:$p SAE tcpopt; client< tcp web:80 > client:40001 SAE tcpopt`},
		{name: "DSCP and ECN stay", script: `
			client> tcp client:40001 > web:80 S tos 0xb8; pod< tcp inside:$p > pod:8080 S tos 0xb8
			client> tcp client:40001 > web:80 A tos 0xbb; pod< tcp inside:$p > pod:8080 A tos 0xbb
			pod> tcp pod:8080 > inside:$p A tos 0x1; client< tcp web:80 > client:40001 A tos 0x1`},
		{name: "flow label stays", only: "6", script: `
			client> udp client:40001 > web:53 label 74565; pod< udp inside:$p > pod:5300 label 74565`},
		{name: "identification and DF stay", only: "4", script: `
			client> udp client:40001 > web:53 ipid 4660 df; pod< udp inside:$p > pod:5300 ipid 4660 df`},
		{name: "urgent and push", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			client> tcp client:40001 > web:80 PAU; pod< tcp inside:$p > pod:8080 PAU`},
		{name: "hop limit 2 is the last", script: `
			client> tcp client:40001 > web:80 S ttl 2; pod< tcp inside:$p > pod:8080 S ttl 1
			client> tcp client:40001 > web:80 A ttl 2; pod< tcp inside:$p > pod:8080 A ttl 1`},
		{name: "hop limit 255", script: `
			client> tcp client:40001 > web:80 S ttl 255; pod< tcp inside:$p > pod:8080 S ttl 254
			client> tcp client:40001 > web:80 A ttl 255; pod< tcp inside:$p > pod:8080 A ttl 254`},
		{name: "several members in turn", script: `
			client> tcp client:40001 > several:80 S; pod< tcp inside:$p1 > @m1:8080 S
			client> tcp client:40002 > several:80 S; pod< tcp inside:$p2 > @m2:8080 S
			client> tcp client:40003 > several:80 S; pod< tcp inside:$p3 > @m3:8080 S
			client> tcp client:40004 > several:80 S; pod< tcp inside:$p4 > @m1:8080 S
			client> tcp client:40002 > several:80 A; pod< tcp inside:$p2 > @m2:8080 A
			pod> tcp @m3:8080 > inside:$p3 SA; client< tcp several:80 > client:40003 SA`},
		{name: "data of one byte, and of none", script: `
			client> udp client:40001 > web:53 len 1; pod< udp inside:$p > pod:5300 len 1
			client> udp client:40001 > web:53 len 0; pod< udp inside:$p > pod:5300 len 0`},
		{name: "full frame", script: `
			client> udp client:40001 > web:53 len 1452; pod< udp inside:$p > pod:5300 len 1452`},
		{name: "VIP without a member", script: `client> tcp client:40001 > empty:80 S; drop no_member`},
		{name: "VIP without a member, udp", script: `client> udp client:40001 > empty:53; drop no_member`},
		{name: "other port", script: `client> tcp client:40001 > web:81 S; drop no_virtual_server`},
		{name: "other protocol", script: `client> udp client:40001 > web:80; drop no_virtual_server`},
		{name: "no flow", script: `client> tcp client:40001 > web:80 A; drop no_flow`},
		{name: "SYN ACK first", script: `client> tcp client:40001 > web:80 SA; drop no_flow`},
		{name: "RST first", script: `client> tcp client:40001 > web:80 R; drop no_flow`},
		{name: "FIN first", script: `client> tcp client:40001 > web:80 FA; drop no_flow`},
		{name: "SYN and RST", script: `client> tcp client:40001 > web:80 SR; drop no_flow`},
		{name: "SYN and FIN", script: `client> tcp client:40001 > web:80 SF; drop no_flow`},
		{name: "no flags", script: `client> tcp client:40001 > web:80; drop no_flow`},
		{name: "every flag", script: `client> tcp client:40001 > web:80 FSRPAU; drop no_flow`},
		{name: "stranger", script: `client> tcp client:40001 > pod:8080 S; drop not_permitted`},
		{name: "answer nobody asked for", script: `pod> tcp pod:8080 > inside:2000 SA; tc: kernel`},
		{name: "answer from outside", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			client> tcp pod:8080 > inside:$p SA; tc: kernel; count to_kernel`},
		{name: "answer of another pod", script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300
			pod> udp pod2:5300 > inside:$p; tc: kernel`},
		{name: "answer to another VIP", script: `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S
			pod> tcp pod:8081 > client:40001 SA; drop no_flow`},
		{name: "VIP of one family only", only: "4", script: `client> tcp client:40001 > 192.0.2.99:80 S; drop not_permitted`},
	}
}

// tcpStateCases: what the flags of either end make of a connection (RFC 9293).
func tcpStateCases() []packetCase {
	const opened = `
		client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S
		pod> tcp pod:8080 > client:40001 SA; client< tcp nosnat:80 > client:40001 SA
		client> tcp client:40001 > nosnat:80 A; pod< tcp client:40001 > pod:8080 A; conns 1; `
	return []packetCase{
		{name: "client closes first", script: opened + `
			client> tcp client:40001 > nosnat:80 FA; pod< tcp client:40001 > pod:8080 FA
			pod> tcp pod:8080 > client:40001 A; client< tcp nosnat:80 > client:40001 A
			pod> tcp pod:8080 > client:40001 FA; client< tcp nosnat:80 > client:40001 FA
			client> tcp client:40001 > nosnat:80 A; pod< tcp client:40001 > pod:8080 A
			after 5s; conns 1; after 15s; conns 0
			client> tcp client:40001 > nosnat:80 A; drop no_flow`},
		{name: "half closed goes on", script: opened + `
			client> tcp client:40001 > nosnat:80 FA; pod< tcp client:40001 > pod:8080 FA; after 60s
			pod> tcp pod:8080 > client:40001 PA; client< tcp nosnat:80 > client:40001 PA; conns 1`},
		{name: "server resets", script: opened + `
			pod> tcp pod:8080 > client:40001 RA; client< tcp nosnat:80 > client:40001 RA; after 15s; conns 0`},
		{name: "client resets", script: opened + `
			client> tcp client:40001 > nosnat:80 R; pod< tcp client:40001 > pod:8080 R; after 15s; conns 0`},
		{name: "idle", script: opened + `after 200s; conns 1; after 310s; conns 0
			pod> tcp pod:8080 > client:40001 A; drop no_flow`},
		{name: "port used again after close", script: opened + `
			pod> tcp pod:8080 > client:40001 FA; client< tcp nosnat:80 > client:40001 FA
			client> tcp client:40001 > nosnat:80 FA; pod< tcp client:40001 > pod:8080 FA
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S; count flows_replaced flows_started`},
		{name: "port used again after a reset", script: opened + `
			pod> tcp pod:8080 > client:40001 R; client< tcp nosnat:80 > client:40001 R
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S; count flows_replaced flows_started`},
		{name: "SYN on a live connection is passed on", script: opened + `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S; conns 1`},
		{name: "forged reset is forgotten", script: opened + `
			client> tcp client:40001 > nosnat:80 R; pod< tcp client:40001 > pod:8080 R
			client> tcp client:40001 > nosnat:80 A; pod< tcp client:40001 > pod:8080 A; after 60s; conns 1`},
		{name: "refused", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			pod> tcp pod:8080 > inside:$p RA; client< tcp web:80 > client:40001 RA; conns 0
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p2 > pod:8080 S`},
		{name: "flushed", script: opened + `flush; conns 0; client> tcp client:40001 > nosnat:80 A; drop no_flow
			pod> tcp pod:8080 > client:40001 A; drop no_flow`},
		{name: "simultaneous close", script: opened + `
			client> tcp client:40001 > nosnat:80 FA; pod< tcp client:40001 > pod:8080 FA
			pod> tcp pod:8080 > client:40001 FA; client< tcp nosnat:80 > client:40001 FA; after 15s; conns 0`},
		{name: "data with the FIN", script: opened + `
			client> tcp client:40001 > nosnat:80 FPA len 500; pod< tcp client:40001 > pod:8080 FPA len 500
			pod> tcp pod:8080 > client:40001 A; client< tcp nosnat:80 > client:40001 A; conns 1`},
	}
}

// halfOpenCases: a flow is not tracked before its sender has proved itself.
func halfOpenCases() []packetCase {
	return []packetCase{
		{name: "a SYN alone", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S; conns 0; after 32s
			client> tcp client:40001 > web:80 A; drop no_flow`},
		{name: "the server's answer proves nothing", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			pod> tcp pod:8080 > inside:$p SA; client< tcp web:80 > client:40001 SA; conns 0`},
		{name: "the client's ACK does", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			client> tcp client:40001 > web:80 A; pod< tcp inside:$p > pod:8080 A; conns 1`},
		{name: "a reset does not", script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S
			client> tcp client:40001 > web:80 R; pod< tcp inside:$p > pod:8080 R; conns 0`},
		{name: "a datagram alone", script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300; conns 0`},
		{name: "a datagram's answer does", script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300
			pod> udp pod:5300 > inside:$p; client< udp web:53 > client:40001; conns 1`},
		{name: "a second datagram does", script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300; conns 1`},
		{name: "egress: a SYN alone", script: `
			pod> tcp pod:40001 > client:443 S; client< tcp outside:$p > client:443 S; conns 0`},
		{name: "egress: established", script: `
			pod> tcp pod:40001 > client:443 S; client< tcp outside:$p > client:443 S
			client> tcp client:443 > outside:$p SA; pod< tcp client:443 > pod:40001 SA; conns 0
			pod> tcp pod:40001 > client:443 A; client< tcp outside:$p > client:443 A; conns 1`},
	}
}
