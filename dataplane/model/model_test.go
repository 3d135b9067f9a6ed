package model

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

func testModel() *Model {
	m := New(map[string]Side{"1.1": Internal, "1.2": External},
		[]Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("10.0.0.0/8"), Side: Internal}},
		Ports{2000, 2001})
	m.Apply(dataplane.State{
		SelfIPs: []dataplane.SelfIP{
			{Interface: "1.1", Addr: netip.MustParseAddr("10.144.100.16")}, {Interface: "1.2", Addr: netip.MustParseAddr("198.51.100.16")},
		},
		VirtualServers: []dataplane.VirtualServer{{
			Name: "web", Protocol: dataplane.TCP, Destination: netip.MustParseAddrPort("192.0.2.10:80"), SNAT: dataplane.SNATAutomap,
			Members: []dataplane.Member{{Addr: netip.MustParseAddrPort("10.1.1.1:8080")}, {Addr: netip.MustParseAddrPort("10.1.1.2:8080")}},
		}},
		Egresses: []dataplane.Egress{{Name: "out", Sources: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}},
	})
	return m
}

// decide is what the model says when the packet path has sent a packet with the given ends.
func decide(t *testing.T, m *Model, side Side, text, sent string) string {
	t.Helper()
	p, err := frame.Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	var c Choice
	if src, dst, ok := strings.Cut(sent, " > "); ok {
		c = Choice{netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)}
	}
	d, err := m.Decide(side, p, c)
	switch {
	case err != nil:
		return "not legal: " + err.Error()
	case d.Verdict == Forward:
		b, err := d.Out.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return frame.Words(b)
	}
	return strings.TrimSpace(string(d.Verdict) + " " + d.Counter + string(d.Answer))
}

