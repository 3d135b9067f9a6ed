package dataplane

// fragmentsCases: of a packet in parts all go the way of the first one.
func fragmentsCases() []packetCase {
	return []packetCase{
		{name: "in order", script: `
			client> udp client:40001 > web:53 len 200 ipid 9 part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 9 part 0-104
			client> udp client:40001 > web:53 len 200 ipid 9 part 104-200; pod< udp inside:$p > pod:5300 len 200 ipid 9 part 104-200
			client> udp client:40001 > web:53 len 200 ipid 9 part 200-208; pod< udp inside:$p > pod:5300 len 200 ipid 9 part 200-208`},
		{name: "last before middle", script: `
			client> udp client:40001 > web:53 len 200 ipid 9 part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 9 part 0-104
			client> udp client:40001 > web:53 len 200 ipid 9 part 200-208; pod< udp inside:$p > pod:5300 len 200 ipid 9 part 200-208
			client> udp client:40001 > web:53 len 200 ipid 9 part 104-200; pod< udp inside:$p > pod:5300 len 200 ipid 9 part 104-200`},
		{name: "before the first one", script: `
			client> udp client:40001 > web:53 len 200 ipid 9 part 104-208; drop fragment`},
		{name: "of an established connection", script: `
			client> tcp client:40001 > nosnat:80 S; pod< tcp client:40001 > pod:8080 S
			client> tcp client:40001 > nosnat:80 A; pod< tcp client:40001 > pod:8080 A
			client> tcp client:40001 > nosnat:80 PA len 400 ipid 7 part 0-200; pod< tcp client:40001 > pod:8080 PA len 400 ipid 7 part 0-200
			client> tcp client:40001 > nosnat:80 PA len 400 ipid 7 part 200-420; pod< tcp client:40001 > pod:8080 PA len 400 ipid 7 part 200-420`},
		{name: "answers", script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300
			pod> udp pod:5300 > inside:$p len 3000 ipid 77 part 0-1400; client< udp web:53 > client:40001 len 3000 ipid 77 part 0-1400
			pod> udp pod:5300 > inside:$p len 3000 ipid 77 part 1400-2800; client< udp web:53 > client:40001 len 3000 ipid 77 part 1400-2800
			pod> udp pod:5300 > inside:$p len 3000 ipid 77 part 2800-3008; client< udp web:53 > client:40001 len 3000 ipid 77 part 2800-3008`},
		{name: "egress", script: `
			pod> udp pod:50001 > client:53 len 200 ipid 9 part 0-104; client< udp outside:$p > client:53 len 200 ipid 9 part 0-104
			pod> udp pod:50001 > client:53 len 200 ipid 9 part 104-208; client< udp outside:$p > client:53 len 200 ipid 9 part 104-208`},
		{name: "two packets at once", script: `
			client> udp client:40001 > web:53 len 200 ipid 1 part 0-104; pod< udp inside:$p1 > pod:5300 len 200 ipid 1 part 0-104
			client> udp client:40002 > web:53 len 200 ipid 2 part 0-104; pod< udp inside:$p2 > pod:5300 len 200 ipid 2 part 0-104
			client> udp client:40001 > web:53 len 200 ipid 1 part 104-208; pod< udp inside:$p1 > pod:5300 len 200 ipid 1 part 104-208
			client> udp client:40002 > web:53 len 200 ipid 2 part 104-208; pod< udp inside:$p2 > pod:5300 len 200 ipid 2 part 104-208`},
		{name: "an identification used again", script: `
			client> udp client:40001 > web:53 len 200 ipid 1 part 0-104; pod< udp inside:$p1 > pod:5300 len 200 ipid 1 part 0-104
			client> udp client:40002 > web:53 len 200 ipid 1 part 0-104; pod< udp inside:$p2 > pod:5300 len 200 ipid 1 part 0-104
			client> udp client:40002 > web:53 len 200 ipid 1 part 104-208; pod< udp inside:$p2 > pod:5300 len 200 ipid 1 part 104-208`},
		{name: "of another host", script: `
			client> udp client:40001 > web:53 len 200 ipid 1 part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 1 part 0-104
			client> udp client2:40001 > web:53 len 200 ipid 1 part 104-208; drop fragment`},
		{name: "of another protocol", only: "4", script: `
			client> udp client:40001 > web:53 len 200 ipid 1 part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 1 part 0-104
			client> tcp client:40001 > web:53 S len 200 ipid 1 part 104-208; drop fragment`},
		{name: "from the other side", script: `
			client> udp client:40001 > web:53 len 200 ipid 1 part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 1 part 0-104
			pod> udp client:40001 > web:53 len 200 ipid 1 part 104-208; drop fragment`},
		{name: "first part without the whole header", script: `
			client> tcp client:40001 > web:80 S len 200 ipid 1 part 0-16; drop malformed`},
		{name: "of an echo request to a VIP, without the first", script: `
			client> echo client > web id 7 seq 1 len 200 ipid 1 part 104-208; drop fragment`},
		{name: "of an echo reply to a VIP", script: `
			client> echo-reply client > web id 7 seq 1 len 200 ipid 1 part 0-104; drop no_flow
			pod> echo plain > client id 7 seq 1; client< echo plain > client id 7 seq 1
			client> echo-reply client > web id 7 seq 1 len 200 ipid 1 part 104-208; drop no_flow`},
		{name: "first part of a stranger", script: `
			client> udp client:40001 > web:54 len 200 ipid 1 part 0-104; drop no_virtual_server
			client> udp client:40001 > web:54 len 200 ipid 1 part 104-208; drop no_virtual_server`},
		{name: "without a checksum", only: "4", script: `
			client> udp client:40001 > web:53 len 200 ipid 9 nosum part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 9 nosum part 0-104
			client> udp client:40001 > web:53 len 200 ipid 9 nosum part 104-208; pod< udp inside:$p > pod:5300 len 200 ipid 9 nosum part 104-208`},
		{name: "atomic", only: "6", script: `
			client> udp client:40001 > web:53 len 200 ipid 9 part 0-208; pod< udp inside:$p > pod:5300 len 200 ipid 9 part 0-208`},
		{name: "behind extension headers", only: "6", script: `
			client> udp client:40001 > web:53 len 200 ipid 9 ext hop,dst part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 9 ext hop,dst part 0-104
			client> udp client:40001 > web:53 len 200 ipid 9 ext hop,dst part 104-208; pod< udp inside:$p > pod:5300 len 200 ipid 9 ext hop,dst part 104-208`},
		{name: "with options", only: "4", script: `
			client> udp client:40001 > web:53 len 200 ipid 9 opt rr part 0-104; pod< udp inside:$p > pod:5300 len 200 ipid 9 opt rr part 0-104
			client> udp client:40001 > web:53 len 200 ipid 9 opt rr part 104-208; pod< udp inside:$p > pod:5300 len 200 ipid 9 opt rr part 104-208`},
	}
}

// optionsCases: IPv4 options and IPv6 extension headers are passed on as they are, source routes
// dropped (RFC 7126, RFC 5095).
func optionsCases() []packetCase {
	return []packetCase{
		{name: "no-operation", only: "4", script: `
			client> tcp client:40001 > web:80 S opt nop,nop,nop,end; pod< tcp inside:$p > pod:8080 S opt nop,nop,nop,end
			pod> tcp pod:8080 > inside:$p SA opt nop,nop,nop,end; client< tcp web:80 > client:40001 SA opt nop,nop,nop,end
			client> tcp client:40001 > web:80 A opt nop,nop,nop,end; pod< tcp inside:$p > pod:8080 A opt nop,nop,nop,end
			client> tcp client:40001 > web:80 A; pod< tcp inside:$p > pod:8080 A`},
		{name: "record route", only: "4", script: `
			client> udp client:40001 > web:53 opt rr; pod< udp inside:$p > pod:5300 opt rr`},
		{name: "timestamp", only: "4", script: `
			client> udp client:40001 > web:53 opt ts; pod< udp inside:$p > pod:5300 opt ts`},
		{name: "router alert", only: "4", script: `
			client> udp client:40001 > web:53 opt ra; pod< udp inside:$p > pod:5300 opt ra`},
		{name: "several", only: "4", script: `
			client> udp client:40001 > web:53 opt nop,rr,ra,ts; pod< udp inside:$p > pod:5300 opt nop,rr,ra,ts
			pod> udp pod:5300 > inside:$p opt ra; client< udp web:53 > client:40001 opt ra`},
		{name: "without a checksum", only: "4", script: `
			client> udp client:40001 > web:53 opt rr nosum; pod< udp inside:$p > pod:5300 opt rr nosum`},
		{name: "loose source route", only: "4", script: `client> udp client:40001 > web:53 opt lsrr; drop ip_options`},
		{name: "strict source route", only: "4", script: `client> udp client:40001 > web:53 opt nop,ssrr; drop ip_options`},
		{name: "source route behind an end is none", only: "4", script: `
			client> udp client:40001 > web:53 opt end,lsrr; pod< udp inside:$p > pod:5300 opt end,lsrr`},
		{name: "source route of a pod", only: "4", script: `pod> udp pod:50001 > client:53 opt lsrr; drop ip_options`},
		{name: "egress", only: "4", script: `
			pod> udp pod:50001 > client:53 opt rr; client< udp outside:$p > client:53 opt rr
			client> udp client:53 > outside:$p opt nop; pod< udp client:53 > pod:50001 opt nop`},
		{name: "hop by hop", only: "6", script: `
			client> tcp client:40001 > web:80 S ext hop; pod< tcp inside:$p > pod:8080 S ext hop
			pod> tcp pod:8080 > inside:$p SA ext hop; client< tcp web:80 > client:40001 SA ext hop
			client> tcp client:40001 > web:80 A ext hop; pod< tcp inside:$p > pod:8080 A ext hop
			client> tcp client:40001 > web:80 A; pod< tcp inside:$p > pod:8080 A`},
		{name: "destination options", only: "6", script: `
			client> udp client:40001 > web:53 ext dst; pod< udp inside:$p > pod:5300 ext dst`},
		{name: "long destination options", only: "6", script: `
			client> udp client:40001 > web:53 ext long; pod< udp inside:$p > pod:5300 ext long`},
		{name: "routing header that is used up", only: "6", script: `
			client> udp client:40001 > web:53 ext route; pod< udp inside:$p > pod:5300 ext route`},
		{name: "routing header with segments left", only: "6", script: `client> udp client:40001 > web:53 ext route-left; drop ip_options`},
		{name: "chain", only: "6", script: `
			client> udp client:40001 > web:53 ext hop,dst,route,long; pod< udp inside:$p > pod:5300 ext hop,dst,route,long
			pod> udp pod:5300 > inside:$p ext dst,dst; client< udp web:53 > client:40001 ext dst,dst`},
		{name: "seven headers", only: "6", script: `
			client> udp client:40001 > web:53 ext hop,dst,dst,dst,dst,dst,dst; pod< udp inside:$p > pod:5300 ext hop,dst,dst,dst,dst,dst,dst`},
		{name: "too many headers", only: "6", script: `
			client> udp client:40001 > web:53 ext hop,dst,dst,dst,dst,dst,dst,dst,dst; drop ip_options`},
		{name: "egress", only: "6", script: `
			pod> udp pod:50001 > client:53 ext hop,dst; client< udp outside:$p > client:53 ext hop,dst
			client> udp client:53 > outside:$p ext dst; pod< udp client:53 > pod:50001 ext dst`},
	}
}
