package dataplane

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// pingCases: pings of a virtual server's address.
func pingCases() []packetCase {
	return []packetCase{
		{name: "ping", script: `
			client> echo client > web id 7 seq 1; tc: client< echo-reply web > client id 7 seq 1 ttl 64; count echo_replies`},
		{name: "nothing but zeros", script: `
			client> echo client > web id 0 seq 0 len 0; tc: client< echo-reply web > client id 0 seq 0 len 0 ttl 64`},
		{name: "of a pod", script: `
			pod> echo pod > web id 7 seq 1; tc: pod< echo-reply web > pod id 7 seq 1 ttl 64`},
		{name: "type of service and identification stay", script: `
			client> echo client > web id 7 seq 1 tos 0xb8 ipid 5; tc: client< echo-reply web > client id 7 seq 1 tos 0xb8 ipid 5 ttl 64`},
		{name: "with options", only: "4", script: `
			client> echo client > web id 7 seq 1 opt rr,ts; tc: client< echo-reply web > client id 7 seq 1 opt rr,ts ttl 64`},
		{name: "with extension headers", only: "6", script: `
			client> echo client > web id 7 seq 1 ext hop,dst; tc: client< echo-reply web > client id 7 seq 1 ext hop,dst ttl 64`},
		{name: "in fragments", script: `
			client> echo client > web id 7 seq 1 len 2000 ipid 9 part 0-1400; tc: client< echo-reply web > client id 7 seq 1 len 2000 ipid 9 part 0-1400 ttl 64
			client> echo client > web id 7 seq 1 len 2000 ipid 9 part 1400-2008; tc: client< echo-reply web > client id 7 seq 1 len 2000 ipid 9 part 1400-2008 ttl 64`},
		{name: "a later fragment alone", script: `
			client> echo client > web id 7 seq 1 len 2000 ipid 9 part 1400-2008; drop fragment`},
		{name: "no member", script: `client> echo client > empty id 7 seq 1; drop no_member`},
		{name: "an answer nobody asked for", script: `client> echo-reply client > web id 7 seq 1; drop no_flow`},
		{name: "of a group", only: "4", script: `client> echo 224.0.0.9 > web id 7 seq 1; tc: drop no_flow`},
		{name: "of this network", only: "4", script: `client> echo 0.0.0.0 > web id 7 seq 1; tc: drop no_flow`},
		{name: "of a group over IPv6", only: "6", script: `client> echo ff05::9 > web id 7 seq 1; tc: drop no_flow`},
		{name: "of nobody", only: "6", script: `client> echo :: > web id 7 seq 1; tc: drop no_flow`},
	}
}

