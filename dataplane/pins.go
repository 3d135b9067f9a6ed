package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
)

// pins is the directory on a BPF filesystem where a dataplane keeps what outlives its process:
// one subdirectory a layout, so that a version never misreads the maps of another. The zero
// value pins nothing.
//
//	DIR/v1/spk_ct4      a map by its name
//	DIR/v1/link-12      the attachment to the interface with index 12
type pins struct{ dir string }

const linkPrefix = "link-"

func openPins(dir string) (pins, error) {
	p := pins{dir: dir}
	if dir == "" {
		return p, nil
	}
	if err := os.MkdirAll(p.layout(), 0o700); err != nil {
		return p, fmt.Errorf("make pin directory: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return p, fmt.Errorf("look at pin directory %s: %w", dir, err)
	}
	if uint32(st.Type) != unix.BPF_FS_MAGIC {
		err := fmt.Errorf("pin directory %s: not on a BPF filesystem (mount -t bpf bpf /sys/fs/bpf)", dir)
		return p, errors.Join(err, os.RemoveAll(p.layout()))
	}
	return p, nil
}

// layout is the directory of this version's pins.
func (p pins) layout() string {
	return filepath.Join(p.dir, "v"+strconv.Itoa(int(bpf.Layout)))
}

// link is the path of the attachment to an interface, "" when nothing is pinned.
func (p pins) link(ifindex int) string {
	if p.dir == "" {
		return ""
	}
	return filepath.Join(p.layout(), linkPrefix+strconv.Itoa(ifindex))
}

// links lists the pinned attachments by interface index.
func (p pins) links() (map[int]string, error) {
	out := map[int]string{}
	if p.dir == "" {
		return out, nil
	}
	entries, err := os.ReadDir(p.layout())
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), linkPrefix)
		if !ok {
			continue
		}
		index, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("pin %s: no interface index: %w", e.Name(), err)
		}
		out[index] = filepath.Join(p.layout(), e.Name())
	}
	return out, nil
}

// clear removes this layout's pins and leaves the directory.
func (p pins) clear() error {
	entries, err := os.ReadDir(p.layout())
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.Remove(filepath.Join(p.layout(), e.Name())))
	}
	return errors.Join(errs...)
}

// removeOthers removes the pins of other layouts; once their attachments are gone, this
// version alone serves the interfaces.
func (p pins) removeOthers() error {
	if p.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("list pin directory: %w", err)
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(p.dir, e.Name())
		if dir != p.layout() && e.IsDir() && strings.HasPrefix(e.Name(), "v") {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// remove removes every pin and the directory itself; missing ones are removed already.
func (p pins) remove() error {
	if p.dir == "" {
		return nil
	}
	if err := os.RemoveAll(p.layout()); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	if err := os.Remove(p.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin directory: %w", err)
	}
	return nil
}
