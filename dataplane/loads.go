package dataplane

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
)

// loads is the memory of spk_loads, which the programs add to at the same time.
type loads []bpf.Load

func mapLoads(m *ebpf.Map) (loads, error) {
	n := int(m.MaxEntries())
	b, err := unix.Mmap(m.FD(), 0, n*int(unsafe.Sizeof(bpf.Load{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the connection counts of members: %w", err)
	}
	return unsafe.Slice((*bpf.Load)(unsafe.Pointer(unsafe.SliceData(b))), n), nil
}

func (l loads) close() error {
	if l == nil {
		return nil
	}
	size := len(l) * int(unsafe.Sizeof(bpf.Load{}))
	if err := unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(l))), size)); err != nil {
		return fmt.Errorf("unmap the connection counts of members: %w", err)
	}
	return nil
}

// ended notes that connections of an owner are gone.
func (l loads) ended(owner uint32, n int) { atomic.AddUint64(&l[owner].Ended, uint64(n)) }

// started is how many connections an owner has had.
func (l loads) started(owner uint32) uint64 { return atomic.LoadUint64(&l[owner].Started) }

// current is how many connections an owner has.
func (l loads) current(owner uint32) int {
	return int(int64(atomic.LoadUint64(&l[owner].Started) - atomic.LoadUint64(&l[owner].Ended)))
}

// clear starts an owner anew; no connection may refer to it.
func (l loads) clear(owner uint32) {
	atomic.StoreUint64(&l[owner].Started, 0)
	atomic.StoreUint64(&l[owner].Ended, 0)
}
