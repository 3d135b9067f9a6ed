package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

type filesystem struct {
	source, dir, kind, options string
	flags                      uintptr
}

func mount(fs filesystem) error {
	if err := os.MkdirAll(fs.dir, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", fs.dir, err)
	}
	if err := unix.Mount(fs.source, fs.dir, fs.kind, fs.flags, fs.options); err != nil {
		return fmt.Errorf("mount %s: %w", fs.dir, err)
	}
	return nil
}

// sharing are the options of a 9P mount.
const sharing = "trans=virtio,version=9p2000.L,msize=512000"

// mountKernel mounts what the kernel shows of itself, and directories in memory, below root; all but some.
func mountKernel(root string, but ...string) error {
	for _, fs := range []filesystem{
		{source: "dev", dir: "/dev", kind: "devtmpfs"}, {source: "pts", dir: "/dev/pts", kind: "devpts"},
		{source: "proc", dir: "/proc", kind: "proc"}, {source: "sys", dir: "/sys", kind: "sysfs"},
		{source: "run", dir: "/run", kind: "tmpfs"}, {source: "tmp", dir: "/tmp", kind: "tmpfs"},
		{source: "cgroup", dir: "/sys/fs/cgroup", kind: "cgroup2"}, {source: "bpf", dir: "/sys/fs/bpf", kind: "bpf"},
		{source: "tracing", dir: "/sys/kernel/tracing", kind: "tracefs"},
	} {
		if slices.Contains(but, fs.dir) {
			continue
		}
		fs.dir = filepath.Join(root, fs.dir)
		if err := mount(fs); err != nil {
			return err
		}
	}
	return nil
}

// Where the parts of a root are put together, and where process 1's own program is.
const (
	lower  = "/lower"
	layer  = "/layer"
	merged = "/merged"
	self   = "/init"
)

// enterRoot makes the files of HostTag this process's root, beneath a layer in memory, with Work, Share and process
// 1's program as they were.
func (j Job) enterRoot() error {
	upper, work := layer+"/upper", layer+"/work"
	if err := mount(filesystem{source: HostTag, dir: lower, kind: "9p", flags: unix.MS_RDONLY, options: sharing + ",cache=loose"}); err != nil {
		return err
	}
	if err := mount(filesystem{source: "layer", dir: layer, kind: "tmpfs"}); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	options := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	if err := mount(filesystem{source: "root", dir: merged, kind: "overlay", options: options}); err != nil {
		return err
	}
	if err := mountKernel(merged, "/tmp"); err != nil {
		return err
	}
	if err := j.bindAll(); err != nil {
		return err
	}
	return switchRoot(merged)
}

// bindAll shows in the new root what it does not have, or hides.
func (j Job) bindAll() error {
	if err := os.WriteFile(merged+self, nil, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", self, err)
	}
	type from struct{ source, dir string }
	binds := []from{{Work, Work}, {Share, Share}}
	for _, dir := range j.Keep {
		if !strings.HasPrefix(dir, "/run/") {
			continue // it is there
		}
		binds = append(binds, from{lower + dir, dir})
	}
	for _, b := range binds {
		if err := mount(filesystem{source: b.source, dir: merged + b.dir, flags: unix.MS_BIND}); err != nil {
			return err
		}
	}
	if err := unix.Mount(self, merged+self, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", self, err)
	}
	return nil
}

// switchRoot makes a mount point this process's root, as switch_root(8) does.
func switchRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	return nil
}
