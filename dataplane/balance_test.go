package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// servers changes the virtual servers of one name, of every protocol and family.
func servers(name string, change func(*VirtualServer)) func(*State) {
	return func(s *State) {
		for i := range s.VirtualServers {
			if strings.HasPrefix(s.VirtualServers[i].Name, "spk-apps/"+name+"-") {
				change(&s.VirtualServers[i])
			}
		}
	}
}

// balanceCases: which member a connection goes to.
func balanceCases() []packetCase {
	method := func(m Method) func(*State) { return servers("several", func(v *VirtualServer) { v.Method = m }) }
	weights := func(m Method, weights ...uint16) func(*State) {
		return servers("several", func(v *VirtualServer) {
			v.Method = m
			for i := range v.Members {
				v.Members[i].Weight = weights[i]
			}
		})
	}
	open := func(client, p, m string) string {
		return "client> tcp " + client + " > several:80 S; pod< tcp inside:" + p + " > " + m + ":8080 S; " +
			"client> tcp " + client + " > several:80 A; pod< tcp inside:" + p + " > " + m + ":8080 A; "
	}
	const sixteen = "client:40001 client:40002 client:40003 client:40004 client2:40001 client2:40002 client2:40003 client2:40004"
	again := func() string {
		var b strings.Builder
		for i, c := range strings.Fields(sixteen) {
			n := string(rune('a' + i))
			b.WriteString(open(c, "$p"+n, "@m"+n))
		}
		b.WriteString("flush; ")
		for i, c := range strings.Fields(sixteen) {
			n := string(rune('a' + i))
			b.WriteString(open(c, "$pz"+n, "@m"+n))
		}
		return b.String()
	}
	return []packetCase{
		{name: "round robin", script: open("client:1", "$p1", "@m1") + open("client:2", "$p2", "@m2") + open("client:3", "$p3", "@m3") +
			open("client:4", "$p4", "@m1") + open("client:5", "$p5", "@m2") + open("client:6", "$p6", "@m3")},
		{name: "least connections: one each", state: method(LeastConnections), script: open("client:1", "$p1", "@m1") +
			open("client:2", "$p2", "@m2") + open("client:3", "$p3", "@m3")},
		{name: "least connections: the one that has lost its own", state: method(LeastConnections), script: open("client:1", "$p1", "@m1") +
			open("client:2", "$p2", "@m2") + open("client:3", "$p3", "@m3") + `
			client> tcp client:2 > several:80 R; pod< tcp inside:$p2 > @m2:8080 R; after 15s; conns 2;` +
			open("client:4", "$p4", "@m2") + "conns 3"},
		{name: "least connections: by weight", state: weights(LeastConnections, 4, 1, 1), script: open("client:1", "$p1", "@m1") +
			open("client:2", "$p2", "@m2") + open("client:3", "$p3", "@m3") + open("client:4", "$p4", "pod") + open("client:5", "$p5", "@m5") + open("client:6", "$p6", "@m6")},
		{name: "maglev: always alike", state: method(Maglev), script: again()},
		{name: "maglev: by weight", state: weights(Maglev, 1, 1000, 1), script: open("client:1", "$p1", "pod2") + open("client:2", "$p2", "pod2") + open("client2:3", "$p3", "pod2")},
		{name: "maglev takes up what another TMM has begun", state: resuming(nil), script: resumed("PA")},
		{name: "maglev takes up what is being closed", state: resuming(nil), script: resumed("FA")},
		{name: "maglev takes up no reset, no answer and nothing without ACK", state: resuming(nil), script: `
			client> tcp client:1 > several:80 RA; drop no_flow
			client> tcp client:1 > several:80 SA; drop no_flow
			client> tcp client:1 > several:80 F; drop no_flow
			client> tcp client:1 > several:80; drop no_flow; conns 0`},
		{name: "what is translated cannot be taken up", state: method(Maglev), script: "client> tcp client:1 > several:80 A; drop no_flow"},
		{name: "nor what round robin chose", state: resuming(func(v *VirtualServer) { v.Method = RoundRobin }), script: "client> tcp client:1 > several:80 A; drop no_flow"},
		{name: "nor what affinity did", state: resuming(func(v *VirtualServer) { v.Affinity = time.Minute }), script: "client> tcp client:1 > several:80 A; drop no_flow"},
		{name: "one member", state: method(Maglev), script: `
			client> tcp client:40001 > web:80 S; pod< tcp inside:$p > pod:8080 S`},
		{name: "affinity", state: servers("several", func(v *VirtualServer) { v.Affinity = time.Minute }), script: open("client:1", "$p1", "@m1") +
			open("client:2", "$p2", "@m1") + open("client2:1", "$p3", "@m2") + open("client:3", "$p4", "@m1") + open("client2:2", "$p5", "@m2")},
		{name: "affinity over a flush", state: servers("several", func(v *VirtualServer) { v.Affinity = time.Minute }), script: open("client:1", "$p1", "@m1") +
			"flush; " + open("client:2", "$p2", "@m1")},
		{name: "affinity to a member that drains", state: servers("several", func(v *VirtualServer) { v.Affinity, v.Members = time.Minute, v.Members[:2] }),
			change: servers("several", func(v *VirtualServer) { v.Members[0].Draining = true }),
			script: "change; " + open("client:1", "$p1", "pod2") + open("client:2", "$p2", "pod2")},
		{name: "draining gets no new ones", state: servers("several", func(v *VirtualServer) { v.Members[0].Draining = true }),
			script: open("client:1", "$p1", "@m1") + open("client:2", "$p2", "@m2") + open("client:3", "$p3", "@m1") + open("client:4", "$p4", "@m2")},
		{name: "draining keeps its own", state: servers("several", func(v *VirtualServer) { v.Members = v.Members[:1] }),
			change: servers("several", func(v *VirtualServer) {
				v.Members[0].Draining = true
				other := v.Members[0]
				other.Addr, other.Draining = netip.AddrPortFrom(other.Addr.Addr().Next(), other.Addr.Port()), false
				v.Members = append(v.Members, other)
			}),
			script: open("client:1", "$p1", "pod") + "change; " + open("client:2", "$p2", "pod2") + `
				client> tcp client:1 > several:80 A; pod< tcp inside:$p1 > pod:8080 A; conns 2`},
		{name: "all drain", state: servers("several", func(v *VirtualServer) {
			for i := range v.Members {
				v.Members[i].Draining = true
			}
		}), script: open("client:1", "$p1", "@m1") + open("client:2", "$p2", "@m2") + open("client:3", "$p3", "@m3")},
		{name: "a member that comes", state: servers("several", func(v *VirtualServer) { v.Members = v.Members[:1] }),
			change: servers("several", func(v *VirtualServer) {
				v.Members[0].Addr = netip.AddrPortFrom(v.Members[0].Addr.Addr().Next(), 8080)
			}),
			script: open("client:1", "$p1", "pod") + "change; " + open("client:2", "$p2", "pod2") + `
				client> tcp client:1 > several:80 A; pod< tcp inside:$p1 > pod:8080 A`},
	}
}

