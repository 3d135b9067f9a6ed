package dataplane

import "fmt"

// nat64ErrorCases: ICMP errors about connections from pods with IPv6 to hosts with IPv4 (RFC 7915
// sections 4.2, 4.3, 5.2 and 5.3).
func nat64ErrorCases() []packetCase {
	const (
		udp    = `pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53 ipid $i; `
		tcp    = `pod> tcp pod:50001 > nat64:443 S; tc: client< tcp outside4:$p > client4:443 S ipid $i; `
		answer = udp + `client> udp client4:53 > outside4:$p; tc: pod< udp nat64:53 > pod:50001; `
	)
	six := fromIPv6
	cases := []packetCase{
		six("of the host", udp+`
			client> unreachable client4 > outside4 code 3 about udp outside4:$p > client4:53 ipid 5 ttl 60; tc: pod< unreachable nat64 > pod code 4 about udp pod:50001 > nat64:53 ttl 60; count icmp_translated`),
		six("of a router", udp+`
			client> unreachable hop4 > outside4 code 1 about udp outside4:$p > client4:53; tc: pod< unreachable hop64 > pod code 0 about udp pod:50001 > nat64:53`),
		six("traffic class stays, inside too", udp+`
			client> unreachable hop4 > outside4 tos 0xc0 code 1 about udp outside4:$p > client4:53 tos 0xb9; tc: pod< unreachable hop64 > pod tos 0xc0 code 0 about udp pod:50001 > nat64:53 tos 0xb9`),
		six("about tcp", tcp+`
			client> unreachable hop4 > outside4 code 13 about tcp outside4:$p > client4:443 A len 100; tc: pod< unreachable hop64 > pod code 1 about tcp pod:50001 > nat64:443 A len 100`),
		six("about a ping", `
			pod> echo pod > nat64 id 7 seq 1; tc: client< echo outside4 > client4 id $p seq 1 ipid $i
			client> time-exceeded hop4 > outside4 code 0 about echo outside4 > client4 id $p seq 1 ttl 1; tc: pod< time-exceeded hop64 > pod code 0 about echo pod > nat64 id 7 seq 1 ttl 1`),
		six("about sctp", `
			pod> sctp pod:50001 > nat64:80 INIT len 16; tc: client< sctp outside4:$p > client4:80 INIT len 16 ipid $i
			client> unreachable client4 > outside4 code 2 about sctp outside4:$p > client4:80 INIT len 16; tc: pod< parameter nat64 > pod code 1 pointer 6 about sctp pod:50001 > nat64:80 INIT len 16`),
		six("about the first fragment", udp+`
			client> time-exceeded client4 > outside4 code 1 about udp outside4:$p > client4:53 len 200 ipid 9 part 0-104; tc: pod< time-exceeded nat64 > pod code 1 about udp pod:50001 > nat64:53 len 200 ipid 9 part 0-104`),
		six("about a later fragment", udp+`
			client> time-exceeded client4 > outside4 code 1 about udp outside4:$p > client4:53 len 200 ipid 9 part 104-208; tc: kernel`),
		six("about options, with options of its own", udp+`
			client> unreachable client4 > outside4 code 3 opt rr about udp outside4:$p > client4:53 opt ts,rr; tc: pod< unreachable nat64 > pod code 4 about udp pod:50001 > nat64:53`),
		six("quoting as little as may be", tcp+`
			client> too-big hop4 > outside4 mtu 1400 cut 28 about tcp outside4:$p > client4:443 A len 1400; tc: pod< too-big hop64 > pod mtu 1420 cut 48 about tcp pod:50001 > nat64:443 A len 1400`),
		six("quoting too little", tcp+`
			client> too-big hop4 > outside4 mtu 1400 cut 27 about tcp outside4:$p > client4:443 A len 1400; tc: kernel`),
		six("quoting an odd length", tcp+`
			client> too-big hop4 > outside4 mtu 1400 cut 61 about tcp outside4:$p > client4:443 A len 1400; tc: pod< too-big hop64 > pod mtu 1420 cut 81 about tcp pod:50001 > nat64:443 A len 1400`),
		{name: "quoting more than IPv6 has room for", only: "6", state: families, cut: true, script: tcp + `
			client> unreachable hop4 > outside4 code 1 cut 1213 about tcp outside4:$p > client4:443 A len 1400; tc: pod< unreachable hop64 > pod code 0 cut 1232 about tcp pod:50001 > nat64:443 A len 1400`},
		{name: "quoting more of a fragment than IPv6 has room for", only: "6", state: families, cut: true, script: udp + `
			client> unreachable hop4 > outside4 code 1 cut 1300 about udp outside4:$p > client4:53 len 2000 ipid 9 part 0-1400; tc: pod< unreachable hop64 > pod code 0 cut 1232 about udp pod:50001 > nat64:53 len 2000 ipid 9 part 0-1400`},
		{name: "extensions go", only: "6", state: families, cut: true, script: udp + `
			client> time-exceeded hop4 > outside4 code 0 extended about udp outside4:$p > client4:53 len 40; tc: pod< time-exceeded hop64 > pod code 0 about udp pod:50001 > nat64:53 len 40
			client> time-exceeded hop4 > outside4 code 0 cut 128 extended about udp outside4:$p > client4:53 len 400; tc: pod< time-exceeded hop64 > pod code 0 cut 148 about udp pod:50001 > nat64:53 len 400`},
		six("at its last hop", udp+`
			client> unreachable hop4 > outside4 code 1 ttl 1 about udp outside4:$p > client4:53; tc: drop ttl_expired`),
		six("about no flow", udp+`
			client> unreachable hop4 > outside4 code 1 about udp outside4:9 > client4:53; tc: kernel`),
		six("to who did not send what it is about", udp+`
			client> unreachable hop4 > snat14 code 1 about udp outside4:$p > client4:53; tc: drop icmp_error`),
		six("of the pod", answer+`
			pod> unreachable pod > nat64 code 4 about udp nat64:53 > pod:50001; tc: client< unreachable outside4 > client4 code 3 ipid $i about udp client4:53 > outside4:$p`),
		six("of the node", answer+`
			pod> time-exceeded node > nat64 code 0 about udp nat64:53 > pod:50001 ttl 1; tc: client< time-exceeded outside4 > client4 code 0 ipid $i about udp client4:53 > outside4:$p ttl 1`),
		{name: "of the pod, extended", only: "6", state: families, cut: true, script: answer + `
			pod> unreachable pod > nat64 code 4 extended about udp nat64:53 > pod:50001; tc: client< unreachable outside4 > client4 code 3 ipid $i about udp client4:53 > outside4:$p`},
		six("of the pod, with extension headers", answer+`
			pod> unreachable pod > nat64 code 4 ext hop,dst about udp nat64:53 > pod:50001 ext dst; tc: client< unreachable outside4 > client4 code 3 ipid $i about udp client4:53 > outside4:$p`),
		six("of the node, with an MTU", answer+`
			pod> too-big node > nat64 mtu 1400 cut 100 about udp nat64:53 > pod:50001 len 2000 ipid 9 part 0-1400; tc: client< too-big outside4 > client4 mtu 1372 ipid $i cut 72 about udp client4:53 > outside4:$p len 2000 ipid 9 part 0-1400
			pod> too-big node > nat64 mtu 1400 cut 100 about udp nat64:53 > pod:50001 len 1400; tc: client< too-big outside4 > client4 mtu 1380 ipid $i cut 80 about udp client4:53 > outside4:$p len 1400 df`),
		{name: "of the node, longer than the way takes", only: "6", state: families, cut: true, script: `
			pod> udp pod:50001 > slim64:53; tc: client< udp outside4:$p > slim4:53 ipid $i
			client> udp slim4:53 > outside4:$p; tc: pod< udp slim64:53 > pod:50001
			pod> unreachable node > slim64 code 0 cut 1000 about udp slim64:53 > pod:50001 len 1000; tc: client< unreachable outside4 > slim4 code 1 ipid $i cut 572 about udp slim4:53 > outside4:$p len 1000`},
	}
	for code, want := range []string{
		0: "unreachable hop64 > pod code 0", 1: "unreachable hop64 > pod code 0", 2: "parameter hop64 > pod code 1 pointer 6",
		3: "unreachable hop64 > pod code 4", 5: "unreachable hop64 > pod code 0", 6: "unreachable hop64 > pod code 0",
		7: "unreachable hop64 > pod code 0", 8: "unreachable hop64 > pod code 0", 9: "unreachable hop64 > pod code 1",
		10: "unreachable hop64 > pod code 1", 11: "unreachable hop64 > pod code 0", 12: "unreachable hop64 > pod code 0",
		13: "unreachable hop64 > pod code 1", 14: "", 15: "unreachable hop64 > pod code 1", 16: "",
	} {
		if code != 4 {
			in := fmt.Sprintf("unreachable hop4 > outside4 code %d", code)
			cases = append(cases, six(fmt.Sprintf("unreachable, code %d", code), udp+nat64Error(in, want)))
		}
	}
	for _, tt := range []struct{ said, length, want int }{
		{1400, 1400, 1420}, {1260, 1400, 1280}, {1259, 1400, 1280}, {68, 1400, 1280}, {8990, 1400, 9000}, {20000, 1400, 9000},
		{0, 1460, 1512}, {0, 1452, 1280}, {0, 2100, 2022}, {0, 1963, 2022}, {0, 1962, 1512}, {0, 4500, 4372}, {0, 8200, 8186}, {0, 20000, 9000},
	} {
		cases = append(cases, six(fmt.Sprintf("MTU %d about %d bytes", tt.said, tt.length), tcp+fmt.Sprintf(`
			client> too-big hop4 > outside4 mtu %d cut 100 about tcp outside4:$p > client4:443 A len %d; tc: pod< too-big hop64 > pod mtu %d cut 120 about tcp pod:50001 > nat64:443 A len %d`,
			tt.said, tt.length, tt.want, tt.length)))
	}
	none := -1
	for at, want := range []int{0, 1, 4, 4, none, none, none, none, 7, 6, none, none, 8, 8, 8, 8, 24, 24, 24, 24, none} {
		out := ""
		if want != none {
			out = fmt.Sprintf("parameter hop64 > pod code 0 pointer %d", want)
		}
		cases = append(cases, six(fmt.Sprintf("pointer %d", at), udp+nat64Error(fmt.Sprintf("parameter hop4 > outside4 code 0 pointer %d", at), out)))
	}
	return append(cases,
		six("time exceeded", udp+nat64Error("time-exceeded hop4 > outside4 code 1", "time-exceeded hop64 > pod code 1")),
		six("bad length", udp+nat64Error("parameter hop4 > outside4 code 2 pointer 3", "parameter hop64 > pod code 0 pointer 4")),
		six("missing option", udp+nat64Error("parameter hop4 > outside4 code 1 pointer 0", "")))
}

