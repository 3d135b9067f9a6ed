package vm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/vm/guest"
)

// emulator is the tree of QEMU in the cache. igb, the network card with virtual functions, is in QEMU 8.0 and later.
func emulator() debs.Tree {
	const content = "qemu-system-x86 of trixie: program, libraries, firmware"
	sum := sha256.Sum256([]byte(content))
	return debs.Tree{
		Name: fmt.Sprintf("qemu-%x", sum[:4]), What: "QEMU", Suites: []string{"trixie"},
		Debs: []string{"qemu-system-x86"}, Make: makeEmulator,
	}
}

// firmware are the directories that QEMU reads besides its libraries.
func firmware() []string { return []string{"usr/share/qemu", "usr/share/seabios"} }

const emulatorProgram = "usr/bin/qemu-system-x86_64"

// makeEmulator moves what QEMU needs to its tree.
func makeEmulator(_ context.Context, unpacked, root string) error {
	loader, libraries, err := debs.Libraries()
	if err != nil {
		return err
	}
	for _, name := range append(firmware(), emulatorProgram, libraries, filepath.Dir(loader)) {
		to := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		if err := os.Rename(filepath.Join(unpacked, name), to); err != nil {
			return fmt.Errorf("the packages lack something: %w", err)
		}
	}
	return dropLinks(root)
}

// dropLinks removes links that lead to nothing: what they led to was not moved.
func dropLinks(root string) error {
	return filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Type()&os.ModeSymlink == 0 {
			return err
		}
		real, err := filepath.EvalSymlinks(path)
		st, serr := os.Stat(path)
		if err == nil && serr == nil && st.Mode().IsRegular() && strings.HasPrefix(real, root+"/") {
			return nil
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove link: %w", err)
		}
		return nil
	})
}

// hardware is what a guest has besides its processors: memory in MB, and where its kernel and share are.
type hardware struct {
	qemu                    string // its tree
	memoryMB, processors    int
	image, initramfs, share string
	host                    bool // the guest has the machine's files
}

// How a guest is emulated. Translated code has room (in MB) for the kernel's and that of all the programs of a lab: where
// it has not, all of it is translated anew. The plain processor has no wide registers, which cost without
// hardware acceleration at each change of tasks more than they save.
const (
	accelerator = "tcg,thread=multi,tb-size=1024"
	processor   = "qemu64"
)

// command is QEMU's command line. It makes a machine with a console on standard output, no disk and no network but
// three cards that have virtual functions, which hear each other as on one wire.
func (h hardware) command() ([]string, error) {
	loader, libraries, err := debs.Libraries()
	if err != nil {
		return nil, err
	}
	argv := []string{
		filepath.Join(h.qemu, loader), "--inhibit-cache", "--library-path", filepath.Join(h.qemu, libraries),
		filepath.Join(h.qemu, emulatorProgram),
	}
	for _, dir := range firmware() {
		argv = append(argv, "-L", filepath.Join(h.qemu, dir))
	}
	if h.host {
		argv = append(argv, "-fsdev", "local,id=host,security_model=none,readonly=on,multidevs=remap,path=/",
			"-device", "virtio-9p-pci,fsdev=host,mount_tag="+guest.HostTag)
	}
	return append(argv,
		"-accel", accelerator, "-cpu", processor, "-M", "q35",
		"-smp", fmt.Sprint(h.processors), "-m", fmt.Sprint(h.memoryMB),
		"-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", h.image, "-initrd", h.initramfs, "-append", bootLine(),
		"-device", "intel-iommu,intremap=on",
		"-fsdev", "local,id=share,security_model=none,path="+h.share,
		"-device", "virtio-9p-pci,fsdev=share,mount_tag="+guest.Tag,
		"-device", "pcie-root-port,id=port1,chassis=1,slot=1", "-device", "pcie-root-port,id=port2,chassis=2,slot=2",
		"-device", "pcie-root-port,id=port3,chassis=3,slot=3", "-netdev", "hubport,id=cable3,hubid=0",
		"-netdev", "hubport,id=cable1,hubid=0", "-netdev", "hubport,id=cable2,hubid=0",
		"-device", "igb,bus=port1,netdev=cable1,romfile=,mac=52:54:00:00:00:01", "-device", "igb,bus=port2,netdev=cable2,romfile=,mac=52:54:00:00:00:02",
		"-device", "igb,bus=port3,netdev=cable3,romfile=,mac=52:54:00:00:00:03",
	), nil
}

// bootLine is the kernel's command line. What follows -- are the arguments of process 1. Of what guards a kernel
// against what runs on it a guest has nothing that costs time, and RCU does not wait for ticks: namespaces go quickly.
func bootLine() string {
	return "console=ttyS0 panic=-1 quiet no_timer_check mitigations=off init_on_alloc=0 hardened_usercopy=off rcupdate.rcu_expedited=1 " +
		"intel_iommu=on iommu=pt -- " + strings.Join(InitArgs(), " ")
}

// InitArgs are the arguments that process 1 of a guest gets: the program has to call guest.Run for them.
func InitArgs() []string { return []string{"run", "vm-init"} }

// errOption says that a path cannot stand in an option of QEMU's.
var errOption = errors.New("choose a path without commas")
