package traffic

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	s, err := ServeNames("both.example. 60 IN A 192.0.2.1", "both.example. 60 IN AAAA 2001:db8::1", "six.example. 60 IN AAAA 2001:db8::6")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Port())
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range []struct{ name, want, fails string }{
			{name: "both.example", want: "192.0.2.1"},
			{name: "BOTH.example.", want: "192.0.2.1"},
			{name: "six.example"},
			{name: "none.example", fails: "NXDOMAIN"},
		} {
			t.Run(network+" "+tt.name, func(t *testing.T) {
				rrs, err := Dialer{}.Ask(t.Context(), network, at, tt.name)
				if failed := err != nil; failed != (tt.fails != "") || failed && !strings.Contains(err.Error(), tt.fails) {
					t.Fatalf("error %v, want %q", err, tt.fails)
				}
				var got []string
				for _, rr := range rrs {
					got = append(got, rr.A.String())
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("%v, want %q", got, tt.want)
				}
			})
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := (Dialer{}).Ask(t.Context(), "tcp", at, "both.example"); err == nil {
		t.Error("it answers after Close")
	}
}

func TestServeNamesRefuses(t *testing.T) {
	if s, err := ServeNames("host.example. IN AAAA 192.0.2.1"); err == nil {
		t.Errorf("an IPv4 address in AAAA is taken; close: %v", s.Close())
	}
}
