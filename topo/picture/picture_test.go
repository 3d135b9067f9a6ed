package picture_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/picture"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example has a worker with a pod on its bridge that has one of its NICs, macvlan children in a TMM, one of them on a cable with two tagged
// networks, a cable between two nodes, a router that tags where only one network is, and a name that would be markup.
func example() picture.Picture {
	ns := func(node string) string { return topo.NetnsName("x", node) }
	addr := func(node, link, prefix string) topo.Step {
		return topo.Step{Addr: &topo.AddrStep{Netns: ns(node), Link: link, Prefix: netip.MustParsePrefix(prefix)}}
	}
	veth := func(a, aName, b, bName, master string) topo.Step {
		return topo.Step{Veth: &topo.VethStep{A: topo.VethEnd{Netns: ns(a), Name: aName}, B: topo.VethEnd{Netns: ns(b), Name: bName, Master: master}}}
	}
	steps := []topo.Step{
		{Netns: &topo.NetnsStep{Name: ns("w1")}},
		{Macvlan: &topo.MacvlanStep{ParentNetns: ns("w1"), Parent: "ens224", Netns: ns("tmm"), Name: "net1", Mode: "bridge"}},
		{HostDevice: &topo.HostDeviceStep{HostNetns: ns("w1"), Device: "ens225", Netns: ns("pod"), Name: "net1"}},
		{Bridge: &topo.BridgeStep{Netns: ns(topo.Switch), Name: "internal"}},
		veth("w1", "ens225", topo.Switch, "w1.ens225", "internal"),
		{Bridge: &topo.BridgeStep{Netns: ns("w1"), Name: "br-int"}},
		{Bridge: &topo.BridgeStep{Netns: ns(topo.Switch), Name: "unused"}},
		{Bridge: &topo.BridgeStep{Netns: ns(topo.Switch), Name: "red"}},
		{Bridge: &topo.BridgeStep{Netns: ns(topo.Switch), Name: "blue"}},
		veth("w1", "ens256", topo.Switch, "w1.ens256", "internal"),
		{Trunk: &topo.TrunkStep{Netns: ns(topo.Switch), Port: "w1.ens256", VLANs: []topo.TrunkVLAN{
			{Tag: 200, Device: "w1.ens256.200", Bridge: "blue"}, {Tag: 100, Device: "w1.ens256.100", Bridge: "red"},
		}}},
		{Macvlan: &topo.MacvlanStep{ParentNetns: ns("w1"), Parent: "ens256", Netns: ns("tmm"), Name: "net2", Mode: "bridge"}},
		veth("w1", "ens224", topo.Switch, "w1.ens224", "internal"),
		veth("pod", "eth0", "w1", "veth1", "br-int"),
		veth("router", "eth1", "client", "eth0", ""),
		veth("router", "eth0", topo.Switch, "router.eth0", "internal"),
		addr("tmm", "net1", "fd00::16/64"), addr("tmm", "net1", "10.144.100.16/24"),
		addr("tmm", "net2.100", "198.51.100.16/24"), addr("tmm", "net2.300", "172.20.0.16/24"), // nobody carries 300
		addr("router", "eth0.7", "172.21.0.1/24"),
		addr("w1", "br-int", "10.131.0.1/23"), addr("client", "eth0", "203.0.113.10/24"),
	}
	return picture.New(`x "<&>"`, "x", steps, []picture.Node{
		{Name: "w1", Kind: "worker", State: picture.Good}, {Name: "pod", Kind: "pod", Group: "w1", State: picture.Bad, Notes: []string{"not ready <yet>"}},
		{Name: "tmm", Kind: "tmm", Group: "w1"}, {Name: "router", Kind: "router"}, {Name: "client", Kind: "client"},
	})
}

func TestNew(t *testing.T) {
	p := example()
	got := map[string][]string{}
	for _, b := range p.Boxes {
		for _, port := range b.Ports {
			got[b.Name] = append(got[b.Name], strings.TrimSpace(fmt.Sprintf("%s/%d", port.Name, port.Tag)+" on "+port.Segment+" "+strings.Join(port.Addresses, " ")+" "+port.Via))
		}
	}
	want := map[string][]string{
		"w1":  {"br-int/0 on w1/br-int 10.131.0.1/23", "ens224/0 on lan/internal", "ens256/0 on lan/internal", "ens256/100 on lan/red", "ens256/200 on lan/blue"},
		"pod": {"eth0/0 on w1/br-int", "net1/0 on lan/internal  was w1 ens225"},
		"tmm": {
			"net1/0 on lan/internal 10.144.100.16/24 fd00::16/64 macvlan on w1 ens224", "net2/0 on lan/internal  macvlan on w1 ens256",
			"net2/100 on lan/red 198.51.100.16/24 macvlan on w1 ens256", "net2/200 on lan/blue  macvlan on w1 ens256",
		},
		"router": {"eth0/0 on lan/internal", "eth0/7 on lan/internal 172.21.0.1/24", "eth1/0 on router/eth1"},
		"client": {"eth0/0 on router/eth1 203.0.113.10/24"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var segments []string
	for _, s := range p.Segments {
		segments = append(segments, s.Name)
	}
	if diff := cmp.Diff([]string{"internal", "br-int of w1", "red", "blue", "router – client"}, segments); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGolden(t *testing.T) {
	p := example()
	for name, got := range map[string]string{"example.svg": p.SVG(), "example.mmd": p.Mermaid(), "example.dot": p.DOT()} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: -update rewrites it (-want +got):\n%s", name, diff)
		}
	}
}

// TestWellFormed reads the SVG as XML, and looks for what would be fetched from elsewhere.
func TestWellFormed(t *testing.T) {
	svg := example().SVG()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range start.Attr {
			if strings.Contains(a.Value, "://") && a.Value != "http://www.w3.org/2000/svg" || a.Name.Local == "href" || start.Name.Local == "script" {
				t.Errorf("<%s %s=%q>", start.Name.Local, a.Name.Local, a.Value)
			}
		}
	}
}
