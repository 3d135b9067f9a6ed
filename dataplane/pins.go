package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
)

// pins is the directory on a BPF filesystem where a dataplane keeps what outlives its process:
// one subdirectory a layout, so that a version never misreads the maps of another. The zero
// value pins nothing.
//
//	DIR/forwarding             a note of the switches that were off before
//	DIR/v1/spk_ct4             a map by its name
//	DIR/v1/tcx-ingress-12      the attachment to the interface with index 12
//	DIR/v1/clsact-ingress-12   a note that a filter of ours is there, and who made its clsact
type pins struct{ dir string }

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

// attachment is the path of what is attached at a spot, "" when nothing is pinned.
func (p pins) attachment(s spot) string {
	if p.dir == "" {
		return ""
	}
	return filepath.Join(p.layout(), fmt.Sprintf("%s-%s-%d", s.at, s.role, s.index))
}

// attachments lists the pinned attachments of this layout.
func (p pins) attachments() (map[spot]string, error) {
	if p.dir == "" {
		return nil, nil
	}
	return attachmentsIn(p.layout())
}

func attachmentsIn(dir string) (map[spot]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	out := map[spot]string{}
	for _, e := range entries {
		if s, ok := parseSpot(e.Name()); ok {
			out[s] = filepath.Join(dir, e.Name())
		}
	}
	return out, nil
}

// parseSpot reads the name of an attachment's pin; false says that it is a map's.
func parseSpot(name string) (spot, bool) {
	for _, at := range []Frontend{FrontendTCX, FrontendClsact, FrontendXDPGeneric, FrontendXDP} {
		for _, r := range []role{roleIngress, roleTagged, roleEgress} {
			number, ok := strings.CutPrefix(name, string(at)+"-"+string(r)+"-")
			if !ok {
				continue
			}
			index, err := strconv.Atoi(number)
			return spot{index, at, r}, err == nil && index > 0
		}
	}
	return spot{}, false
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

// others lists the directories of other layouts.
func (p pins) others() ([]string, error) {
	if p.dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("list pin directory: %w", err)
	}
	var out []string
	for _, e := range entries {
		dir := filepath.Join(p.dir, e.Name())
		if dir != p.layout() && e.IsDir() && strings.HasPrefix(e.Name(), "v") {
			out = append(out, dir)
		}
	}
	return out, nil
}

// switchedNote is where the pins say which of the kernel's switches this dataplane has turned on.
const switchedNote = "forwarding"

func (p pins) switched() ([]string, error) {
	if p.dir == "" {
		return nil, nil
	}
	note, err := os.Readlink(filepath.Join(p.dir, switchedNote))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read note of switches: %w", err)
	}
	return strings.Split(note, ","), nil
}

// noteSwitched writes what switched reads; a note is a symbolic link, which a BPF filesystem can
// hold.
func (p pins) noteSwitched(families []string) error {
	if p.dir == "" {
		return nil
	}
	path := filepath.Join(p.dir, switchedNote)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note switches: %w", err)
	}
	if err := os.Symlink(strings.Join(families, ","), path); err != nil {
		return fmt.Errorf("note switches: %w", err)
	}
	return nil
}

// lostConnections counts what another layout's conntrack holds, an entry a direction.
func lostConnections(dir string) (int, error) {
	entries := 0
	for _, name := range []string{"spk_ct4", "spk_ct6"} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), &ebpf.LoadPinOptions{ReadOnly: true})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("look at the connections of another layout: %w", err)
		}
		n, err := countEntries(m)
		if err := errors.Join(err, m.Close()); err != nil {
			return 0, err
		}
		entries += n
	}
	return entries / 2, nil
}

// remove removes every pin and the directory itself; missing ones are removed already.
func (p pins) remove() error {
	if p.dir == "" {
		return nil
	}
	if err := os.RemoveAll(p.layout()); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(p.dir, switchedNote)); err != nil {
		return fmt.Errorf("remove note of switches: %w", err)
	}
	if err := os.Remove(p.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin directory: %w", err)
	}
	return nil
}
