package kubesim

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePodNetworks(t *testing.T) {
	got, err := parsePodNetworks(`{"default":{"ip_addresses":["10.131.1.100/23","fd01:0:0:1::100"],"mac_address":"0a:58:0a:83:01:64"},"x":{"ip_addresses":["bad"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := pins{addrs: []netip.Addr{netip.MustParseAddr("10.131.1.100"), netip.MustParseAddr("fd01:0:0:1::100")}, mac: "0a:58:0a:83:01:64"}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(pins{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzParsePodNetworks: whatever is accepted is a list of valid addresses.
func FuzzParsePodNetworks(f *testing.F) {
	for _, s := range []string{"", "{}", `{"default":{"ip_addresses":["10.0.0.1/8"]}}`, `{"default":{"ip_addresses":["::ffff:1.2.3.4"]}}`, `{"default":null}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parsePodNetworks(text)
		if err != nil {
			return
		}
		for _, a := range got.addrs {
			if !a.IsValid() || a.Is4In6() {
				t.Errorf("%q: address %v", text, a)
			}
		}
	})
}

// TestMACOfIPv6: without an IPv4 address the MAC comes from a digest, and stays local and unicast.
func TestMACOfIPv6(t *testing.T) {
	one, two := addressMAC([]netip.Addr{netip.MustParseAddr("fd01::1")}), addressMAC([]netip.Addr{netip.MustParseAddr("fd01::2")})
	if one == two || one[:5] != "0a:58" || len(one) != 17 {
		t.Errorf("MACs %s and %s", one, two)
	}
}
