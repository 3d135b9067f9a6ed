package ovn

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spklab/spklab/bfd"
)

// sharedZone is the conntrack zone in which br-ex remembers whose a connection of the node's address
// is; the marks say whose.
const (
	sharedZone = 64000
	markRouter = 1
	markNode   = 2
)

// genevePort is the UDP port of Geneve (RFC 8926, section 3.3).
const genevePort = 6081

// sharing is what the flows of br-ex depend on. Uplink and Router are ports of the bridge.
type sharing struct {
	Uplink, Router int
	MAC            net.HardwareAddr
	Addresses      []netip.Prefix
}

// share sets the flows of br-ex once the controller has connected the gateway router's network to
// it, and says whether they stand.
func (n *node) share(ctx context.Context) (bool, error) {
	ports, err := n.vsctl(ctx, "list-ports", bridgeExt)
	if err != nil {
		return false, fmt.Errorf("list ports of %s: %w", bridgeExt, err)
	}
	s := sharing{MAC: n.cfg.MAC, Addresses: n.cfg.Addresses}
	for _, port := range words(ports) {
		number, err := n.vsctl(ctx, "get", "Interface", port, "ofport")
		if err != nil {
			return false, fmt.Errorf("read the number of port %s: %w", port, err)
		}
		of, err := strconv.Atoi(strings.TrimSpace(number))
		if err != nil || of <= 0 {
			return false, nil // not in the datapath yet
		}
		switch {
		case port == n.cfg.Uplink:
			s.Uplink = of
		case strings.HasPrefix(port, "patch-"):
			s.Router = of
		}
	}
	if s.Uplink == 0 {
		return false, nil
	}
	if err := n.setFlows(ctx, s.flows()); err != nil {
		return false, err
	}
	return s.Router != 0, nil
}

// setFlows replaces the flows of br-ex where they differ from those that were set last. A switch
// that was restarted has none, which the number of its flows shows.
func (n *node) setFlows(ctx context.Context, flows []string) error {
	text := strings.Join(flows, "\n") + "\n"
	if text == n.flows {
		dump, err := n.cfg.Programs.output(ctx, n.cfg.Dir, "ovs-ofctl", "-OOpenFlow15", "--no-stats", "dump-flows", bridgeExt)
		if err != nil {
			return fmt.Errorf("read flows of %s: %w", bridgeExt, err)
		}
		if strings.Count(dump, "actions=") == len(flows) {
			return nil
		}
	}
	cmd, err := n.cfg.Programs.command(ctx, n.cfg.Dir, "ovs-ofctl", "-OOpenFlow15", "--bundle", "replace-flows", bridgeExt, "-")
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set flows of %s: %w: %s", bridgeExt, err, strings.TrimSpace(string(out)))
	}
	n.flows = text
	n.log.Add(EventFlows, bridgeExt, fmt.Sprintf("%d flows", len(flows)))
	return nil
}

// flows share the uplink between the node and its gateway router, which have one MAC and one
// address a family. Neighbour messages are for both. A packet for the node's address goes to
// whoever began the connection, and to the node where it is a new one, but BFD of either side begins
// with each packet, so it goes to both, as in OVN-Kubernetes; everything else that is sent to the MAC is
// the router's.
func (s sharing) flows() []string {
	toRouter := ""
	if s.Router != 0 {
		toRouter = fmt.Sprintf(",output:%d", s.Router)
	}
	out := []string{
		"table=0,priority=0,actions=drop",
		fmt.Sprintf("table=0,priority=50,in_port=%d,arp,actions=output:LOCAL%s", s.Uplink, toRouter),
		fmt.Sprintf("table=0,priority=10,in_port=LOCAL,actions=output:%d", s.Uplink),
		"table=1,priority=0,actions=output:LOCAL",
		fmt.Sprintf("table=1,priority=10,ct_mark=%d,ct_state=+trk,actions=output:LOCAL", markNode),
	}
	for kind := 133; kind <= 136; kind++ { // RFC 4861: solicitations and advertisements
		out = append(out, fmt.Sprintf("table=0,priority=50,in_port=%d,icmp6,icmp_type=%d,actions=output:LOCAL%s", s.Uplink, kind, toRouter))
		out = append(out, fmt.Sprintf("table=0,priority=60,in_port=LOCAL,icmp6,icmp_type=%d,actions=output:%d", kind, s.Uplink))
	}
	for _, p := range s.Addresses {
		proto, field := "ip", "nw"
		udp := "udp"
		if p.Addr().Is6() {
			proto, field, udp = "ipv6", "ipv6", "udp6"
		}
		own := p.Addr().String()
		commit := func(mark int) string {
			return fmt.Sprintf("actions=ct(commit,zone=%d,exec(set_field:%d->ct_mark)),output:%d", sharedZone, mark, s.Uplink)
		}
		out = append(out,
			fmt.Sprintf("table=0,priority=40,in_port=%d,%s,%s_dst=%s,tp_dst=%d,actions=output:LOCAL", s.Uplink, udp, field, own, genevePort),
			fmt.Sprintf("table=0,priority=40,in_port=LOCAL,%s,%s_src=%s,tp_dst=%d,actions=output:%d", udp, field, own, genevePort, s.Uplink),
			fmt.Sprintf("table=0,priority=40,in_port=%d,%s,%s_dst=%s,tp_dst=%d,actions=output:LOCAL%s", s.Uplink, udp, field, own, bfd.Port, toRouter),
			fmt.Sprintf("table=0,priority=30,in_port=%d,%s,%s_dst=%s,actions=ct(zone=%d,table=1)", s.Uplink, proto, field, own, sharedZone),
			fmt.Sprintf("table=0,priority=30,in_port=LOCAL,%s,%s_src=%s,%s", proto, field, own, commit(markNode)))
		if s.Router != 0 {
			out = append(out, fmt.Sprintf("table=0,priority=30,in_port=%d,%s,%s_src=%s,%s", s.Router, proto, field, own, commit(markRouter)))
		}
	}
	if s.Router == 0 {
		return out
	}
	return append(out,
		fmt.Sprintf("table=0,priority=60,in_port=%d,icmp6,icmp_type=135,actions=output:%d", s.Router, s.Uplink),
		fmt.Sprintf("table=0,priority=60,in_port=%d,icmp6,icmp_type=136,actions=output:%d", s.Router, s.Uplink),
		fmt.Sprintf("table=0,priority=10,in_port=%d,actions=output:%d", s.Router, s.Uplink),
		fmt.Sprintf("table=0,priority=20,in_port=%d,dl_dst=%s,actions=output:%d", s.Uplink, s.MAC, s.Router),
		fmt.Sprintf("table=1,priority=10,ct_mark=%d,ct_state=+trk,actions=output:%d", markRouter, s.Router))
}
