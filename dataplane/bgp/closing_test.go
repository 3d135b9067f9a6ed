package bgp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/spklab/spklab/roottest"
)

// connection is a line of /proc/net/tcp.
func connection(local, remote, state, timer string) string {
	end := func(text string) string {
		ap := netip.MustParseAddrPort(text)
		return fmt.Sprintf("%s:%04X", procAddress(ap.Addr()), ap.Port())
	}
	return fmt.Sprintf("   0: %s %s %s 00000000:00000000 %s 00000000     0        0 0 3 0000000000000000\n", end(local), end(remote), state, timer)
}

// TestLastEnd reads when sessions ended out of what the kernel keeps of their connections.
func TestLastEnd(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	const own, other = "198.51.100.16:40000", "198.51.100.2:179"
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		name, neighbor, table string
		want                  time.Time
	}{
		{"no connection", "198.51.100.1", "", time.Time{}},
		{"one that lives", "198.51.100.1", connection(own, "198.51.100.1:179", "01", "00:00000000"), time.Time{}},
		{"closed by both for 300 ms", "198.51.100.1", connection(own, "198.51.100.1:179", "06", "03:00001752"), now.Add(-300 * time.Millisecond)},
		{"closed by both for 59 s", "198.51.100.1", connection(own, "198.51.100.1:179", "06", "03:00000064"), now.Add(-59 * time.Second)},
		{"that the neighbor opened", "198.51.100.1", connection("198.51.100.16:179", "198.51.100.1:40000", "06", "03:00001770"), now},
		{"IPv6", "2001:db8:51::1", connection("[2001:db8:51::16]:40000", "[2001:db8:51::1]:179", "06", "03:0000170C"), now.Add(-time.Second)},
		{"an end without an answer", "198.51.100.1", connection(own, "198.51.100.1:179", "04", "01:00000014"), now},
		{"an end that the neighbor has taken", "198.51.100.1", connection(own, "198.51.100.1:179", "05", "00:00000000"), now},
		{"both ends at once", "198.51.100.1", connection(own, "198.51.100.1:179", "0B", "01:00000014"), now},
		{"the neighbor's end first", "198.51.100.1", connection(own, "198.51.100.1:179", "09", "01:00000014"), now},
		{"the newest of several", "198.51.100.1", connection(own, "198.51.100.1:179", "06", "03:00000064") + connection(own, "198.51.100.1:179", "06", "03:0000170C") +
			connection(own, "198.51.100.1:179", "06", "03:00000001"), now.Add(-time.Second)},
		{"of another neighbor", "198.51.100.1", connection(own, other, "06", "03:00001770"), time.Time{}},
		{"of another server", "198.51.100.1", connection(own, "198.51.100.1:80", "06", "03:00001770"), time.Time{}},
		{"another timer", "198.51.100.1", connection(own, "198.51.100.1:179", "06", "00:00000000"), now},
		{"longer than a minute", "198.51.100.1", connection(own, "198.51.100.1:179", "06", "03:FFFFFFFF"), now},
		{"cut off", "198.51.100.1", strings.Join(strings.Fields(connection(own, "198.51.100.1:179", "06", ""))[:4], " "), time.Time{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := lastEnd(head+tc.table, netip.MustParseAddr(tc.neighbor), now); !got.Equal(tc.want) {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// TestProcAddress is what a little-endian machine writes, and a big-endian one.
func TestProcAddress(t *testing.T) {
	for addr, want := range map[string][2]string{
		"127.0.0.1":   {"0100007F", "7F000001"},
		"2001:db8::1": {"B80D0120000000000000000001000000", "20010DB8000000000000000000000001"},
	} {
		if got := procAddress(netip.MustParseAddr(addr)); got != want[0] && got != want[1] {
			t.Errorf("%s is %s, want one of %s", addr, got, want)
		}
	}
}

// TestLeaveAlone: a speaker waits for what another process has ended, but not where its neighbors keep the routes.
func TestLeaveAlone(t *testing.T) {
	now := time.Unix(1000, 0)
	table := connection("198.51.100.16:40000", "198.51.100.1:179", "06", "03:0000170C") // a second ago
	for _, tc := range []struct {
		name     string
		neighbor string
		restarts bool
		ended    time.Time // of another configuration's
		killed   time.Time
		want     time.Time
	}{
		{"the kernel knows", "198.51.100.1", false, time.Time{}, time.Time{}, now.Add(-time.Second)},
		{"the kernel knows better", "198.51.100.1", false, time.Time{}, now, now.Add(-time.Second)},
		{"a connection was reset", "198.51.100.2", false, time.Time{}, now, now},
		{"nobody knows", "198.51.100.2", false, time.Time{}, time.Time{}, time.Time{}},
		{"a later end known", "198.51.100.1", false, now, time.Time{}, now},
		{"an earlier end known", "198.51.100.1", false, now.Add(-time.Minute), time.Time{}, now.Add(-time.Second)},
		{"graceful restart", "198.51.100.1", true, time.Time{}, now, time.Time{}},
		{"graceful restart, another configuration", "198.51.100.1", true, now, time.Time{}, now},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := &transport{neighbor: Neighbor{Addr: netip.MustParseAddr(tc.neighbor)}, restarts: tc.restarts, ended: tc.ended}
			if tr.leaveAlone(table, tc.killed, now); !tr.ended.Equal(tc.want) {
				t.Errorf("ended at %s, want %s", tr.ended, tc.want)
			}
		})
	}
}

// TestEndInKernel ends a connection on the BGP port, and asks the kernel when that was.
func TestEndInKernel(t *testing.T) {
	roottest.Need(t)
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		t.Run(loopback, func(t *testing.T) {
			addr := netip.AddrPortFrom(netip.MustParseAddr(loopback), Port)
			inNamespace(t, func() error {
				l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
				if err != nil {
					return err
				}
				defer l.Close()
				near, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
				if err != nil {
					return err
				}
				far, err := l.Accept()
				if err != nil {
					return err
				}
				ends := func() (time.Time, error) {
					table, err := sockets()
					return lastEnd(table, addr.Addr(), time.Now()), err
				}
				if ended, err := ends(); err != nil || !ended.IsZero() {
					return fmt.Errorf("ended at %s while it lives: %v", ended, err)
				}
				began := time.Now()
				if err := errors.Join(near.Close(), far.Close()); err != nil {
					return err
				}
				closed := time.Now()
				for deadline := closed.Add(20 * time.Second); ; time.Sleep(procTick) {
					ended, err := ends()
					late := time.Since(ended)
					switch {
					case err != nil || ended.Before(began.Add(-2*procTick)):
						return fmt.Errorf("ended %s before it did: %v", began.Sub(ended), err)
					case late > time.Since(closed)/2 && late > 2*procTick:
						return nil // it grows
					case time.Now().After(deadline):
						return fmt.Errorf("ended %s ago, which was %s ago", late, time.Since(closed))
					}
				}
			})
		})
	}
}

// inNamespace runs f on a thread in a network namespace of its own whose loopback is up.
func inNamespace(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		done <- func() error {
			ns, err := netns.New()
			if err != nil {
				return err
			}
			defer ns.Close()
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return errors.Join(netlink.LinkSetUp(lo), f())
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzLastEnd wants a time within the last minute, or none, of whatever is read.
func FuzzLastEnd(f *testing.F) {
	f.Add(connection("198.51.100.16:40000", "198.51.100.1:179", "06", "03:00001752"))
	f.Fuzz(func(t *testing.T, table string) {
		now := time.Unix(1000, 0)
		if got := lastEnd(table, netip.MustParseAddr("198.51.100.1"), now); !got.IsZero() && (got.After(now) || now.Sub(got) > timeWait) {
			t.Errorf("%s", got)
		}
	})
}
