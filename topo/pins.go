package topo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// makePins makes a directory for pins, in a BPF file system that is mounted for it where the
// machine has none.
func (w *world) makePins(p *PinsStep) error {
	if !filepath.IsLocal(p.Dir) {
		return fmt.Errorf("pins %s: outside the lab's pin directory", p.Dir)
	}
	w.pinsLock.Lock()
	defer w.pinsLock.Unlock()
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
	if err := os.RemoveAll(filepath.Join(r.PinDir(), dir)); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	if dir != "" {
		return nil
	}
	err = os.Remove(filepath.Dir(r.PinDir()))
	return wrap(ignore(err, fs.ErrNotExist, unix.ENOTEMPTY), "remove pin directory")
}

// bpfMarker says that spklab mounted the BPF file system, so that the last lab unmounts it.
func (h Host) bpfMarker() string { return filepath.Join(h.run(), ".bpffs") }

func (h Host) bpfMounted() bool {
	var s unix.Statfs_t
	return unix.Statfs(h.bpf(), &s) == nil && s.Type == unix.BPF_FS_MAGIC
}

// mountBPF mounts the BPF file system unless there is one. The marker stands before the mount,
// so that a kill between the two leaves nothing unknown.
func (h Host) mountBPF() error {
	if h.bpfMounted() {
		return nil
	}
	if err := os.WriteFile(h.bpfMarker(), nil, 0o600); err != nil {
		return fmt.Errorf("note the mount of the BPF file system: %w", err)
	}
	if err := unix.Mount("bpf", h.bpf(), "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount BPF file system at %s: %w", h.bpf(), err)
	}
	return nil
}

// unmountBPF takes the mount away that mountBPF made, once no lab is left and nobody else has
// put anything there. It also removes the directory of all labs when that is empty.
func (h Host) unmountBPF() error {
	labs, err := h.Labs()
	if err != nil || len(labs) > 0 {
		return err
	}
	if _, err := os.Stat(h.bpfMarker()); err == nil {
		if err := h.unmountEmptyBPF(); err != nil {
			return err
		}
	}
	return wrap(ignore(os.Remove(h.run()), fs.ErrNotExist, unix.ENOTEMPTY, unix.EBUSY), "remove "+h.run())
}

// preloaded names the iterators that the kernel puts into each new BPF file system
// (CONFIG_BPF_PRELOAD, Linux 5.10).
func preloaded(name string) bool { return name == "maps.debug" || name == "progs.debug" }

func (h Host) unmountEmptyBPF() error {
	if h.bpfMounted() {
		names, err := os.ReadDir(h.bpf())
		if err != nil {
			return fmt.Errorf("list BPF file system: %w", err)
		}
		if slices.ContainsFunc(names, func(e fs.DirEntry) bool { return !preloaded(e.Name()) }) {
			return nil // somebody else uses it: the marker stays for the next lab
		}
		if err := unix.Unmount(h.bpf(), 0); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount BPF file system: %w", err)
		}
	}
	return wrap(ignore(os.Remove(h.bpfMarker()), fs.ErrNotExist), "remove mark of the BPF mount")
}
