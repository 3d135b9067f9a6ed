package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovn/debs"
	"github.com/spklab/spklab/router"
)

// privileges says whether this process may build a lab at all.
func privileges() []finding {
	f := finding{Name: "root", Required: true, OK: os.Geteuid() == 0, Detail: "network namespaces, BPF"}
	if !f.OK {
		f.Detail = fmt.Sprintf("uid %d: run as root", os.Geteuid())
	}
	return []finding{f}
}

// kernelFeatures tries each feature in a network namespace of its own that goes away with the
// thread that made it.
func kernelFeatures() []finding {
	done := make(chan []finding)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- []finding{{Name: "network namespaces", Required: true, Detail: err.Error()}}
			return
		}
		done <- append([]finding{{Name: "network namespaces", Required: true, OK: true}}, tryFeatures()...)
	}()
	return <-done
}

func tryFeatures() []finding {
	attrs := func() netlink.LinkAttrs { a := netlink.NewLinkAttrs(); a.Name = "probe"; return a }
	veth := &netlink.Veth{LinkAttrs: attrs(), PeerName: "peer"}
	out := slices.Concat([]finding{
		tryLink("veth", true, "cables", veth),
		tryLink("bridge", true, "segments", &netlink.Bridge{LinkAttrs: attrs()}),
		tryMacvlan(),
	}, tryFrontends(), []finding{
		{Name: "BTF", Required: true, OK: exists("/sys/kernel/btf/vmlinux"), Detail: "eBPF programs that fit any kernel"},
		tryBPFFS(),
		tryNFTables(),
		tryTAP(),
		tryLink("vxlan", false, "overlay fabrics", &netlink.Vxlan{LinkAttrs: attrs(), VxlanId: 1, Port: 4789}),
		tryLink("geneve", false, "Geneve in the kernel (the backend real has it in user space)", &netlink.Geneve{LinkAttrs: attrs(), ID: 1, Remote: []byte{127, 0, 0, 1}}),
		tryLink("vrf", false, "routing domains", &netlink.Vrf{LinkAttrs: attrs(), Table: 10}),
		tryChild("8021q", "VLAN devices (in eBPF where missing)", func(parent int) netlink.Link {
			a := attrs()
			a.ParentIndex = parent
			return &netlink.Vlan{LinkAttrs: a, VlanId: 7}
		}),
	})
	return out
}

// tryLink makes the link and removes it again.
func tryLink(name string, required bool, purpose string, l netlink.Link) finding {
	f := finding{Name: name, Required: required, Detail: purpose}
	if err := netlink.LinkAdd(l); err != nil {
		f.Detail = fmt.Sprintf("%s: %v", purpose, err)
		return f
	}
	f.OK = true
	if err := netlink.LinkDel(l); err != nil {
		f.Detail = fmt.Sprintf("%s: made but not removed: %v", purpose, err)
	}
	return f
}

// tryChild tries a link that stands on another one.
func tryChild(name, purpose string, child func(parent int) netlink.Link) finding {
	a := netlink.NewLinkAttrs()
	a.Name = "base"
	base := &netlink.Veth{LinkAttrs: a, PeerName: "base-peer"}
	if err := netlink.LinkAdd(base); err != nil {
		return finding{Name: name, Detail: fmt.Sprintf("%s: no parent to try it on: %v", purpose, err)}
	}
	f := tryLink(name, false, purpose, child(base.Attrs().Index))
	if err := netlink.LinkDel(base); err != nil {
		f.Detail += fmt.Sprintf("; parent not removed: %v", err)
	}
	return f
}

func tryMacvlan() finding {
	f := tryChild("macvlan", "TMM interfaces without SR-IOV", func(parent int) netlink.Link {
		a := netlink.NewLinkAttrs()
		a.Name, a.ParentIndex = "probe", parent
		return &netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE}
	})
	f.Required = true
	return f
}