// resuming has Maglev without source translation, and what else is changed.
func resuming(change func(*VirtualServer)) func(*State) {
	return servers("several", func(v *VirtualServer) {
		v.Method, v.SNAT = Maglev, SNATNone
		if change != nil {
			change(v)
		}
	})
}

// resumed opens eight connections, forgets them all, and has each go on with its member.
func resumed(flags string) string {
	var before, after strings.Builder
	for i := range 8 {
		fmt.Fprintf(&before, `client> tcp client:%[1]d > several:80 S; pod< tcp client:%[1]d > @m%[1]d:8080 S;
			client> tcp client:%[1]d > several:80 A; pod< tcp client:%[1]d > @m%[1]d:8080 A; `, i+1)
		fmt.Fprintf(&after, `client> tcp client:%[1]d > several:80 %[2]s; pod< tcp client:%[1]d > @m%[1]d:8080 %[2]s;
			pod> tcp @m%[1]d:8080 > client:%[1]d A; client< tcp several:80 > client:%[1]d A; `, i+1, flags)
	}
	return before.String() + "conns 8; flush; conns 0; " + after.String() + "client> tcp client:8 > several:80 A; pod< tcp client:8 > @m8:8080 A; conns 1"
}

// subnetCases: destinations of more than one address.
func subnetCases() []packetCase {
	wide := func(bits4, bits6 int) func(*State) {
		return servers("every", func(v *VirtualServer) {
			v.HostBits = bits6
			if v.Destination.Addr().Is4() {
				v.HostBits = bits4
			}
		})
	}
	return []packetCase{
		{name: "a subnet", state: wide(4, 4), script: `
			client> tcp client:1 > beyond:1234 S; pod< tcp client:1 > pod:1234 S
			pod> tcp pod:1234 > client:1 SA; client< tcp beyond:1234 > client:1 SA
			client> tcp client:1 > beyond:1234 A; pod< tcp client:1 > pod:1234 A; conns 1`},
		{name: "a subnet, udp", state: wide(4, 4), script: `
			client> udp client:1 > beyond:53; pod< udp client:1 > pod:53
			pod> udp pod:53 > client:1; client< udp beyond:53 > client:1`},
		{name: "with a port before without", state: wide(4, 4), script: `client> tcp client:1 > beyond:443 S; pod< tcp client:1 > pod2:8443 S`},
		{name: "an address before its subnet", state: wide(4, 4), script: `
			client> tcp client:1 > several:80 S; pod< tcp inside:$p > @m:8080 S`},
		{name: "outside of the subnet", state: wide(2, 2), script: `client> tcp client:1 > beyond:1234 S; drop not_permitted`},
		{name: "every destination", state: wide(32, 128), script: `
			client> tcp client:1 > client2:1234 S; pod< tcp client:1 > pod:1234 S
			pod> tcp pod:1234 > client:1 SA; client< tcp client2:1234 > client:1 SA`},
		{name: "every destination but the TMM's own", state: wide(32, 128), script: `client> echo client > outside id 1 seq 1; tc: kernel`},
		{name: "multicast is no destination", state: wide(32, 128), script: `client> udp client:1 > all:5353 ttl 1; tc: kernel`},
	}
}