// errorCases: ICMP errors of the TMM itself.
func errorCases() []packetCase {
	return []packetCase{
		{name: "time exceeded", script: `
			client> tcp client:40001 > web:80 S ttl 1; tc: client< time-exceeded outside > client tos 0xc0 df ttl 64 code 0 about tcp client:40001 > web:80 S ttl 1; count icmp_sent
			pod> udp pod:40001 > client:53 ttl 1; tc: pod< time-exceeded inside > pod tos 0xc0 df ttl 64 code 0 about udp pod:40001 > client:53 ttl 1
			pod> echo pod > client id 7 seq 1 ttl 1; tc: pod< time-exceeded inside > pod tos 0xc0 df ttl 64 code 0 about echo pod > client id 7 seq 1 ttl 1; conns 0`},
		{name: "odd length", script: `
			client> udp client:40001 > web:53 ttl 1 len 13; tc: client< time-exceeded outside > client tos 0xc0 df ttl 64 code 0 about udp client:40001 > web:53 ttl 1 len 13`},
		{name: "quotes 576 bytes in all", cut: true, only: "4", script: `
			client> udp client:40001 > web:53 ttl 1 len 1400; tc: client< time-exceeded outside > client tos 0xc0 df ttl 64 code 0 cut 548 about udp client:40001 > web:53 ttl 1 len 1400`},
		{name: "quotes 1280 bytes in all", cut: true, only: "6", script: `
			client> udp client:40001 > web:53 ttl 1 len 1400; tc: client< time-exceeded outside > client tos 0xc0 ttl 64 code 0 cut 1232 about udp client:40001 > web:53 ttl 1 len 1400`},
		{name: "quotes options", only: "4", script: `
			client> udp client:40001 > web:53 ttl 1 opt rr; tc: client< time-exceeded outside > client tos 0xc0 df ttl 64 code 0 about udp client:40001 > web:53 ttl 1 opt rr`},
		{name: "quotes extension headers", only: "6", script: `
			client> udp client:40001 > web:53 ttl 1 ext hop,dst; tc: client< time-exceeded outside > client tos 0xc0 ttl 64 code 0 about udp client:40001 > web:53 ttl 1 ext hop,dst`},
		{name: "about the first fragment alone", script: `
			client> udp client:40001 > web:53 ttl 1 len 200 ipid 9 part 0-104; tc: client< time-exceeded outside > client tos 0xc0 df ttl 64 code 0 about udp client:40001 > web:53 ttl 1 len 200 ipid 9 part 0-104
			client> udp client:40001 > web:53 ttl 1 len 200 ipid 9 part 104-208; tc: drop ttl_expired`},
		{name: "not about a group's packet", only: "4", script: `
			client> udp 224.0.0.9:40001 > web:53 ttl 1; tc: drop ttl_expired`},
		{name: "fragmentation needed", cut: true, only: "4", script: `
			pod> udp pod:40001 > narrow:53 len 1373 df; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1400 cut 548 about udp pod:40001 > narrow:53 len 1373 df; count icmp_sent
			pod> udp pod:40001 > narrow:53 len 1372 df; client< udp outside:$p > narrow:53 len 1372 df`},
		{name: "packet too big", cut: true, only: "6", script: `
			pod> udp pod:40001 > narrow:53 len 1353; tc: pod< too-big inside > pod tos 0xc0 ttl 64 mtu 1400 cut 1232 about udp pod:40001 > narrow:53 len 1353
			pod> udp pod:40001 > narrow:53 len 1352; client< udp outside:$p > narrow:53 len 1352`},
		{name: "segments too big", cut: true, only: "4", script: `
			pod> tcp pod:40001 > narrow:443 S; client< tcp outside:$p > narrow:443 S
			pod> tcp pod:40001 > narrow:443 A len 3000 df gso 1400; tc: pod< too-big inside > pod tos 0xc0 df ttl 64 mtu 1400 cut 548 about tcp pod:40001 > narrow:443 A len 3000 df`},
		{name: "member down", only: "4", state: resetting, change: withoutMembers, script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300; change
			client> udp client:40001 > web:53; tc: client< unreachable web > client tos 0xc0 df ttl 64 code 3 about udp client:40001 > web:53; count resets_sent
			pod> udp pod:5300 > inside:$p; tc: pod< unreachable inside > pod tos 0xc0 df ttl 64 code 3 about udp pod:5300 > inside:$p; count resets_sent`},
		{name: "member down over IPv6", only: "6", state: resetting, change: withoutMembers, script: `
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300
			client> udp client:40001 > web:53; pod< udp inside:$p > pod:5300; change
			client> udp client:40001 > web:53 ext hop; tc: client< unreachable web > client tos 0xc0 ttl 64 code 4 about udp client:40001 > web:53 ext hop; count resets_sent`},
		{name: "no route", only: "4", script: `
			pod> tcp pod:50001 > lost:443 S; tc: pod< unreachable inside > pod tos 0xc0 df ttl 64 code 1 about tcp pod:50001 > lost:443 S; count icmp_sent`},
		{name: "no route over IPv6", only: "6", script: `
			pod> tcp pod:50001 > lost:443 S; tc: pod< unreachable inside > pod tos 0xc0 ttl 64 code 0 about tcp pod:50001 > lost:443 S; count icmp_sent`},
	}
}

func resetting(s *State) {
	for i := range s.VirtualServers {
		s.VirtualServers[i].DownAction = DownReset
	}
}

func withoutMembers(s *State) {
	for i := range s.VirtualServers {
		s.VirtualServers[i].Members = nil
	}
}

// TestResets ends connections whose member has gone, each packet the answer to the one before
// that.
func TestResets(t *testing.T) {
	for _, family := range []string{"4", "6"} {
		h := tableHosts(family)
		names := func(name string) (netip.Addr, bool) { a, ok := h[name]; return a, ok }
		state := func(members ...string) State {
			s := State{SelfIPs: labSelfIPs()}
			for _, p := range []Protocol{TCP, SCTP} {
				vs := VirtualServer{Name: "spk-apps/web-" + p.String(), Protocol: p, Destination: netip.AddrPortFrom(h["web"], 80), DownAction: DownReset}
				for _, m := range members {
					vs.Members = append(vs.Members, Member{Addr: netip.AddrPortFrom(h[m], 80)})
				}
				s.VirtualServers = append(s.VirtualServers, vs)
			}
			return s
		}
		r := newRig(t, state("pod"))
		r.noSums = true
		build := func(text string) frame.Packet {
			p, err := frame.Parse(text, names)
			must(t, err)
			p.SrcMAC, p.DstMAC = mac(t, macRouter), mac(t, macExternal)
			return p
		}
		run := func(text string) outcome {
			b, err := build(text).Bytes()
			must(t, err)
			return r.through(t, bpf.External, b, 0)
		}
		for _, first := range []string{
			"tcp client:40001 > web:80 S", "tcp client:40001 > web:80 A",
			"sctp client:40001 > web:80 INIT len 16", "sctp client:40001 > web:80 COOKIE-ECHO",
		} {
			if got := run(first); got.verdict != forwarded {
				t.Fatalf("%s: %s, counters %v", first, got.verdict, r.counted(t))
			}
		}
		_, err := r.d.Apply(state())
		must(t, err)
		tcp := func(flags string, seq, ack uint32) *layers.TCP {
			return &layers.TCP{SrcPort: 80, DstPort: 40001, Seq: seq, Ack: ack, RST: true, ACK: strings.Contains(flags, "A")}
		}
		abort := func(flags byte, tag uint32) gopacket.Payload {
			b := binary.BigEndian.AppendUint32([]byte{0, 80, 40001 >> 8, 40001 & 0xff}, tag)
			b = append(b, 0, 0, 0, 0, 6, flags, 0, 4)
			binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
			return b
		}
		for _, tt := range []struct {
			in   string
			want gopacket.SerializableLayer // nil: dropped
		}{
			{"tcp client:40001 > web:80 A", tcp("R", 2000, 0)},
			{"tcp client:40001 > web:80 PA tcpopt len 1000", tcp("R", 2000, 0)},
			{"tcp client:40001 > web:80 P", tcp("RA", 0, 1012)},
			{"tcp client:40001 > web:80 F tcpopt len 5", tcp("RA", 0, 1006)},
			{"tcp client:40001 > web:80 A opt rr,nop ext hop,dst", tcp("R", 2000, 0)},
			{"tcp client:40001 > web:80 R", nil},
			{"tcp client:40001 > web:80 RA", nil},
			{"sctp client:40001 > web:80 DATA", abort(1, 0x5eed)},
			{"sctp client:40001 > web:80 DATA len 0 opt ra ext dst", abort(1, 0x5eed)},
			{"sctp client:40001 > web:80 ABORT", nil},
			{"sctp client:40001 > web:80 SHUTDOWN-COMPLETE", nil},
		} {
			t.Run(tt.in+"/ipv"+family, func(t *testing.T) {
				before := r.counted(t)
				got := run(tt.in)
				if tt.want == nil {
					if counted := grown(before, r.counted(t)); got.verdict != dropped || counted["drop_member_down"] != 1 {
						t.Errorf("%s, counted %v", got.verdict, counted)
					}
					return
				}
				answer := packet{smac: macExternal, dmac: macRouter, proto: TCP, ttl: 64}
				if _, isTCP := tt.want.(*layers.TCP); !isTCP {
					answer.proto = SCTP
				}
				eth, ip, network := answer.headers(t, h["web"], h["client"])
				if tcp, ok := tt.want.(*layers.TCP); ok {
					must(t, tcp.SetNetworkLayerForChecksum(network))
				}
				if ip, ok := ip.(*layers.IPv4); ok {
					ip.Flags = layers.IPv4DontFragment
				}
				want := serialize(t, eth, ip, tt.want)
				if family == "4" { // less the padding
					want = want[:14+binary.BigEndian.Uint16(want[16:])]
				}
				if got.verdict != forwarded || !bytes.Equal(got.frame, want) {
					t.Errorf("%s\n got %x\nwant %x", got.verdict, got.frame, want)
				}
				if counted := grown(before, r.counted(t)); counted["resets_sent"] != 1 {
					t.Errorf("counted %v", counted)
				}
			})
		}
	}
}

// TestErrorLimit: without a token the packet is dropped under its own name.
func TestErrorLimit(t *testing.T) {
	r := newRig(t, labState())
	dying := fromClient(TCP, "203.0.113.10:1", "192.0.2.10:80", "S")
	dying.ttl = 1
	for _, tt := range []struct {
		name    string
		full    time.Duration // until the bucket is full again
		counter string
	}{
		{"full", 0, "icmp_sent"},
		{"a token left", 99 * time.Millisecond, "icmp_sent"},
		{"empty", time.Hour, "drop_ttl_expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var now unix.Timespec
			must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now))
			budget := make([]uint64, ebpf.MustPossibleCPU())
			for i := range budget {
				budget[i] = uint64(time.Duration(now.Nano()) + tt.full)
			}
			must(t, r.d.objs.SpkIcmpBudget.Put(uint32(0), budget))
			before := r.counted(t)
			r.from(t, bpf.External, dying.build(t))
			if got := grown(before, r.counted(t)); len(got) != 1 || got[tt.counter] != 1 {
				t.Errorf("counted %v, want %s", got, tt.counter)
			}
		})
	}
}
