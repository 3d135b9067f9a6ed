package control

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane"
)

func TestConnQuery(t *testing.T) {
	conn := dataplane.Conn{
		Source: netip.MustParseAddrPort("203.0.113.10:40001"), Destination: netip.MustParseAddrPort("192.0.2.10:80"),
		TranslatedSource: netip.MustParseAddrPort("10.144.100.16:33000"), TranslatedDestination: netip.MustParseAddrPort("10.131.1.100:8080"),
	}
	for _, tt := range []struct {
		name                string
		vip, client, member string
		want                bool
	}{
		{"nothing asked", "", "", "", true},
		{"address", "192.0.2.10", "203.0.113.10", "10.131.1.100", true},
		{"address and port", "192.0.2.10:80", "203.0.113.10:40001", "10.131.1.100:8080", true},
		{"prefix", "192.0.2.0/24", "203.0.113.77/24", "10.0.0.0/8", true},
		{"another port", "192.0.2.10:443", "", "", false},
		{"another client", "", "203.0.113.11", "", false},
		{"another member", "", "", "10.131.1.101", false},
		{"another family", "2001:db8::/32", "", "", false},
		{"the VIP is no member", "", "", "192.0.2.10", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var q ConnQuery
			for m, text := range map[*AddrMatch]string{&q.VIP: tt.vip, &q.Client: tt.client, &q.Member: tt.member} {
				var err error
				if *m, err = ParseAddrMatch(text); err != nil {
					t.Fatal(err)
				}
			}
			q.Limit = 7
			u, err := url.Parse(q.Path())
			if err != nil || u.Path != PathConnections {
				t.Fatalf("%s: %v", q.Path(), err)
			}
			again, err := parseConnQuery(u.Query())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(q, again, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("read back:\n%s", diff)
			}
			if got := again.matches(&conn); got != tt.want {
				t.Errorf("matches: %v", got)
			}
		})
	}
}

func TestConnQueryMistakes(t *testing.T) {
	for _, tt := range []struct{ query, want string }{
		{"vip=web", `vip: "web" is no address`},
		{"client=192.0.2.10:99999", "client: "},
		{"limit=-1", `limit "-1": write 0 to 10000`},
		{"limit=10001", "limit"},
		{"limit=x", "limit"},
	} {
		v, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseConnQuery(v); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.query, err, tt.want)
		}
	}
	if q, err := parseConnQuery(url.Values{}); err != nil || q.Limit != DefaultConnLimit {
		t.Errorf("%+v, %v", q, err)
	}
}
