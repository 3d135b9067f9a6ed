package bgp

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// open is an OPEN with the capability of graceful restart (120 s, IPv4 and IPv6 unicast) after another.
func open(flags, forwarding byte) []byte {
	m := bytes.Repeat([]byte{0xff}, 16)
	m = append(m, 0, 0, 1, 4, 0xfd, 0xe9, 0, 9, 192, 0, 2, 1, 16, parameterCaps, 14, 2, 0, capGracefulRestart, 10, flags, 120, 0, 1, 1, forwarding, 0, 2, 1, forwarding)
	m[17] = byte(len(m))
	return m
}

// TestRestartWriter sets the bits in the OPEN, whole or in pieces, and nowhere else.
func TestRestartWriter(t *testing.T) {
	for _, tt := range []struct {
		name      string
		restarted bool
		in, want  []byte
	}{
		{"first session", true, open(0, 0), open(flagRestarted, flagForwarding)},
		{"later session", false, open(0, 0), open(0, flagForwarding)},
		{"a second message", false, append(open(0, 0), open(0, 0)...), append(open(0, flagForwarding), open(0, 0)...)},
		{"no OPEN", true, append(open(0, 0)[:18], append([]byte{4}, open(0, 0)[19:]...)...), append(open(0, 0)[:18], append([]byte{4}, open(0, 0)[19:]...)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 7, len(tt.in)} {
				var out bytes.Buffer
				w := &restartWriter{Writer: &out, restarted: tt.restarted}
				for rest := tt.in; len(rest) > 0; {
					n, err := w.Write(rest[:min(size, len(rest))])
					if err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if diff := cmp.Diff(tt.want, out.Bytes()); diff != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

// FuzzMarkOpen wants that nothing but single bits change, whatever it is given.
func FuzzMarkOpen(f *testing.F) {
	f.Add(open(0, 0))
	f.Fuzz(func(t *testing.T, m []byte) {
		got := bytes.Clone(m)
		markOpen(got, true)
		for i := range m {
			if d := got[i] ^ m[i]; d != 0 && d != flagForwarding {
				t.Errorf("octet %d: %#x became %#x", i, m[i], got[i])
			}
		}
	})
}
