package control

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// translations is a packet path that keeps what it is told.
type translations map[netip.Addr]netip.Addr

func (m translations) NAT46() (map[netip.Addr]netip.Addr, error) { return m, nil }

func (m translations) SetNAT46(want map[netip.Addr]netip.Addr) error {
	clear(m)
	maps.Copy(m, want)
	return nil
}

// freePort is an address of the loopback that nobody has, over UDP and TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(l.Addr().String())
}

// upstream serves one name with an IPv6 address.
func upstream(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		r.SetReply(q)
		if q.Question[0].Qtype == dns.TypeAAAA {
			r.Answer = []dns.RR{&dns.AAAA{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: 300}, AAAA: net.ParseIP("2001:db8::6")}}
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }() // it ends by Close
	t.Cleanup(func() { _ = c.Close() })
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// lookup asks until somebody answers, and returns the IPv4 address.
func lookup(t *testing.T, server netip.AddrPort) string {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion("six.example.", dns.TypeA)
	var r *dns.Msg
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if r, err = dns.Exchange(q, server.String()); err == nil {
			break
		}
	}
	if err != nil || len(r.Answer) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	return r.Answer[0].(*dns.A).A.String()
}

func TestResolverFollows(t *testing.T) {
	plane := translations{}
	r := &resolver{plane: plane, failed: func() {}}
	first := DNS46{Egress: "a/b", Listen: []netip.AddrPort{freePort(t)}, Upstream: []netip.AddrPort{upstream(t)}, Subnet: netip.MustParsePrefix("10.2.2.0/24"), MaxTTL: time.Minute}
	second := first
	second.Listen = []netip.AddrPort{freePort(t)}
	for _, want := range []DNS46{first, first, second} {
		if err := r.set(&want); err != nil {
			t.Fatal(err)
		}
		if got := lookup(t, want.Listen[0]); got != "10.2.2.1" {
			t.Errorf("%s answers %s", want.Listen[0], got)
		}
	}
	if _, err := net.Listen("tcp", first.Listen[0].String()); err != nil {
		t.Errorf("the one before still listens: %v", err)
	}
	if six := plane[netip.MustParseAddr("10.2.2.1")]; six != netip.MustParseAddr("2001:db8::6") {
		t.Errorf("10.2.2.1 stands for %s", six)
	}
	if err := r.set(nil); err != nil {
		t.Fatal(err)
	}
	if len(plane) != 0 || r.running != nil {
		t.Errorf("switched off, and %v stand for something", plane)
	}
}

// TestResolverTriesAgain: one that cannot listen tells so, and does when the address is free.
func TestResolverTriesAgain(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(taken.Addr().String())
	failed := make(chan struct{}, 1)
	r := &resolver{plane: translations{}, failed: func() { failed <- struct{}{} }}
	want := DNS46{Egress: "a/b", Listen: []netip.AddrPort{at}, Upstream: []netip.AddrPort{upstream(t)}, Subnet: netip.MustParsePrefix("10.2.2.0/24"), MaxTTL: time.Minute}
	if err := r.set(&want); err != nil {
		t.Fatal(err)
	}
	<-failed
	if err := r.set(&want); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("set: %v", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.set(&want); err != nil {
		t.Fatal(err)
	}
	if got := lookup(t, at); got != "10.2.2.1" {
		t.Errorf("answers %s", got)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
