package control

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/nstest"
	"github.com/spklab/spklab/roottest"
)

// TestRoutesComeAndGo syncs the kernel with a network and looks at TMM's table: what the
// resources no longer hold is gone, whoever added it.
func TestRoutesComeAndGo(t *testing.T) {
	roottest.Need(t)
	ns := nstest.New(t)
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	base := Network{
		Links:     []Link{{Name: "net1"}},
		Addresses: []Address{{Link: "net1", Prefix: prefix("198.51.100.16/24")}, {Link: "net1", Prefix: prefix("2001:db8:51::16/64")}},
		Routes:    []Route{{To: prefix("198.51.100.0/24"), Link: "net1"}, {To: prefix("2001:db8:51::/64"), Link: "net1"}},
	}
	with := func(routes ...Route) Network {
		n := base
		n.Routes = slices.Concat(routes, base.Routes) // gateways before the networks they are in
		return n
	}
	connected := []string{"198.51.100.0/24", "2001:db8:51::/64"}
	steps := []struct {
		name    string
		network Network
		want    []string
	}{
		{"static", with(Route{To: prefix("0.0.0.0/0"), Via: addr("198.51.100.1"), Link: "net1"}, Route{To: prefix("10.20.0.0/16"), Via: addr("198.51.100.2"), Link: "net1"}),
			[]string{"0.0.0.0/0 via 198.51.100.1", "10.20.0.0/16 via 198.51.100.2", connected[0], connected[1]}},
		{"connected alone", base, connected},
		{"another gateway", with(Route{To: prefix("10.20.0.0/16"), Via: addr("198.51.100.3"), Link: "net1"}), []string{"10.20.0.0/16 via 198.51.100.3", connected[0], connected[1]}},
		{"link-local gateway", with(Route{To: prefix("2001:db8:20::/48"), Via: addr("fe80::2"), Link: "net1"}), []string{connected[0], "2001:db8:20::/48 via fe80::2", connected[1]}},
		{"a link that is not there", with(Route{To: prefix("10.30.0.0/16"), Via: addr("198.51.100.2"), Link: "net9"}), connected},
		{"gone", base, connected},
	}
	ns.Do(t, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net1"}, PeerName: "far"}); err != nil {
			return fmt.Errorf("add net1: %w", err)
		}
		return nil
	})
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			ns.Do(t, func() error {
				if err := syncNetwork(s.network); err != nil {
					return err
				}
				got, err := tableRoutes()
				if diff := cmp.Diff(s.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return err
			})
		})
	}
	t.Run("a stranger's route", func(t *testing.T) {
		ns.Do(t, func() error {
			link, err := netlink.LinkByName("net1")
			if err != nil {
				return err
			}
			stranger := &netlink.Route{Dst: ipNet(prefix("10.40.0.0/16")), LinkIndex: link.Attrs().Index, Table: routeTable, Protocol: unix.RTPROT_BGP}
			if err := netlink.RouteAdd(stranger); err != nil {
				return fmt.Errorf("add a stranger's route: %w", err)
			}
			if err := syncNetwork(base); err != nil {
				return err
			}
			got, err := tableRoutes()
			if diff := cmp.Diff(connected, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			return err
		})
	})
}

// TestAddressesGo: an interface that no VLAN is on any more has no self-IP; one that was never a link keeps what it has.
func TestAddressesGo(t *testing.T) {
	roottest.Need(t)
	nstest.New(t).Do(t, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net1"}, PeerName: "far"}); err != nil {
			return fmt.Errorf("add net1: %w", err)
		}
		far, err := netlink.LinkByName("far")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(far, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("203.0.113.1/24"))}); err != nil {
			return err
		}
		var k kernelNetwork
		plain := Network{Links: []Link{{Name: "net1"}}, Addresses: []Address{{Link: "net1", Prefix: netip.MustParsePrefix("198.51.100.16/24")}}}
		for _, s := range []struct {
			name    string
			network Network
			want    []string
		}{
			{"a VLAN", plain, []string{"198.51.100.16/24"}},
			{"none", Network{}, nil},
			{"again", plain, []string{"198.51.100.16/24"}},
			{"none again", Network{}, nil},
		} {
			if err := k.sync(s.network); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			for link, want := range map[string][]string{"net1": s.want, "far": {"203.0.113.1/24"}} {
				got, err := addressesOf(link)
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%s: %s: %v (-want +got):\n%s", s.name, link, err, diff)
				}
			}
		}
		if err := k.sync(plain); err != nil {
			return err
		}
		if err := netlink.LinkDel(far); err != nil { // and net1 with it
			return err
		}
		return k.sync(Network{})
	})
}

