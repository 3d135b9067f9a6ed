package drops

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/scenarios/drops/bpf"
)

// maxDrops bounds how many drops a watch remembers, the newest ones.
const maxDrops = 8192

// refresh is how often a watch looks for new namespaces.
const refresh = 200 * time.Millisecond

// Drop is a packet that the kernel has dropped.
type Drop struct {
	At     int64  // CLOCK_MONOTONIC, ns
	Netns  string // as `ip netns` lists it
	Index  int    // of the interface, 0 = none
	Reason string // of the kernel's enum skb_drop_reason, without its prefix: "NEIGH_FAILED"
	// Frame is the start of the packet, from a made-up Ethernet header with its EtherType on.
	Frame []byte
}

// Watch sees drops until it is closed. Make one with [Open].
type Watch struct {
	pattern string
	objs    bpf.DropsObjects
	at      link.Link
	reader  *ringbuf.Reader
	names   map[uint32]string // of reasons
	watched map[uint32]bool   // inodes that the program knows; of Open, then of read
	ended   sync.WaitGroup

	mu    sync.Mutex
	netns map[uint32]string // by inode, of all that have been watched: a drop may be read late
	drops []Drop            // oldest first
	lost  uint64            // beyond maxDrops
}

// Open sees from its return on what is dropped in the named namespaces whose names begin with prefix,
// those that come later included, after a moment. It needs the kernel's BTF and tracepoint skb:kfree_skb with
// reasons (Linux 5.17).
func Open(prefix string) (*Watch, error) {
	w := &Watch{pattern: filepath.Join("/run/netns", prefix+"*"), watched: map[uint32]bool{}, netns: map[uint32]string{}}
	var err error
	if w.names, err = reasons(); err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("allow memory for maps: %w", err)
	}
	if err := bpf.LoadDropsObjects(&w.objs, nil); err != nil {
		return nil, fmt.Errorf("load the program at skb:kfree_skb: %w", err)
	}
	if w.reader, err = ringbuf.NewReader(w.objs.DropEvents); err != nil {
		return nil, errors.Join(fmt.Errorf("open drops: %w", err), w.objs.Close())
	}
	if err := w.look(); err != nil {
		return nil, errors.Join(err, w.reader.Close(), w.objs.Close())
	}
	if w.at, err = link.AttachTracing(link.TracingOptions{Program: w.objs.DropSeen}); err != nil {
		return nil, errors.Join(fmt.Errorf("attach to skb:kfree_skb: %w", err), w.reader.Close(), w.objs.Close())
	}
	w.ended.Go(w.read)
	return w, nil
}

// reasons are the names of the kernel's reasons, from its BTF.
func reasons() (map[uint32]string, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("load the kernel's BTF: %w", err)
	}
	var enum *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &enum); err != nil {
		return nil, fmt.Errorf("find the kernel's reasons: %w", err)
	}
	names := map[uint32]string{}
	for _, v := range enum.Values {
		names[uint32(v.Value)] = strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
	}
	return names, nil
}

// look has the program know the namespaces that there are, and forget those that are gone: the kernel gives
// their inodes to others.
func (w *Watch) look() error {
	paths, _ := filepath.Glob(w.pattern) // the pattern is a good one
	there := map[uint32]bool{}
	for _, path := range paths {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(path, &st) != nil || unix.Statfs(path, &fs) != nil || fs.Type != unix.NSFS_MAGIC {
			continue
		}
		inode := uint32(st.Ino)
		there[inode] = true
		w.mu.Lock()
		w.netns[inode] = filepath.Base(path)
		w.mu.Unlock()
		if w.watched[inode] {
			continue
		}
		if err := w.objs.DropNetns.Put(inode, uint8(1)); err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		w.watched[inode] = true
	}
	for inode := range w.watched {
		if there[inode] {
			continue
		}
		if err := w.objs.DropNetns.Delete(inode); err != nil {
			return fmt.Errorf("leave a namespace that is gone: %w", err)
		}
		delete(w.watched, inode)
	}
	return nil
}

// read keeps what the program tells, until the reader is closed.
func (w *Watch) read() {
	var record ringbuf.Record
	next := time.Now()
	for {
		if !time.Now().Before(next) {
			_ = w.look() // a namespace too many for the map is one whose drops are not told
			next = time.Now().Add(refresh)
		}
		w.reader.SetDeadline(next)
		switch err := w.reader.ReadInto(&record); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return
		}
		var d bpf.DropsDrop
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &d); err == nil {
			w.keep(&d)
		}
	}
}

func (w *Watch) keep(d *bpf.DropsDrop) {
	frame := make([]byte, 14, 14+len(d.Packet))
	binary.NativeEndian.PutUint16(frame[12:], d.Protocol)
	reason, ok := w.names[d.Reason]
	if !ok {
		reason = fmt.Sprintf("reason %#x", d.Reason) // of a subsystem, see enum skb_drop_reason_subsys
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drops = append(w.drops, Drop{At: int64(d.At), Netns: w.netns[d.Netns], Index: int(d.Ifindex), Reason: reason, Frame: append(frame, d.Packet[:]...)})
	if n := len(w.drops) - maxDrops; n > 0 {
		w.drops = slices.Delete(w.drops, 0, n)
		w.lost += uint64(n)
	}
}

// Since are the drops that are remembered since an instant of CLOCK_MONOTONIC, oldest first.
func (w *Watch) Since(at int64) []Drop {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := len(w.drops)
	for i > 0 && w.drops[i-1].At >= at {
		i--
	}
	return slices.Clone(w.drops[i:])
}

// Close ends the watch.
func (w *Watch) Close() error {
	err := errors.Join(w.at.Close(), w.reader.Close())
	w.ended.Wait()
	return errors.Join(err, w.objs.Close())
}