// echoCases: pings through the TMM.
func echoCases() []packetCase {
	return []packetCase{
		{name: "egress automap", script: `
			pod> echo pod > client id 7 seq 1; client< echo outside > client id $p seq 1
			client> echo-reply client > outside id $p seq 1; pod< echo-reply client > pod id 7 seq 1; conns 1
			pod> echo pod > client id 7 seq 2 len 1000; client< echo outside > client id $p seq 2 len 1000`},
		{name: "egress none", script: `
			pod> echo plain > client id 7 seq 1; client< echo plain > client id 7 seq 1
			client> echo-reply client > plain id 7 seq 1; pod< echo-reply client > plain id 7 seq 1; conns 1`},
		{name: "egress by a pool", script: `
			pod> echo pooled > client id 7 seq 1; client< echo @s > client id $p seq 1
			client> echo-reply client > @s id $p seq 1; pod< echo-reply client > pooled id 7 seq 1`},
		{name: "two pods with one identifier", script: `
			pod> echo pod > client id 7 seq 1; client< echo outside > client id $p1 seq 1
			pod> echo pod2 > client id 7 seq 1; client< echo outside > client id $p2 seq 1
			client> echo-reply client > outside id $p2 seq 1; pod< echo-reply client > pod2 id 7 seq 1
			client> echo-reply client > outside id $p1 seq 1; pod< echo-reply client > pod id 7 seq 1`},
		{name: "identifier 0", script: `
			pod> echo plain > client id 0 seq 1; client< echo plain > client id 0 seq 1
			client> echo-reply client > plain id 0 seq 1; pod< echo-reply client > plain id 0 seq 1`},
		{name: "nothing but zeros", script: `
			pod> echo pod > client id 0 seq 0 len 0; client< echo outside > client id $p seq 0 len 0
			client> echo-reply client > outside id $p seq 0 len 0; pod< echo-reply client > pod id 0 seq 0 len 0`},
		{name: "no data", script: `
			pod> echo pod > client id 7 seq 1 len 0; client< echo outside > client id $p seq 1 len 0`},
		{name: "odd length", script: `
			pod> echo pod > client id 7 seq 1 len 13; client< echo outside > client id $p seq 1 len 13`},
		{name: "DSCP stays", script: `
			pod> echo pod > client id 7 seq 1 tos 0xb8; client< echo outside > client id $p seq 1 tos 0xb8`},
		{name: "a reply nobody asked for", script: `client> echo-reply client > plain id 7 seq 1; drop not_permitted`},
		{name: "a reply of a pod", script: `pod> echo-reply pod > client id 7 seq 1; drop no_flow`},
		{name: "a reply to a VIP", script: `client> echo-reply client > web id 7 seq 1; drop no_flow`},
		{name: "a VIP without a member", script: `client> echo client > empty id 7 seq 1; drop no_member`},
		{name: "a ping to a pod", script: `client> echo client > pod id 7 seq 1; drop not_permitted`},
		{name: "a pod that may not leave", script: `pod> echo jailed > client id 7 seq 1; drop not_permitted`},
		{name: "idle", script: `
			pod> echo plain > client id 7 seq 1; client< echo plain > client id 7 seq 1
			client> echo-reply client > plain id 7 seq 1; pod< echo-reply client > plain id 7 seq 1; conns 1; after 400s; conns 0`},
		{name: "in fragments", script: `
			pod> echo pod > client id 7 seq 1 len 200 ipid 3 part 0-104; client< echo outside > client id $p seq 1 len 200 ipid 3 part 0-104
			pod> echo pod > client id 7 seq 1 len 200 ipid 3 part 104-208; client< echo outside > client id $p seq 1 len 200 ipid 3 part 104-208
			client> echo-reply client > outside id $p seq 1 len 200 ipid 4 part 0-104; pod< echo-reply client > pod id 7 seq 1 len 200 ipid 4 part 0-104
			client> echo-reply client > outside id $p seq 1 len 200 ipid 4 part 104-208; pod< echo-reply client > pod id 7 seq 1 len 200 ipid 4 part 104-208`},
		{name: "with options", only: "4", script: `
			pod> echo pod > client id 7 seq 1 opt rr; client< echo outside > client id $p seq 1 opt rr
			client> echo-reply client > outside id $p seq 1 opt rr; pod< echo-reply client > pod id 7 seq 1 opt rr`},
	}
}