// addressesOf are an interface's IPv4 addresses.
func addressesOf(name string) (out []string, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_V4)
	for _, a := range have {
		out = append(out, a.IPNet.String())
	}
	return out, err
}

// TestVLANMTU: a tagged VLAN has no longer packets than its interface, which is said, and its addresses all the same.
func TestVLANMTU(t *testing.T) {
	roottest.Need(t)
	ns := nstest.New(t)
	self := netip.MustParsePrefix("198.51.100.16/24")
	network := func(parent int) Network {
		return Network{
			Links:     []Link{{Name: "net1.100", Parent: "net1", Tag: 100, MTU: 9000}, {Name: "net1", MTU: parent}},
			Addresses: []Address{{Link: "net1.100", Prefix: self}},
		}
	}
	ns.Do(t, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net1"}, PeerName: "far"}); err != nil {
			return fmt.Errorf("add net1: %w", err)
		}
		for _, s := range []struct{ parent, want int }{{1500, 1500}, {9000, 9000}, {1500, 1500}} {
			err := syncNetwork(network(s.parent))
			if refused := s.want < 9000; refused != errors.Is(err, unix.ERANGE) || !refused && err != nil {
				t.Errorf("on an interface with MTU %d: %v", s.parent, err)
			}
			l, err := netlink.LinkByName("net1.100")
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
			if err != nil || len(addrs) != 1 || addrs[0].IPNet.String() != self.String() || l.Attrs().MTU != s.want {
				t.Errorf("on an interface with MTU %d: MTU %d, addresses %v, %v", s.parent, l.Attrs().MTU, addrs, err)
			}
		}
		return nil
	})
}

// TestGroups reads the memberships from the kernel.
func TestGroups(t *testing.T) {
	roottest.Need(t)
	ns := nstest.New(t)
	claims := func(addrs ...string) (out []Claim) {
		for _, a := range addrs {
			out = append(out, Claim{Link: "net1", Addr: netip.MustParseAddr(a)})
		}
		return out
	}
	ns.Do(t, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net1"}, PeerName: "far"}); err != nil {
			return fmt.Errorf("add net1: %w", err)
		}
		var g groups
		for _, s := range []struct {
			name   string
			claims []Claim
			want   []string
		}{
			{"none", nil, nil},
			{"one of each family", claims("192.0.2.1", "2001:db8::80"), []string{"ff0200000000000000000001ff000080"}},
			{"two of one group, and another", claims("2001:db8::80", "2001:db8:1::80", "2001:db8::81"), []string{"ff0200000000000000000001ff000080", "ff0200000000000000000001ff000081"}},
			{"one is left", claims("2001:db8::81"), []string{"ff0200000000000000000001ff000081"}},
			{"all left", nil, nil},
		} {
			if err := g.sync(s.claims); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			data, err := os.ReadFile("/proc/thread-self/net/igmp6")
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			var got []string
			for line := range strings.Lines(string(data)) {
				if f := strings.Fields(line); f[1] == "net1" && strings.HasPrefix(f[2], "ff0200000000000000000001ff") {
					got = append(got, f[2])
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(s.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", s.name, diff)
			}
		}
		if err := g.sync(claims("2001:db8::80")); err != nil {
			return err
		}
		link, err := netlink.LinkByName("net1")
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			return err
		}
		return g.sync(nil) // the interface took the membership along
	})
}

// tableRoutes are the unicast routes of TMM's table, IPv4 first, sorted.
func tableRoutes() ([]string, error) {
	routes, errs := listRoutes()
	if len(errs) > 0 {
		return nil, errs[0]
	}
	type route struct {
		to  netip.Prefix
		via netip.Addr
	}
	var found []route
	for _, r := range routes {
		to, ok := prefixFrom(r.Dst)
		via, _ := netip.AddrFromSlice(r.Gw)
		if ok {
			found = append(found, route{to, via.Unmap()})
		}
	}
	slices.SortFunc(found, func(a, b route) int { return a.to.Compare(b.to) })
	var out []string
	for _, r := range found {
		text := r.to.String()
		if r.via.IsValid() {
			text += " via " + r.via.String()
		}
		out = append(out, text)
	}
	return out, nil
}
