package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/control"
)

// TestDrainsBeforeItStops ends the proxy under a connection that the router goes on to send to it: the
// proxy withdraws, serves while the connection talks, and ends when it does not any more.
func TestDrainsBeforeItStops(t *testing.T) {
	b := newBed(t)
	const drain = 4 * time.Second // a machine that stands still for a moment is no silence
	b.manifests(t, "tmm:\n", fmt.Sprintf("tmm:\n  drain: %s\n  stopDrain: 1m\n", drain))
	b.start(t)
	b.learned(t, route4, route6)
	b.router.route(t, "192.0.2.10/32", "198.51.100.16") // one that outlives BGP's
	c, err := b.router.dial("192.0.2.10:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := b.proxy.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.learned(t)
	eventually(t, "the proxy drains", func() error { return b.happened(t, control.EventDraining, "") })
	for until := time.Now().Add(drain + drain/4); time.Now().Before(until); {
		if err := talk(c, "while it drains"); err != nil {
			t.Fatalf("a connection that goes on has been cut: %v", err)
		}
	}
	if err := b.happened(t, control.EventDrained, ""); err == nil {
		t.Error("the proxy has drained under a connection that goes on")
	}
	if err := b.proxy.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
}

// TestMapsThatRefuse freezes the map of the virtual servers in the kernel: what was served goes on, what
// is new is not announced, and the proxy says why.
func TestMapsThatRefuse(t *testing.T) {
	b := newBed(t)
	b.manifests(t)
	b.start(t)
	b.learned(t, route4, route6)
	b.freeze(t, "spk_vs4")
	const vs = "apiVersion: ingresstcp.k8s.f5net.com/v1\nkind: F5SPKIngressTCP\n"
	b.manifests(t, vs, vs+"metadata: {name: late, namespace: apps}\nservice: {name: web, port: 80}\n"+
		"spec: {destinationAddress: 192.0.2.20, destinationPort: 80}\n---\n"+vs)
	eventually(t, "the reason", func() error {
		st := b.status(t)
		i := slices.IndexFunc(st.VirtualServers, func(s control.VirtualServerStatus) bool { return s.Name == "apps/late" })
		if i < 0 {
			return fmt.Errorf("virtual servers %+v", st.VirtualServers)
		}
		if s := st.VirtualServers[i]; s.Programmed || s.Announced || !strings.Contains(s.Reason, "operation not permitted") {
			return fmt.Errorf("programmed %t, announced %t, reason %q", s.Programmed, s.Announced, s.Reason)
		}
		if !slices.ContainsFunc(st.Conditions, func(c control.Condition) bool { return strings.Contains(c.Message, "operation not permitted") }) {
			return fmt.Errorf("conditions %+v", st.Conditions)
		}
		return b.happened(t, control.EventCondition, "operation not permitted")
	})
	b.learned(t, route4, route6)
	b.order(t, "192.0.2.20/32")
	var conn net.Conn
	eventually(t, "what was served is", func() (err error) {
		conn, err = b.router.dial("192.0.2.10:80")
		return err
	})
	defer conn.Close()
	if err := talk(conn, "served as before"); err != nil {
		t.Error(err)
	}
}

// freeze has the kernel refuse every change of one of the proxy's maps from now on (BPF_MAP_FREEZE,
// Linux 5.2). There is no way back.
func (b *bed) freeze(t *testing.T, name string) {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(fmt.Sprintf("/proc/%d/root", b.tmm.pid), b.pins, fmt.Sprintf("v%d", bpf.Layout), name), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Freeze(); err != nil {
		t.Fatal(err)
	}
}

// happened says whether the proxy has had an event with such a detail.
func (b *bed) happened(t *testing.T, kind, detail string) error {
	var events []ctl.Event
	if err := ctl.Get(t.Context(), b.socket, ctl.PathEvents, &events); err != nil {
		return err
	}
	if !slices.ContainsFunc(events, func(e ctl.Event) bool { return e.Kind == kind && strings.Contains(e.Detail, detail) }) {
		return fmt.Errorf("no event %s: %s", kind, detail)
	}
	return nil
}

// route adds a route that gives way to others.
func (s *space) route(t *testing.T, to, via string) {
	t.Helper()
	dst, err := netlink.ParseIPNet(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.nl.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via), Priority: 1 << 20}); err != nil {
		t.Fatal(err)
	}
}
