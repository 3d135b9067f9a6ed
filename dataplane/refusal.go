package dataplane

import (
	"errors"
	"fmt"
)

// Refusal says why Apply has left one object of a State out. The others are programmed.
type Refusal struct {
	Kind ObjectKind
	// Name is that of the virtual server, the egress or the SNAT pool; a self-IP's address; the
	// number of the services' interface.
	Name string
	// Protocol of a virtual server.
	Protocol Protocol
	// Full: there was no room for it, and a later Apply of the same state may find some.
	Full bool
	Err  error // names the object
}

func (r *Refusal) Error() string { return r.Err.Error() }

func (r *Refusal) Unwrap() error { return r.Err }

// ObjectKind is what an object of a State is.
type ObjectKind string

// The kinds of objects.
const (
	KindVirtualServer ObjectKind = "virtual server"
	KindEgress        ObjectKind = "egress"
	KindSNATPool      ObjectKind = "SNAT pool"
	KindSelfIP        ObjectKind = "self-IP"
	KindServices      ObjectKind = "services"
)

// Refusals takes an error of Apply apart: the objects that were left out, and what else went wrong,
// nil for nothing.
func Refusals(err error) (refused []*Refusal, other error) {
	var rest []error
	for _, e := range flatten(err) {
		var r *Refusal
		if errors.As(e, &r) {
			refused = append(refused, r)
		} else {
			rest = append(rest, e)
		}
	}
	return refused, errors.Join(rest...)
}

// flatten lists the errors that errors.Join has joined.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
}

// isFull reports whether an object found no room.
func isFull(err error) bool {
	for _, full := range []error{errServersFull, errOwnersFull, errPoolFull, errSNATPoolsFull, errSNATAddrsFull} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

func (v VirtualServer) refusal(err error) *Refusal {
	return &Refusal{Kind: KindVirtualServer, Name: v.Name, Protocol: v.Protocol, Full: isFull(err), Err: fmt.Errorf("virtual server %s (%s): %w", v.key(), v.Name, err)}
}

func (e Egress) refusal(err error) *Refusal {
	return &Refusal{Kind: KindEgress, Name: e.Name, Full: isFull(err), Err: fmt.Errorf("egress %s: %w", e.Name, err)}
}

func (p SNATAddresses) refusal(err error) *Refusal {
	return &Refusal{Kind: KindSNATPool, Name: p.Name, Full: isFull(err), Err: fmt.Errorf("SNAT pool %q: %w", p.Name, err)}
}
