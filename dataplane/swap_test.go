package dataplane

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// TestPoolsSwapUnderLoad swaps a whole pool again and again while new connections come in on every CPU. Once
// Apply has returned no packet goes to a member that is not in the pool, and none is lost at any
// time.
func TestPoolsSwapUnderLoad(t *testing.T) {
	const swaps, members = 60, 50
	for _, front := range frontEnds() {
		t.Run(front.name, func(t *testing.T) {
			pools := [2][]Member{swapPool("10.131.0.1", members), swapPool("10.131.1.1", members)}
			s := State{SelfIPs: labSelfIPs(), VirtualServers: []VirtualServer{
				{Name: "spk-apps/web", Protocol: TCP, Destination: ap("192.0.2.10:80"), SNAT: SNATAutomap, Members: pools[0]},
			}}
			r := newRigAt(t, s, front)
			l := &load{rig: r, pools: pools}
			var g errgroup.Group
			for worker := range 2 {
				g.Go(func() error { return l.run(uint32(worker)) })
			}
			for i := range swaps {
				l.epoch.Add(1) // odd: either pool is right
				s.VirtualServers[0].Members = pools[(i+1)%2]
				if _, err := r.d.Apply(s); err != nil {
					t.Error(err)
					break
				}
				l.epoch.Add(1)
				for before := l.packets.Load(); l.packets.Load() < before+100 && !l.stop.Load(); {
				}
			}
			l.stop.Store(true)
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			t.Logf("%d packets during %d swaps of %d members", l.packets.Load(), swaps, members)
		})
	}
}

func swapPool(first string, n int) []Member {
	var out []Member
	for a := netip.MustParseAddr(first); len(out) < n; a = a.Next() {
		out = append(out, Member{Addr: netip.AddrPortFrom(a, 8080)})
	}
	return out
}

// load sends the first packets of connections to the virtual server, each from a port of its
// own, and looks where they go.
type load struct {
	rig     *rig
	pools   [2][]Member
	epoch   atomic.Int64 // how often Apply was called and has returned
	packets atomic.Int64
	stop    atomic.Bool
}

func (l *load) run(worker uint32) error {
	defer l.stop.Store(true)
	p, err := frame.Parse("tcp 203.0.113.10:1 > 192.0.2.10:80 S len 0", nil)
	if err != nil {
		return err
	}
	thread := l.rig.ns.Thread()
	defer thread.Stop()
	for i := uint32(0); !l.stop.Load(); i++ {
		p.Src = netip.AddrPortFrom(clientOf(worker<<24|i>>14), uint16(1024+i%(1<<14)))
		before := l.epoch.Load()
		dst, err := l.send(thread.Enter, p)
		if err != nil {
			return fmt.Errorf("after swap %d: %w", before/2, err)
		}
		l.packets.Add(1)
		if now := l.epoch.Load(); now != before || before%2 != 0 {
			continue
		}
		if !slices.ContainsFunc(l.pools[before/2%2], func(m Member) bool { return m.Addr == dst }) {
			return fmt.Errorf("after swap %d a packet went to %s", before/2, dst)
		}
	}
	return nil
}

func (l *load) send(enter func(func() error) error, p frame.Packet) (netip.AddrPort, error) {
	b, err := p.Bytes()
	if err != nil {
		return netip.AddrPort{}, err
	}
	copy(b, []byte{2, 0, 0, 0, 2, 0x16})
	var out outcome
	err = enter(func() error {
		out, err = l.rig.runHere(bpf.External, b, 0)
		return err
	})
	if err != nil {
		return netip.AddrPort{}, err
	}
	if out.verdict != forwarded {
		return netip.AddrPort{}, fmt.Errorf("%s is %s", frame.Words(b), out.verdict)
	}
	_, dst := frame.Ends(out.frame)
	return dst, nil
}

// clientOf is the nth client's address.
func clientOf(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0b000000+n)
	return netip.AddrFrom4(b)
}
