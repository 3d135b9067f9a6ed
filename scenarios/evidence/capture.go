package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// DefaultSnap is how many octets of each frame are kept: headers and a marker in the payload.
const DefaultSnap = 256

// maxPackets bounds the memory of one capture; what comes later counts as lost.
const maxPackets = 1 << 18

// Capture is a running capture. Make one with [Start]; it must be stopped. Trace and Stop are
// for one goroutine.
type Capture struct {
	points  []Point
	sockets []*socket
	readers errgroup.Group
	offset  int64 // CLOCK_MONOTONIC minus CLOCK_REALTIME, nanoseconds
	lost    int   // packets that the kernel could not queue

	mu      sync.Mutex
	packets []Packet
	over    int // packets beyond maxPackets
}

// Start captures on all points; from its return on every frame is seen. snap is the number of
// octets kept of each frame, 0 = DefaultSnap. Frames with one time stamp are taken to have
// passed the points in the order given: a frame that comes in by a NIC and by the macvlan child
// on it is stamped only once, so the NIC has to stand first.
func Start(points []Point, snap int) (*Capture, error) {
	if snap == 0 {
		snap = DefaultSnap
	}
	offset, err := clockOffset()
	if err != nil {
		return nil, err
	}
	c := &Capture{points: slices.Clone(points), offset: offset}
	for _, p := range points {
		s, err := open(p, snap)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start capture: %w", err), c.close())
		}
		c.sockets = append(c.sockets, s)
	}
	if err := awaitStamps(); err != nil {
		return nil, errors.Join(fmt.Errorf("start capture: %w", err), c.close())
	}
	for _, s := range c.sockets {
		c.readers.Go(func() error { return s.read(c.add) })
	}
	return c, nil
}

// clockOffset reads both clocks close together; the best of a few tries is good to well
// under a microsecond.
func clockOffset() (int64, error) {
	best, width := int64(0), int64(1<<62)
	for range 5 {
		var a, r, b unix.Timespec
		err := errors.Join(
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &a),
			unix.ClockGettime(unix.CLOCK_REALTIME, &r),
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &b))
		if err != nil {
			return 0, fmt.Errorf("read clocks: %w", err)
		}
		if w := b.Nano() - a.Nano(); w < width {
			best, width = a.Nano()+w/2-r.Nano(), w
		}
	}
	return best, nil
}

func (c *Capture) add(p Packet) {
	p.Mono = p.At.UnixNano() + c.offset
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.packets) == maxPackets {
		c.over++
		return
	}
	c.packets = append(c.packets, p)
}

// Trace returns what was seen so far: every frame that passed before the call. The capture
// goes on.
func (c *Capture) Trace() (*Trace, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Trace{Points: c.points, Packets: c.ordered(slices.Clone(c.packets)), Lost: c.lost + c.over}, nil
}

// Take returns what was seen since the last call, oldest first, and forgets it.
func (c *Capture) Take() ([]Packet, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	packets := c.packets
	c.packets = nil
	return c.ordered(packets), nil
}

// flush takes what the kernel has queued.
func (c *Capture) flush() error {
	for _, s := range c.sockets {
		if err := s.flush(c.add); err != nil {
			return err
		}
		n, err := s.lost()
		if err != nil {
			return err
		}
		c.lost += n
	}
	return nil
}

// ordered sorts packets by their time stamps, then by their points.
func (c *Capture) ordered(packets []Packet) []Packet {
	place := map[Point]int{}
	for i, p := range c.points {
		place[p] = i
	}
	slices.SortStableFunc(packets, func(a, b Packet) int {
		return cmp.Or(cmp.Compare(a.Mono, b.Mono), cmp.Compare(place[a.Point], place[b.Point]))
	})
	return packets
}

// Stop ends the capture and returns all of it.
func (c *Capture) Stop() (*Trace, error) {
	t, err := c.Trace()
	for _, s := range c.sockets {
		err = errors.Join(err, s.file.SetReadDeadline(time.Unix(1, 0)))
	}
	return t, errors.Join(err, c.readers.Wait(), c.close())
}

func (c *Capture) close() error {
	var errs []error
	for _, s := range c.sockets {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}
