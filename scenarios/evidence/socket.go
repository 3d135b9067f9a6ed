package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// receiveBuffer of each packet socket, in bytes: enough for the bursts of a few hundred
// connections while the reader waits for a core.
const receiveBuffer = 8 << 20

// socket is a packet socket on one interface.
type socket struct {
	point Point
	file  *os.File

	mu  sync.Mutex // one reads at a time
	buf []byte
	oob []byte
}

// open binds a packet socket to the interface inside its namespace. The socket sees frames
// in both directions from the moment open returns.
func open(p Point, snap int) (*socket, error) {
	var s *socket
	run := func() (err error) {
		s, err = bind(p, snap)
		return err
	}
	if p.Netns == "" {
		return s, run()
	}
	if err := topo.Do(p.Netns, run); err != nil {
		return nil, err
	}
	return s, nil
}

func bind(p Point, snap int) (*socket, error) {
	link, err := net.InterfaceByName(p.Interface)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", p, err)
	}
	// Protocol 0 keeps frames of other interfaces out until the socket is bound to its own.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", p, err)
	}
	if err := prepare(fd, link.Index); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare packet socket on %s: %w", p, err), unix.Close(fd))
	}
	return &socket{
		point: p,
		file:  os.NewFile(uintptr(fd), "packet:"+p.String()),
		buf:   make([]byte, snap),
		oob:   make([]byte, 256),
	}, nil
}

func prepare(fd, ifindex int) error {
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return err
		}
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: ifindex})
}

// bigEndian is htons.
func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// read hands frames to f as they come, until the socket's deadline has passed.
func (s *socket) read(f func(Packet)) error {
	rc, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("capture on %s: %w", s.point, err)
	}
	var failed error
	err = rc.Read(func(fd uintptr) bool {
		failed = s.drain(int(fd), f)
		return failed != nil // false: wait for more
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("capture on %s: %w", s.point, err)
	}
	return nil
}

// flush hands every frame to f that the kernel has queued by now.
func (s *socket) flush(f func(Packet)) error {
	rc, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("capture on %s: %w", s.point, err)
	}
	var failed error
	err = rc.Control(func(fd uintptr) { failed = s.drain(int(fd), f) })
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("capture on %s: %w", s.point, err)
	}
	return nil
}

// drain reads until nothing is queued.
func (s *socket) drain(fd int, f func(Packet)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, s.buf, s.oob, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENETDOWN):
			continue // the interface went down or away; what was seen stays
		case err != nil:
			return err
		}
		p := Packet{Point: s.point, Length: n, Data: append([]byte(nil), s.buf[:min(n, len(s.buf))]...)}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			p.Out = ll.Pkttype == unix.PACKET_OUTGOING
		}
		if err := ancillary(&p, s.oob[:oobn]); err != nil {
			return err
		}
		Decode(&p)
		f(p)
	}
}

// ancillary reads the time stamp and puts back the VLAN tag that the kernel took out.
func ancillary(p *Packet, oob []byte) error {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("parse control message: %w", err)
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16:
			sec := int64(binary.NativeEndian.Uint64(m.Data[0:8]))
			p.At = time.Unix(sec, int64(binary.NativeEndian.Uint64(m.Data[8:16])))
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20:
			// struct tpacket_auxdata: status, len, snaplen (u32); mac, net, vlan_tci, vlan_tpid (u16)
			status := binary.NativeEndian.Uint32(m.Data[0:4])
			p.Offloaded = status&unix.TP_STATUS_CSUMNOTREADY != 0
			if status&unix.TP_STATUS_VLAN_VALID != 0 {
				retag(p, binary.NativeEndian.Uint16(m.Data[16:18]))
			}
		}
	}
	return nil
}

func retag(p *Packet, tci uint16) {
	if len(p.Data) < 12 {
		return
	}
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, etherVLAN), tci)
	p.Data = append(p.Data[:12:12], append(tag, p.Data[12:]...)...)
	p.Length += len(tag)
}

// lost is how many frames the kernel could not queue since the last call.
func (s *socket) lost() (int, error) {
	rc, err := s.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var (
		st  *unix.TpacketStats
		opt error
	)
	if err := rc.Control(func(fd uintptr) {
		st, opt = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); err != nil {
		return 0, err
	}
	if opt != nil {
		return 0, fmt.Errorf("packet statistics of %s: %w", s.point, opt)
	}
	return int(st.Drops), nil
}
