package dataplane

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// familiesState is labState with an egress that changes families, whose every packet leaves from one
// address and port, so that errors about its connections can be written down.
func familiesState() State {
	s := labState()
	s.SNATPools = []SNATAddresses{{
		Name: "one", Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.101"), netip.MustParseAddr("2001:db8:51::101")}, PortMin: 2000, PortMax: 2000,
	}}
	s.Egresses = append(s.Egresses, Egress{
		Name: "spk-apps/across", SNAT: SNATPool, SNATPool: "one",
		Sources: []netip.Prefix{netip.MustParsePrefix("10.131.1.64/32"), netip.MustParsePrefix("fd01:0:0:1::64/128")},
		NAT64:   netip.MustParsePrefix("64:ff9b::/96"), NAT46: netip.MustParsePrefix("10.2.2.0/24"),
	})
	return s
}

// acrossFlows are first packets of connections that change family, one a protocol and family.
func acrossFlows() []string {
	return []string{
		"udp [fd01:0:0:1::64]:4000 > [64:ff9b::203.0.113.10]:53", "tcp [fd01:0:0:1::64]:4000 > [64:ff9b::203.0.113.10]:443 S",
		"sctp [fd01:0:0:1::64]:4000 > [64:ff9b::203.0.113.10]:80 INIT len 16", "echo fd01:0:0:1::64 > 64:ff9b::203.0.113.10 id 7 seq 1",
		"udp 10.131.1.64:4000 > 10.2.2.7:53", "tcp 10.131.1.64:4000 > 10.2.2.7:443 S", "echo 10.131.1.64 > 10.2.2.7 id 7 seq 1",
	}
}

// acrossErrors are ICMP errors about them.
func acrossErrors() []string {
	return []string{
		"unreachable 203.0.113.10 > 198.51.100.101 code 3 about udp 198.51.100.101:2000 > 203.0.113.10:53",
		"too-big 198.51.100.77 > 198.51.100.101 mtu 1400 cut 100 opt rr about tcp 198.51.100.101:2000 > 203.0.113.10:443 A len 1400",
		"unreachable 198.51.100.77 > 198.51.100.101 code 2 extended about sctp 198.51.100.101:2000 > 203.0.113.10:80 INIT len 16",
		"time-exceeded 198.51.100.77 > 198.51.100.101 code 0 about echo 198.51.100.101 > 203.0.113.10 id 2000 seq 1 ttl 1",
		"parameter 198.51.100.77 > 198.51.100.101 code 0 pointer 8 about udp 198.51.100.101:2000 > 203.0.113.10:53 opt ts ipid 9 part 0-48 len 100",
		"unreachable 2001:db8:113::10 > 2001:db8:51::101 code 4 extended about udp [2001:db8:51::101]:2000 > [2001:db8:113::10]:53",
		"too-big 2001:db8:77::77 > 2001:db8:51::101 mtu 1400 cut 200 ext hop about tcp [2001:db8:51::101]:2000 > [2001:db8:113::10]:443 A len 1400 ext dst",
		"time-exceeded 2001:db8:77::77 > 2001:db8:51::101 code 0 about echo 2001:db8:51::101 > 2001:db8:113::10 id 2000 seq 1 ttl 1",
	}
}

// fuzzFrame is the packet as it comes in from a side.
func fuzzFrame(t testing.TB, internal bool, text string) []byte {
	t.Helper()
	p, err := frame.Parse(text, nil)
	must(t, err)
	p.SrcMAC, p.DstMAC = mac(t, macRouter), mac(t, macExternal)
	if internal {
		p.SrcMAC, p.DstMAC = mac(t, macNode), mac(t, macInternal)
	}
	b, err := p.Bytes()
	must(t, err)
	return b
}

// TestFuzzSeeds: the seeds about connections that change family get as far as they should.
func TestFuzzSeeds(t *testing.T) {
	r := newRig(t, familiesState())
	r.noSums = true
	must(t, r.d.SetNAT46(map[netip.Addr]netip.Addr{netip.MustParseAddr("10.2.2.7"): netip.MustParseAddr("2001:db8:113::10")}))
	for _, text := range acrossFlows() {
		r.through(t, bpf.Internal, fuzzFrame(t, true, text), 0)
	}
	for _, text := range acrossErrors() {
		before := r.counted(t)
		out := r.through(t, bpf.External, fuzzFrame(t, false, text), 0)
		if got := grown(before, r.counted(t)); out.verdict != forwarded || got["icmp_translated"] != 1 {
			t.Errorf("%s: %s, %v", text, out.verdict, got)
		}
		if err := frame.Verify(out.frame); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzIngress feeds the programs of both front ends arbitrary bytes behind a valid MAC address.
// Whatever comes, the verdict is one of three, the kernel gets only what is untouched, and what
// leaves of a packet that was right has right checksums.
func FuzzIngress(f *testing.F) {
	var rigs []*rig
	for _, front := range frontEnds() {
		r := newRigAt(f, familiesState(), front)
		r.noSums = true // what is answered is cut
		must(f, r.d.SetNAT46(map[netip.Addr]netip.Addr{netip.MustParseAddr("10.2.2.7"): netip.MustParseAddr("2001:db8:113::10")}))
		for _, text := range acrossFlows() {
			if out := r.through(f, bpf.Internal, fuzzFrame(f, true, text), 0); out.verdict != forwarded {
				f.Fatalf("%s: %s, %v", text, out.verdict, r.counted(f))
			}
		}
		rigs = append(rigs, r)
	}
	for _, text := range acrossErrors() {
		f.Add(false, fuzzFrame(f, false, text)[12:])
	}
	for _, text := range acrossFlows() {
		f.Add(true, fuzzFrame(f, true, text)[12:])
	}
	for _, p := range []packet{
		fromClient(TCP, "203.0.113.10:1001", "192.0.2.11:80", "S"),
		fromClient(TCP, "203.0.113.10:1001", "192.0.2.10:80", "A"),
		fromClient(TCP, "[2001:db8:113::10]:1001", "[2001:db8:2::10]:80", "S"),
		fromClient(UDP, "203.0.113.10:1001", "192.0.2.12:5300", ""),
		fromClient(UDP, "[2001:db8:113::10]:1001", "[2001:db8:2::12]:5300", ""),
		fromPod(TCP, "10.131.1.100:8080", "203.0.113.10:1001", "SA"),
		fromPod(TCP, "10.131.1.100:50001", "203.0.113.10:443", "S"),
		fromPod(UDP, "[fd01:0:0:1::100]:50001", "[2001:db8:113::10]:53", ""),
	} {
		f.Add(p.dmac == macInternal, p.build(f)[12:])
	}
	f.Fuzz(func(t *testing.T, internal bool, rest []byte) {
		if len(rest) < 2+40 || len(rest) > 1500 {
			return // the kernel runs no test on less than an IP header
		}
		side, addresses := bpf.External, append(mac(t, macExternal), mac(t, macRouter)...)
		if internal {
			side, addresses = bpf.Internal, append(mac(t, macInternal), mac(t, macNode)...)
		}
		in := append(addresses, rest...)
		right := frame.Verify(in) == nil
		for _, r := range rigs {
			out := r.through(t, side, in, 0)
			if out.verdict == given && string(out.frame) != string(in) {
				t.Errorf("%s: altered and given to the kernel: %s", out.by, show(out.frame))
			}
			if out.verdict == forwarded && right && strings.Contains(show(out.frame), "WRONG CHECKSUM") {
				t.Errorf("%s: %s\nbecame %s", out.by, show(in), show(out.frame))
			}
		}
	})
}
