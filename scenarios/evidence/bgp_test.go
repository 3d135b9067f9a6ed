package evidence

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bgpBytes is a message of a type around a body in hexadecimal.
func bgpBytes(t testing.TB, kind byte, body string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(body, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	n := bgpHeader + len(b)
	head := append([]byte(strings.Repeat("\xff", 16)), byte(n>>8), byte(n), kind)
	return append(head, b...)
}

// Updates as RFC 4271, section 4.3, and RFC 4760, section 3, describe them.
const (
	announce4 = "0000 0014 40010100 4002060201 0000fde9 400304c6336410 20c0000 20a"
	withdraw4 = "0005 20c000020a 0000"
	announce6 = "0000 002a 900e0026 0002 01 10 20010db8005100000000000000000016 00 80 20010db8000000000000000000000010"
	withdraw6 = "0000 0018 900f0014 0002 01 80 20010db8000000000000000000000010"
)

func TestBGP(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want []BGPMessage
	}{
		{"keepalive", bgpBytes(t, 4, ""), []BGPMessage{{Kind: "keepalive"}}},
		{"notification", bgpBytes(t, 3, "0602"), []BGPMessage{{"notification", "code 6 subcode 2"}}},
		{"announced", bgpBytes(t, 2, announce4), []BGPMessage{{"update", "+192.0.2.10/32"}}},
		{"withdrawn", bgpBytes(t, 2, withdraw4), []BGPMessage{{"update", "-192.0.2.10/32"}}},
		{"announced, IPv6", bgpBytes(t, 2, announce6), []BGPMessage{{"update", "+2001:db8::10/128"}}},
		{"withdrawn, IPv6", bgpBytes(t, 2, withdraw6), []BGPMessage{{"update", "-2001:db8::10/128"}}},
		{"end of RIB", bgpBytes(t, 2, "0000 0000"), []BGPMessage{{"update", ""}}},
		{"two", append(bgpBytes(t, 2, withdraw4), bgpBytes(t, 4, "")...), []BGPMessage{{"update", "-192.0.2.10/32"}, {Kind: "keepalive"}}},
		{"cut off", bgpBytes(t, 2, announce4)[:bgpHeader+26], []BGPMessage{{"update", ""}}},
		{"within a message", bgpBytes(t, 4, "")[3:], nil},
		{"a length too short", append([]byte(strings.Repeat("\xff", 16)), 0, 3, 4), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Packet{Protocol: ProtoTCP, Dst: netip.MustParseAddrPort("192.0.2.1:179"), Payload: tc.in}
			if diff := cmp.Diff(tc.want, p.BGP()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if other := (Packet{Protocol: ProtoTCP, Payload: bgpBytes(t, 4, "")}).BGP(); other != nil {
		t.Errorf("of another port: %v", other)
	}
}

func FuzzBGP(f *testing.F) {
	for _, body := range []string{announce4, withdraw4, announce6, withdraw6} {
		f.Add(bgpBytes(f, 2, body))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range bgpMessages(b) {
			if m.Kind == "" || len(m.Detail) > 64*len(b) {
				t.Errorf("%+v of %d octets", m, len(b))
			}
		}
	})
}