func tryBPFFS() finding {
	f := finding{Name: "bpffs", Required: true, Detail: "mounted at /sys/fs/bpf"}
	var s unix.Statfs_t
	if err := unix.Statfs("/sys/fs/bpf", &s); err != nil {
		f.Detail = err.Error()
		return f
	}
	f.OK = true
	if s.Type != unix.BPF_FS_MAGIC {
		f.Detail = "not mounted: the first lab mounts it at /sys/fs/bpf, the last unmounts it"
	}
	return f
}

// tryTAP makes a TAP device, which Open vSwitch's datapath in user space has its bridges' own ports
// as.
func tryTAP() finding {
	a := netlink.NewLinkAttrs()
	a.Name = "probe"
	return tryLink("tun", false, "bridges of the backend real", &netlink.Tuntap{LinkAttrs: a, Mode: netlink.TUNTAP_MODE_TAP})
}

func tryNFTables() finding {
	f := finding{Name: "nftables", Detail: "peer in benchmarks"}
	c, err := nftables.New()
	if err == nil {
		_, err = c.ListTables()
	}
	if err != nil {
		f.Detail = fmt.Sprintf("%s: %v", f.Detail, err)
	}
	f.OK = err == nil
	return f
}

// programs says which of the programs that a lab calls are installed.
func programs() []finding {
	var out []finding
	for _, p := range []struct {
		name, deb, purpose string
		required           bool
	}{
		{"ovn-nbctl", "ovn-common", "looks into the northbound database", true},
		{"iperf3", "iperf3", "throughput scenario", true},
		{"ip", "iproute2", "peer in benchmarks, people's own looks", true},
		{"ovsdb-server", "openvswitch-common", "databases of the backend real, peer in tests", false},
		{"ovs-vswitchd", "openvswitch-switch", "datapath of the backend real", false},
		{"ovn-northd", "ovn-central", "backend real", false},
		{"ovn-controller", "ovn-host", "backend real", false},
	} {
		f := finding{Name: p.name, Required: p.required, Detail: p.purpose}
		path, err := ovn.Find(p.name)
		switch {
		case err == nil:
			f.OK, f.Detail = true, path
		case errors.Is(err, exec.ErrNotFound):
			f.Debs = []string{p.deb}
		default:
			f.Detail = err.Error()
		}
		out = append(out, f)
	}
	for _, kind := range router.Kinds() {
		f := finding{Name: "router " + kind, OK: true, Detail: "as a lab's routers: `spklab up spk --router " + kind + "`"}
		if err := router.Check(kind); err != nil {
			f.OK, f.Debs, f.Detail = false, []string{router.Debian(kind)}, err.Error()
		}
		out = append(out, f)
	}
	out = append(out, realBackend())
	for _, release := range debs.Releases() {
		out = append(out, cachedRelease(release))
	}
	return out
}

// realBackend says whether a lab can have OVN's own daemons.
func realBackend() finding {
	f := finding{Name: "backend real", OK: true, Detail: "OVN's own daemons and Open vSwitch in user space: `spklab up spk --backend real`"}
	if debs := ovn.Missing(); len(debs) > 0 {
		f.OK, f.Debs, f.Detail = false, debs, "lacks "+strings.Join(debs, ", ")
	}
	if !exists("/dev/net/tun") {
		f.OK, f.Detail = false, "lacks /dev/net/tun, which the datapath's bridges need"
	}
	return f
}

// cachedRelease says whether a release of OVN that is not installed can be used without the network. A lab that is
// to use it reads all of it before; that takes minutes in a virtual machine that has the machine's files.
func cachedRelease(release string) finding {
	f := finding{Name: "OVN " + release}
	cache, err := debs.DefaultCache()
	if err == nil {
		f.Detail, err = cache.Look(release)
	}
	if f.OK = err == nil; !f.OK {
		f.Detail = err.Error()
	}
	return f
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
