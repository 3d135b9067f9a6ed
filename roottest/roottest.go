// Package roottest is for tests that need root, as they make network namespaces or load eBPF programs.
package roottest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Need skips a test that nobody runs as root, and fails it where CI promises root (CI is set).
func Need(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root, and CI says that nothing may be skipped")
	}
	t.Skip("needs root")
}

// Run runs a command, whose words are parted by spaces, as root; the test ends where it fails.
func Run(t testing.TB, line string) {
	t.Helper()
	Need(t)
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// Netns makes a network namespace for the time of the test.
func Netns(t testing.TB, name string) {
	t.Helper()
	Run(t, "ip netns add "+name)
	t.Cleanup(func() { Run(t, "ip netns del "+name) })
}
