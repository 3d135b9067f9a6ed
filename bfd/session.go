package bfd

import "time"

// slowest is how fast a session sends at most that is not up (RFC 5880 section 6.8.3).
const slowest = time.Second

// Config is what a session asks for. OVN's defaults are in Defaults.
type Config struct {
	Discriminator uint32 // not 0, unique among the sessions of a system
	MinTx, MinRx  time.Duration
	Multiplier    uint8 // not 0
}

// Defaults are OVN's: a packet a second each way, down after five (ovn-nb(5), table BFD).
func Defaults(discriminator uint32) Config {
	return Config{Discriminator: discriminator, MinTx: time.Second, MinRx: time.Second, Multiplier: 5}
}

// Session is the state machine of one session (RFC 5880 section 6.8). It belongs to one goroutine, and
// time is what its caller says it is.
type Session struct {
	cfg        Config
	state      State
	diagnostic Diagnostic
	polling    bool // until the peer has seen our times

	remote    uint32 // discriminator
	peer      State  // what the peer said last that it is
	minRx     time.Duration
	demand    bool
	minTx     time.Duration
	mult      uint8
	heard     time.Time // of the peer last
	listening bool      // heard is set
}

// NewSession is a session that is down. Until the peer says otherwise it takes a packet a microsecond.
func NewSession(cfg Config) *Session {
	return &Session{cfg: cfg, state: Down, peer: Down, minRx: time.Microsecond}
}

// State is the session's.
func (s *Session) State() State { return s.state }

// Diagnostic is why the session went down last; NoDiagnostic once it is up again.
func (s *Session) Diagnostic() Diagnostic { return s.diagnostic }

// PeerOff says whether the peer's last packet said that it has turned the session off.
func (s *Session) PeerOff() bool { return s.peer == AdminDown }

// Receive takes a packet that is the session's and returns the answer to a poll, or nil.
func (s *Session) Receive(p Packet, now time.Time) *Packet {
	s.remote, s.minRx, s.minTx, s.mult, s.demand = p.Mine, p.MinRx, p.MinTx, p.Multiplier, p.Demand
	s.heard, s.listening, s.peer = now, true, p.State
	if p.Final {
		s.polling = false
	}
	if s.state == AdminDown {
		return nil
	}
	s.step(p.State)
	if !p.Poll {
		return nil
	}
	answer := s.Packet()
	answer.Poll, answer.Final = false, true
	return &answer
}

// step is the state machine of RFC 5880 section 6.8.6.
func (s *Session) step(peer State) {
	switch {
	case peer == AdminDown:
		if s.state != Down {
			s.down(NeighborDown)
		}
	case s.state == Down && peer == Down:
		s.state = Init
	case s.state == Down && peer == Init, s.state == Init && peer >= Init:
		s.state, s.diagnostic = Up, NoDiagnostic
		s.polling = s.cfg.MinTx < slowest // the times change now (section 6.8.3)
	case s.state == Up && peer == Down:
		s.down(NeighborDown)
	}
}

func (s *Session) down(why Diagnostic) { s.state, s.diagnostic, s.polling = Down, why, false }

// Shut ends the session for good, as RFC 5880 section 6.8.16 has it.
func (s *Session) Shut() { s.state, s.diagnostic, s.polling = AdminDown, AdministrativelyOff, false }

// Deadline is when the session is down unless a packet comes, false when it waits for none.
func (s *Session) Deadline() (time.Time, bool) {
	if !s.listening || s.state == AdminDown {
		return time.Time{}, false
	}
	return s.heard.Add(time.Duration(s.mult) * max(s.cfg.MinRx, s.minTx)), true
}

// Expire notes that time has passed (RFC 5880 section 6.8.4). A peer that is silent loses its
// discriminator, too, so that it may come back with another one.
func (s *Session) Expire(now time.Time) {
	at, ok := s.Deadline()
	if !ok || now.Before(at) {
		return
	}
	s.listening, s.remote, s.peer = false, 0, Down
	if s.state == Init || s.state == Up {
		s.down(TimeExpired)
	}
}

// Interval is the time from one packet to the next, false when none is to be sent. random, from 0 to
// 1, shortens it by up to a quarter, and by a tenth at least where one lost packet is too many (RFC
// 5880 section 6.8.7).
func (s *Session) Interval(random float64) (time.Duration, bool) {
	if s.minRx == 0 || (s.demand && s.state == Up && !s.polling) {
		return 0, false
	}
	every := max(s.desired(), s.minRx)
	least, most := 0.75, 1.0
	if s.cfg.Multiplier == 1 {
		most = 0.9
	}
	return time.Duration(float64(every) * (most - random*(most-least))), true
}

// desired is the interval that the session says it wants to send with.
func (s *Session) desired() time.Duration {
	if s.state != Up {
		return max(s.cfg.MinTx, slowest)
	}
	return s.cfg.MinTx
}

// Packet is what the session says now.
func (s *Session) Packet() Packet {
	return Packet{
		Diagnostic: s.diagnostic, State: s.state, Poll: s.polling, Multiplier: s.cfg.Multiplier,
		Mine: s.cfg.Discriminator, Yours: s.remote, MinTx: s.desired(), MinRx: s.cfg.MinRx,
	}
}
