package bgp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/router"
)

// host is a process in a namespace of its own.
type host struct {
	cmd    *exec.Cmd
	socket string
	goOn   func() error
}

// dir is the run directory of a router's daemons.
func (h *host) dir() string { return filepath.Join(filepath.Dir(h.socket), "run") }

// kindOf is the kind of router of Debian's that a role asks for, empty for none.
func kindOf(role string) string {
	if role == "router" {
		return os.Getenv(kindEnv)
	}
	if slices.Contains(router.Kinds(), role) {
		return role
	}
	return ""
}

func spawn(t testing.TB, role string, config any) *host {
	t.Helper()
	return spawnIn(t, "", role, config)
}

// spawnIn starts the process in an existing namespace; none makes a new one.
func spawnIn(t testing.TB, ns, role string, config any) *host {
	t.Helper()
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{cmd: exec.Command("/proc/self/exe"), socket: filepath.Join(t.TempDir(), "ctl.sock")}
	flags := uintptr(unix.CLONE_NEWNET)
	if kindOf(role) != "" {
		flags |= unix.CLONE_NEWPID // its daemons change their user, which rids them of Pdeathsig: they end with the namespace
	}
	if ns != "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		h.cmd, flags = exec.Command("nsenter", "--net="+ns, self), 0
	}
	h.cmd.Env = append(os.Environ(), roleEnv+"="+role, socketEnv+"="+h.socket, configEnv+"="+string(data))
	h.cmd.Stderr = os.Stderr
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	in, err := h.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.goOn = func() error { _, err := in.Write([]byte{1}); return err }
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.end(t, syscall.SIGKILL) })
	return h
}

func (h *host) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if h.cmd.ProcessState != nil {
		return
	}
	if err := h.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal: %v", err)
	}
	_ = h.cmd.Wait() // a killed process has no good exit status
}

// handle is a netlink handle in the host's namespace.
func (h *host) handle(t testing.TB) *netlink.Handle {
	t.Helper()
	ns, err := netns.GetFromPid(h.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	return nl
}

// cable joins a speaker to the router's bridge and gives it addresses.
func cable(t testing.TB, router, speaker *host, n int, addrs ...string) {
	t.Helper()
	r, s := router.handle(t), speaker.handle(t)
	br, err := r.LinkByName("br0")
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = fmt.Sprintf("port%d", n), br.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(speaker.cmd.Process.Pid)}
	if err := r.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	if err := r.LinkSetUp(veth); err != nil {
		t.Fatal(err)
	}
	address(t, s, "eth0", addrs...)
}

func address(t testing.TB, nl *netlink.Handle, name string, addrs ...string) {
	t.Helper()
	link, err := nl.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		ip := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Flags: unix.IFA_F_NODAD}
		if p.Addr().Is4() {
			ip.Flags = 0
		}
		if err := nl.AddrAdd(link, ip); err != nil {
			t.Fatalf("address %s: %v", a, err)
		}
	}
	for _, l := range []string{"lo", name} {
		link, err := nl.LinkByName(l)
		if err != nil {
			t.Fatal(err)
		}
		if err := nl.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
}

// bridge gives the router its segment.
func bridge(t testing.TB, router *host) {
	t.Helper()
	nl := router.handle(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	if err := nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	address(t, nl, "br0", "198.51.100.1/24", "2001:db8:51::1/64")
}

func speakerConfig(v4, v6 string) bgp.SpeakerConfig {
	return bgp.SpeakerConfig{
		ASN: 65001, RouterID: netip.MustParseAddr(v4),
		Neighbors: []bgp.Neighbor{
			{Addr: netip.MustParseAddr("198.51.100.1"), Local: netip.MustParseAddr(v4), ASN: 65000, AcceptV4: true},
			{Addr: netip.MustParseAddr("2001:db8:51::1"), Local: netip.MustParseAddr(v6), ASN: 65000, AcceptV6: true},
		},
	}
}
