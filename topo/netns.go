package topo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// Do runs f on a thread inside the named network namespace and returns f's error. It is the one
// way into a namespace. Goroutines that f starts run outside of it. A thread whose own namespace
// could not be restored is never handed back to the scheduler.
func Do(netns string, f func() error) (err error) {
	target, err := openNetns(netns)
	if err != nil {
		return err
	}
	defer target.Close()
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer own.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", netns, err)
	}
	defer func() {
		if rerr := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); rerr != nil {
			err = errors.Join(err, fmt.Errorf("leave %s: %w", netns, rerr))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Start starts cmd inside the named network namespace. Everything else about cmd, and waiting
// for it, stays with the caller.
func Start(netns string, cmd *exec.Cmd) error {
	return Do(netns, cmd.Start)
}

func openNetns(name string) (*os.File, error) {
	if name == "" || filepath.Base(name) != name {
		return nil, fmt.Errorf("open namespace %q: no name of a namespace", name)
	}
	f, err := os.Open(filepath.Join(netnsDir, name))
	if err != nil {
		return nil, fmt.Errorf("open namespace: %w", err)
	}
	return f, nil
}
