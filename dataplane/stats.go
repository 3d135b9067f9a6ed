package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// Traffic counts what passed since the object was first programmed, both ways. A packet is what
// the kernel hands over: segments that are offloaded together count as one.
type Traffic struct {
	// Connections that were established; half-open flows are not counted.
	Connections uint64 `json:"connections"`
	PacketsIn   uint64 `json:"packets_in"` // from whoever began the connection
	PacketsOut  uint64 `json:"packets_out"`
	BytesIn     uint64 `json:"bytes_in"` // of whole frames
	BytesOut    uint64 `json:"bytes_out"`
}

// Packets is both ways together.
func (t Traffic) Packets() uint64 { return t.PacketsIn + t.PacketsOut }

// Bytes is both ways together.
func (t Traffic) Bytes() uint64 { return t.BytesIn + t.BytesOut }

// Add adds what passed by another way.
func (t *Traffic) Add(o Traffic) {
	t.Connections += o.Connections
	t.PacketsIn += o.PacketsIn
	t.PacketsOut += o.PacketsOut
	t.BytesIn += o.BytesIn
	t.BytesOut += o.BytesOut
}

// VirtualServerStats is the traffic of one virtual server, that of former members included.
type VirtualServerStats struct {
	Name        string         `json:"name"`
	Protocol    Protocol       `json:"protocol"`
	Destination netip.AddrPort `json:"destination"`
	Traffic
	// Current is how many connections there are, those of removed members among them.
	Current int `json:"current"`
	// Refused counts connections that could not be set up (no member, no port, table full).
	Refused uint64        `json:"refused"`
	Members []MemberStats `json:"members"`
}

// MemberStats is the traffic of one pool member.
type MemberStats struct {
	Addr     netip.AddrPort `json:"address"`
	Draining bool           `json:"draining,omitempty"`
	// Removed members are no longer part of the state but still carry TCP connections.
	Removed bool `json:"removed,omitempty"`
	Current int  `json:"current"` // connections that it has
	Traffic
}

// EgressStats is the traffic of one egress.
type EgressStats struct {
	Name    string `json:"name"`
	Current int    `json:"current"` // connections that it has
	Traffic
}

// Counters returns every counter of the program by name, drop reasons ("drop_no_flow") among
// them; counters that are zero are there too.
func (d *Dataplane) Counters() (map[string]uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	out := map[string]uint64{}
	for _, c := range bpf.Counters() {
		var perCPU []uint64
		if err := d.objs.SpkCounters.Lookup(uint32(c), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", c, err)
		}
		var sum uint64
		for _, n := range perCPU {
			sum += n
		}
		out[strings.ToLower(c.String())] = sum
	}
	return out, nil
}

// MemberStats returns the traffic of each virtual server and its members, in canonical order.
func (d *Dataplane) MemberStats() ([]VirtualServerStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	k, err := d.readKernel()
	if err != nil {
		return nil, err
	}
	out := make([]VirtualServerStats, 0, len(k.servers))
	for _, key := range slices.SortedFunc(maps.Keys(k.servers), compareServer) {
		s, err := d.serverStats(k, key)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (d *Dataplane) serverStats(k *kernel, key serverKey) (VirtualServerStats, error) {
	id := k.servers[key].Id
	info := k.infos[id]
	s := VirtualServerStats{Name: cstring(info.Name[:]), Protocol: key.protocol, Destination: key.dest}
	s.Traffic = Traffic{info.PastConnections, info.PastPackets[1], info.PastPackets[0], info.PastBytes[1], info.PastBytes[0]}
	var cursor bpf.Cursor
	if err := d.objs.SpkCursors.Lookup(id, &cursor); err != nil {
		return s, fmt.Errorf("read counters of %s: %w", key, err)
	}
	s.Refused = cursor.Refused
	members := k.membersOf(id)
	s.Members = make([]MemberStats, 0, len(members))
	for _, addr := range slices.SortedFunc(maps.Keys(members), netip.AddrPort.Compare) {
		owner := members[addr]
		t, err := d.traffic(owner)
		if err != nil {
			return s, err
		}
		flags := k.owners[owner].Flags
		s.Members = append(s.Members, MemberStats{
			Addr: addr, Draining: flags&bpf.OwnerDraining != 0, Removed: flags&bpf.OwnerRemoved != 0,
			Current: d.loads.current(owner), Traffic: t,
		})
		s.Add(t)
		s.Current += d.loads.current(owner)
	}
	return s, nil
}

// EgressStats returns the traffic of each egress, in canonical order.
func (d *Dataplane) EgressStats() ([]EgressStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	infos, err := readAll[uint32, bpf.EgressInfo](d.objs.SpkEgressInfo)
	if err != nil {
		return nil, fmt.Errorf("read egresses: %w", err)
	}
	out := make([]EgressStats, 0, len(infos))
	for owner, info := range infos {
		t, err := d.traffic(owner)
		if err != nil {
			return nil, err
		}
		out = append(out, EgressStats{Name: cstring(info.Name[:]), Current: d.loads.current(owner), Traffic: t})
	}
	slices.SortFunc(out, func(a, b EgressStats) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// traffic sums an owner's counters over the CPUs.
func (d *Dataplane) traffic(owner uint32) (Traffic, error) {
	var perCPU []bpf.Traffic
	err := d.objs.SpkTraffic.Lookup(owner, &perCPU)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return Traffic{}, fmt.Errorf("read traffic of owner %d: %w", owner, err)
	}
	sum := Traffic{Connections: d.loads.started(owner)}
	for _, t := range perCPU {
		sum.Add(Traffic{0, t.Packets[1], t.Packets[0], t.Bytes[1], t.Bytes[0]})
	}
	return sum, nil
}
