package bgp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/roottest"
)

// TestPasswordWithoutSession says why there is no session.
func TestPasswordWithoutSession(t *testing.T) {
	_, speakers := labOf(t, upstream()) // the router knows no password
	t.Setenv(passwordEnv, "sesame")
	h := spawnIn(t, fmt.Sprintf("/proc/%d/ns/net", speakers[0].cmd.Process.Pid), "speaker", bgp.SpeakerConfig{
		ASN: 65001, RouterID: netip.MustParseAddr("198.51.100.16"), Port: -1,
		Neighbors: []bgp.Neighbor{{Addr: netip.MustParseAddr("198.51.100.1"), ASN: 65000, AcceptV4: true}},
	})
	if err := h.goOn(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var peers []bgp.Peer
		err := ctl.Get(t.Context(), h.socket, ctl.PathState, &peers)
		if err == nil && len(peers) == 1 && !peers[0].Established() && peers[0].Error != "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v %v", peers, err)
		}
	}
}

// TestPassword signs the connection: only a listener with the same password hears the OPEN.
func TestPassword(t *testing.T) {
	roottest.Need(t)
	for _, tt := range []struct {
		password string
		heard    bool
	}{{"sesame", true}, {"open", false}} {
		t.Run(tt.password, func(t *testing.T) {
			t.Setenv(passwordEnv, tt.password)
			router := spawn(t, "signed", nil)
			bridge(t, router)
			t.Setenv(passwordEnv, "sesame")
			s := spawn(t, "speaker", speakerConfig("198.51.100.16", "2001:db8:51::16"))
			cable(t, router, s, 0, "198.51.100.16/24", "2001:db8:51::16/64")
			for _, h := range []*host{router, s} {
				if err := h.goOn(); err != nil {
					t.Fatal(err)
				}
			}
			deadline := time.Now().Add(10 * time.Second)
			for {
				var heard int
				var peers []bgp.Peer
				err := errors.Join(ctl.Get(t.Context(), router.socket, ctl.PathState, &heard), ctl.Get(t.Context(), s.socket, ctl.PathState, &peers))
				if err == nil && tt.heard && heard > 0 {
					return
				}
				if err == nil && !tt.heard && len(peers) == 2 && peers[0].Error != "" {
					if heard != 0 {
						t.Errorf("heard %d messages in spite of the password", heard)
					}
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("heard %d, peers %+v, %v", heard, peers, err)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

// signed listens for signed BGP connections and counts the OPENs that arrive.
func signed(ctx context.Context) error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var signErr error
		err := c.Control(func(fd uintptr) {
			password := os.Getenv(passwordEnv)
			sig := unix.TCPMD5Sig{Keylen: uint16(len(password))}
			copy(sig.Key[:], password)
			sig.Addr.Family = unix.AF_INET
			copy(sig.Addr.Data[2:], []byte{198, 51, 100, 16})
			signErr = unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
		})
		return errors.Join(err, signErr)
	}}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp4", "198.51.100.1:179")
	if err != nil {
		return err
	}
	var heard atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			marker := make([]byte, 19) // RFC 4271, 4.1: 16 bytes of ones, length, type 1 = OPEN
			if _, err := io.ReadFull(c, marker); err == nil && marker[0] == 0xff && marker[18] == 1 {
				heard.Add(1)
			}
			_ = c.Close()
		}
	}()
	srv := ctl.Server{State: func() (any, error) { return heard.Load(), nil }}
	return srv.Serve(ctx, os.Getenv(socketEnv))
}
