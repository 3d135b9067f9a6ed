package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The generic netlink family that tells of XDP features (linux/netdev.h, Linux 6.3).
const (
	netdevFamily      = "netdev"
	netdevVersion     = 1
	netdevGet         = 1 // NETDEV_CMD_DEV_GET
	netdevIfindex     = 1 // NETDEV_A_DEV_IFINDEX
	netdevXDPFeatures = 3 // NETDEV_A_DEV_XDP_FEATURES
)

// look describes an interface of the caller's network namespace.
func look(index int) (device, error) {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return device{}, fmt.Errorf("look at interface %d: %w", index, err)
	}
	d := device{Name: l.Attrs().Name, Kind: l.Type(), MTU: l.Attrs().MTU}
	d.Peer = d.Kind == "veth" && l.Attrs().NetNsID >= 0
	copy(d.MAC[:], l.Attrs().HardwareAddr)
	if d.Features, d.Known, err = xdpFeatures(index); err != nil {
		return device{}, fmt.Errorf("look at %s: %w", d.Name, err)
	}
	d.Driver, _ = Driver(d.Name)
	return d, nil
}

// Driver is the name of an interface's driver and where on its bus the device is, both as they tell it; "" where it
// has none to tell.
func Driver(name string) (driver, bus string) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", ""
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return "", ""
	}
	return unix.ByteSliceToString(info.Driver[:]), unix.ByteSliceToString(info.Bus_info[:])
}

// xdpFeatures asks for the features of an interface; known is false where the kernel does not
// tell.
func xdpFeatures(index int) (features XDPFeatures, known bool, err error) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if errors.Is(err, unix.ENOENT) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("find netlink family %s: %w", netdevFamily, err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genlHead{netdevGet, netdevVersion})
	req.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(index))))
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, false, fmt.Errorf("ask for XDP features: %w", err)
	}
	for _, m := range messages {
		if features, known, err = parseFeatures(m); known || err != nil {
			return features, known, err
		}
	}
	return 0, false, nil
}

// genlHead is struct genlmsghdr. The library's own leaves the reserved bytes to chance, which
// families as young as this one refuse.
type genlHead [nl.SizeofGenlmsg]byte

func (h genlHead) Len() int          { return len(h) }
func (h genlHead) Serialize() []byte { return h[:] }

// parseFeatures reads an answer of the netdev family.
func parseFeatures(message []byte) (features XDPFeatures, known bool, err error) {
	if len(message) < nl.SizeofGenlmsg {
		return 0, false, fmt.Errorf("read XDP features: a message of %d bytes", len(message))
	}
	attrs, err := nl.ParseRouteAttr(message[nl.SizeofGenlmsg:])
	if err != nil {
		return 0, false, fmt.Errorf("read XDP features: %w", err)
	}
	for _, a := range attrs {
		if a.Attr.Type&^unix.NLA_F_NESTED == netdevXDPFeatures && len(a.Value) >= 8 {
			return XDPFeatures(binary.NativeEndian.Uint64(a.Value)), true, nil
		}
	}
	return 0, false, nil
}

// hasTCX finds out whether the kernel has tcx, by the loopback of the caller's network namespace.
func hasTCX() bool {
	const loopback = 1
	_, err := link.QueryPrograms(link.QueryOptions{Target: loopback, Attach: ebpf.AttachTCXIngress})
	return err == nil
}

// NativeXDP says whether the driver of an interface of the caller's network namespace runs XDP programs and
// redirects for them, which is what the proxy asks for. known is false where there is no such interface or
// the kernel does not tell (before Linux 6.3).
func NativeXDP(link string) (native, known bool) {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return false, false
	}
	features, known, err := xdpFeatures(l.Index)
	return features.has(XDPBasic | XDPRedirect), known && err == nil
}