// nat64Error is an error about the datagram of the cases, and what becomes of it; "" nothing.
func nat64Error(in, out string) string {
	s := "client> " + in + " about udp outside4:$p > client4:53; tc: "
	if out == "" {
		return s + "drop nat64"
	}
	return s + "pod< " + out + " about udp pod:50001 > nat64:53"
}

// nat46ErrorCases: ICMP errors about connections from pods with IPv4 to hosts with IPv6.
func nat46ErrorCases() []packetCase {
	const (
		udp    = `pod> udp pod:50001 > nat46:53; tc: client< udp outside6:$p > client6:53; `
		answer = udp + `client> udp client6:53 > outside6:$p; tc: pod< udp nat46:53 > pod:50001 ipid $i; `
	)
	four := fromIPv4
	cases := []packetCase{
		four("of the host", udp+`
			client> unreachable client6 > outside6 code 4 about udp outside6:$p > client6:53 ttl 60; tc: pod< unreachable nat46 > pod code 3 ipid $i about udp pod:50001 > nat46:53 ttl 60; count icmp_translated`),
		four("of a router, which has no IPv4 address", udp+`
			client> time-exceeded hop6 > outside6 code 0 about udp outside6:$p > client6:53 ttl 1; tc: pod< time-exceeded inside > pod code 0 ipid $i about udp pod:50001 > nat46:53 ttl 1`),
		four("about a ping", `
			pod> echo pod > nat46 id 7 seq 1; tc: client< echo outside6 > client6 id $p seq 1
			client> unreachable hop6 > outside6 code 3 about echo outside6 > client6 id $p seq 1; tc: pod< unreachable inside > pod code 1 ipid $i about echo pod > nat46 id 7 seq 1`),
		four("about a pong", `
			pod> echo pod > nat46 id 7 seq 1; tc: client< echo outside6 > client6 id $p seq 1
			client> echo-reply client6 > outside6 id $p seq 1; tc: pod< echo-reply nat46 > pod id 7 seq 1 ipid $i
			pod> unreachable node > nat46 code 1 about echo-reply nat46 > pod id 7 seq 1; tc: client< unreachable outside6 > client6 code 0 about echo-reply client6 > outside6 id $p seq 1`),
		four("about sctp", `
			pod> sctp pod:50001 > nat46:80 INIT len 16; tc: client< sctp outside6:$p > client6:80 INIT len 16
			client> parameter client6 > outside6 code 1 pointer 6 about sctp outside6:$p > client6:80 INIT len 16; tc: pod< unreachable nat46 > pod code 2 ipid $i about sctp pod:50001 > nat46:80 INIT len 16`),
		four("about the first fragment", udp+`
			client> time-exceeded client6 > outside6 code 1 about udp outside6:$p > client6:53 len 200 ipid 9 part 0-104; tc: pod< time-exceeded nat46 > pod code 1 ipid $i about udp pod:50001 > nat46:53 len 200 ipid 9 part 0-104`),
		four("of the pod", answer+`
			pod> unreachable pod > nat46 code 3 about udp nat46:53 > pod:50001; tc: client< unreachable outside6 > client6 code 4 about udp client6:53 > outside6:$p`),
		four("of the node, which has no IPv6 address here", answer+`
			pod> too-big node > nat46 mtu 1300 cut 100 about udp nat46:53 > pod:50001 len 1300 df; tc: client< too-big outside6 > client6 mtu 1320 cut 120 about udp client6:53 > outside6:$p len 1300`),
	}
	for code, want := range []string{"unreachable inside > pod code 1", "unreachable inside > pod code 10", "unreachable inside > pod code 1", "unreachable inside > pod code 1", "unreachable inside > pod code 3", ""} {
		cases = append(cases, four(fmt.Sprintf("unreachable, code %d", code), udp+nat46Error(fmt.Sprintf("unreachable hop6 > outside6 code %d", code), want)))
	}
	for said, want := range map[int]int{1400: 1380, 1280: 1260, 1000: 1260, 0: 1260, 9000: 8980, 100000: 8980} {
		cases = append(cases, four(fmt.Sprintf("MTU %d", said), udp+nat46Error(fmt.Sprintf("too-big hop6 > outside6 mtu %d", said), fmt.Sprintf("too-big inside > pod mtu %d", want))))
	}
	for at, want := range map[int]int{0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8, 8: 12, 23: 12, 24: 16, 39: 16} {
		cases = append(cases, four(fmt.Sprintf("pointer %d", at), udp+nat46Error(fmt.Sprintf("parameter hop6 > outside6 code 0 pointer %d", at), fmt.Sprintf("parameter inside > pod code 0 pointer %d", want))))
	}
	for _, at := range []int{2, 3, 40, 65536, 1 << 24} {
		cases = append(cases, four(fmt.Sprintf("pointer %d", at), udp+nat46Error(fmt.Sprintf("parameter hop6 > outside6 code 0 pointer %d", at), "")))
	}
	return append(cases, four("unknown option", udp+nat46Error("parameter hop6 > outside6 code 2 pointer 6", "")))
}

// nat46Error is nat64Error the other way round.
func nat46Error(in, out string) string {
	s := "client> " + in + " about udp outside6:$p > client6:53; tc: "
	if out == "" {
		return s + "drop nat64"
	}
	return s + "pod< " + out + " ipid $i about udp pod:50001 > nat46:53"
}
