package topo_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/topo"
)

// TestConvergeBringsInterfacesBack removes an interface behind the runtime's back: the next Converge brings it
// back with all that stood on it, and leaves the processes that do not depend on it.
func TestConvergeBringsInterfacesBack(t *testing.T) {
	r := open(t, "tlink")
	lock(t, r)
	l := testLab("tlink")
	l.Networks = append(l.Networks, topo.Network{Name: "red"})
	l.Workers[0].NICs[0].VLANs = []topo.CableVLAN{{Network: "red", Tag: 100}}
	socket := filepath.Join(t.TempDir(), "d.sock")
	process := daemon(r, "d1", socket)
	process.Process.Argv = append(process.Process.Argv, "--uplink", "ens192")
	pod := r.Netns("p1")
	steps := append(topo.Base(l), topo.PodBase(l, testPod("p1"))...)
	steps = append(steps, process,
		topo.Step{Addr: &topo.AddrStep{Netns: pod, Link: "net1", Prefix: netip.MustParsePrefix("192.0.2.9/24")}},
		topo.Step{Addr: &topo.AddrStep{Netns: pod, Link: "net1", Prefix: netip.MustParsePrefix("2001:db8::9/64")}},
		topo.Step{Link: &topo.LinkStep{Netns: pod, Name: "net1", Promisc: true}},
		topo.Step{Sysctl: &topo.SysctlStep{Netns: pod, Key: "net.ipv4.conf.net1.arp_notify", Value: "1"}},
		topo.Step{Route: &topo.RouteStep{Netns: pod, To: netip.MustParsePrefix("198.51.100.0/24"), Link: "net1"}},
		topo.Step{Route: &topo.RouteStep{Netns: pod, To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.2")}})
	plan := topo.NewPlan(steps)
	converge := func() (done int) {
		t.Helper()
		if err := r.Converge(t.Context(), plan, func(topo.Progress) { done++ }); err != nil {
			t.Fatal(err)
		}
		return done
	}
	converge()
	before := snapshot(t, r)
	for _, tc := range []struct {
		name, node, link string
		restarts         bool
	}{
		{"macvlan of a pod", "p1", "net1", false},
		{"cable of a client", "c1", "eth0", false},
		{"parent of a macvlan", "w1", "ens224", false},
		{"cable whose name a process has", "w1", "ens192", true},
		{"bridge", topo.Switch, "seg", true},
		{"bridge of a tagged network", topo.Switch, "red", false},
		{"tagged network of a cable", topo.Switch, "w1.ens192.100", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pids := r.Pids("d1")
			if err := topo.Do(r.Netns(tc.node), func() error { return remove(tc.link) }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, snapshot(t, r)); diff == "" {
				t.Fatal("nothing has gone")
			}
			converge()
			if diff := cmp.Diff(before, snapshot(t, r)); diff != "" {
				t.Errorf("not as before (-before +now):\n%s", diff)
			}
			if same := slices.Equal(pids, r.Pids("d1")); same == tc.restarts {
				t.Errorf("the process was %v and is %v, want another one: %t", pids, r.Pids("d1"), tc.restarts)
			}
			if n := converge(); n != 0 {
				t.Errorf("another converge took %d steps, want none", n)
			}
			for _, to := range []string{"192.0.2.1", "2001:db8::1", "192.0.2.9", "2001:db8::9"} {
				if err := ping(t, r.Netns("c1"), to); err != nil {
					t.Errorf("ping %s: %v", to, err)
				}
			}
		})
	}
}

func remove(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}

// snapshot are the interfaces, addresses and routes of the lab's nodes, a line each. MACs of the switch's ports are the
// kernel's choice.
func snapshot(t *testing.T, r *topo.Runtime) []string {
	t.Helper()
	var out []string
	for _, node := range []string{topo.Switch, "w1", "c1", "p1"} {
		if err := topo.Do(r.Netns(node), func() error {
			lines, err := kernelLines(node != topo.Switch)
			for _, line := range lines {
				out = append(out, node+" "+line)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func kernelLines(macs bool) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []string
	for _, l := range links {
		a := l.Attrs()
		line := fmt.Sprintf("%s %s mtu %d up %t promisc %d master %s", a.Name, l.Type(), a.MTU, strings.Contains(a.Flags.String(), "up"), a.Promisc, names[a.MasterIndex])
		if macs {
			line += " " + a.HardwareAddr.String()
		}
		filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
		if err == nil && len(filters) > 0 {
			line += fmt.Sprintf(" filters %d", len(filters))
		}
		if notify, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + a.Name + "/arp_notify"); err == nil {
			line += " arp_notify " + strings.TrimSpace(string(notify))
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, err
		}
		for _, addr := range addrs {
			if !addr.IP.IsLinkLocalUnicast() {
				line += " " + addr.IPNet.String()
			}
		}
		out = append(out, line)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	for _, route := range routes {
		out = append(out, fmt.Sprintf("route %s via %s dev %s", route.Dst, route.Gw, names[route.LinkIndex]))
	}
	slices.Sort(out)
	return out, err
}
