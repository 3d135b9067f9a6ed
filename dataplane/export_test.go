package dataplane

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// Rig lets the tests of package dataplane_test, which compare with the model, drive the programs.
type Rig struct{ r *rig }

// FrontEnds are the names of those that the programs run at.
func FrontEnds() []string {
	var names []string
	for _, f := range frontEnds() {
		names = append(names, f.name)
	}
	return names
}

// NewRig loads the programs with the state of the packet tables.
func NewRig(t testing.TB, front string) *Rig {
	t.Helper()
	i := slices.IndexFunc(frontEnds(), func(f frontEnd) bool { return f.name == front })
	r := newRigAt(t, tableState(), frontEnds()[i])
	r.tableRoutes(t)
	return &Rig{r}
}

// TableState and TableHosts are those of the packet tables.
func TableState() State                                       { return tableState() }
func TableHosts(family string) map[string]netip.Addr          { return tableHosts(family) }
func (r *Rig) Reset(t testing.TB, s State)                    { t.Helper(); r.r.reset(t, s) }
func (r *Rig) Forget(t testing.TB)                            { t.Helper(); r.r.forget(t) }
func (r *Rig) Apply(t testing.TB, s State)                    { t.Helper(); r.r.apply(t, s) }
func (r *Rig) Ports() (low, high uint16)                      { return r.r.ports() }
func (r *Rig) CheckPairs(t testing.TB)                        { t.Helper(); r.r.checkPairs(t) }
func (r *Rig) Counted(t testing.TB) map[string]uint64         { t.Helper(); return r.r.counted(t) }
func (r *Rig) Dataplane() *Dataplane                          { return r.r.d }
func Grown(before, after map[string]uint64) map[string]uint64 { return grown(before, after) }

// Send runs a packet through the programs, from the internal side or from the external one. The
// frame that it answers is the one that left, if it did; verdict is one of "forwarded", "dropped"
// and "given to the kernel". A packet that may be cut for an answer must come plain, without a
// device's sum.
func (r *Rig) Send(t testing.TB, internal, plain bool, p frame.Packet) (verdict string, in, out []byte) {
	t.Helper()
	r.r.noSums = plain
	side := bpf.External
	p.SrcMAC, p.DstMAC = mac(t, macRouter), mac(t, macExternal)
	if internal {
		side, p.SrcMAC, p.DstMAC = bpf.Internal, mac(t, macNode), mac(t, macInternal)
	}
	b, err := p.Bytes()
	must(t, err)
	got := r.r.through(t, side, b, p.Segment)
	return string(got.verdict), b, got.frame
}

// Expect is the frame of a packet that leaves by a side.
func (r *Rig) Expect(t testing.TB, internal bool, p frame.Packet) []byte {
	t.Helper()
	p.SrcMAC, p.DstMAC = mac(t, macExternal), mac(t, macRouter)
	if internal {
		p.SrcMAC, p.DstMAC = mac(t, macInternal), mac(t, macNode)
	}
	b, err := p.Bytes()
	must(t, err)
	return b
}

// Age has connections forgotten as if no packet had come for that long.
func (r *Rig) Age(t testing.TB, idle time.Duration) {
	t.Helper()
	now, err := nowTicks()
	must(t, err)
	_, err = r.r.d.collect(now + ticksOf(idle))
	must(t, err)
}

// Tracked are the connections, and whether each is half-open.
func (r *Rig) Tracked(t testing.TB) map[Conn]bool {
	t.Helper()
	out := map[Conn]bool{}
	must(t, tracked(r.r.d.table4(), out))
	must(t, tracked(r.r.d.table6(), out))
	return out
}

func tracked[K, V comparable](tab table[K, V], out map[Conn]bool) error {
	for _, half := range []bool{true, false} {
		m := tab.m
		if half {
			m = tab.half
		}
		entries, err := readAll[K, V](m)
		if err != nil {
			return err
		}
		for _, k := range slices.Collect(maps.Keys(entries)) {
			if v := entries[k]; tab.ct(&v).Flags&bpf.CtForward != 0 {
				out[tab.conn(&k, &v)] = half
			}
		}
	}
	return nil
}
