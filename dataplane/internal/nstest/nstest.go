// Package nstest makes network namespaces for tests and runs programs in them. Nothing that it
// makes has a name, so nothing of it outlives the test binary, however that ends.
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Privileged skips a test that needs root, and fails it where CI promises root.
func Privileged(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root, and CI=true says that nothing may be skipped")
	}
	t.Skip("needs root")
}

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

// Eventually polls until ok, for at most ten seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		runtime.Gosched()
		time.Sleep(2 * time.Millisecond)
	}
}

// BPFFS mounts a BPF filesystem for the test.
func BPFFS(t testing.TB) string {
	t.Helper()
	Privileged(t)
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

// Namespace is a network namespace without a name, gone with the test. Its methods are safe for
// concurrent use.
type Namespace struct {
	// Handle is valid until the test's cleanup.
	Handle netns.NsHandle

	starts chan func() // run by the thread that stays, the parent of the namespace's programs
}

// New makes a namespace with loopback up and no duplicate address detection.
func New(t testing.TB) *Namespace {
	t.Helper()
	Privileged(t)
	n := &Namespace{starts: make(chan func())}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the namespace
		err := n.enter()
		made <- err
		if err != nil {
			return
		}
		for start := range n.starts {
			start()
		}
	}()
	if err := <-made; err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	t.Cleanup(func() {
		close(n.starts)
		_ = n.Handle.Close() // a descriptor that was only read
	})
	return n
}

// enter takes the thread into a new namespace and readies that.
func (n *Namespace) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	var err error
	if n.Handle, err = netns.Get(); err != nil {
		return err
	}
	for _, scope := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/accept_dad", []byte("0"), 0); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// Do runs f inside the namespace, on a thread that ends with it. An error of f ends the test.
func (n *Namespace) Do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is discarded
		if err := netns.Set(n.Handle); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Enter runs f inside the namespace, on the one thread that stays there: quicker than Do, and one
// call at a time.
func (n *Namespace) Enter(f func() error) error { return enterBy(n.starts, f) }

// Thread is a thread that stays inside the namespace.
type Thread struct{ calls chan func() }

// Thread starts another thread that stays inside the namespace until Stop.
func (n *Namespace) Thread() *Thread {
	t := &Thread{calls: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is discarded
		if err := netns.Set(n.Handle); err != nil {
			panic(err) // the handle is good until the test's cleanup
		}
		for f := range t.calls {
			f()
		}
	}()
	return t
}

// Enter runs f on the thread, one call at a time.
func (t *Thread) Enter(f func() error) error { return enterBy(t.calls, f) }

// Stop ends the thread; Enter must not be called again.
func (t *Thread) Stop() { close(t.calls) }

func enterBy(calls chan<- func(), f func() error) error {
	done := make(chan error, 1)
	calls <- func() { done <- f() }
	return <-done
}

// Path names the namespace for programs such as ip(8), until the test's cleanup.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.Handle)) }

// Start starts the program inside the namespace. It is killed when the test binary ends; the
// caller waits for it.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // counts for the thread that starts it
	started := make(chan error, 1)
	n.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return nil
}
