package lab

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
)

// TestDocumentedRIB reads the entry that docs/inspect-bgp.md shows: it has no other fields than a NodeRIB, and comes
// out of one again.
func TestDocumentedRIB(t *testing.T) {
	text, err := os.ReadFile("../docs/inspect-bgp.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```json\n")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("no example")
	}
	var end NodeRIB
	d := json.NewDecoder(strings.NewReader(example))
	d.DisallowUnknownFields()
	if err := d.Decode(&end); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(end)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, []byte(example)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(again)); diff != "" {
		t.Errorf("(-documented +printed):\n%s", diff)
	}
}

// TestServed are the virtual servers in a TMM's maps as routes: one a destination, whatever its ports.
func TestServed(t *testing.T) {
	server := func(dst string, bits int, programmed bool, members ...string) control.VirtualServerStatus {
		vs := control.VirtualServerStatus{Destination: netip.MustParseAddrPort(dst), HostBits: bits, Programmed: programmed}
		for _, m := range members {
			vs.Members = append(vs.Members, control.MemberStatus{Address: netip.MustParseAddrPort(m)})
		}
		return vs
	}
	got := served(&control.Status{VirtualServers: []control.VirtualServerStatus{
		server("192.0.2.10:443", 0, true, "10.0.0.2:8443"), server("192.0.2.10:80", 0, true, "10.0.0.1:8080", "10.0.0.2:8080"),
		server("192.0.2.9:80", 0, false, "10.0.0.1:8080"), server("192.0.2.0:80", 8, true),
	}})
	want := []bgp.Route{
		{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHops: []netip.Addr{}},
		{Prefix: netip.MustParsePrefix("192.0.2.10/32"), NextHops: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
