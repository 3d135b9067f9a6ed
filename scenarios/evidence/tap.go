package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// The kernel's part of a ring: blocks that it fills and hands over when they are full or when
// retireAfter milliseconds have passed.
const (
	blockSize   = 32 << 10
	blockCount  = 32
	frameSize   = 2048 // only a unit of the request: TPACKET_V3 packs packets of any size
	retireAfter = 100
)

// Offsets in struct tpacket_block_desc and struct tpacket3_hdr, and TPACKET_ALIGN(sizeof of the latter),
// where the address of a frame follows (include/uapi/linux/if_packet.h, Linux 6.18).
const (
	blockStatus  = 8
	blockPackets = 12
	blockFirst   = 16
	blockLength  = 20

	frameNext    = 0
	frameSec     = 4
	frameNsec    = 8
	frameSnap    = 12
	frameLength  = 16
	frameStatus  = 20
	frameMAC     = 24
	frameVLAN    = 32
	frameHeader  = 48
	framePkttype = frameHeader + 10 // sll_pkttype
)

// chunk is what a block held.
type chunk struct {
	data    []byte
	packets int
	first   int // offset of the first packet
	offset  int64
}

// tap is a packet socket whose frames the kernel writes to memory that both share (TPACKET_V3): no system
// call a packet, and a copy of the first octets only.
type tap struct {
	point Point
	rank  int
	index int // of the interface
	limit int // bytes kept
	file  *os.File
	ring  []byte
	next  int // block, the reader's alone
	ended chan error

	mu      sync.Mutex
	chunks  []chunk // oldest first
	bytes   int
	read    uint64 // packets that the reader took
	counted uint64 // packets that the kernel wrote
	drops   int    // packets that found no room in the kernel's part
	fell    int    // packets that fell off
	before  int64  // CLOCK_MONOTONIC: nothing older is left
	spare   []byte
	gone    atomic.Bool // closed: only what was read is left
}

// openTap begins to read an interface. It must be closed.
func openTap(p Point, index, rank, snap, limit int) (*tap, error) {
	t := &tap{point: p, rank: rank, index: index, limit: limit, ended: make(chan error, 1)}
	run := func() error { return t.open(snap) }
	if p.Netns != "" {
		open := run
		run = func() error { return topo.Do(p.Netns, open) }
	}
	if err := run(); err != nil {
		return nil, fmt.Errorf("open ring on %s: %w", p, err)
	}
	go func() { t.ended <- t.follow() }()
	return t, nil
}

func (t *tap) open(snap int) error {
	if link, err := net.InterfaceByIndex(t.index); err != nil || link.Name != t.point.Interface {
		return fmt.Errorf("find interface: %w", errors.Join(err, os.ErrNotExist))
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err := t.prepare(fd, snap); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	if t.ring, err = unix.Mmap(fd, 0, blockSize*blockCount, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	t.file = os.NewFile(uintptr(fd), "ring:"+t.point.String())
	// Bound last: from here on frames come.
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: t.index})
}

func (t *tap) prepare(fd, snap int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return err
	}
	// The program's answer is how much of a frame is kept.
	keep := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: uint32(snap)}}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &keep[0]}); err != nil {
		return err
	}
	return unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: blockSize, Block_nr: blockCount, Frame_size: frameSize, Frame_nr: blockSize * blockCount / frameSize, Retire_blk_tov: retireAfter,
	})
}

