package dataplane

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/bpf"
)

// TestFindConnections has half-open and established flows of both families.
func TestFindConnections(t *testing.T) {
	r := newRig(t, labState())
	for i := range 40 {
		r.from(t, bpf.External, fromClient(TCP, fmt.Sprintf("203.0.113.%d:40001", 10+i), "192.0.2.10:80", "S").build(t))
	}
	r.from(t, bpf.External, fromClient(TCP, "[2001:db8:113::10]:40001", "[2001:db8:2::10]:80", "S").build(t))
	r.from(t, bpf.Internal, fromPod(TCP, "10.131.1.100:9", "203.0.113.10:443", "S").build(t))
	client := netip.MustParseAddr("203.0.113.12")
	for _, tt := range []struct {
		name           string
		match          func(*Conn) bool
		limit          int
		shown, matched int
	}{
		{"all", func(*Conn) bool { return true }, 1000, 42, 42},
		{"a few", func(*Conn) bool { return true }, 7, 7, 42},
		{"none", func(*Conn) bool { return true }, 0, 0, 42},
		{"one client", func(c *Conn) bool { return c.Source.Addr() == client }, 7, 1, 1},
		{"IPv6", func(c *Conn) bool { return c.Source.Addr().Is6() }, 7, 1, 1},
		{"nobody", func(*Conn) bool { return false }, 7, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page, err := r.d.FindConnections(tt.match, tt.limit)
			must(t, err)
			if len(page.Conns) != tt.shown || page.Matched != tt.matched || page.Total != 42 || page.Conns == nil {
				t.Errorf("%d of %d of %d", len(page.Conns), page.Matched, page.Total)
			}
		})
	}
	all, err := r.d.Connections()
	must(t, err)
	page, err := r.d.FindConnections(func(*Conn) bool { return true }, 1000)
	must(t, err)
	want, got := map[netip.AddrPort]Conn{}, map[netip.AddrPort]Conn{}
	for _, c := range all {
		c.Idle = 0
		want[c.Source] = c
	}
	for _, c := range page.Conns {
		c.Idle = 0
		got[c.Source] = c
	}
	if diff := cmp.Diff(want, got, equateNetip); diff != "" {
		t.Errorf("other connections than Connections tells of:\n%s", diff)
	}
}

func TestTablesAndMaps(t *testing.T) {
	r := newRig(t, labState())
	for i := range 5 {
		r.from(t, bpf.External, fromClient(TCP, fmt.Sprintf("203.0.113.%d:40001", 10+i), "192.0.2.10:80", "S").build(t))
	}
	r.from(t, bpf.External, fromClient(TCP, "[2001:db8:113::10]:40001", "[2001:db8:2::10]:80", "S").build(t))
	v4, v6, err := r.d.Tables()
	must(t, err)
	if v4.HalfOpen != 5 || v6.HalfOpen != 1 || v4.Connections != 0 || v4.MaxConnections == 0 || v4.MaxHalfOpen == 0 {
		t.Errorf("%+v, %+v", v4, v6)
	}
	maps, err := r.d.Maps()
	must(t, err)
	byName := map[string]MapStats{}
	for _, m := range maps {
		byName[m.Name] = m
	}
	for name, want := range map[string]MapStats{
		"spk_half4":  {Type: "lru_hash", KeySize: 16, Entries: 10},
		"spk_half6":  {Type: "lru_hash", KeySize: 40, Entries: 2},
		"spk_ct4":    {Type: "hash", KeySize: 16, Entries: 0},
		"spk_config": {Type: "array", KeySize: 4, Entries: 1},
	} {
		got := byName[name]
		if got.Type != want.Type || got.KeySize != want.KeySize || got.Entries != want.Entries || got.MaxEntries == 0 || got.Memory == 0 || got.ValueSize == 0 {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	for _, name := range []string{"spk_vs4", "spk_egress4"} {
		if got := byName[name]; got.Entries == 0 || got.Entries >= got.MaxEntries {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestCurrentConnections establishes one connection and leaves one half-open.
func TestCurrentConnections(t *testing.T) {
	r := newRig(t, labState())
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "S").build(t))
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "A").build(t))
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.99:40001", "192.0.2.10:80", "S").build(t))
	stats, err := r.d.MemberStats()
	must(t, err)
	current, members := 0, 0
	for _, s := range stats {
		current += s.Current
		for _, m := range s.Members {
			members += m.Current
		}
	}
	if current != 1 || members != 1 {
		t.Errorf("%d connections, %d of members; want the established one", current, members)
	}
	_, err = r.d.Flush(func(Conn) bool { return true })
	must(t, err)
	stats, err = r.d.MemberStats()
	must(t, err)
	for _, s := range stats {
		if s.Current != 0 {
			t.Errorf("%s has %d connections after a flush", s.Name, s.Current)
		}
	}
}

// TestFindNAT64 finds a connection that changes its family once.
func TestFindNAT64(t *testing.T) {
	r := newNAT64Rig(t)
	for _, flags := range []string{"S", "A"} {
		r.forwarded(t, "out", bpf.Internal, fromPod(TCP, "[fd01:0:0:1::100]:4000", "[64:ff9b::203.0.113.10]:443", flags))
	}
	page, err := r.d.FindConnections(func(*Conn) bool { return true }, 10)
	must(t, err)
	if page.Total != 1 || page.Matched != 1 || len(page.Conns) != 1 || page.Conns[0].TranslatedDestination != ap("203.0.113.10:443") {
		t.Errorf("%+v", page)
	}
}
