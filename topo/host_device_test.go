package topo_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/topo"
)

// TestHostDeviceComesBack: wherever a kill has left a device on its way, it comes back with its name, MAC, MTU,
// alias and addresses, and up.
func TestHostDeviceComesBack(t *testing.T) {
	r := open(t, "device")
	lock(t, r)
	b := &bed{t: t, r: r, node: r.Netns("w1")}
	b.steps = topo.Base(testLab("device"))
	b.steps = append(b.steps, b.namespace("pod")...)
	pod := r.Netns("pod")
	attach := topo.Attach(b.node, pod, topo.Attachment{Config: cni.Config{Type: cni.TypeHostDevice, Device: "ens192"}, Interface: "net1"})
	b.converge()
	run(t, b.node, "link", "set", "ens192", "alias", "uplink")
	before := b.device()
	for _, tc := range []struct {
		name string
		move [][]string // netns, arguments of ip
	}{
		{"in the pod", [][]string{{pod, "link", "set", "net1", "address", "02:00:00:00:00:77", "mtu", "1400"}}},
		{"in the pod, not yet named", [][]string{{pod, "link", "set", "net1", "down"}, {pod, "link", "set", "net1", "name", "PASSING"}}},
		{"renamed, not yet moved", [][]string{{pod, "link", "set", "net1", "down"}, {pod, "link", "set", "net1", "name", "PASSING"}, {pod, "link", "set", "PASSING", "netns", b.node}}},
		{"not yet renamed", [][]string{{pod, "link", "set", "net1", "down"}, {pod, "link", "set", "net1", "name", "ens192"}, {pod, "link", "set", "ens192", "netns", b.node}}},
		{"beside a stranger of its name", [][]string{{pod, "link", "set", "net1", "down"}, {pod, "link", "set", "net1", "name", "PASSING"}, {pod, "link", "add", "net1", "type", "bridge"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			b.converge(attach...)
			if got := string(ip(pod, "link", "show", "net1")); !strings.Contains(got, `"ifalias":"ens192"`) {
				t.Fatalf("the device in the pod is %s", got)
			}
			passing := attach[0].HostDevice.Passing()
			for _, m := range tc.move {
				args := strings.Split(strings.ReplaceAll(strings.Join(m[1:], " "), "PASSING", passing), " ")
				run(t, m[0], args...)
			}
			b.converge()
			if after := b.device(); after != before {
				t.Errorf("the device was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// device is the worker's NIC as the kernel tells of it, what changes with each move left out.
func (b *bed) device() string {
	out := attributes{}
	out.flatten("link", ip(b.node, "link", "show", "ens192"))
	text := ""
	for _, k := range []string{"link ifname", "link ifalias", "link address", "link mtu"} {
		text += k + "=" + out[k] + " "
	}
	addrs := string(ip(b.node, "addr", "show", "dev", "ens192"))
	for _, want := range []string{`"UP"`, "192.0.2.1", "2001:db8::1"} {
		if strings.Contains(addrs, want) {
			text += want + " "
		}
	}
	return text
}

func run(t *testing.T, netns string, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", netns}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
