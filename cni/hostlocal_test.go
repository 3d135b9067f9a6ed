package cni_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/cni"
)

const twoRanges = `{"type": "macvlan", "name": "n", "ipam": {"type": "host-local", "ranges": [[
	{"subnet": "192.0.2.0/29", "rangeStart": "192.0.2.5", "rangeEnd": "192.0.2.6"},
	{"subnet": "198.51.100.0/30"}]]}}`

// TestHostLocal gives addresses out in turn over the ranges of a set, never a gateway's, and none twice.
func TestHostLocal(t *testing.T) {
	c, err := cni.Decode(twoRanges)
	if err != nil {
		t.Fatal(err)
	}
	store := cni.Reservations{}
	for _, step := range []struct{ owner, release, want, fails string }{
		{owner: "a", want: "192.0.2.5/29"},
		{owner: "a", want: "192.0.2.5/29"}, // the same owner asks again
		{owner: "b", want: "192.0.2.6/29"},
		{owner: "c", want: "198.51.100.2/30"}, // 198.51.100.1 is the gateway
		{owner: "d", fails: "no IP addresses available in range set: 192.0.2.5-192.0.2.6,198.51.100.1-198.51.100.2"},
		{owner: "d", release: "b", want: "192.0.2.6/29"},
		{owner: "b", release: "a", want: "192.0.2.5/29"},
	} {
		if step.release != "" {
			store.Release(cni.Owner{Container: step.release, Interface: "net1"})
		}
		before := len(store)
		got, err := cni.Assign(c, store, cni.Owner{Container: step.owner, Interface: "net1"}, nil)
		if step.fails != "" {
			if err == nil || !strings.Contains(err.Error(), step.fails) || len(store) != before {
				t.Errorf("%s: %v, want %s; %d reservations, had %d", step.owner, err, step.fails, len(store), before)
			}
			continue
		}
		if err != nil || len(got.IPs) != 1 || got.IPs[0].Address != netip.MustParsePrefix(step.want) {
			t.Fatalf("%s: %v, %v; want %s", step.owner, got, err, step.want)
		}
	}
}

// TestReservations come back from their directory as they went, and go with their owner.
func TestReservations(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "n")
	want := cni.Reservations{"192.0.2.5": "a\r\nnet1", "192.0.2.6": "b\r\nnet1", "last_reserved_ip.0": "192.0.2.6"}
	for range 2 {
		if err := want.Write(dir); err != nil {
			t.Fatal(err)
		}
		got, err := cni.ReadReservations(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		want.Release(cni.Owner{Container: "a", Interface: "net1"})
	}
}

// FuzzDecode: whatever is accepted can be asked for an address and printed.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{twoRanges, `{"type": "macvlan"}`, `{"plugins": [{"type": "macvlan"}]}`, `{"plugins": 1, "type": "host-device"}`,
		`{"type":"macvlan","ipam":{"type":"static","addresses":[{"address":"192.0.2.1/24"}]}}`, `{"type":"macvlan","ipam":{"type":"host-local","subnet":"2001:db8::/64","rangeEnd":"2001:db8::9"}}`, "null", "[]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := cni.Decode(text)
		if err != nil {
			return
		}
		store := cni.Reservations{}
		given, err := cni.Assign(c, store, cni.Owner{Container: "c", Interface: "net1"}, nil)
		if err != nil || given == nil {
			return
		}
		if _, err := (cni.Result{Assigned: *given}).Encode("1.0.0"); err != nil {
			t.Errorf("%q: encode: %v", text, err)
		}
		again, err := cni.Assign(c, store, cni.Owner{Container: "c", Interface: "net1"}, nil)
		if diff := cmp.Diff(given, again, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
			t.Errorf("%q: asked again: %v\n%s", text, err, diff)
		}
	})
}
