package frame

import (
	"bytes"
	"strings"
	"testing"
)

// seeds are one packet of each kind.
func seeds() []string {
	return []string{
		"tcp 203.0.113.10:40001 > 192.0.2.10:80 S",
		"tcp [2001:db8::1]:40001 > [2001:db8::2]:80 SA tcpopt len 0 label 70000",
		"udp 203.0.113.10:53 > 192.0.2.10:53 nosum tos 0xb9 ttl 1",
		"udp [2001:db8::1]:53 > [2001:db8::2]:53 len 1400",
		"sctp 203.0.113.10:40001 > 192.0.2.10:80 INIT",
		"sctp [2001:db8::1]:40001 > [2001:db8::2]:80 COOKIE-ECHO ext hop,dst,route",
		"echo 203.0.113.10 > 192.0.2.10 id 7 seq 1",
		"echo-reply 2001:db8::1 > 2001:db8::2 id 7 seq 1",
		"udp 203.0.113.10:53 > 192.0.2.10:53 opt rr,nop,ra df ipid 7",
		"proto-47 203.0.113.10 > 192.0.2.10",
		"unreachable 203.0.113.10 > 192.0.2.10 code 3 about udp 192.0.2.10:53 > 203.0.113.10:53 ttl 60",
		"too-big 203.0.113.10 > 192.0.2.10 mtu 1400 about tcp 192.0.2.10:80 > 203.0.113.10:53 A ttl 60",
		"time-exceeded 2001:db8::1 > 2001:db8::2 code 0 about echo 2001:db8::2 > 2001:db8::3 ttl 1 id 7 seq 1",
		"parameter 2001:db8::1 > 2001:db8::2 code 1 pointer 40 about sctp [2001:db8::2]:1 > [2001:db8::3]:2 DATA",
	}
}

func build(t testing.TB, text string) []byte {
	t.Helper()
	p, err := Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWords: what was built from words is right, and says the same words again.
func TestWords(t *testing.T) {
	for _, text := range seeds() {
		t.Run(text, func(t *testing.T) {
			b := build(t, text)
			if err := Verify(b); err != nil {
				t.Error(err)
			}
			if again := build(t, Words(b)); !bytes.Equal(b, again) {
				t.Errorf("built again: %x\nnot         %x\nby %s", again, b, Words(b))
			}
		})
	}
}

// TestVerify: a bit that flips anywhere behind the Ethernet header is seen, but where no
// checksum covers it.
func TestVerify(t *testing.T) {
	for _, text := range seeds() {
		if strings.Contains(text, "nosum") || strings.Contains(text, "proto") {
			continue
		}
		t.Run(text, func(t *testing.T) {
			b := build(t, text)
			unseen := 0
			for i := 14; i < len(b); i++ {
				b[i] ^= 0x10
				if Verify(b) == nil {
					unseen++
				}
				b[i] ^= 0x10
			}
			limit := 0
			if b[14]>>4 == 6 { // traffic class, flow label, hop limit; the addresses with SCTP; extension headers
				limit = 5
				if strings.Contains(text, "sctp") {
					limit += 32 + 40
				}
			}
			if unseen > limit {
				t.Errorf("%d of %d flipped bits go unseen", unseen, len(b)-14)
			}
		})
	}
}

// TestVerifyInner: the packet that an error quotes has right checksums too.
func TestVerifyInner(t *testing.T) {
	const text = "unreachable 203.0.113.10 > 192.0.2.10 code 3 about udp 192.0.2.10:53 > 203.0.113.10:53 ttl 60"
	b := build(t, text)
	icmp := 14 + 20
	for _, tt := range []struct {
		name string
		at   int // in the quoted packet
		want string
	}{{"IP header", 8, "quoted packet: IPv4"}, {"UDP port", 20, "quoted packet: UDP"}} {
		t.Run(tt.name, func(t *testing.T) {
			wrong := bytes.Clone(b)
			wrong[icmp+8+tt.at]++
			// Keep ICMP's own sum right: take off what was added.
			sum := uint32(^(uint16(wrong[icmp+2])<<8 | uint16(wrong[icmp+3])))
			sum += 0x100
			sum = sum&0xffff + sum>>16
			wrong[icmp+2], wrong[icmp+3] = byte(^sum>>8), byte(^sum)
			if err := Verify(wrong); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestFragments: the parts of a packet are the whole, cut.
func TestFragments(t *testing.T) {
	for _, text := range []string{
		"udp 203.0.113.10:53 > 192.0.2.10:53 len 100 ipid 9",
		"udp [2001:db8::1]:53 > [2001:db8::2]:53 len 100 ipid 9",
	} {
		whole, err := Parse(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := whole.transport()
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, part := range []string{"0-24", "24-104", "104-108"} {
			b := build(t, text+" part "+part)
			head := 14 + 20
			if b[14]>>4 == 6 {
				head = 14 + 40 + 8
			}
			if err := Verify(b); err != nil {
				t.Error(err)
			}
			got = append(got, b[head:]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", text, got, want)
		}
	}
}

func TestParseFaults(t *testing.T) {
	for _, text := range []string{
		"", "tcp", "tcp 192.0.2.1:1 192.0.2.2:2", "tcp 192.0.2.1 > 192.0.2.2", "tcp 192.0.2.1:1 > [2001:db8::1]:1",
		"tcp 192.0.2.1:1 > 192.0.2.2:2 ttl", "tcp 192.0.2.1:1 > 192.0.2.2:2 ttl x", "tcp 192.0.2.1:1 > 192.0.2.2:2 X",
		"udp 192.0.2.1:1 > 192.0.2.2:2 S", "proto-999 192.0.2.1 > 192.0.2.2", "unreachable 192.0.2.1 > 192.0.2.2",
		"udp 192.0.2.1:1 > 192.0.2.2:2 part 3-8", "udp 192.0.2.1:1 > 192.0.2.2:2 opt x", "udp 192.0.2.1:1 > 192.0.2.2:2 ext x",
		"udp 192.0.2.1:1 > 192.0.2.2:2 about udp 192.0.2.1:1 > 192.0.2.2:2", "udp web:1 > 192.0.2.2:2",
	} {
		if p, err := Parse(text, nil); err == nil {
			t.Errorf("%q: %+v", text, p)
		}
	}
}

// FuzzParse: whatever words parse, the frame that they make has right checksums, and the frame's
// words make the same frame again.
func FuzzParse(f *testing.F) {
	for _, text := range seeds() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text, nil)
		if err != nil {
			return
		}
		b, err := p.Bytes()
		if err != nil {
			return
		}
		if err := Verify(b); err != nil {
			t.Errorf("%s: %v", Show(b), err)
		}
		if strings.Contains(text, "part") || strings.Contains(text, "extended") || p.Kind == Other || p.Inner != nil && (p.Cut != 0 || p.Inner.Kind == Other) {
			return
		}
		again, err := Parse(Words(b), nil)
		if err != nil {
			t.Fatalf("%s: %v", Words(b), err)
		}
		if c, err := again.Bytes(); err != nil || !bytes.Equal(b, c) {
			t.Errorf("%s: built again %x, not %x (%v)", Words(b), c, b, err)
		}
	})
}

// FuzzVerify: no frame makes Verify or Show panic.
func FuzzVerify(f *testing.F) {
	for _, text := range seeds() {
		f.Add(build(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = Verify(b)
		_ = Show(b)
	})
}
