package vm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spklab/spklab/ovn/debs"
)

// Kernel is a kernel of a Debian release that guests can run.
type Kernel struct {
	Release string // as the command line has it: 6.12
	Suites  string // of Debian: trixie, and before it what its packages depend on
}

// Kernels are the kernels that there are, the oldest first.
func Kernels() []Kernel {
	return []Kernel{{"5.10", "bullseye"}, {"6.1", "bookworm"}, {"6.12", "trixie"}, {"newest", "trixie trixie-backports"}}
}

// DefaultKernel is the release of the kernel that guests run where nothing is said.
const DefaultKernel = "6.12"

// ErrKernel says that there is no such kernel.
var ErrKernel = errors.New("no such kernel")

// KernelOf finds a kernel by its release. The error, of kind ErrKernel, names those that there are.
func KernelOf(release string) (Kernel, error) {
	var known []string
	for _, k := range Kernels() {
		if k.Release == release {
			return k, nil
		}
		known = append(known, k.Release)
	}
	return Kernel{}, fmt.Errorf("kernel %q: %w: there are %s", release, ErrKernel, strings.Join(known, ", "))
}

// modules are the modules that a guest loads, in this order, each after what it needs. What a kernel has built
// in, or has not, is left out. crc32c_generic comes first: before 6.13 others ask for its algorithm and
// have nobody to load it.
func modules() []string {
	return []string{
		"crc32c_generic", "virtio_pci", "9pnet_virtio", "9p", "overlay",
		"veth", "macvlan", "ipvlan", "bridge", "br_netfilter", "8021q", "dummy", "vrf", "vxlan", "geneve", "tun", "openvswitch",
		"sctp", "xfrm_user", "tcp_diag", "udp_diag", "af_packet_diag",
		"cls_bpf", "cls_matchall", "cls_u32", "act_mirred", "act_gact", "sch_ingress", "sch_netem", "sch_tbf", "sch_htb",
		"nf_tables", "nft_ct", "nft_nat", "nft_masq", "nft_chain_nat", "nf_conntrack_netlink",
		"igb", "igbvf", "vfio_pci", "vfio_iommu_type1",
	}
}

// Names in a kernel's tree.
const (
	imageName   = "vmlinux"
	modulesName = "modules"
	orderName   = "order" // in modules: names in the order of loading, one a line
	versionName = "version"
)

// tree is what the cache keeps of a kernel: its image, unpacked, and the modules with what they need.
func (k Kernel) tree() debs.Tree {
	sum := sha256.Sum256([]byte(strings.Join(modules(), " ")))
	return debs.Tree{
		Name: fmt.Sprintf("kernel-%s-%x", k.Release, sum[:4]), What: "Linux " + k.Release, Suites: strings.Fields(k.Suites),
		Debs: []string{"linux-image-amd64"}, Only: []string{"linux-image-", "linux-modules-", "linux-binary-"},
		Make: makeKernel,
	}
}

// makeKernel makes a kernel's tree of its unpacked packages.
func makeKernel(ctx context.Context, unpacked, root string) error {
	image, version, err := findImage(unpacked)
	if err != nil {
		return err
	}
	packed, err := os.ReadFile(image)
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	vmlinux, err := unpackImage(ctx, packed)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(image), err)
	}
	set, err := collectModules(ctx, unpacked, modules())
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(root, modulesName), 0o700); err != nil {
		return fmt.Errorf("make directory for modules: %w", err)
	}
	files := map[string][]byte{imageName: vmlinux, versionName: []byte(version + "\n")}
	var order strings.Builder
	for _, m := range set {
		fmt.Fprintln(&order, m.name)
		files[filepath.Join(modulesName, m.name+".ko")] = m.data
	}
	files[filepath.Join(modulesName, orderName)] = []byte(order.String())
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o600); err != nil {
			return fmt.Errorf("write kernel: %w", err)
		}
	}
	return nil
}

// findImage finds the one compressed image of a package, and the version in its name or its path: Debian
// has it in /boot, since Linux 7 beside the modules.
func findImage(unpacked string) (image, version string, err error) {
	boot, err := filepath.Glob(filepath.Join(unpacked, "boot", "vmlinuz-*"))
	if err != nil {
		return "", "", fmt.Errorf("look for the kernel: %w", err)
	}
	split, err := filepath.Glob(filepath.Join(unpacked, "usr/lib/modules/*/vmlinuz"))
	if err != nil {
		return "", "", fmt.Errorf("look for the kernel: %w", err)
	}
	all := slices.Concat(boot, split)
	if len(all) != 1 {
		return "", "", fmt.Errorf("the packages have %d kernels, want one: %v", len(all), all)
	}
	if len(boot) == 1 {
		return all[0], strings.TrimPrefix(filepath.Base(all[0]), "vmlinuz-"), nil
	}
	return all[0], filepath.Base(filepath.Dir(all[0])), nil
}
