package bfd

import (
	"testing"
	"time"
)

// from is a packet of the peer in a state.
func from(state State) Packet {
	p := Packet{State: state, Multiplier: 3, Mine: 7, Yours: 1, MinTx: time.Second, MinRx: time.Second}
	return p
}

// TestStates is the state machine of RFC 5880 section 6.2: what a packet does in each state.
func TestStates(t *testing.T) {
	reach := map[State][]State{Down: nil, Init: {Down}, Up: {Down, Up}}
	tests := []struct {
		at, peer, want State
		diagnostic     Diagnostic
	}{
		{Down, AdminDown, Down, NoDiagnostic},
		{Down, Down, Init, NoDiagnostic},
		{Down, Init, Up, NoDiagnostic},
		{Down, Up, Down, NoDiagnostic},
		{Init, AdminDown, Down, NeighborDown},
		{Init, Down, Init, NoDiagnostic},
		{Init, Init, Up, NoDiagnostic},
		{Init, Up, Up, NoDiagnostic},
		{Up, AdminDown, Down, NeighborDown},
		{Up, Down, Down, NeighborDown},
		{Up, Init, Up, NoDiagnostic},
		{Up, Up, Up, NoDiagnostic},
	}
	for _, tt := range tests {
		t.Run(tt.at.String()+" hears "+tt.peer.String(), func(t *testing.T) {
			s := NewSession(Defaults(1))
			for _, peer := range reach[tt.at] {
				s.Receive(from(peer), time.Unix(0, 0))
			}
			if s.State() != tt.at {
				t.Fatalf("begins %s", s.State())
			}
			s.Receive(from(tt.peer), time.Unix(0, 0))
			if p := s.Packet(); p.State != tt.want || p.Diagnostic != tt.diagnostic || p.Yours != 7 {
				t.Errorf("says %+v, want %s, diagnostic %d", p, tt.want, tt.diagnostic)
			}
		})
	}
}

func up(cfg Config, peer Packet) *Session {
	s := NewSession(cfg)
	for _, state := range []State{Down, Init} {
		peer.State = state
		s.Receive(peer, time.Unix(0, 0))
	}
	return s
}

// TestDetection checks the time after which silence is death (RFC 5880 section 6.8.4).
func TestDetection(t *testing.T) {
	tests := []struct {
		name        string
		minRx       time.Duration // ours
		minTx       time.Duration // the peer's
		mult        uint8         // the peer's
		want        time.Duration
		wantsAnswer bool
	}{
		{"the peer is slower", time.Second, 2 * time.Second, 3, 6 * time.Second, false},
		{"we are slower", time.Second, 50 * time.Millisecond, 4, 4 * time.Second, false},
		{"both are fast", 100 * time.Millisecond, 50 * time.Millisecond, 5, 500 * time.Millisecond, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Defaults(1)
			cfg.MinRx = tt.minRx
			s := up(cfg, Packet{Multiplier: tt.mult, Mine: 7, Yours: 1, MinTx: tt.minTx, MinRx: time.Second})
			s.Expire(time.Unix(0, 0).Add(tt.want - time.Millisecond))
			if s.State() != Up {
				t.Fatalf("%s before its time", s.State())
			}
			s.Expire(time.Unix(0, 0).Add(tt.want))
			if p := s.Packet(); p.State != Down || p.Diagnostic != TimeExpired || p.Yours != 0 {
				t.Errorf("says %+v when its time is over", p)
			}
			if _, waits := s.Deadline(); waits {
				t.Error("still waits")
			}
		})
	}
}

