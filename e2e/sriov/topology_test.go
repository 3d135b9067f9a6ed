package sriov

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
)

// The lab: the topology spk with its TMMs on VFs, and the inventory of the guest's cards, both as they ship.
const (
	labName   = "vf"
	labFiles  = "spk-sriov"
	inventory = "vm"
)

// topology: the whole topology, by what spklab itself makes of policies, networks and inventory.
func topology() group {
	var run report.Run
	return group{name: "spk over virtual functions", chained: true, checks: []check{
		{name: "the topology comes up on the cards", do: func(*cards) error { return spklab(up(labFiles)...) }},
		{name: "VFs of the workers' cards are the TMMs' interfaces", do: func(*cards) error { return tmmsHaveVFs() }},
		{name: "a VLAN-aware bridge is the switch", do: func(*cards) error { return trunked() }},
		{name: "routers lead to the virtual servers", do: func(*cards) error { return until(led) }},
		{name: "the scenarios with the label sriov run", do: func(*cards) (err error) { run, err = scenarios("sriov"); return err }},
		{name: "ingress: TCP over IPv4", do: held(&run, "ingress", "tcp", "ipv4", "snat-automap")},
		{name: "ingress: UDP over IPv6, client addresses kept", do: held(&run, "ingress", "udp", "ipv6", "snat-none")},
		{name: "egress: TCP over IPv4", do: held(&run, "egress", "tcp", "ipv4", "snat-automap")},
		{name: "ECMP of the upstream router over the TMMs", do: held(&run, "bgp", "ecmp")},
		{name: "the run says which settings the cards keep without acting on them", do: func(*cards) error { return unenforced(run) }},
		{name: "device-info and PCIDEVICE variables name the VFs", do: held(&run, "interfaces")},
	}}
}

// up are the words that bring a lab up on the guest's cards.
func up(files string) []string {
	return []string{"up", files, "--name", labName, "--backend", "hil", "-i", inventory}
}

// spklab runs spklab in the state directory that it has in the guest.
func spklab(words ...string) error {
	_, err := output(words...)
	return err
}

// output is what spklab prints on standard output; an error has all of it.
func output(words ...string) ([]byte, error) {
	cmd := program(words...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("spklab %s: %w\n%s%s", strings.Join(words, " "), err, stdout.String(), stderr.String())
	}
	return stdout.Bytes(), nil
}

func program(words ...string) *exec.Cmd {
	return exec.Command(filepath.Join(os.Getenv(envBin), "spklab"), words...)
}

// led says that the router leads to every TMM for a virtual server, in both families.
func led() error {
	for _, vip := range []string{"192.0.2.10", "2001:db8:2::10"} {
		if err := spklab("explain", "vip", vip, "--lab", labName); err != nil {
			return err
		}
	}
	return nil
}

// scenarios runs the lab's scenarios of a label, and returns what came of them, whatever that is.
func scenarios(label string) (run report.Run, err error) {
	cmd := program("test", labName, "--label-filter", label, "--pcap", "off", "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if jerr := json.Unmarshal(out, &run); jerr != nil || len(run.Scenarios) == 0 {
		return run, errors.Join(errors.New("spklab test tells of no scenario"), err, jerr, errors.New(stderr.String()))
	}
	return run, nil
}

// held says that one scenario of a run has all of the labels, and passed.
func held(run *report.Run, labels ...string) func(*cards) error {
	return func(*cards) error {
		var found []report.Scenario
		for _, s := range run.Scenarios {
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(s.Labels, l) }) {
				found = append(found, s)
			}
		}
		if len(found) != 1 {
			return fmt.Errorf("%d scenarios have the labels %v, want one", len(found), labels)
		}
		if found[0].State != report.Passed {
			return fmt.Errorf("%s: %s", found[0].State, found[0].Message)
		}
		return nil
	}
}

// unenforced asks that a run names the anti-spoof filter of every VF, which the networks set, and nothing else.
func unenforced(run report.Run) error {
	var want []string
	for _, f := range given() {
		want = append(want, fmt.Sprintf("%s in %s (%s): %s: %s", f.name, f.tmm, f.address(), sriov.SettingSpoofChk, sriov.ConfiguredOnly))
	}
	if got := slices.Sorted(slices.Values(run.Unenforced)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		return fmt.Errorf("the run names %q, want %q", got, want)
	}
	return nil
}

// function is a VF in a TMM pod.
type function struct {
	card  string // PCI address of its PF
	index int
	tmm   string // namespace
	name  string // of the interface there
}

// given are the TMMs' VFs by the policies: of the card of a worker, 0 for the first network and 2 for the second.
func given() []function {
	var out []function
	for i, card := range []string{cardAddress, peerAddress} {
		for k, name := range []string{"net1", "net2"} {
			out = append(out, function{card, 2 * k, topo.NetnsName(labName, fmt.Sprintf("f5-tmm-%d", i+1)), name})
		}
	}
	return out
}

func (f function) address() string { return target(f.card, fmt.Sprintf("virtfn%d", f.index)) }

// tmmsHaveVFs asks the driver of each interface which device it stands for.
func tmmsHaveVFs() error {
	var errs []error
	for _, f := range given() {
		device, err := deviceOf(f.tmm, f.name)
		if err == nil && device != f.address() {
			err = fmt.Errorf("is %q, want %s", device, f.address())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", f.name, f.tmm, err))
		}
	}
	return errors.Join(errs...)
}

// deviceOf is the PCI address behind an interface of a namespace (ETHTOOL_GDRVINFO).
func deviceOf(ns, name string) (address string, err error) {
	err = topo.Do(ns, func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		info, err := unix.IoctlGetEthtoolDrvinfo(s, name)
		if err == nil {
			address = unix.ByteSliceToString(info.Bus_info[:])
		}
		return err
	})
	return address, err
}

// unbind takes the VF's driver away, and with it its interface wherever that is.
func (f function) unbind() error { return write(f.address(), "driver/unbind", f.address()) }

// bind has the driver take the VF, whose interface is then the machine's.
func (f function) bind() error {
	if err := rebind(f.address(), ""); err != nil {
		return err
	}
	_, err := interfaceOf(f.address())
	return err
}

// mac is that of its interface in the TMM.
func (f function) mac() (mac string, err error) {
	err = topo.Do(f.tmm, func() error {
		l, err := netlink.LinkByName(f.name)
		if err == nil {
			mac = l.Attrs().HardwareAddr.String()
		}
		return err
	})
	return mac, err
}

// trunked says that the uplink is a port of a VLAN-aware bridge, which has the lab's networks tagged there.
func trunked() error {
	return topo.Do(topo.NetnsName(labName, topo.Switch), func() error {
		port, err := netlink.LinkByName("up000003000")
		if err != nil {
			return err
		}
		master, err := netlink.LinkByIndex(port.Attrs().MasterIndex)
		if err != nil {
			return err
		}
		if b, ok := master.(*netlink.Bridge); !ok || b.VlanFiltering == nil || !*b.VlanFiltering {
			return fmt.Errorf("%s is no VLAN-aware bridge", master.Attrs().Name)
		}
		vlans, err := netlink.BridgeVlanList()
		if err != nil {
			return err
		}
		var tags []uint16
		for _, v := range vlans[int32(port.Attrs().Index)] {
			if v.EngressUntag() || v.PortVID() {
				return fmt.Errorf("VLAN %d is untagged at the uplink", v.Vid)
			}
			tags = append(tags, v.Vid)
		}
		if !slices.Equal(tags, []uint16{100, 200}) {
			return fmt.Errorf("the uplink has VLANs %v", tags)
		}
		return nil
	})
}
