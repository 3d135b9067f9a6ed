package sriov

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo/dump"
)

// ReadNetwork reads the caller's network namespace: interfaces, default routes, SSH sessions.
func ReadNetwork() (Network, error) {
	var n Network
	links, err := dump.Whole(netlink.LinkList)
	if err != nil {
		return n, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		link, err := readLink(l)
		if err != nil {
			return n, err
		}
		n.Links = append(n.Links, link)
	}
	if n.Defaults, err = defaultLinks(); err != nil {
		return n, err
	}
	if n.Sessions, err = sessions(); err != nil {
		return n, err
	}
	n.ESwitch, n.Groups = eSwitches(), openGroups()
	return n, nil
}

// kindOVS is the kind (IFLA_INFO_KIND) of the datapath and of the internal ports, which are the bridges.
const kindOVS = "openvswitch"

func readLink(l netlink.Link) (Link, error) {
	a := l.Attrs()
	out := Link{Index: a.Index, Name: a.Name, Master: a.MasterIndex, Up: a.Flags&net.FlagUp != 0, OVS: l.Type() == kindOVS, Firmware: firmware(a.Name)}
	if a.NetNsID < 0 && l.Type() != "veth" { // else the index is one of another namespace
		out.Parent = a.ParentIndex
	}
	for _, v := range a.Vfs {
		if out.VFs == nil {
			out.VFs = map[int]Admin{}
		}
		out.VFs[v.ID] = adminOf(v)
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return out, fmt.Errorf("list addresses of %s: %w", a.Name, err)
	}
	for _, x := range addrs {
		if ip, ok := netip.AddrFromSlice(x.IP); ok {
			out.Addresses = append(out.Addresses, ip.Unmap())
		}
	}
	return out, nil
}

// firmware is the version that the driver says (ETHTOOL_GDRVINFO), empty where it says none.
func firmware(link string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, link)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(unix.ByteSliceToString(info.Fw_version[:]))
}

// defaultLinks are the interfaces that default routes of any table lead to.
func defaultLinks() ([]int, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []int
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if r.Type != 0 && r.Type != unix.RTN_UNICAST {
			continue
		}
		if r.LinkIndex != 0 {
			out = append(out, r.LinkIndex)
		}
		for _, hop := range r.MultiPath {
			out = append(out, hop.LinkIndex)
		}
	}
	return out, nil
}

// sessions are the established TCP connections to port 22 of this node, and those that SSH_CONNECTION names,
// here or in a process that this one descends from.
func sessions() ([]Session, error) {
	var out []Session
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		more, err := parseSessions(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		out = append(out, more...)
	}
	for _, text := range append(sshConnections("/proc", os.Getpid()), os.Getenv(sshVariable)) {
		if s, ok := parseSSHConnection(text); ok && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for i := range out {
		out[i].Link = linkTo(out[i].Remote)
	}
	return out, nil
}

// linkTo is the interface that packets to an address leave by; 0 where there is no route.
func linkTo(a netip.Addr) int {
	if a.IsLoopback() {
		return 0
	}
	routes, err := netlink.RouteGet(a.AsSlice())
	if err != nil || len(routes) == 0 {
		return 0
	}
	return routes[0].LinkIndex
}

// parseSSHConnection reads the variable that sshd gives: client, its port, server, its port.
func parseSSHConnection(text string) (Session, bool) {
	words := strings.Fields(text)
	if len(words) != 4 {
		return Session{}, false
	}
	remote, errR := netip.ParseAddr(words[0])
	local, errL := netip.ParseAddr(words[2])
	return Session{Local: local.Unmap().WithZone(""), Remote: remote.Unmap().WithZone("")}, errR == nil && errL == nil
}

// sshPort and established are how proc(5), /proc/net/tcp, shows what we look for.
const (
	sshPort     = 22
	established = "01"
)

// parseSessions reads the connections to port 22 out of /proc/net/tcp or tcp6.
func parseSessions(r io.Reader) ([]Session, error) {
	var out []Session
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || words[3] != established {
			continue
		}
		local, port, okL := parseSocket(words[1])
		remote, _, okR := parseSocket(words[2])
		if okL && okR && port == sshPort {
			out = append(out, Session{Local: local, Remote: remote})
		}
	}
	return out, lines.Err()
}

// parseSocket reads ADDRESS:PORT in hex, the address as 32 bit words of the machine's byte order.
func parseSocket(text string) (netip.Addr, uint16, bool) {
	address, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	p, errP := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || errP != nil || len(raw)%4 != 0 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, ok := netip.AddrFromSlice(raw)
	return a.Unmap(), uint16(p), ok
}

// eSwitches are the modes of the node's embedded switches; none where the kernel has no devlink.
func eSwitches() map[string]string {
	devices, err := netlink.DevLinkGetDeviceList()
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for _, d := range devices {
		if d.BusName == "pci" && d.Attrs.Eswitch.Mode != "" {
			out[d.DeviceName] = d.Attrs.Eswitch.Mode
		}
	}
	return out
}

// openGroups are the VFIO groups that cannot be opened once more, for a program has them open (Linux,
// vfio_group_fops_open: one at a time).
func openGroups() map[string]bool {
	out := map[string]bool{}
	paths, err := filepath.Glob("/dev/vfio/[0-9]*")
	if err != nil {
		return out
	}
	for _, p := range paths {
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if errors.Is(err, unix.EBUSY) {
			out[filepath.Base(p)] = true
		}
		if err == nil {
			_ = f.Close() // nothing was written
		}
	}
	return out
}
