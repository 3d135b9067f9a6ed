package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ovnsim/forward/bpf"
)

// Conn is one entry of a node's conntrack, as its pod sees it.
type Conn struct {
	Protocol uint8          `json:"protocol"` // IANA number
	Pod      netip.AddrPort `json:"pod"`      // ICMP echo: the identifier as port
	Peer     netip.AddrPort `json:"peer"`
	// Gateway is the next hop that was chosen when the pod spoke first; where a hash leads, the one that
	// the pod's last packet took.
	Gateway netip.Addr `json:"gateway,omitzero"`
	// MAC is the gateway's that the entry is labelled with: where the pod's packets go. Of Gateway and MAC
	// an entry has one at most.
	MAC     string        `json:"mac,omitempty"`
	Packets uint64        `json:"packets"`
	Idle    time.Duration `json:"idle_ns"`
	Over    bool          `json:"over"` // both sides have closed it, or one has reset it
}

// Idle timeouts, after which an entry goes.
const (
	idleTCP   = 2 * time.Hour
	idleOver  = 10 * time.Second
	idleSCTP  = 210 * time.Second // seven heartbeats (RFC 9260 section 16)
	idleOther = time.Minute
)

// conns lists the conntrack. It may be called at any time.
func (d *datapath) conns() ([]Conn, error) {
	out := []Conn{}
	err := d.eachFlow(func(k bpf.Key, f bpf.Flow) bool {
		c := Conn{
			Protocol: k.Proto, Packets: f.Packets, Idle: idle(f), Over: over(f),
			Pod:  netip.AddrPortFrom(unwire(k.Pod), port(k.PodPort)),
			Peer: netip.AddrPortFrom(unwire(k.Peer), port(k.PeerPort)),
		}
		switch {
		case f.Mac != [6]byte{}:
			c.MAC = net.HardwareAddr(f.Mac[:]).String()
		case f.Kind != uint8(bpf.ByMAC):
			c.Gateway = unwire(f.Hop)
		}
		out = append(out, c)
		return false
	})
	slices.SortFunc(out, func(a, b Conn) int { return strings.Compare(a.key(), b.key()) })
	return out, err
}

func (c Conn) key() string { return fmt.Sprintf("%s %s %d", c.Pod, c.Peer, c.Protocol) }

// eachFlow calls f for every entry and deletes those for which it returns true.
func (d *datapath) eachFlow(f func(bpf.Key, bpf.Flow) bool) error {
	var (
		key    bpf.Key
		flow   bpf.Flow
		doomed []bpf.Key
	)
	it := d.objs.LrFlows.Iterate()
	for it.Next(&key, &flow) {
		if f(key, flow) {
			doomed = append(doomed, key)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("walk conntrack: %w", err)
	}
	var errs []error
	for _, k := range doomed {
		errs = append(errs, gone(d.objs.LrFlows.Delete(k)))
	}
	return errors.Join(errs...)
}

// collect deletes what has been idle for too long.
func (d *datapath) collect() error {
	return d.eachFlow(func(k bpf.Key, f bpf.Flow) bool { return idle(f) > limit(k, f) })
}

// flush deletes the entries of a pod for which hit is true and returns how many.
func (d *datapath) flush(pod netip.Addr, hit func(bpf.Flow) bool) (int, error) {
	n := 0
	err := d.eachFlow(func(k bpf.Key, f bpf.Flow) bool {
		if unwire(k.Pod) != pod || !hit(f) {
			return false
		}
		n++
		return true
	})
	return n, err
}

// by says of entries whether they lead to a gateway: by its address, or by one of the MACs that it is
// known to have.
func by(gateway netip.Addr, macs []net.HardwareAddr) func(bpf.Flow) bool {
	return func(f bpf.Flow) bool {
		if f.Kind == uint8(bpf.ByHop) {
			return unwire(f.Hop) == gateway
		}
		return labelled(f, macs)
	}
}

// labelled says whether an entry has one of these MACs.
func labelled(f bpf.Flow, macs []net.HardwareAddr) bool {
	return slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return slices.Equal(m, f.Mac[:]) })
}

func over(f bpf.Flow) bool {
	both := uint8(bpf.FinPod | bpf.FinPeer)
	return f.Flags&uint8(bpf.RST) != 0 || f.Flags&both == both
}

func limit(k bpf.Key, f bpf.Flow) time.Duration {
	switch {
	case k.Proto == unix.IPPROTO_SCTP:
		return idleSCTP
	case k.Proto != unix.IPPROTO_TCP:
		return idleOther
	case over(f):
		return idleOver
	}
	return idleTCP
}

// idle is how long ago the entry's last packet was.
func idle(f bpf.Flow) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0 // cannot fail on Linux
	}
	return time.Duration(now.Nano() - int64(f.Seen))
}
