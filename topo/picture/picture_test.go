package picture_test

import (
	"encoding/xml"
	"errors"
	"flag"
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

// example has a worker with a pod on its bridge, a macvlan child in a TMM, a cable between two
// nodes, and a name that would be markup.
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
		{Bridge: &topo.BridgeStep{Netns: ns(topo.Switch), Name: "internal"}},
		{Bridge: &topo.BridgeStep{Netns: ns("w1"), Name: "br-int"}},
		{Bridge: &topo.BridgeStep{Netns: ns(topo.Switch), Name: "unused"}},
		veth("w1", "ens224", topo.Switch, "w1.ens224", "internal"),
		veth("pod", "eth0", "w1", "veth1", "br-int"),
		veth("router", "eth1", "client", "eth0", ""),
		veth("router", "eth0", topo.Switch, "router.eth0", "internal"),
		addr("tmm", "net1", "fd00::16/64"), addr("tmm", "net1", "10.144.100.16/24"),
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
			got[b.Name] = append(got[b.Name], strings.TrimSpace(port.Name+" on "+port.Segment+" "+strings.Join(port.Addresses, " ")+" "+port.Via))
		}
	}
	want := map[string][]string{
		"w1":     {"br-int on w1/br-int 10.131.0.1/23", "ens224 on lan/internal"},
		"pod":    {"eth0 on w1/br-int"},
		"tmm":    {"net1 on lan/internal 10.144.100.16/24 fd00::16/64 macvlan on w1 ens224"},
		"router": {"eth0 on lan/internal", "eth1 on router/eth1"},
		"client": {"eth0 on router/eth1 203.0.113.10/24"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var segments []string
	for _, s := range p.Segments {
		segments = append(segments, s.Name)
	}
	if diff := cmp.Diff([]string{"internal", "br-int of w1", "router – client"}, segments); diff != "" {
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
