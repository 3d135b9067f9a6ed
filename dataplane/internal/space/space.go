// Package space makes network namespaces without names and runs functions and programs in them.
// The kernel keeps such a namespace only as long as the process, so that nothing of it is left
// behind however the process ends.
package space

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace. Its methods are safe for concurrent use until Close.
type Namespace struct {
	// Handle is valid until Close.
	Handle netns.NsHandle

	starts chan func() // run by the thread that stays, the parent of the namespace's programs
}

// New makes a namespace with loopback up and no duplicate address detection.
func New() (*Namespace, error) {
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
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	return n, nil
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

// Close lets go of the namespace and ends the programs that were started in it.
func (n *Namespace) Close() error {
	close(n.starts)
	return n.Handle.Close()
}

// Do runs f inside the namespace, on a thread that ends with it.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is discarded
		if err := netns.Set(n.Handle); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
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
			panic(err) // the handle is good until Close
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

// Path names the namespace for programs such as ip(8), until Close.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.Handle)) }

// Start starts the program inside the namespace. It is killed when the process ends or the
// namespace is closed; the caller waits for it.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // counts for the thread that starts it
	if err := n.Enter(cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return nil
}