// TestDecide: one model sees these packets in turn.
func TestDecide(t *testing.T) {
	m := testModel()
	for _, tt := range []struct {
		name string
		side Side
		in   string
		sent string // by the packet path
		want string
	}{
		{"no flow", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 A", "", "drop drop_no_flow"},
		{"stranger's member", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 S", "10.144.100.16:2000 > 10.1.1.3:8080", "not legal: 10.1.1.3:8080 is no member of web"},
		{"wrong address", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 S", "198.51.100.16:2000 > 10.1.1.1:8080", "not legal: source 198.51.100.16:2000: not of [10.144.100.16], ports 2000 to 2001"},
		{"wrong port", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 S", "10.144.100.16:2002 > 10.1.1.1:8080", "not legal: source 10.144.100.16:2002: not of [10.144.100.16], ports 2000 to 2001"},
		{"first", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 S", "10.144.100.16:2000 > 10.1.1.1:8080", "tcp 10.144.100.16:2000 > 10.1.1.1:8080 ttl 63 S"},
		{"again", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 S", "", "tcp 10.144.100.16:2000 > 10.1.1.1:8080 ttl 63 S"},
		{"its answer", Internal, "tcp 10.1.1.1:8080 > 10.144.100.16:2000 SA", "", "tcp 192.0.2.10:80 > 203.0.113.10:1 ttl 63 SA"},
		{"its answer from outside", External, "tcp 10.1.1.1:8080 > 10.144.100.16:2000 SA", "", "kernel"},
		{"taken port", External, "tcp 203.0.113.10:2 > 192.0.2.10:80 S", "10.144.100.16:2000 > 10.1.1.1:8080", "not legal: source 10.144.100.16:2000: taken"},
		{"same port, other member", External, "tcp 203.0.113.10:2 > 192.0.2.10:80 S", "10.144.100.16:2000 > 10.1.1.2:8080", "tcp 10.144.100.16:2000 > 10.1.1.2:8080 ttl 63 S"},
		{"other port", External, "tcp 203.0.113.10:3 > 192.0.2.10:80 S", "10.144.100.16:2001 > 10.1.1.1:8080", "tcp 10.144.100.16:2001 > 10.1.1.1:8080 ttl 63 S"},
		{"robs what has only begun", External, "tcp 203.0.113.10:4 > 192.0.2.10:80 S", "10.144.100.16:2001 > 10.1.1.1:8080", "tcp 10.144.100.16:2001 > 10.1.1.1:8080 ttl 63 S"},
		{"robbed", External, "tcp 203.0.113.10:3 > 192.0.2.10:80 A", "", "drop drop_conflict"},
		{"the robber is established", External, "tcp 203.0.113.10:4 > 192.0.2.10:80 A", "", "tcp 10.144.100.16:2001 > 10.1.1.1:8080 ttl 63 A"},
		{"so is the first", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 A", "", "tcp 10.144.100.16:2000 > 10.1.1.1:8080 ttl 63 A"},
		{"none left", External, "tcp 203.0.113.10:5 > 192.0.2.10:80 S", "10.144.100.16:2001 > 10.1.1.1:8080", "drop drop_ports_exhausted"},
		{"egress", Internal, "udp 10.1.1.1:5 > 203.0.113.10:53", "", "udp 10.1.1.1:5 > 203.0.113.10:53 ttl 63"},
		{"egress to the inside", Internal, "udp 10.1.1.1:5 > 10.2.2.2:53", "", "drop drop_bad_interface"},
		{"ping of the VIP", External, "echo 203.0.113.10 > 192.0.2.10 id 1", "", "answer echo reply"},
		{"no hop left", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 A ttl 1", "", "answer time exceeded"},
		{"source route", External, "tcp 203.0.113.10:1 > 192.0.2.10:80 A opt lsrr", "", "drop drop_ip_options"},
		{"later fragment", External, "udp 203.0.113.10:1 > 192.0.2.10:80 len 100 part 16-108", "", "drop drop_fragment"},
		{"ICMP error", External, "unreachable 203.0.113.10 > 192.0.2.10 about udp 192.0.2.10:1 > 203.0.113.10:2", "", "translate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(t, m, tt.side, tt.in, tt.sent); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestAge: each state of a connection has a time of its own.
func TestAge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags []string // of client and server in turn
		want  time.Duration
	}{
		{"half-open", []string{"S"}, openingTimeout},
		{"answered, but not by the client", []string{"S", "SA"}, openingTimeout},
		{"established", []string{"S", "SA", "A"}, dataplane.DefaultIdleTCP},
		{"one end closed", []string{"S", "SA", "FA"}, closingTimeout},
		{"both ends closed", []string{"S", "SA", "FA", "FA"}, closedTimeout},
		{"reset", []string{"S", "SA", "A", "R"}, closedTimeout},
		{"a reset that was forged", []string{"S", "SA", "R", "A", "A"}, dataplane.DefaultIdleTCP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := testModel()
			for i, flags := range tt.flags {
				if i%2 == 0 {
					decide(t, m, External, "tcp 203.0.113.10:1 > 192.0.2.10:80 "+flags, "10.144.100.16:2000 > 10.1.1.1:8080")
				} else {
					decide(t, m, Internal, "tcp 10.1.1.1:8080 > 10.144.100.16:2000 "+flags, "")
				}
			}
			m.Age(tt.want - 1)
			if n := len(m.Connections()); n != 1 {
				t.Fatalf("%d connections just before %s", n, tt.want)
			}
			if m.Age(tt.want); len(m.Connections()) != 0 {
				t.Errorf("still there after %s", tt.want)
			}
		})
	}
}

// FuzzDecide: no packet makes the model panic, what it forwards can be built, and the answer to
// that comes back to the sender.
func FuzzDecide(f *testing.F) {
	for _, text := range []string{
		"tcp 203.0.113.10:1 > 192.0.2.10:80 S", "udp 10.1.1.1:5 > 203.0.113.10:53 len 100 part 0-48", "echo 10.1.1.1 > 203.0.113.10 id 7",
		"sctp 10.1.1.1:5 > 203.0.113.10:53 INIT opt rr", "udp 10.1.1.1:5 > 203.0.113.10:53 ttl 1",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, internal bool) {
		p, err := frame.Parse(text, nil)
		if err != nil {
			return
		}
		if _, err := p.Bytes(); err != nil {
			return
		}
		side := External
		if internal {
			side = Internal
		}
		m := testModel()
		d, err := m.Decide(side, p, Choice{netip.MustParseAddrPort("10.144.100.16:2000"), netip.MustParseAddrPort("10.1.1.1:8080")})
		if err != nil || d.Verdict != Forward || p.To != 0 {
			return
		}
		answer := d.Out
		answer.Src, answer.Dst, answer.TTL = d.Out.Dst, d.Out.Src, 64
		if p.Kind == frame.Echo {
			answer.Kind = frame.EchoReply
		}
		back, err := m.Decide(d.Side, answer, Choice{})
		if err != nil || back.Verdict != Forward || back.Out.Src != p.Dst || back.Out.Dst != p.Src || back.Out.EchoID != p.EchoID {
			t.Errorf("%s: its answer is %+v, %v", text, back, err)
		}
	})
}
