package sriov

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/topo"
)

// labName is the lab's, and trunk the card on the wire that its switch has.
const (
	labName = "vf"
	trunk   = "eth2"
)

// topology: the whole topology spk, its TMMs' interfaces VFs on the workers' cards, VLANs tagged on the wire.
func topology() group {
	return group{name: "spk over virtual functions", chained: true, checks: []check{
		{name: "the topology comes up", do: func(*cards) error { return spklab("up", "spk", "--name", labName) }},
		{name: "VFs of the workers' cards are the TMMs' interfaces", do: func(*cards) error { return giveTMMs() }},
		{name: "a VLAN-aware bridge is the switch", do: func(*cards) error { return cable() }},
		{name: "tagged F5SPKVlans are applied", do: func(*cards) error { return spklab("apply", "--lab", labName, "-f", "testdata/vlans.yaml") }},
		{name: "routers lead to the virtual servers", do: func(*cards) error {
			return until(led)
		}},
		{name: "ingress: TCP over IPv4", do: scenario("ingress && tcp && ipv4 && snat-automap")},
		{name: "ingress: UDP over IPv6, client addresses kept", do: scenario("ingress && udp && ipv6 && snat-none")},
		{name: "egress: TCP over IPv4", do: scenario("egress && tcp && ipv4 && snat-automap")},
		{name: "ECMP of the upstream router over the TMMs", do: func(c *cards) error {
			return until(func() error { return scenario("bgp && ecmp")(c) }) // a busy machine may cost a session or two
		}},
	}}
}

// spklab runs spklab in the state directory that it has in the guest.
func spklab(words ...string) error {
	out, err := exec.Command(filepath.Join(os.Getenv(envBin), "spklab"), words...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("spklab %s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return nil
}

// led says that the router leads to every TMM for a virtual server, in both families.
func led() error {
	return errors.Join(spklab("explain", "vip", "192.0.2.10", "--lab", labName), spklab("explain", "vip", "2001:db8:2::10", "--lab", labName))
}

// scenario runs scenarios of the lab.
func scenario(labels string) func(*cards) error {
	return func(*cards) error { return spklab("test", labName, "--label-filter", labels, "--pcap", "off") }
}

// function is a VF in a TMM pod.
type function struct {
	card  string // PCI address of its PF
	index int
	tmm   string // namespace
	name  string // of the interface there
}

// given are the TMMs' VFs: a worker's card has those of the TMM that runs there.
func given() []function {
	var out []function
	for i, card := range []string{cardAddress, peerAddress} {
		for k, name := range []string{"net1", "net2"} {
			out = append(out, function{card, k, topo.NetnsName(labName, fmt.Sprintf("f5-tmm-%d", i+1)), name})
		}
	}
	return out
}

func (f function) address() string { return target(f.card, fmt.Sprintf("virtfn%d", f.index)) }

// giveTMMs puts VFs in the place of the TMMs' interfaces, with their names and MACs.
func giveTMMs() error {
	for _, card := range []string{cardAddress, peerAddress} {
		if err := makeVFs(card, 2); err != nil {
			return err
		}
		pf, err := interfaceOf(card)
		if err != nil {
			return err
		}
		if err := raise(pf); err != nil {
			return err
		}
	}
	for _, f := range given() {
		if err := f.replace(); err != nil {
			return fmt.Errorf("%s of %s: %w", f.name, f.tmm, err)
		}
	}
	return nil
}

// replace puts the VF in the place of the interface that has its name.
func (f function) replace() error {
	var mac net.HardwareAddr
	err := topo.Do(f.tmm, func() error {
		l, err := netlink.LinkByName(f.name)
		if err != nil {
			return err
		}
		mac = l.Attrs().HardwareAddr
		return netlink.LinkDel(l)
	})
	if err != nil {
		return err
	}
	pf, err := interfaceOf(f.card)
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(pf)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetVfHardwareAddr(l, f.index, mac); err != nil {
		return err
	}
	if err := f.unbind(); err != nil {
		return err
	}
	return f.bind()
}

// unbind takes the VF's driver away, and with it its interface wherever that is.
func (f function) unbind() error { return write(f.address(), "driver/unbind", f.address()) }

// bind has the driver take the VF, which then has the MAC that its PF says, and gives it to its TMM.
func (f function) bind() error {
	if err := rebind(f.address(), ""); err != nil {
		return err
	}
	name, err := interfaceOf(f.address())
	if err != nil {
		return err
	}
	return move(name, f.tmm, f.name)
}

// cable makes the trunk a port of a VLAN-aware bridge, with the lab's networks at untagged ports.
func cable() error {
	lan := topo.NetnsName(labName, topo.Switch)
	if err := move(trunk, lan, trunk); err != nil {
		return err
	}
	words := [][]string{
		{"ip", "link", "add", "switch", "type", "bridge", "vlan_filtering", "1", "vlan_default_pvid", "0", "mcast_snooping", "0"},
		{"ip", "link", "set", trunk, "master", "switch", "up"},
		{"ip", "link", "set", "switch", "up"},
	}
	for network, tag := range map[string]string{"internal": "100", "external": "200"} {
		words = append(words,
			[]string{"ip", "link", "add", "port" + tag, "type", "veth", "peer", "name", "up" + tag},
			[]string{"ip", "link", "set", "port" + tag, "master", "switch", "up"},
			[]string{"ip", "link", "set", "up" + tag, "master", network, "up"},
			[]string{"bridge", "vlan", "add", "dev", trunk, "vid", tag},
			[]string{"bridge", "vlan", "add", "dev", "port" + tag, "vid", tag, "pvid", "untagged"})
	}
	for _, w := range words {
		if out, err := exec.Command("ip", append([]string{"netns", "exec", lan}, w...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", w, err, out)
		}
	}
	return nil
}