// TestInterval checks how fast a session sends (RFC 5880 sections 6.8.2, 6.8.3 and 6.8.7).
func TestInterval(t *testing.T) {
	fast := Config{Discriminator: 1, MinTx: 50 * time.Millisecond, MinRx: 50 * time.Millisecond, Multiplier: 3}
	once := fast
	once.Multiplier = 1
	peer := Packet{Multiplier: 3, Mine: 7, Yours: 1, MinTx: time.Second, MinRx: 20 * time.Millisecond}
	slow, deaf, asking := peer, peer, peer
	slow.MinRx, deaf.MinRx, asking.Demand = 3*time.Second, 0, true
	tests := []struct {
		name        string
		s           *Session
		least, most time.Duration // 0: sends nothing
	}{
		{"down: a second at least", NewSession(fast), 750 * time.Millisecond, time.Second},
		{"up: as fast as wanted", up(fast, peer), 37500 * time.Microsecond, 50 * time.Millisecond},
		{"up: as slow as the peer asks", up(fast, slow), 2250 * time.Millisecond, 3 * time.Second},
		{"multiplier 1", up(once, peer), 37500 * time.Microsecond, 45 * time.Millisecond},
		{"the peer wants nothing", up(fast, deaf), 0, 0},
		{"the peer demands, but a poll is going on", up(fast, asking), 37500 * time.Microsecond, 50 * time.Millisecond},
		{"the peer demands", up(Defaults(1), asking), 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			most, sends := tt.s.Interval(0)
			least, _ := tt.s.Interval(1)
			if sends != (tt.most > 0) || least != tt.least || most != tt.most {
				t.Errorf("%s to %s, %v; want %s to %s", least, most, sends, tt.least, tt.most)
			}
		})
	}
}

// TestPoll checks that new times are polled for until the peer has answered, and that a poll is.
func TestPoll(t *testing.T) {
	cfg := Defaults(1)
	cfg.MinTx = 50 * time.Millisecond
	s := up(cfg, from(Down))
	if p := s.Packet(); !p.Poll || p.MinTx != cfg.MinTx {
		t.Fatalf("says %+v when it is up, want a poll for 50ms", p)
	}
	poll := from(Up)
	poll.Poll = true
	answer := s.Receive(poll, time.Unix(1, 0))
	if answer == nil || !answer.Final || answer.Poll {
		t.Errorf("answers a poll with %+v", answer)
	}
	final := from(Up)
	final.Final = true
	if s.Receive(final, time.Unix(1, 0)) != nil || s.Packet().Poll {
		t.Error("polls on when it was answered")
	}
	if up(Defaults(1), from(Down)).Packet().Poll {
		t.Error("polls for times that have not changed")
	}
}

func TestShut(t *testing.T) {
	s := up(Defaults(1), from(Down))
	s.Shut()
	s.Receive(from(Up), time.Unix(1, 0))
	if p := s.Packet(); p.State != AdminDown || p.Diagnostic != AdministrativelyOff {
		t.Errorf("says %+v", p)
	}
}

// TestFailure says which ends of a session tell that the way to the peer is dead (RFC 5882, section 3.2).
func TestFailure(t *testing.T) {
	told := func(state State) func(*Session) {
		return func(s *Session) { s.Receive(from(state), time.Unix(1, 0)) }
	}
	for _, tt := range []struct {
		name string
		end  func(*Session)
		want bool
	}{
		{"silence", func(s *Session) { s.Expire(time.Unix(3600, 0)) }, true},
		{"the peer hears nothing", told(Down), true},
		{"the peer turns it off", told(AdminDown), false},
		{"turned off here", (*Session).Shut, false},
		{"nothing", told(Up), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := up(Defaults(1), from(Down))
			tt.end(s)
			if c := (Change{From: Up, State: s.State(), PeerOff: s.PeerOff()}); c.Failed() != tt.want {
				t.Errorf("%+v: failed %v, want %v", c, c.Failed(), tt.want)
			}
		})
	}
}

// TestSooner has a peer that asks for packets faster than the one that is due.
func TestSooner(t *testing.T) {
	cfg := Defaults(1)
	cfg.MinTx = 300 * time.Millisecond
	slow := from(Up)
	slow.MinRx = time.Second
	sent := time.Unix(0, 0)
	r := &runner{session: up(cfg, slow), sent: sent}
	due := sent.Add(time.Second)
	if got := r.sooner(due); !got.After(sent.Add(cfg.MinTx)) {
		t.Errorf("due after %s, before the peer takes it", got.Sub(sent))
	}
	fast := from(Up)
	fast.MinRx = 300 * time.Millisecond
	r.session.Receive(fast, sent)
	if got := r.sooner(due); got.After(sent.Add(fast.MinRx)) {
		t.Errorf("due after %s, want %s at most", got.Sub(sent), fast.MinRx)
	}
}
