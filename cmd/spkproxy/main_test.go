package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
)

// The test binary runs itself as every process of the test: roleEnv says which.
const roleEnv = "SPKPROXY_TEST_ROLE"

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var err error
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "spkproxy":
		os.Exit(run(ctx, os.Args[1:], os.Stderr))
	case "hold": // keeps a network namespace and a mount namespace with a BPF filesystem
		if err = mountBPF(os.Args[1]); err == nil {
			fmt.Println("held")
			_, _ = io.Copy(io.Discard, os.Stdin)
		}
	case "router":
		var cfg bgp.RouterConfig
		if err = json.Unmarshal([]byte(os.Args[2]), &cfg); err == nil {
			err = bgp.RunRouter(ctx, cfg, os.Args[1])
		}
	case "echo":
		err = echo(os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func mountBPF(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("bpf", dir, "bpf", 0, "")
}

func echo(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { _, _ = io.Copy(c, c) }()
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root, and CI must not skip it")
	}
	t.Skip("needs root to make network namespaces")
}

// space is a network namespace (and a mount namespace) held by a process.
type space struct {
	pid int
	ns  netns.NsHandle
	nl  *netlink.Handle
}

func newSpace(t *testing.T) *space {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", t.TempDir())
	bpffs := cmd.Args[1]
	cmd.Env = append(os.Environ(), roleEnv+"=hold")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("hold a namespace: %q %v", line, err)
	}
	s := &space{pid: cmd.Process.Pid}
	if s.ns, err = netns.GetFromPid(s.pid); err != nil {
		t.Fatal(err)
	}
	if s.nl, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.nl.Close(); _ = s.ns.Close() })
	s.up(t, "lo")
	t.Setenv("BPFFS", bpffs)
	return s
}

func (s *space) link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := s.nl.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *space) up(t *testing.T, name string) {
	t.Helper()
	if err := s.nl.LinkSetUp(s.link(t, name)); err != nil {
		t.Fatal(err)
	}
}

func (s *space) address(t *testing.T, name string, prefixes ...string) {
	t.Helper()
	for _, text := range prefixes {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, ":") {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := s.nl.AddrAdd(s.link(t, name), a); err != nil {
			t.Fatal(err)
		}
	}
}

func cable(t *testing.T, a *space, nameA string, b *space, nameB string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	v := &netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.ns))}
	if err := a.nl.LinkAdd(v); err != nil {
		t.Fatal(err)
	}
	a.up(t, nameA)
	b.up(t, nameB)
}

// process is one of the test's roles inside a space.
func (s *space) process(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := fmt.Sprintf("/proc/%d/ns/", s.pid)
	cmd := exec.Command("nsenter", append([]string{"--net=" + p + "net", "--mount=" + p + "mnt", self}, args...)...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd, syscall.SIGKILL) })
	return cmd
}

func end(cmd *exec.Cmd, sig syscall.Signal) error {
	if cmd.ProcessState != nil {
		return nil
	}
	_ = cmd.Process.Signal(sig)
	return cmd.Wait()
}

// dial connects from inside the space. Its thread comes back and lives on: the end of a thread
// would kill the processes that it started (Pdeathsig).
func (s *space) dial(addr string) (net.Conn, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	if err := netns.Set(s.ns); err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", addr, 3*time.Second)
	if back := netns.Set(home); back != nil {
		return nil, errors.Join(err, back) // the thread stays locked
	}
	runtime.UnlockOSThread()
	return conn, err
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func talk(c net.Conn, text string) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil {
		return err
	}
	if string(buf) != text {
		return fmt.Errorf("sent %q, got %q", text, buf)
	}
	return nil
}

