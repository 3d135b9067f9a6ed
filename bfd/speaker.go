package bfd

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Port is where control packets of single hops go (RFC 5881 section 4).
const Port = 3784

// Source ports of sessions (RFC 5881 section 4).
const (
	firstSource = 49152
	lastSource  = 65535
)

// hopLimit is what every packet is sent with and has to come with, so that none is from beyond the link
// (RFC 5881 section 5).
const hopLimit = 255

// Speaker runs the sessions of one local address. Its methods may be called at any time; after Close
// only Close.
type Speaker struct {
	local   netip.Addr
	conn    *net.UDPConn
	changed func(Change)
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu       sync.Mutex
	sessions map[netip.Addr]*runner
}

// Times are what sessions ask for; the zero value is OVN's default.
type Times struct {
	MinTx      time.Duration `json:"min_tx_ns"`
	MinRx      time.Duration `json:"min_rx_ns"`
	Multiplier uint8         `json:"multiplier"`
}

// Change is a session that has another state.
type Change struct {
	Peer        netip.Addr
	From, State State
	Diagnostic  Diagnostic // why the session went down
	PeerOff     bool       // the peer has turned the session off, which says nothing of the way to it
}

// Failed says whether the way to the peer is to be taken for dead: the session was up and no end has
// turned it off (RFC 5882, section 3.2).
func (c Change) Failed() bool {
	return c.From == Up && c.State != Up && c.State != AdminDown && !c.PeerOff
}

// Listen makes a speaker in the caller's network namespace; the address may come later. changed hears of each change of a session's
// state, one after the other for one session; it must not call the speaker.
func Listen(local netip.Addr, changed func(Change)) (*Speaker, error) {
	ctx, stop := context.WithCancel(context.Background())
	conn, err := open(ctx, local, Port)
	if err != nil {
		stop()
		return nil, err
	}
	s := &Speaker{local: local, conn: conn, changed: changed, stop: stop, sessions: map[netip.Addr]*runner{}}
	s.done.Add(1)
	go s.receive()
	return s, nil
}

// open makes a socket that sends with hop limit 255 and tells the hop limit of what comes.
func open(ctx context.Context, local netip.Addr, port int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var serr error
		if err := raw.Control(func(fd uintptr) { serr = setOptions(int(fd), local.Is4()) }); err != nil {
			return err
		}
		return serr
	}}
	c, err := lc.ListenPacket(ctx, "udp", netip.AddrPortFrom(local, uint16(port)).String())
	if err != nil {
		return nil, fmt.Errorf("open BFD socket: %w", err)
	}
	return c.(*net.UDPConn), nil
}

func setOptions(fd int, v4 bool) error {
	level, options := unix.IPPROTO_IPV6, [][2]int{{unix.IPV6_UNICAST_HOPS, hopLimit}, {unix.IPV6_RECVHOPLIMIT, 1}, {unix.IPV6_FREEBIND, 1}}
	if v4 {
		level, options = unix.IPPROTO_IP, [][2]int{{unix.IP_TTL, hopLimit}, {unix.IP_RECVTTL, 1}, {unix.IP_FREEBIND, 1}}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, level, o[0], o[1]); err != nil {
			return err
		}
	}
	return nil
}

// Set makes the peers those of want: sessions of others end, with a packet that says so, and a session
// whose times are others begins anew. A session that is new is down.
func (s *Speaker) Set(want map[netip.Addr]Times) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for peer, r := range s.sessions {
		if times, ok := want[peer]; !ok || times != r.times {
			r.shut()
			delete(s.sessions, peer)
		}
	}
	for peer, times := range want {
		if _, ok := s.sessions[peer]; ok {
			continue
		}
		r, err := s.start(peer, times)
		if err != nil {
			return fmt.Errorf("session with %s: %w", peer, err)
		}
		s.sessions[peer] = r
	}
	return nil
}

// States are the sessions' states by peer.
func (s *Speaker) States() map[netip.Addr]State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[netip.Addr]State{}
	for peer, r := range s.sessions {
		out[peer] = r.state()
	}
	return out
}

// Close ends all sessions.
func (s *Speaker) Close() error {
	err := s.Set(nil)
	s.stop()
	if cerr := s.conn.Close(); err == nil {
		err = cerr
	}
	s.done.Wait()
	return err
}

// start begins a session; the caller holds mu.
func (s *Speaker) start(peer netip.Addr, times Times) (*runner, error) {
	cfg := Defaults(s.discriminator())
	if times.MinTx > 0 {
		cfg.MinTx = times.MinTx
	}
	if times.MinRx > 0 {
		cfg.MinRx = times.MinRx
	}
	if times.Multiplier > 0 {
		cfg.Multiplier = times.Multiplier
	}
	conn, err := s.source()
	if err != nil {
		return nil, err
	}
	r := &runner{
		times: times, peer: peer, discriminator: cfg.Discriminator, changed: s.changed, conn: conn,
		session: NewSession(cfg), packets: make(chan Packet, 16), stop: make(chan struct{}),
	}
	r.last.Store(uint32(Down))
	r.ended.Add(1)
	go r.run()
	return r, nil
}

// discriminator is one that no session has.
func (s *Speaker) discriminator() uint32 {
	for {
		d := rand.Uint32()
		if _, taken := s.byDiscriminator(d); d != 0 && !taken {
			return d
		}
	}
}

func (s *Speaker) byDiscriminator(d uint32) (*runner, bool) {
	for _, r := range s.sessions {
		if r.discriminator == d {
			return r, true
		}
	}
	return nil, false
}

// source is a socket with a source port of its own.
func (s *Speaker) source() (*net.UDPConn, error) {
	const tries = 64
	for i := 0; ; i++ {
		c, err := open(context.Background(), s.local, firstSource+rand.IntN(lastSource-firstSource+1))
		if err == nil || i == tries {
			return c, err
		}
	}
}

// receive hands packets to their sessions until the socket is closed.
func (s *Speaker) receive() {
	defer s.done.Done()
	buf, control := make([]byte, 512), make([]byte, 64)
	for {
		n, c, _, from, err := s.conn.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			return
		}
		p, err := Parse(buf[:n])
		if err != nil || hopsLeft(control[:c]) != hopLimit {
			continue
		}
		s.mu.Lock()
		r := s.find(p, from.Addr().Unmap().WithZone(""))
		s.mu.Unlock()
		if r == nil {
			continue
		}
		select {
		case r.packets <- p:
		default: // a flood; the peer says it again
		}
	}
}

// hopsLeft is the hop limit that a packet came with, 0 when the kernel does not say.
func hopsLeft(control []byte) int {
	msgs, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range msgs {
		v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TTL
		v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT
		if (v4 || v6) && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}

// find is the session of a packet: by our discriminator, or by its sender while the peer does not know
// that (RFC 5881 section 3). A packet with ours from somebody else is nobody's.
func (s *Speaker) find(p Packet, from netip.Addr) *runner {
	r, ok := s.sessions[from]
	if !ok || (p.Yours != 0 && p.Yours != r.discriminator) {
		return nil
	}
	return r
}
