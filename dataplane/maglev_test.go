package dataplane

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
)

func someMembers(n int) []Member {
	out := make([]Member, n)
	for i := range out {
		out[i].Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 131, byte(i >> 8), byte(i)}), 8080)
	}
	return out
}

// addrsOf is the table by address instead of index.
func addrsOf(members []Member) []netip.AddrPort {
	var out []netip.AddrPort
	for _, i := range maglevTable(members) {
		out = append(out, members[i].Addr)
	}
	return out
}

func TestMaglevSize(t *testing.T) {
	for members, want := range map[int]uint32{1: 251, 2: 251, 3: 1021, 10: 1021, 11: 4093, 163: 16381, 164: 65537, 5000: 65537} {
		if got := maglevSize(members); got != want {
			t.Errorf("%d members: %d slots, want %d", members, got, want)
		}
	}
}

// TestMaglevShares: every member has the share that its weight says, as exactly as slots allow.
func TestMaglevShares(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100, 600} {
		for _, weigh := range []func(int) uint16{
			func(int) uint16 { return 0 }, func(i int) uint16 { return uint16(i%4) + 1 },
		} {
			members := someMembers(n)
			sum := 0
			for i := range members {
				members[i].Weight = weigh(i)
				sum += members[i].weight()
			}
			slots := make([]int, n)
			table := maglevTable(members)
			for _, i := range table {
				slots[i]++
			}
			for i, got := range slots {
				want := float64(len(table)) * float64(members[i].weight()) / float64(sum)
				if math.Abs(float64(got)-want) > 2 {
					t.Errorf("member %d of %d with weight %d: %d slots of %d, want %.1f", i, n, members[i].weight(), got, len(table), want)
				}
			}
		}
	}
}

// TestMaglevDisruption: removing one of n members moves its own share, which must move, and of the
// rest less than so many percent.
func TestMaglevDisruption(t *testing.T) {
	tests := []struct {
		members int
		percent float64
	}{{2, 0}, {7, 6}, {10, 4}, {40, 4}, {100, 3}, {500, 2}}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.members), func(t *testing.T) {
			members := someMembers(tt.members)
			before := addrsOf(members)
			gone := members[tt.members/2].Addr
			after := addrsOf(slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Addr == gone }))
			if len(before) != len(after) {
				t.Fatalf("%d slots became %d", len(before), len(after))
			}
			moved := 0
			for slot, was := range before {
				if after[slot] == gone {
					t.Fatalf("slot %d still has the removed member", slot)
				}
				if was != gone && after[slot] != was {
					moved++
				}
			}
			if got := 100 * float64(moved) / float64(len(before)); got > tt.percent {
				t.Errorf("%.1f%% of the slots moved beside the %.1f%% of the removed member, want at most %.0f%%", got, 100/float64(tt.members), tt.percent)
			} else {
				t.Logf("%.2f%% moved beside %.2f%%", got, 100/float64(tt.members))
			}
		})
	}
}

// TestMaglevSameEverywhere: what a TMM learned first does not matter.
func TestMaglevSameEverywhere(t *testing.T) {
	s := State{VirtualServers: []VirtualServer{{Method: Maglev, Members: someMembers(12)}}}
	want := addrsOf(s.Canonical().VirtualServers[0].Members)
	slices.Reverse(s.VirtualServers[0].Members)
	if got := addrsOf(s.Canonical().VirtualServers[0].Members); !slices.Equal(want, got) {
		t.Error("the order of members changes the table")
	}
}
