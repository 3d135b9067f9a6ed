package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/vlan/vlantest"
)

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

// vlan makes a device for a tagged VLAN and returns its name.
func (s *space) vlan(t *testing.T, parent string, tag int) string {
	t.Helper()
	var name string
	err := s.enter(func() (err error) {
		name, err = vlantest.Join(t, parent, tag)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
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

// patience is how long a connection or an answer may take: SYNs are sent after 1, 3, 7 and 15 s again.
const patience = 20 * time.Second

// dial connects from inside the space.
func (s *space) dial(addr string) (net.Conn, error) {
	var conn net.Conn
	err := s.enter(func() (err error) {
		conn, err = net.DialTimeout("tcp", addr, patience)
		return err
	})
	return conn, err
}

// enter runs f inside the space. The thread comes back: discarding it would kill the processes
// that it started (Pdeathsig).
func (s *space) enter(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	if err := netns.Set(s.ns); err != nil {
		return err
	}
	err = f()
	if back := netns.Set(home); back != nil {
		return errors.Join(err, back) // the thread stays locked
	}
	runtime.UnlockOSThread()
	return err
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func talk(c net.Conn, text string) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
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
