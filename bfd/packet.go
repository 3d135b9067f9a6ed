// Package bfd is Bidirectional Forwarding Detection of single hops, asynchronous mode without
// authentication (RFC 5880, RFC 5881): Session is the state machine, which knows no clock and no
// socket, and a Speaker runs the sessions of one local address.
package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// State is the state of a session (RFC 5880 section 4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String is the word that OVN's databases have for the state.
func (s State) String() string {
	if int(s) < len(stateWords()) {
		return stateWords()[s]
	}
	return fmt.Sprintf("state %d", s)
}

func stateWords() []string { return []string{"admin_down", "down", "init", "up"} }

// Diagnostic says why a session went down last (RFC 5880 section 4.1).
type Diagnostic uint8

// The diagnostics that this package sends.
const (
	NoDiagnostic        Diagnostic = 0
	TimeExpired         Diagnostic = 1
	NeighborDown        Diagnostic = 3
	AdministrativelyOff Diagnostic = 7
)

// String is the diagnostic in the words of RFC 5880.
func (d Diagnostic) String() string {
	switch d {
	case NoDiagnostic:
		return "no diagnostic"
	case TimeExpired:
		return "control detection time expired"
	case NeighborDown:
		return "neighbor signaled session down"
	case AdministrativelyOff:
		return "administratively down"
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

// Packet is a control packet without authentication (RFC 5880 section 4.1).
type Packet struct {
	Diagnostic        Diagnostic
	State             State
	Poll, Final       bool
	ControlPlaneAlone bool // the C bit
	Demand            bool
	Multiplier        uint8
	Mine, Yours       uint32 // discriminators
	MinTx, MinRx      time.Duration
	MinEchoRx         time.Duration
}

const (
	version   = 1
	packetLen = 24

	flagPoll       = 0x20
	flagFinal      = 0x10
	flagControl    = 0x08
	flagAuth       = 0x04
	flagDemand     = 0x02
	flagMultipoint = 0x01
)

// Bytes is the packet on the wire. Times are cut to whole microseconds.
func (p Packet) Bytes() []byte {
	b := make([]byte, packetLen)
	b[0] = version<<5 | byte(p.Diagnostic)
	b[1] = byte(p.State) << 6
	for flag, on := range map[byte]bool{flagPoll: p.Poll, flagFinal: p.Final, flagControl: p.ControlPlaneAlone, flagDemand: p.Demand} {
		if on {
			b[1] |= flag
		}
	}
	b[2], b[3] = p.Multiplier, packetLen
	for i, v := range []uint32{p.Mine, p.Yours, micros(p.MinTx), micros(p.MinRx), micros(p.MinEchoRx)} {
		binary.BigEndian.PutUint32(b[4+4*i:], v)
	}
	return b
}

func micros(d time.Duration) uint32 { return uint32(d / time.Microsecond) }

// Parse reads a packet and refuses what RFC 5880 section 6.8.6 has discarded before a session is
// looked for. Octets after the packet are ignored.
func Parse(b []byte) (Packet, error) {
	if len(b) < packetLen {
		return Packet{}, fmt.Errorf("control packet of %d octets", len(b))
	}
	if v := b[0] >> 5; v != version {
		return Packet{}, fmt.Errorf("version %d", v)
	}
	if n := int(b[3]); n < packetLen || n > len(b) {
		return Packet{}, fmt.Errorf("length %d in a datagram of %d", n, len(b))
	}
	flags := b[1]
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4+4*i:]) }
	duration := func(i int) time.Duration { return time.Duration(word(i)) * time.Microsecond }
	p := Packet{
		Diagnostic: Diagnostic(b[0] & 0x1f), State: State(flags >> 6), Multiplier: b[2],
		Poll: flags&flagPoll != 0, Final: flags&flagFinal != 0, ControlPlaneAlone: flags&flagControl != 0, Demand: flags&flagDemand != 0,
		Mine: word(0), Yours: word(1), MinTx: duration(2), MinRx: duration(3), MinEchoRx: duration(4),
	}
	switch {
	case p.Multiplier == 0:
		return p, errors.New("detection multiplier 0")
	case flags&flagMultipoint != 0:
		return p, errors.New("multipoint")
	case p.Mine == 0:
		return p, errors.New("no discriminator")
	case p.Yours == 0 && p.State != Down && p.State != AdminDown:
		return p, fmt.Errorf("no discriminator of ours in state %s", p.State)
	case flags&flagAuth != 0:
		return p, errors.New("authentication, which is not in use")
	case p.Poll && p.Final:
		return p, errors.New("poll and final") // RFC 5880 section 6.5
	}
	return p, nil
}
