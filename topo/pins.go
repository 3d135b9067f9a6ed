package topo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// makePins makes a directory for pins, in a BPF file system that is mounted for it where the
// machine has none.
func (w *world) makePins(p *PinsStep) error {
	if !filepath.IsLocal(p.Dir) {
		return fmt.Errorf("pins %s: outside the lab's pin directory", p.Dir)
	}
	unlock, err := w.r.host.lockBPF()
	if err != nil {
		return err
	}
	defer unlock()
	if err := w.r.host.mountBPF(); err != nil {
		return err
	}
	return wrap(os.MkdirAll(filepath.Join(w.r.PinDir(), p.Dir), 0o700), "make pin directory")
}

// removePins removes a directory of the lab's pins, "" for all, and the directory of all labs' pins when it is
// empty then. What a namesake has pinned stays.
func (r *Runtime) removePins(dir string) error {
	theirs, err := r.namesake()
	if err != nil || theirs {
		return err
	}
	unlock, err := r.host.lockBPF()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(filepath.Join(r.PinDir(), dir)); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	if dir != "" {
		return nil
	}
	err = os.Remove(filepath.Dir(r.PinDir()))
	return wrap(ignore(err, fs.ErrNotExist, unix.ENOTEMPTY), "remove pin directory")
}

// bpfSource is what the mount of the BPF file system names as its source where spklab made it: whichever lab is the
// last one may unmount it then, labs of other state directories too.
const bpfSource = "spklab"

// lockBPF keeps everybody else from mounting the BPF file system, unmounting it, and making or removing directories
// of pins.
func (h Host) lockBPF() (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(h.bpf()))
	if err != nil {
		return nil, fmt.Errorf("lock the BPF file system: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir.Name(), err), dir.Close())
	}
	return func() { _ = dir.Close() }, nil // which gives the lock back
}

func (h Host) bpfMounted() bool {
	var s unix.Statfs_t
	return unix.Statfs(h.bpf(), &s) == nil && s.Type == unix.BPF_FS_MAGIC
}

// mountBPF mounts the BPF file system unless there is one.
func (h Host) mountBPF() error {
	if h.bpfMounted() {
		return nil
	}
	err := unix.Mount(bpfSource, h.bpf(), "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700")
	return wrap(err, "mount BPF file system at "+h.bpf())
}

// bpfIsOurs says whether the BPF file system is there because spklab mounted it. In mountinfo the mount point is the
// fifth field, and the source the second after a lone dash (proc_pid_mountinfo(5)).
func (h Host) bpfIsOurs() (bool, error) {
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("list mounts: %w", err)
	}
	ours := false
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if fields[4] == h.bpf() && dash > 0 && dash+2 < len(fields) {
			ours = fields[dash+2] == bpfSource // the last one covers those before it
		}
	}
	return ours, nil
}

// unmountBPF takes the mount away that mountBPF made, once nobody has anything there. It also removes the directory of
// all labs when that is empty.
func (h Host) unmountBPF() error {
	return errors.Join(h.unmountEmptyBPF(),
		wrap(ignore(os.Remove(h.run()), fs.ErrNotExist, unix.ENOTEMPTY, unix.EBUSY), "remove "+h.run()))
}

// preloaded names the iterators that the kernel puts into each new BPF file system
// (CONFIG_BPF_PRELOAD, Linux 5.10).
func preloaded(name string) bool { return name == "maps.debug" || name == "progs.debug" }

func (h Host) unmountEmptyBPF() error {
	unlock, err := h.lockBPF()
	if err != nil {
		return err
	}
	defer unlock()
	if ours, err := h.bpfIsOurs(); err != nil || !ours {
		return err
	}
	names, err := os.ReadDir(h.bpf())
	if err != nil {
		return fmt.Errorf("list BPF file system: %w", err)
	}
	if slices.ContainsFunc(names, func(e fs.DirEntry) bool { return !preloaded(e.Name()) }) {
		return nil
	}
	return wrap(ignore(unix.Unmount(h.bpf(), 0), unix.EBUSY), "unmount BPF file system")
}
