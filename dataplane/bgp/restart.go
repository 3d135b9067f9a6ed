package bgp

import (
	"encoding/binary"
	"io"
	"net"
)

// Of an OPEN: RFC 4271, section 4.2; capabilities: RFC 5492; graceful restart: RFC 4724, section 3.
const (
	openHeaderLen      = 19 // of every message
	openParameters     = openHeaderLen + 10
	parameterCaps      = 2
	capGracefulRestart = 64
	flagRestarted      = 0x80 // of the capability's first octet: the R bit
	flagForwarding     = 0x80 // of a family's last octet: the F bit
)

// restartWriter passes a BGP stream on and says in its first message, the OPEN, that this end forwards
// while it restarts: what the eBPF maps hold outlives the process. gobgp says so only of an end that also
// holds its routes back until the peers have sent theirs.
type restartWriter struct {
	io.Writer
	restarted bool // it is the first session since the process began
	first     []byte
	done      bool
}

// Write takes what gobgp sends. The OPEN goes on once it is whole.
func (w *restartWriter) Write(p []byte) (int, error) {
	if w.done {
		return w.Writer.Write(p)
	}
	w.first = append(w.first, p...)
	if len(w.first) < openHeaderLen || len(w.first) < int(binary.BigEndian.Uint16(w.first[16:])) {
		return len(p), nil
	}
	w.done = true
	markOpen(w.first, w.restarted)
	if _, err := w.Writer.Write(w.first); err != nil {
		return 0, err
	}
	return len(p), nil
}

// markOpen sets the bits in the OPEN that a message begins with. What is no OPEN stays as it is.
func markOpen(m []byte, restarted bool) {
	if len(m) < openParameters || m[openHeaderLen-1] != 1 {
		return
	}
	end := min(len(m), int(binary.BigEndian.Uint16(m[16:])))
	if end < openParameters {
		return
	}
	eachTLV(m[openParameters:end], func(kind byte, capabilities []byte) {
		if kind != parameterCaps {
			return
		}
		eachTLV(capabilities, func(code byte, value []byte) {
			if code != capGracefulRestart || len(value) < 2 {
				return
			}
			if restarted {
				value[0] |= flagRestarted
			}
			for f := value[2:]; len(f) >= 4; f = f[4:] {
				f[3] |= flagForwarding
			}
		})
	})
}

// eachTLV calls f with the type and value of each entry that is whole.
func eachTLV(b []byte, f func(kind byte, value []byte)) {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		f(b[0], b[2:2+int(b[1])])
		b = b[2+int(b[1]):]
	}
}

// restartConn is a connection whose OPEN a restartWriter sends.
type restartConn struct {
	net.Conn
	out restartWriter
}

func (c *restartConn) Write(p []byte) (int, error) { return c.out.Write(p) }

// opening is the connection as it is carried.
func (t *transport) opening(conn net.Conn) net.Conn {
	restarted := !t.carried
	t.carried = true
	if !t.restarts {
		return conn
	}
	return &restartConn{conn, restartWriter{Writer: conn, restarted: restarted}}
}
