package topo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
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

// makeNetns makes a named namespace with loopback up, as `ip netns add` does. The alias of its
// loopback is the mark: the state directory of the lab it belongs to. The thread that makes it
// ends with its goroutine.
func makeNetns(name, mark string) error {
	if err := shareNetnsDir(); err != nil {
		return fmt.Errorf("make %s a shared mount: %w", netnsDir, err)
	}
	path := filepath.Join(netnsDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("namespace %s exists and this lab did not make it: `spklab prune` removes what dead labs left", name)
	}
	if err != nil {
		return fmt.Errorf("make name of namespace: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make name of namespace: %w", err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- newNetns(path, mark)
	}()
	return <-done
}

// shareNetnsDir makes the directory of names what `ip netns add` and CNI plugins make of it before the
// first name: a mount of its own that is shared. Left to the first of them that comes by, its mount would
// hide the names that are there already, and none of those could be removed any more.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil { // iproute2 takes the same lock
		return fmt.Errorf("lock: %w", err)
	}
	err = unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // which says that it is no mount
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
}

// newNetns runs on a thread that nobody uses afterwards.
func newNetns(path, mark string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare network namespace: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	if err := netlink.LinkSetAlias(lo, mark); err != nil {
		return fmt.Errorf("mark the namespace: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("name the namespace: %w", err)
	}
	return nil
}

// removeNetns takes the name away; the kernel removes the namespace when its last user is gone.
// Whose it is, is for the caller to know.
func removeNetns(name string) error {
	path := filepath.Join(netnsDir, name)
	if err := ignore(unix.Unmount(path, unix.MNT_DETACH), unix.EINVAL, unix.ENOENT); err != nil {
		return fmt.Errorf("unmount namespace: %w", err)
	}
	err := ignore(os.Remove(path), os.ErrNotExist)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("remove name of namespace: %w: its mount is hidden by one that came later on %s: take that away (umount -l %[2]s) and try again", err, netnsDir)
	}
	return wrap(err, "remove name of namespace")
}

// netnsExists says whether the name stands for a namespace: a file that is no mount of one is
// what a kill left half-made.
func netnsExists(name string) bool {
	var s unix.Statfs_t
	return unix.Statfs(filepath.Join(netnsDir, name), &s) == nil && s.Type == unix.NSFS_MAGIC
}

// netnsMark is the mark of a namespace, empty where it has none.
func netnsMark(name string) (mark string, err error) {
	err = Do(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find loopback of %s: %w", name, err)
		}
		mark = lo.Attrs().Alias
		return nil
	})
	return mark, err
}
