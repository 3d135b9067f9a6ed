package evidence

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// stampPatience bounds the wait for the kernel to stamp packets.
const stampPatience = 2 * time.Second

// awaitStamps returns once the kernel stamps packets as they pass. It begins to do so in the
// background, some time after the first socket has asked for stamps; until then a packet gets
// the time at which it is read, and the order of hops would be lost. A datagram to oneself over
// loopback tells: SO_TIMESTAMPING, unlike SO_TIMESTAMPNS, makes no stamps up.
func awaitStamps() (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open probe of time stamps: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	loopback := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(fd, loopback)); err != nil {
		return fmt.Errorf("prepare probe of time stamps: %w", err)
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("prepare probe of time stamps: %w", err)
	}
	oob := make([]byte, 256)
	for deadline := time.Now().Add(stampPatience); time.Now().Before(deadline); {
		if err := unix.Sendto(fd, []byte{0}, 0, self); err != nil {
			return fmt.Errorf("probe time stamps over loopback: %w", err)
		}
		_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, 0)
		if err != nil {
			return fmt.Errorf("probe time stamps over loopback: %w", err)
		}
		if stamped(oob[:n]) {
			return nil
		}
	}
	return fmt.Errorf("the kernel stamps no packets within %s", stampPatience)
}

func stamped(oob []byte) bool {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPING {
			return true
		}
	}
	return false
}
