package sriov

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/topo"
)

// further are VLANs on the TMMs' external VFs, beside the one that the topology tags there: an untagged one and another
// with a tag.
func further() []vlan {
	return []vlan{
		{"plain", 0, netip.MustParsePrefix("10.9.0.0/24")},
		{"blue", 300, netip.MustParsePrefix("10.9.30.0/24")},
	}
}

// vlan is an F5SPKVlan; the TMMs have the first addresses of its prefix in their order.
type vlan struct {
	name   string
	tag    int
	prefix netip.Prefix
}

// device is what a TMM knows it by.
func (v vlan) device() string {
	if v.tag == 0 {
		return external().name
	}
	return fmt.Sprintf("%s.%d", external().name, v.tag)
}

// self are the self-IPs of the two TMMs.
func (v vlan) self() (first, second netip.Addr) {
	first = v.prefix.Addr().Next()
	return first, first.Next()
}

// manifest lets datagrams of echo in.
func (v vlan) manifest() string {
	first, second := v.self()
	return fmt.Sprintf(`apiVersion: k8s.f5net.com/v1
kind: F5SPKVlan
metadata: {name: %[1]s, namespace: default}
spec:
  name: %[1]s
  tag: %[2]d
  interfaces: ["1.2"]
  selfip_v4s: [%[3]s, %[4]s]
  prefixlen_v4: %[5]d
  allowed_services: [{protocol: udp, port: "7"}]
`, v.name, v.tag, first, second, v.prefix.Bits())
}

// vlans: an untagged VLAN and several tagged ones on one VF, by the 802.1Q of the guest's kernel.
func vlans() group {
	return group{name: "VLANs on one virtual function", checks: []check{
		{name: "an untagged one and two tagged ones stand, by 802.1Q, as inspect says", do: func(*cards) error { return addVLANs() }},
		{name: "TMMs reach each other in the new ones, and its frames have its tag on the wire", do: func(*cards) error { return exchanged() }},
		{name: "without them devices and addresses are gone", do: func(*cards) error { return removeVLANs() }},
	}}
}

func addVLANs() error {
	var text []string
	for _, v := range further() {
		text = append(text, v.manifest())
	}
	dir, err := os.MkdirTemp("", "vlans")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "vlans.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(text, "---\n")), 0o600); err != nil {
		return err
	}
	if err := spklab("apply", "--lab", labName, "-f", file); err != nil {
		return err
	}
	return until(told8021Q)
}

// told8021Q compares what inspect says of who does the tags.
func told8021Q() error {
	out, err := output("inspect", "frontends", "--lab", labName, "-o", "json")
	if err != nil {
		return err
	}
	var in lab.Inspection
	if err := json.Unmarshal(out, &in); err != nil {
		return err
	}
	got, want := map[string]string{}, map[string]string{}
	for _, t := range in.TMMs {
		for _, f := range t.Frontends {
			got[t.Pod+" "+f.Name] = f.Tags
		}
		for _, name := range []string{"net1.100", "net2.200", "net2.300"} {
			want[t.Pod+" "+name] = dataplane.Tags8021Q
		}
		want[t.Pod+" net2"] = ""
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) != 8 {
		return fmt.Errorf("who does the tags (-want +got)\n%s", diff)
	}
	return nil
}

// exchanged has the first TMM ask the second one in each VLAN, while somebody listens on the wire and on the second
// one's devices: no VLAN's device hears what is another one's.
func exchanged() error {
	first, second := given()[1].tmm, given()[3].tmm
	wire := evidence.Point{Node: topo.Switch, Netns: topo.NetnsName(labName, topo.Switch), Interface: "up000003000"}
	points := []evidence.Point{wire}
	for _, device := range []string{"net2.200", "net2.300"} {
		points = append(points, evidence.Point{Node: second, Netns: second, Interface: device})
	}
	c, err := evidence.Start(points, 0)
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range further() {
		_, to := v.self()
		errs = append(errs, echo(first, second, to.String(), patience))
	}
	trace, err := c.Stop()
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	for _, v := range further() {
		errs = append(errs, v.seen(trace, wire))
	}
	return errors.Join(errs...)
}

// seen says that the datagrams of a VLAN were on the wire in both directions with its tag alone, and on its own
// device alone.
func (v vlan) seen(trace *evidence.Trace, wire evidence.Point) error {
	first, second := v.self()
	asked, answered := 0, 0
	for _, p := range trace.Select(func(p evidence.Packet) bool { return p.Protocol == unix.IPPROTO_UDP && v.prefix.Contains(p.Src.Addr()) }) {
		switch {
		case p.Point == wire && int(p.VLAN) != v.tag:
			return fmt.Errorf("%s: tag %d on the wire, want %d: %s", v.name, p.VLAN, v.tag, p)
		case p.Point != wire && p.Point.Interface != v.device():
			return fmt.Errorf("%s: heard on another VLAN's device: %s", v.name, p)
		case p.Point == wire && p.Src.Addr() == first:
			asked++
		case p.Point == wire && p.Src.Addr() == second:
			answered++
		}
	}
	if asked == 0 || answered == 0 {
		return fmt.Errorf("%s: %d questions and %d answers on the wire", v.name, asked, answered)
	}
	return nil
}

func removeVLANs() error {
	for _, v := range further() {
		if err := spklab("delete", "--lab", labName, "F5SPKVlan", v.name); err != nil {
			return err
		}
	}
	return until(func() error {
		var errs []error
		for _, f := range []function{given()[1], given()[3]} {
			errs = append(errs, topo.Do(f.tmm, withoutVLANs))
		}
		return errors.Join(errs...)
	})
}

// withoutVLANs says that the caller's namespace has nothing of the VLANs.
func withoutVLANs() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		addresses, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, v := range further() {
			if v.tag != 0 && l.Attrs().Name == v.device() {
				return fmt.Errorf("%s is there", v.device())
			}
			for _, a := range addresses {
				if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && v.prefix.Contains(ip) {
					return fmt.Errorf("%s has %s", l.Attrs().Name, ip)
				}
			}
		}
	}
	return nil
}
