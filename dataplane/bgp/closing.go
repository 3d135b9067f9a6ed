package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// What the kernel keeps of a TCP connection whose process has closed it, or was killed: proc(5), /proc/net/tcp, and
// Linux's tcp_states.h.
const (
	tcpFinWait1 = "04"
	tcpFinWait2 = "05"
	tcpTimeWait = "06"
	tcpLastACK  = "09"
	tcpClosing  = "0B"

	timeWait = time.Minute           // TCP_TIMEWAIT_LEN, since both ends have closed
	procTick = 10 * time.Millisecond // of times in /proc: USER_HZ is 100 wherever Go runs
	kindWait = "03"                  // of the timer whose time left is how long TIME_WAIT goes on
)

// sockets are the TCP connections of the calling thread's network namespace as the kernel writes them.
func sockets() (string, error) {
	var all strings.Builder
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // without IPv6 there is one
			return "", fmt.Errorf("list TCP connections: %w", err)
		}
		all.Write(text)
	}
	return all.String(), nil
}

// lastEnd is when the newest session with a neighbor ended, by the connections of sockets; the zero time where none
// has within the last minute, or none that the kernel remembers: it forgets what was reset. A session whose end the
// neighbor has not answered yet ends now.
func lastEnd(table string, neighbor netip.Addr, now time.Time) time.Time {
	var last time.Time
	address, bgp := procAddress(neighbor)+":", fmt.Sprintf(":%04X", Port)
	for line := range strings.Lines(table) {
		words := strings.Fields(line) // number, local, remote, state, queues, timer
		if len(words) < 6 || !strings.HasPrefix(words[2], address) || !strings.HasSuffix(words[1], bgp) && !strings.HasSuffix(words[2], bgp) {
			continue
		}
		ended := now
		switch words[3] {
		case tcpFinWait1, tcpFinWait2, tcpLastACK, tcpClosing:
		case tcpTimeWait:
			if ended = now.Add(timeLeft(words[5]) - timeWait); ended.After(now) {
				ended = now
			}
		default:
			continue
		}
		if ended.After(last) {
			last = ended
		}
	}
	return last
}

// timeLeft is what a timer says of TIME_WAIT; all of it where it says nothing.
func timeLeft(timer string) time.Duration {
	kind, left, _ := strings.Cut(timer, ":")
	ticks, err := strconv.ParseUint(left, 16, 32)
	if kind != kindWait || err != nil {
		return timeWait
	}
	return time.Duration(ticks) * procTick
}

// procAddress is an address as the kernel writes it there: words of 32 bits in the machine's byte order.
func procAddress(a netip.Addr) string {
	var out []byte
	for raw := a.AsSlice(); len(raw) > 0; raw = raw[4:] {
		out = fmt.Appendf(out, "%08X", binary.NativeEndian.Uint32(raw))
	}
	return string(out)
}
