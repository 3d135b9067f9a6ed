package sriov

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSSHConnections: the session is found although sudo has left its variable out, whatever stands between.
func TestSSHConnections(t *testing.T) {
	type process struct {
		pid, parent int
		environ     string // "-": none of our business
	}
	const session = "PATH=/bin\x00SSH_CONNECTION=198.51.100.7 50000 192.0.2.5 2222\x00LANG=C\x00"
	for _, tc := range []struct {
		name string
		all  []process
		want []string
	}{
		{"its own", []process{{40, 1, session}, {1, 0, ""}}, []string{"198.51.100.7 50000 192.0.2.5 2222"}},
		{"below sudo", []process{{40, 39, "PATH=/sbin\x00"}, {39, 38, "-"}, {38, 1, session}, {1, 0, ""}}, []string{"198.51.100.7 50000 192.0.2.5 2222"}},
		{"one inside another", []process{{40, 38, "SSH_CONNECTION=::1 1 ::1 22\x00"}, {38, 30, session}, {30, 1, session}, {1, 0, ""}},
			[]string{"::1 1 ::1 22", "198.51.100.7 50000 192.0.2.5 2222"}},
		{"none", []process{{40, 1, "NOT_SSH_CONNECTION=1 2 3 4\x00"}, {1, 0, ""}}, nil},
		{"a parent that is gone", []process{{40, 39, ""}}, nil},
		{"a circle", []process{{40, 41, ""}, {41, 40, ""}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			proc := t.TempDir()
			for _, p := range tc.all {
				dir := filepath.Join(proc, strconv.Itoa(p.pid))
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				files := map[string]string{"status": fmt.Sprintf("Name:\tx\nTgid:\t%d\nPPid:\t%d\n", p.pid, p.parent), "environ": p.environ}
				for name, text := range files {
					if text == "-" {
						continue
					}
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if diff := cmp.Diff(tc.want, sshConnections(proc, 40)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
