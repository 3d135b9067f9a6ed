package bfd_test

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func setTTL(t *testing.T, c *net.UDPConn, ttl int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var serr error
	err = raw.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) })
	if err := errors.Join(err, serr); err != nil {
		t.Fatal(err)
	}
}
