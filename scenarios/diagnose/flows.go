package diagnose

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/topo"
)

// flows files the entries of a TMM's conntrack that a packet of the scenario has met, with the next hop
// that the kernel names today.
func (c *collector) flows(tmm string, held dataplane.Held) error {
	n := c.nodes[tmm]
	type way struct {
		gateway netip.Addr
		mac     string
	}
	ways := map[netip.Addr]way{}
	pods := c.pods()
	return topo.Do(n.Netns, func() error {
		for _, f := range held.Flows {
			if !since(c.out.Scenario, f.Seen) {
				continue
			}
			to := f.NewTo.Addr()
			if _, ok := ways[to]; !ok {
				gateway, mac := n.hop(to)
				ways[to] = way{gateway, mac}
			}
			c.out.Flows = append(c.out.Flows, Flow{
				TMM: tmm, Flow: f, Gateway: ways[to].gateway, Neighbour: ways[to].mac,
				Gone: c.podNetwork(to) && !pods[to],
			})
		}
		return nil
	})
}

// hop is the next hop to an address with its MAC, as the kernel of the calling namespace has them; what it
// does not know is the zero value.
func (n *node) hop(to netip.Addr) (gateway netip.Addr, mac string) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, ""
	}
	gateway = to
	if gw, ok := netip.AddrFromSlice(routes[0].Gw); ok {
		gateway = gw.Unmap()
	}
	for _, k := range n.neighbours {
		addr, ok := netip.AddrFromSlice(k.IP)
		if ok && addr.Unmap() == gateway && k.LinkIndex == routes[0].LinkIndex && k.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			mac = k.HardwareAddr.String()
		}
	}
	return gateway, mac
}

// pods are the addresses of the pods that are there.
func (c *collector) pods() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for i := range c.res.Pods {
		for _, ip := range kubesim.PodIPs(&c.res.Pods[i]) {
			out[ip] = true
		}
	}
	return out
}

// podNetwork says whether an address is one of pods.
func (c *collector) podNetwork(a netip.Addr) bool {
	return slices.ContainsFunc(c.lab.Spec.Fabric.ClusterCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// wrongSums are the packets that a namespace's kernel has refused for their checksum, by protocol.
func wrongSums(netns string) (map[string]uint64, error) {
	out := map[string]uint64{}
	err := topo.Do(netns, func() error {
		v4, err4 := os.ReadFile("/proc/thread-self/net/snmp")
		v6, err6 := os.ReadFile("/proc/thread-self/net/snmp6")
		parseSNMP(string(v4), out)
		parseSNMP6(string(v6), out)
		return errors.Join(err4, err6)
	})
	if err != nil {
		return out, fmt.Errorf("counters of %s: %w", netns, err)
	}
	return out, nil
}

// wrongSum is how the kernel calls the counter, after the protocol's name.
const wrongSum = "InCsumErrors"

// parseSNMP reads pairs of lines, names and values.
func parseSNMP(text string, into map[string]uint64) {
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < len(names) && j < len(values); j++ {
			if names[j] != wrongSum {
				continue
			}
			if v, err := strconv.ParseUint(values[j], 10, 64); err == nil {
				into[strings.TrimSuffix(names[0], ":")+" "+wrongSum] = v
			}
		}
	}
}

// parseSNMP6 reads a counter a line.
func parseSNMP6(text string, into map[string]uint64) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		proto, ok := strings.CutSuffix(name, wrongSum)
		if v, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64); ok && err == nil {
			into[proto+" "+wrongSum] = v
		}
	}
}
