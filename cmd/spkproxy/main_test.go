package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane"
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
		if vs := b.status(t).VirtualServers; len(vs) != 2 || vs[0].State != control.StateUp || vs[1].State != control.StateDown || vs[1].Programmed {
			return fmt.Errorf("virtual servers %+v", vs)
		}
		return nil
	})
	b.order(t, "192.0.2.10/32", control.EventProgrammed, control.EventAnnounced, control.EventWithdrawn, control.EventUnprogrammed)
	b.manifests(t)
	b.learned(t, route4, route6)
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

// TestTagged has the external VLAN on a tag, and the proxy killed and started again meanwhile.
func TestTagged(t *testing.T) {
	b := newBedOn(t, 100)
	b.manifests(t, `interfaces: ["1.2"]`, "interfaces: [\"1.2\"]\n  tag: 100")
	b.start(t)
	b.learned(t, route4, route6)
	if f := b.status(t).Frontends; !slices.ContainsFunc(f, func(f dataplane.FrontendStatus) bool {
		return f.Number == "1.2.100" && f.Name == "net2.100" && f.Why != "" && len(f.Programs) > 0
	}) {
		t.Errorf("front ends %+v", f)
	}
	var conns []net.Conn
	for _, vip := range []string{"192.0.2.10:80", "[2001:db8:2::10]:80"} {
		c, err := b.router.dial(vip)
		if err != nil {
			t.Fatalf("%v\n%v", err, b.status(t).Counters)
		}
		defer c.Close()
		if err := talk(c, "through the tagged segment"); err != nil {
			t.Errorf("%s: %v", vip, err)
		}
		conns = append(conns, c)
	}
	_ = end(b.proxy, syscall.SIGKILL)
	b.start(t)
	b.learned(t, route4, route6)
	for _, c := range conns {
		if err := talk(c, "after"); err != nil {
			t.Errorf("%s: %v", c.RemoteAddr(), err)
		}
	}
	if err := end(b.proxy, syscall.SIGTERM); err != nil {
		t.Errorf("exit: %v", err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", b.tmm.pid, b.pins)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins are left: %v", err)
	}
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
		{"metrics for everybody", []string{"--manifests", "m", "--pod", "n/p", "--ctl", "s", "--metrics", "0.0.0.0:9179"},
			"spkproxy: --metrics \"0.0.0.0:9179\": would answer on every interface; name the loopback or the pod's address, as in 127.0.0.1:9179\n", exitInput},
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