// follow takes blocks as the kernel hands them over, until close.
func (t *tap) follow() error {
	rc, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Read(func(uintptr) bool {
		failed = t.take()
		return failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return errors.Join(err, failed)
}

// take copies every block that is the reader's and gives it back.
func (t *tap) take() error {
	for {
		block := t.ring[t.next*blockSize:][:blockSize]
		status := word(block, blockStatus)
		if status.Load()&unix.TP_STATUS_USER == 0 {
			return nil
		}
		offset, err := clockOffset()
		if err != nil {
			return err
		}
		t.keep(block, offset)
		status.Store(unix.TP_STATUS_KERNEL)
		t.next = (t.next + 1) % blockCount
	}
}

// keep files a block, and lets the oldest fall off where there are too many.
func (t *tap) keep(block []byte, offset int64) {
	n := int(binary.NativeEndian.Uint32(block[blockPackets:]))
	used := min(int(binary.NativeEndian.Uint32(block[blockLength:])), len(block))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read += uint64(n)
	if n == 0 {
		return
	}
	t.chunks = append(t.chunks, chunk{
		data: append(t.room(used), block[:used]...), packets: n, offset: offset,
		first: int(binary.NativeEndian.Uint32(block[blockFirst:])),
	})
	t.bytes += used
	for t.bytes > t.limit && len(t.chunks) > 1 {
		old := t.chunks[0]
		t.chunks[0] = chunk{}
		t.chunks = t.chunks[1:]
		t.bytes -= len(old.data)
		t.fell += old.packets
		t.before = max(t.before, old.newest())
		t.spare = old.data
	}
}

// room is an empty slice for n octets, of the chunk that fell off last where that is neither too small nor
// much too large.
func (t *tap) room(n int) []byte {
	if s := t.spare; cap(s) >= n && cap(s) < 2*n {
		t.spare = nil
		return s[:0]
	}
	return make([]byte, 0, n)
}

// newest is the instant of the last packet.
func (c chunk) newest() int64 {
	last := int64(0)
	c.each(func(frame []byte) { last = c.mono(frame) })
	return last
}

// each calls f with each frame and its header.
func (c chunk) each(f func([]byte)) {
	at := c.first
	for range c.packets {
		if at < 0 || at+framePkttype >= len(c.data) {
			return
		}
		frame := c.data[at:]
		f(frame)
		next := int(binary.NativeEndian.Uint32(frame[frameNext:]))
		if next == 0 {
			return
		}
		at += next
	}
}

func (c chunk) mono(frame []byte) int64 { return stamp(frame).UnixNano() + c.offset }

func stamp(frame []byte) time.Time {
	return time.Unix(int64(binary.NativeEndian.Uint32(frame[frameSec:])), int64(binary.NativeEndian.Uint32(frame[frameNsec:])))
}

// packet is one frame as a Packet; its octets are a copy.
func (c chunk) packet(p Point, frame []byte) Packet {
	start, snap := int(binary.NativeEndian.Uint16(frame[frameMAC:])), int(binary.NativeEndian.Uint32(frame[frameSnap:]))
	status := binary.NativeEndian.Uint32(frame[frameStatus:])
	start = min(start, len(frame))
	out := Packet{
		Point: p, Out: frame[framePkttype] == unix.PACKET_OUTGOING, At: stamp(frame), Mono: c.mono(frame),
		Length: int(binary.NativeEndian.Uint32(frame[frameLength:])), Offloaded: status&unix.TP_STATUS_CSUMNOTREADY != 0,
		Data: append([]byte(nil), frame[start:min(start+snap, len(frame))]...),
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		retag(&out, binary.NativeEndian.Uint16(frame[frameVLAN:]))
	}
	Decode(&out)
	return out
}

// cut appends the packets of the window.
func (t *tap) cut(from, to int64, out []Packet) []Packet {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.chunks {
		c.each(func(frame []byte) {
			if at := c.mono(frame); at >= from && at <= to {
				out = append(out, c.packet(t.point, frame))
			}
		})
	}
	return out
}

// behind says how many packets the kernel has written that the reader has not taken yet.
func (t *tap) behind() (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone.Load() {
		return 0, nil
	}
	rc, err := t.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var st *unix.TpacketStatsV3
	var opt error
	if err := rc.Control(func(fd uintptr) {
		st, opt = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); err != nil {
		return 0, err
	}
	if opt != nil {
		return 0, opt
	}
	t.counted += uint64(st.Packets - st.Drops) // Packets includes Drops
	t.drops += int(st.Drops)
	return t.counted - min(t.read, t.counted), nil
}

// losses are what a window lacks. Packets that found no room are counted once, by the first who asks.
func (t *tap) losses(from int64) []Loss {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Loss
	if t.before > from {
		out = append(out, Loss{Point: t.point, Packets: t.fell, Before: t.before, Why: "fell off the ring"})
	}
	if t.drops > 0 {
		out = append(out, Loss{Point: t.point, Packets: t.drops, Why: "found no room in the ring"})
		t.drops = 0
	}
	return out
}

// close ends the reading; what passed before stays.
func (t *tap) close() error {
	t.mu.Lock()
	was := t.gone.Swap(true)
	t.mu.Unlock()
	if was {
		return nil
	}
	err := t.file.SetReadDeadline(time.Unix(1, 0))
	err = errors.Join(err, <-t.ended, t.rest())
	return errors.Join(err, unix.Munmap(t.ring), t.file.Close())
}

// rest takes what the kernel has not handed over, once it writes no more: the open block, too.
func (t *tap) rest() error {
	rc, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	var unbound error
	err = rc.Control(func(fd uintptr) {
		unbound = unix.Bind(int(fd), &unix.SockaddrLinklayer{Protocol: 0, Ifindex: t.index})
	})
	if errors.Is(unbound, unix.ENODEV) {
		unbound = nil // the interface has gone, and its frames with it
	}
	if err := errors.Join(err, unbound, t.take()); err != nil {
		return err
	}
	offset, err := clockOffset()
	if err != nil {
		return err
	}
	t.keep(t.ring[t.next*blockSize:][:blockSize], offset)
	return nil
}

// word is a 32-bit word that the kernel changes, too.
func word(b []byte, at int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&b[at])) }
