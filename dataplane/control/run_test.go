package control

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestLeftBehind tells a process that was killed from one that has ended, by the socket.
func TestLeftBehind(t *testing.T) {
	listen := func(t *testing.T, path string, killed bool) {
		t.Helper()
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(!killed)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name   string
		before func(t *testing.T, path string)
		want   bool
	}{
		{"none before", func(*testing.T, string) {}, false},
		{"one has ended", func(t *testing.T, path string) { listen(t, path, false) }, false},
		{"one was killed", func(t *testing.T, path string) { listen(t, path, true) }, true},
		{"a file of somebody else", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tmm.sock")
			tc.before(t, path)
			if got := leftBehind(path); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}
