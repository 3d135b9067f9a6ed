package dataplane

import (
	"net/netip"
	"time"

	"github.com/spklab/spklab/dataplane/bpf"
)

// Conn is one tracked connection.
type Conn struct {
	Protocol Protocol `json:"protocol"`
	// Source and Destination as its first packet had them.
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"`
	// TranslatedSource and TranslatedDestination as they left the TMM.
	TranslatedSource      netip.AddrPort `json:"translated_source"`
	TranslatedDestination netip.AddrPort `json:"translated_destination"`
	// VirtualServer or Egress is the name of what let it in; the other one is empty.
	VirtualServer string `json:"virtual_server,omitempty"`
	Egress        string `json:"egress,omitempty"`
	// State is one of the words below.
	State ConnState `json:"state"`
	// Idle is for how long no packet has passed, either way; precise to about a second.
	Idle time.Duration `json:"idle"`
}

// ConnState is how far a connection has come.
type ConnState string

// The states of a connection. UDP knows the first two.
const (
	Opening     ConnState = "opening"     // packets were seen one way only
	Established ConnState = "established" // both ways
	Closing     ConnState = "closing"     // one end has sent its FIN
	Closed      ConnState = "closed"      // both have, or one has reset it
)

// stateOf combines what was seen in the two directions.
func stateOf(forward, reverse bpf.CtState) ConnState {
	both, either := forward&reverse, forward|reverse
	switch {
	case either&bpf.StateRST != 0 || both&bpf.StateFIN != 0:
		return Closed
	case either&bpf.StateFIN != 0:
		return Closing
	case both&bpf.StateSeen == 0:
		return Opening
	}
	return Established
}

// Connections returns every tracked connection, in no order.
func (d *Dataplane) Connections() ([]Conn, error) {
	k, done, err := d.borrow()
	if err != nil {
		return nil, err
	}
	defer done()
	now, err := nowTicks()
	if err != nil {
		return nil, err
	}
	conns, err := connections(d.table4(), k, now, nil)
	if err != nil {
		return nil, err
	}
	if conns, err = connections(d.table6(), k, now, conns); err != nil {
		return nil, err
	}
	others, err := d.families()
	for _, f := range others {
		conns = append(conns, f.describe(k, now))
	}
	return conns, err
}

// connections appends what a table holds to conns.
func connections[K, V comparable](t table[K, V], k *kernel, now uint32, conns []Conn) ([]Conn, error) {
	entries, err := t.read()
	if err != nil {
		return nil, err
	}
	for key, v := range entries {
		if t.ct(&v).Flags&bpf.CtForward != 0 {
			conns = append(conns, connOf(t, k, now, entries, key, v))
		}
	}
	return conns, nil
}

// connOf describes the connection whose forward entry is v under key.
func connOf[K, V comparable](t table[K, V], k *kernel, now uint32, entries map[K]V, key K, v V) Conn {
	c := t.conn(&key, &v)
	ct := t.ct(&v)
	seen, reverse := ct.Seen, bpf.CtState(0)
	if peer, ok := entries[t.peer(&key, &v)]; ok {
		reverse = t.ct(&peer).State
		seen = laterTick(seen, t.ct(&peer).Seen)
	}
	c.State = stateOf(ct.State, reverse)
	c.Idle = time.Duration(age(now, seen)) << bpf.TickShift
	k.nameConn(&c, ct.Owner)
	return c
}

// nameConn says what let a connection in.
func (k *kernel) nameConn(c *Conn, owner uint32) {
	if o := k.owners[owner]; o.Flags&bpf.OwnerEgress != 0 {
		info := k.egressInfos[owner]
		c.Egress = cstring(info.Name[:])
	} else {
		info := k.infos[o.Vs]
		c.VirtualServer = cstring(info.Name[:])
	}
}
