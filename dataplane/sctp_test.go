package dataplane

// sctpCases: associations (RFC 9260), whose checksum is CRC32c over everything behind the IP
// header and no pseudo header.
func sctpCases() []packetCase {
	return []packetCase{
		{name: "automap", script: `
			client> sctp client:40001 > web:80 INIT; pod< sctp inside:$p > pod:8080 INIT; conns 0
			pod> sctp pod:8080 > inside:$p INIT-ACK len 300; client< sctp web:80 > client:40001 INIT-ACK len 300; conns 0
			client> sctp client:40001 > web:80 COOKIE-ECHO len 300; pod< sctp inside:$p > pod:8080 COOKIE-ECHO len 300; conns 1
			pod> sctp pod:8080 > inside:$p COOKIE-ACK len 0; client< sctp web:80 > client:40001 COOKIE-ACK len 0
			client> sctp client:40001 > web:80 DATA len 1400; pod< sctp inside:$p > pod:8080 DATA len 1400
			pod> sctp pod:8080 > inside:$p SACK; client< sctp web:80 > client:40001 SACK`},
		{name: "none", script: `
			client> sctp client:40001 > nosnat:80 INIT; pod< sctp client:40001 > pod:8080 INIT
			pod> sctp pod:8080 > client:40001 INIT-ACK; client< sctp nosnat:80 > client:40001 INIT-ACK`},
		{name: "ports stay", script: `
			client> sctp client:40001 > every:36412 INIT; pod< sctp client:40001 > pod:36412 INIT
			pod> sctp pod:36412 > client:40001 INIT-ACK; client< sctp every:36412 > client:40001 INIT-ACK`},
		{name: "pool", script: `
			client> sctp client:40001 > pool:80 INIT; pod< sctp @s:$p > pod:8080 INIT
			pod> sctp pod:8080 > @s:$p INIT-ACK; client< sctp pool:80 > client:40001 INIT-ACK`},
		{name: "egress automap", script: `
			pod> sctp pod:50001 > client:36412 INIT; client< sctp outside:$p > client:36412 INIT
			client> sctp client:36412 > outside:$p INIT-ACK; pod< sctp client:36412 > pod:50001 INIT-ACK
			pod> sctp pod:50001 > client:36412 COOKIE-ECHO; client< sctp outside:$p > client:36412 COOKIE-ECHO; conns 1`},
		{name: "egress none", script: `
			pod> sctp plain:50001 > client:36412 INIT; client< sctp plain:50001 > client:36412 INIT
			client> sctp client:36412 > plain:50001 INIT-ACK; pod< sctp client:36412 > plain:50001 INIT-ACK`},
		{name: "lengths that are no multiple of four", script: `
			client> sctp client:40001 > web:80 INIT; pod< sctp inside:$p > pod:8080 INIT
			client> sctp client:40001 > web:80 DATA len 1; pod< sctp inside:$p > pod:8080 DATA len 1
			client> sctp client:40001 > web:80 DATA len 2; pod< sctp inside:$p > pod:8080 DATA len 2
			client> sctp client:40001 > web:80 DATA len 3; pod< sctp inside:$p > pod:8080 DATA len 3
			client> sctp client:40001 > web:80 DATA len 1001; pod< sctp inside:$p > pod:8080 DATA len 1001`},
		{name: "shut down", script: `
			client> sctp client:40001 > nosnat:80 INIT; pod< sctp client:40001 > pod:8080 INIT
			client> sctp client:40001 > nosnat:80 COOKIE-ECHO; pod< sctp client:40001 > pod:8080 COOKIE-ECHO; conns 1
			client> sctp client:40001 > nosnat:80 SHUTDOWN; pod< sctp client:40001 > pod:8080 SHUTDOWN
			pod> sctp pod:8080 > client:40001 SHUTDOWN-ACK; client< sctp nosnat:80 > client:40001 SHUTDOWN-ACK
			client> sctp client:40001 > nosnat:80 SHUTDOWN-COMPLETE; pod< sctp client:40001 > pod:8080 SHUTDOWN-COMPLETE; after 15s; conns 0`},
		{name: "aborted", script: `
			client> sctp client:40001 > nosnat:80 INIT; pod< sctp client:40001 > pod:8080 INIT
			client> sctp client:40001 > nosnat:80 COOKIE-ECHO; pod< sctp client:40001 > pod:8080 COOKIE-ECHO; conns 1
			pod> sctp pod:8080 > client:40001 ABORT; client< sctp nosnat:80 > client:40001 ABORT; after 15s; conns 0`},
		{name: "heartbeat", script: `
			client> sctp client:40001 > web:80 INIT; pod< sctp inside:$p > pod:8080 INIT
			client> sctp client:40001 > web:80 COOKIE-ECHO; pod< sctp inside:$p > pod:8080 COOKIE-ECHO
			pod> sctp pod:8080 > inside:$p HEARTBEAT; client< sctp web:80 > client:40001 HEARTBEAT`},
		{name: "no association", script: `client> sctp client:40001 > web:80 DATA; drop no_flow`},
		{name: "INIT-ACK first", script: `client> sctp client:40001 > web:80 INIT-ACK; drop no_flow`},
		{name: "other port", script: `client> sctp client:40001 > web:81 INIT; drop no_virtual_server`},
		{name: "with options", only: "4", script: `
			client> sctp client:40001 > web:80 INIT opt rr; pod< sctp inside:$p > pod:8080 INIT opt rr`},
		{name: "with extension headers", only: "6", script: `
			client> sctp client:40001 > web:80 INIT ext hop,dst; pod< sctp inside:$p > pod:8080 INIT ext hop,dst`},
		{name: "in fragments, ports stay", script: `
			client> sctp client:40001 > every:36412 INIT; pod< sctp client:40001 > pod:36412 INIT
			client> sctp client:40001 > every:36412 DATA len 400 ipid 3 part 0-200; pod< sctp client:40001 > pod:36412 DATA len 400 ipid 3 part 0-200
			client> sctp client:40001 > every:36412 DATA len 400 ipid 3 part 200-416; pod< sctp client:40001 > pod:36412 DATA len 400 ipid 3 part 200-416`},
		{name: "in fragments, ports change: the sum needs the whole", script: `
			client> sctp client:40001 > web:80 INIT; pod< sctp inside:$p > pod:8080 INIT
			client> sctp client:40001 > web:80 DATA len 400 ipid 3 part 0-200; drop rewrite`, cut: true},
		{name: "INIT again after an abort", script: `
			client> sctp client:40001 > nosnat:80 INIT; pod< sctp client:40001 > pod:8080 INIT
			client> sctp client:40001 > nosnat:80 ABORT; pod< sctp client:40001 > pod:8080 ABORT
			client> sctp client:40001 > nosnat:80 INIT; pod< sctp client:40001 > pod:8080 INIT; count flows_replaced`},
	}
}
