package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// DefaultDropSample: one in so many drops of a reason is told of.
const DefaultDropSample = 64

// Events of one kind that reach the log: a burst, then one a second, so that a flood leaves room
// for what else happens. What is held back is counted, and told of with the next one.
const (
	eventBurst = 256
	eventEvery = time.Second
)

// throttle lets a burst pass, then one event every eventEvery.
type throttle struct {
	full time.Time // when as many as eventBurst may pass again
	held int       // since the last one that passed
}

// pass reports whether an event may pass now, and how many were held back before it.
func (t *throttle) pass(now time.Time) (held int, ok bool) {
	if t.full.Before(now) {
		t.full = now
	}
	if t.full.Sub(now) > (eventBurst-1)*eventEvery {
		t.held++
		return 0, false
	}
	t.full = t.full.Add(eventEvery)
	held, t.held = t.held, 0
	return held, true
}

// told is what keeps events from filling the log.
type told struct {
	mu           sync.Mutex
	flows, drops throttle
}

// report logs an event unless its kind is held back; detail is asked for only then.
func (d *Dataplane) report(t *throttle, kind, object string, detail func() string) {
	if d.log == nil {
		return
	}
	d.told.mu.Lock()
	held, ok := t.pass(time.Now())
	d.told.mu.Unlock()
	if !ok {
		return
	}
	if held > 0 {
		d.log.Add("events-held-back", kind, strconv.Itoa(held))
	}
	d.log.Add(kind, object, detail())
}

// follow brings what the programs tell to the log until ctx ends: "flow-started" with
// Config.FlowEvents, and "packet-dropped" as Config.DropSample says. What the programs had no room
// for is counted by "events_lost".
func (d *Dataplane) follow(ctx context.Context) error {
	r, err := d.openEvents()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer stop()
	var record ringbuf.Record
	for {
		err := r.ReadInto(&record)
		if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
			return ctx.Err()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read events: %w", err), r.Close())
		}
		var e bpf.Event
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &e); err != nil {
			return errors.Join(fmt.Errorf("read an event of %d bytes: %w", len(record.RawSample), err), r.Close())
		}
		d.tell(&e)
	}
}

func (d *Dataplane) openEvents() (*ringbuf.Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	r, err := ringbuf.NewReader(d.objs.SpkEvents)
	if err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	return r, nil
}

// tell logs one event of the programs.
func (d *Dataplane) tell(e *bpf.Event) {
	switch e.Kind {
	case bpf.EventFlow:
		o, x := &e.Orig, &e.Xlat
		from := connText(Protocol(o.Proto), endpoint(o.Saddr, o.Family, o.Sport), endpoint(o.Daddr, o.Family, o.Dport))
		d.report(&d.told.flows, "flow-started", from, func() string {
			to := connText(Protocol(x.Proto), endpoint(x.Saddr, x.Family, x.Sport), endpoint(x.Daddr, x.Family, x.Dport))
			return "as " + to + " for " + d.nameOf(e.Owner)
		})
	case bpf.EventDrop:
		d.report(&d.told.drops, "packet-dropped", strings.ToLower(bpf.Counter(e.Reason).String()), func() string {
			packet := e.Packet[:min(int(e.Len), len(e.Packet))]
			return fmt.Sprintf("%s, %d bytes: %s", d.deviceName(int(e.Ifindex)), e.Len, packetText(packet))
		})
	}
}

// tellEnded logs that a connection is forgotten.
func (d *Dataplane) tellEnded(c Conn, name string) {
	d.report(&d.told.flows, "flow-ended", connText(c.Protocol, c.Source, c.Destination), func() string {
		return "idle, for " + name
	})
}

// nameOf is the virtual server or egress of an owner.
func (d *Dataplane) nameOf(owner uint32) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[owner]
}

func (d *Dataplane) deviceName(index int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.ports[index]; ok {
		return p.iface.Name
	}
	return fmt.Sprintf("interface %d", index)
}

func connText(p Protocol, src, dst netip.AddrPort) string {
	return fmt.Sprintf("%s %s > %s", p, src, dst)
}

func endpoint(addr [4]uint32, family uint8, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(addrAny(addr, family), portOf(port))
}

// Lengths and offsets of what packetText reads.
const (
	ethLen      = 14
	vlanLen     = 4
	ip4Len      = 20
	ip6Len      = 40
	etherVLAN   = 0x8100
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	fragmentOff = 0x1fff
)

// packetText says in a line what the start of a frame is: the addresses, and the ports where they
// follow at once.
func packetText(b []byte) string {
	if len(b) < ethLen {
		return "no frame"
	}
	mac, etherType, rest := net.HardwareAddr(b[6:12]), binary.BigEndian.Uint16(b[12:]), b[ethLen:]
	tag := ""
	if etherType == etherVLAN && len(rest) >= vlanLen {
		tag = fmt.Sprintf("vlan %d ", binary.BigEndian.Uint16(rest)&0xfff)
		etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[vlanLen:]
	}
	switch {
	case etherType == etherIPv4 && len(rest) >= ip4Len:
		later := binary.BigEndian.Uint16(rest[6:])&fragmentOff != 0
		l4 := rest[min(int(rest[0]&0xf)*4, len(rest)):]
		src, dst := netip.AddrFrom4([4]byte(rest[12:16])), netip.AddrFrom4([4]byte(rest[16:20]))
		return tag + transportText(Protocol(rest[9]), src, dst, l4, later)
	case etherType == etherIPv6 && len(rest) >= ip6Len:
		src, dst := netip.AddrFrom16([16]byte(rest[8:24])), netip.AddrFrom16([16]byte(rest[24:40]))
		return tag + transportText(Protocol(rest[6]), src, dst, rest[ip6Len:], false)
	}
	return fmt.Sprintf("%sethertype %#04x from %s", tag, etherType, mac)
}

func transportText(p Protocol, src, dst netip.Addr, l4 []byte, later bool) string {
	switch {
	case later:
		return fmt.Sprintf("%s %s > %s, a later fragment", p, src, dst)
	case p == TCP || p == UDP || p == SCTP:
		if len(l4) < 4 {
			break
		}
		return connText(p, netip.AddrPortFrom(src, binary.BigEndian.Uint16(l4)), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(l4[2:])))
	case (p == ICMP || p == ICMPv6) && len(l4) >= 2:
		return fmt.Sprintf("%s %s > %s, type %d code %d", p, src, dst, l4[0], l4[1])
	}
	return fmt.Sprintf("%s %s > %s", p, src, dst)
}
