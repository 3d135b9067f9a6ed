// Package nstest makes network namespaces for tests and runs programs in them. Nothing that it
// makes has a name, so nothing of it outlives the test binary, however that ends.
package nstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/space"
	"github.com/spklab/spklab/roottest"
)

// Programs skips a test that calls programs which are not installed, and fails it under CI.
func Programs(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s, and CI=true says that nothing may be skipped", name)
		}
		t.Skipf("needs %s", name)
	}
}

// Eventually polls until ok, for at most a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		runtime.Gosched()
		time.Sleep(2 * time.Millisecond)
	}
}

// BPFFS mounts a BPF filesystem for the test.
func BPFFS(t testing.TB) string {
	t.Helper()
	roottest.Need(t)
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a BPF filesystem: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// Namespace is a network namespace without a name, gone with the test.
type Namespace struct {
	*space.Namespace
}

// New makes a namespace with loopback up and no duplicate address detection.
func New(t testing.TB) *Namespace {
	t.Helper()
	roottest.Need(t)
	n, err := space.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() }) // a descriptor that was only read
	return &Namespace{n}
}

// Do runs f inside the namespace, on a thread that ends with it. An error of f ends the test.
func (n *Namespace) Do(t testing.TB, f func() error) {
	t.Helper()
	if err := n.Namespace.Do(f); err != nil {
		t.Fatal(err)
	}
}