// bed is a TMM between an upstream router (which is the client, too) and a node with a pod.
type bed struct {
	tmm, router, node      *space
	dir, pins              string
	socket, routerSocket   string
	proxy                  *exec.Cmd
	internalMAC, externMAC string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	needRoot(t)
	b := &bed{dir: t.TempDir(), tmm: newSpace(t)}
	b.pins = filepath.Join(os.Getenv("BPFFS"), "tmm")
	b.socket, b.routerSocket = filepath.Join(t.TempDir(), "tmm.sock"), filepath.Join(t.TempDir(), "router.sock")
	b.router, b.node = newSpace(t), newSpace(t)
	cable(t, b.node, "ens192", b.tmm, "net1")
	cable(t, b.router, "eth0", b.tmm, "net2")
	b.node.address(t, "ens192", "10.144.100.11/24", "fd00:10:144:100::11/64")
	b.node.address(t, "lo", "10.131.1.100/32", "fd01:0:0:1::100/128")
	b.router.address(t, "eth0", "198.51.100.1/24", "2001:db8:51::1/64")
	b.internalMAC = b.tmm.link(t, "net1").Attrs().HardwareAddr.String()
	b.externMAC = b.tmm.link(t, "net2").Attrs().HardwareAddr.String()
	cfg, err := json.Marshal(bgp.RouterConfig{Name: "upstream", ASN: 65000, RouterID: netip.MustParseAddr("198.51.100.1"), Ranges: []bgp.PeerRange{
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), ASN: 65001}, {Prefix: netip.MustParsePrefix("2001:db8:51::/64"), ASN: 65001},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.router.process(t, "router", b.routerSocket, string(cfg))
	b.node.process(t, "echo", ":8080")
	return b
}

// manifests writes the control package's example with the MACs that there are.
func (b *bed) manifests(t *testing.T, replace ...string) {
	t.Helper()
	data, err := os.ReadFile("../../dataplane/control/testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replace = append([]string{"02:00:00:00:00:01", b.internalMAC, "02:00:00:00:00:02", b.externMAC}, replace...)
	for i := 0; i < len(replace); i += 2 {
		if !bytes.Contains(data, []byte(replace[i])) {
			t.Fatalf("%q is not there to be replaced", replace[i])
		}
		data = bytes.Replace(data, []byte(replace[i]), []byte(replace[i+1]), 1)
	}
	tmp := filepath.Join(b.dir, ".tmp-all")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(b.dir, "all.yaml")); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) start(t *testing.T) {
	t.Helper()
	b.proxy = b.tmm.process(t, "spkproxy", "--manifests", b.dir, "--pod", "default/f5-tmm-1", "--pins", b.pins, "--ctl", b.socket)
	eventually(t, "spkproxy is ready", func() error { return ctl.Get(t.Context(), b.socket, ctl.PathReady, nil) })
}

func (b *bed) status(t *testing.T) control.Status {
	t.Helper()
	var st control.Status
	if err := ctl.Get(t.Context(), b.socket, ctl.PathState, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// learned waits until the router's routes are these.
func (b *bed) learned(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "the router's routes", func() error {
		var st bgp.RouterState
		if err := ctl.Get(t.Context(), b.routerSocket, ctl.PathState, &st); err != nil {
			return err
		}
		var got []string
		for _, r := range st.Routes {
			got = append(got, fmt.Sprintf("%s %s", r.Prefix, r.NextHops))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

const (
	route4 = "192.0.2.10/32 [198.51.100.16]"
	route6 = "2001:db8:2::10/128 [2001:db8:51::16]"
	slice4 = "- {addresses: [10.131.1.100], conditions: {ready: true, serving: true, terminating: false}}\n"
	going4 = "- {addresses: [10.131.1.102], conditions: {ready: false, serving: true, terminating: true}}\n"
)

func TestTMM(t *testing.T) {
	b := newBed(t)
	b.manifests(t)
	b.start(t)
	b.learned(t, route4, route6)
	st := b.status(t)
	if !st.Serving || len(st.Interfaces) != 2 || len(st.VirtualServers) != 2 || len(st.Conditions) != 0 {
		t.Errorf("status %+v", st)
	}
	for _, vip := range []string{"192.0.2.10:80", "[2001:db8:2::10]:80"} {
		c, err := b.router.dial(vip)
		if err != nil {
			t.Fatalf("%v\n%v", err, b.status(t).Counters)
		}
		if err := talk(c, "through the virtual server"); err != nil {
			t.Errorf("%s: %v", vip, err)
		}
		_ = c.Close()
	}
	if got := b.status(t).VirtualServers[0].Members[0].Connections; got != 1 {
		t.Errorf("%d connections counted, want 1", got)
	}

	b.manifests(t, slice4, "", going4, "") // the last IPv4 endpoint goes
	b.learned(t, route6)
	eventually(t, "the virtual server is out of the maps", func() error {
		if n := len(b.status(t).VirtualServers); n != 1 {
			return fmt.Errorf("%d virtual servers", n)
		}
		return nil
	})
	b.order(t, "192.0.2.10/32", control.EventProgrammed, control.EventAnnounced, control.EventWithdrawn, control.EventUnprogrammed)
	b.manifests(t)
	b.learned(t, route4, route6)
}

// order checks the events about one address.
func (b *bed) order(t *testing.T, object string, want ...string) {
	t.Helper()
	var events []ctl.Event
	if err := ctl.Get(t.Context(), b.socket, ctl.PathEvents, &events); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		if e.Object == object {
			got = append(got, e.Kind)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events about %s (-want +got):\n%s", object, diff)
	}
}

// TestKilledAndTerminated kills the proxy under a connection, starts it again, and ends it.
func TestKilledAndTerminated(t *testing.T) {
	b := newBed(t)
	b.manifests(t)
	b.start(t)
	b.learned(t, route4, route6)
	c, err := b.router.dial("192.0.2.10:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := talk(c, "before"); err != nil {
		t.Fatal(err)
	}
	_ = end(b.proxy, syscall.SIGKILL)
	b.start(t)
	b.learned(t, route4, route6)
	if err := talk(c, "after"); err != nil {
		t.Errorf("the connection did not outlive the process: %v", err)
	}
	if err := end(b.proxy, syscall.SIGTERM); err != nil {
		t.Errorf("exit: %v", err)
	}
	b.learned(t)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", b.tmm.pid, b.pins)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins are left: %v", err)
	}
}

// TestSwapped attaches the networks in the other order.
func TestSwapped(t *testing.T) {
	b := newBed(t)
	b.manifests(t, "default/macvlan-internal,default/macvlan-external", "default/macvlan-external,default/macvlan-internal")
	b.start(t)
	eventually(t, "the condition", func() error {
		st := b.status(t)
		i := slices.IndexFunc(st.Conditions, func(c control.Condition) bool { return c.Reason == control.ReasonInterfacesSwapped })
		if i < 0 {
			return fmt.Errorf("conditions %+v", st.Conditions)
		}
		return nil
	})
	b.manifests(t)
	eventually(t, "the condition is gone", func() error {
		if c := b.status(t).Conditions; len(c) != 0 {
			return fmt.Errorf("conditions %+v", c)
		}
		return nil
	})
	b.learned(t, route4, route6)
}

func TestFlags(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string // of stderr
		code int
	}{
		{"none", nil, "spkproxy: missing flag --manifests\n", exitInput},
		{"pod without namespace", []string{"--manifests", "m", "--pod", "p", "--ctl", "s"}, "spkproxy: --pod \"p\": write namespace/name\n", exitInput},
		{"argument", []string{"x"}, "spkproxy: unexpected argument \"x\"\n", exitInput},
		{"negative drain", []string{"--manifests", "m", "--pod", "n/p", "--ctl", "s", "--drain", "-1s"}, "spkproxy: --drain -1s: write 0 or more\n", exitInput},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := run(t.Context(), tt.args, &stderr); code != tt.code {
				t.Errorf("exit code %d", code)
			}
			if diff := cmp.Diff(tt.want, stderr.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
