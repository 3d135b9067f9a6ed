package ovn

import (
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestFlows holds the flows of br-ex before and after the gateway router's network is connected.
func TestFlows(t *testing.T) {
	s := sharing{
		Uplink: 1, MAC: net.HardwareAddr{0x0a, 0x58, 0x0a, 0x90, 0x64, 0x0b},
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.144.100.11/24"), netip.MustParsePrefix("fd00:10:144:100::11/64")},
	}
	for name, router := range map[string]int{"alone": 0, "shared": 2} {
		t.Run(name, func(t *testing.T) {
			s.Router = router
			got := strings.Join(s.flows(), "\n") + "\n"
			path := filepath.Join("testdata", name+".flows")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
}
