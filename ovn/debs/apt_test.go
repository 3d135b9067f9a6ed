package debs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestMirrorOf(t *testing.T) {
	const targets = "Packages nodistro main https://deb.nodesource.com/node_20.x/\n" +
		"DEP-11 bookworm main http://wrong/\n" +
		"Packages bookworm contrib http://wrong/\n" +
		"Packages bookworm-security main http://security/\n" +
		"Packages bookworm main http://mirror/debian/\n"
	for _, tc := range []struct{ name, targets, codename, want string }{
		{"by codename", targets, "bookworm", "http://mirror/debian/"},
		{"by the suite's other name", "Packages stable main http://mirror/debian/\n", "trixie", "http://mirror/debian/"},
		{"another release", targets, "trixie", ""},
		{"nothing", "", "bookworm", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := mirrorOf(tc.targets, tc.codename); got != tc.want || ok != (tc.want != "") {
				t.Errorf("got %q, %t; want %q", got, ok, tc.want)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	for _, tc := range []struct {
		line string
		want int
		ok   bool
	}{
		{"dlstatus:1:23.4567:Retrieving file 1 of 3 (2s remaining)", 23, true},
		{"dlstatus:3:100.0000:Retrieving file 3 of 3", 100, true},
		{"pmstatus:ovn:50.0:Installing", 0, false},
		{"dlstatus:1:1e9:x", 0, false},
		{"dlstatus:1", 0, false},
		{"", 0, false},
	} {
		got, ok := progress(tc.line)
		if ok != tc.ok || ok && got != tc.want {
			t.Errorf("%q: %d, %t; want %d, %t", tc.line, got, ok, tc.want, tc.ok)
		}
	}
}

// TestAPTRefuses: with a mirror that does not answer, and with one whose packages Debian has not
// signed, apt-get fails and says why.
func TestAPTRefuses(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip(err)
	}
	unsigned := t.TempDir()
	dist := filepath.Join(unsigned, "dists/trixie/main/binary-amd64")
	write(t, filepath.Join(dist, "Packages"), "")
	write(t, filepath.Join(unsigned, "dists/trixie/Release"), "Origin: Debian\nSuite: stable\nCodename: trixie\nComponents: main\nArchitectures: amd64\nDate: Sat, 06 Jun 2026 00:00:00 UTC\n")
	for _, tc := range []struct{ name, mirror, word string }{
		{"no network", "http://127.0.0.1:9/debian", "Could not connect"},
		{"no signature", "file:" + unsigned, "not signed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := newAPT(t.TempDir(), tc.mirror, "trixie", func(string, int, int) {})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.download(t.Context(), []string{"ovn-common"}); err == nil || !strings.Contains(err.Error(), tc.word) {
				t.Errorf("%v, want %q", err, tc.word)
			}
			if left, err := filepath.Glob(filepath.Join(a.dir, "debs", "*")); err != nil || len(left) > 0 {
				t.Errorf("downloaded: %v, %v", left, err)
			}
		})
	}
}

// TestSupported: what there is no root of is refused with what to do.
func TestSupported(t *testing.T) {
	if _, err := supported("1.0"); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), release) {
		t.Errorf("an unknown release: %v, want the known ones", err)
	}
}

// TestWrapper: a program of a root gets its arguments as they are and keeps the process's number.
func TestWrapper(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "loader"), "#!/bin/sh\necho $$ \"$#\" \"$5\"\n")
	write(t, filepath.Join(root, "program"), wrapper(root, platform{libraries: "lib", loader: "loader"}, "usr/bin/ovn-nbctl"))
	for _, name := range []string{"loader", "program"} {
		if err := os.Chmod(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(root, "program"), "two words")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out))
	if len(fields) != 4 || fields[1] != "5" || fields[2]+" "+fields[3] != "two words" {
		t.Errorf("the loader got %q", out)
	}
	if want := cmd.ProcessState.Pid(); fields[0] != strconv.Itoa(want) {
		t.Errorf("the program's process is %s, want %d", fields[0], want)
	}
}
