package topo_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/topo"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// good is a lab file that parses; the cases below break it.
const good = `spklab: 1
name: lab
networks:
  - name: internal
    subnets: [10.144.100.0/24]
  - name: external
    subnets: [198.51.100.0/24]
fabric:
  driver: ovn
  clusterCIDRs: [10.131.0.0/16]
  network: internal
workers:
  - name: worker-1
    podCIDRs: [10.131.0.0/23]
    nics:
      - {name: ens192, network: internal, addresses: [10.144.100.11]}
      - {name: ens256, network: external}
  - name: worker-2
    podCIDRs: [10.131.2.0/23]
    nics:
      - {name: ens192, network: internal, addresses: [10.144.100.12]}
routers:
  - name: upstream
    asn: 65000
    nics:
      - {name: eth0, network: external, addresses: [198.51.100.1]}
    neighbors:
      - {range: 198.51.100.0/24, asn: 65001}
clients:
  - name: client
    nics:
      - {name: eth0, network: external, addresses: [198.51.100.200]}
    routes:
      - {to: 0.0.0.0/0, via: 198.51.100.1}
`

func TestParse(t *testing.T) {
	l, err := topo.Parse("lab.spklab.yml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if l.Name != "lab" || len(l.Workers) != 2 || l.Routers[0].Neighbors[0].ASN != 65001 || l.Clients[0].Routes[0].Via.String() != "198.51.100.1" {
		t.Errorf("parsed %+v", l)
	}
}

func TestParseMistakes(t *testing.T) {
	tests := []struct {
		name, old, new string
		want           string // the whole error
	}{
		{"unknown field", "    podCIDRs: [10.131.0.0/23]", "    podCIDR: [10.131.0.0/23]", `f:14:5: "podCIDR": unknown field; did you mean podCIDRs?`},
		{"unknown field far from any", "fabric:\n", "somethingelse: 1\nfabric:\n", "f:8:1: \"somethingelse\": unknown field; `spklab schema` prints the fields there are"},
		{"wrong kind", "asn: 65000", "asn: many", `f:24:10: "many": want a number`},
		{"number out of bounds", "asn: 65000", "asn: -5", `f:24:10: "-5": want a number within its bounds`},
		{"wrong version", "spklab: 1", "spklab: 2", "f:1:9: \"2\": not a version of this format; the file begins with `spklab: 1`"},
		{"no lab name", "name: lab", "name: A_Lab", `f:2:7: "A_Lab": no name of a lab; want a lower-case DNS label of at most 15 characters`},
		{"duplicate network", "name: external", "name: internal", `f:6:11: "internal": a network of this name stands above; give each its own`},
		{"duplicate node", "name: client", "name: worker-1", `f:30:11: "worker-1": a node of this name stands at workers[0].name; give each its own`},
		{"duplicate NIC", "name: ens256", "name: ens192", `f:17:16: "ens192": a NIC of this name stands above; give each its own`},
		{"duplicate key", "  driver: ovn\n", "  driver: ovn\n  driver: ovn\n", `f:10:3: "driver": mapping key "driver" already defined at [9:3]`},
		{"reserved name", "name: client", "name: lan", `f:30:11: "lan": this name is taken by the lab's switch; choose another`},
		{"NIC name too long", "name: ens256", "name: enp216s0f0np0v12", `f:17:16: "enp216s0f0np0v12": no name of an interface; want 1 to 15 letters, digits, - or _`},
		{"overlapping subnets", "[198.51.100.0/24]\nfabric", "[10.144.0.0/16]\nfabric", `f:7:15: "10.144.0.0/16": overlaps 10.144.100.0/24 of network internal; choose another`},
		{"overlapping pod CIDRs", "10.131.2.0/23", "10.131.0.0/22", `f:19:16: "10.131.0.0/22": overlaps 10.131.0.0/23 of worker-1; choose another`},
		{"pod CIDR outside", "10.131.2.0/23", "10.132.2.0/23", `f:19:16: "10.132.2.0/23": outside of fabric.clusterCIDRs [10.131.0.0/16]; choose one within`},
		{"address outside its network", "[10.144.100.12]", "[10.145.100.12]", `f:21:55: "10.145.100.12": outside of network internal, which has [10.144.100.0/24]; choose one within`},
		{"address used twice", "[10.144.100.12]", "[10.144.100.11]", `f:21:55: "10.144.100.11": is also the address of workers[0].nics[0]; give each its own`},
		{"address with length", "[10.144.100.12]", "[10.144.100.12/24]", `f:21:55: "10.144.100.12/24": no address; write one like 10.144.100.11, without a prefix length`},
		{"network with host bits", "[10.144.100.0/24]", "[10.144.100.1/24]", `f:5:15: "10.144.100.1/24": an address, not a network; write 10.144.100.0/24`},
		{"no network", "[10.144.100.0/24]", "[10.144.100.0/33]", `f:5:15: "10.144.100.0/33": no network; write one like 10.144.100.0/24 or fd00::/64`},
		{"unknown network", "network: external}", "network: outside}", `f:17:33: "outside": no such network; there are internal, external`},
		{"unknown driver", "driver: ovn", "driver: calico", `f:9:11: "calico": want ovn or flannel-hostgw`},
		{"ASN 0", "asn: 65001", "asn: 0", `f:28:39: "0": want 1 to 4294967294 (RFC 6793, RFC 7300)`},
		{"gateway elsewhere", "via: 198.51.100.1}", "via: 10.144.100.1}", `f:34:30: "10.144.100.1": on no network that the node is cabled to; choose a neighbour`},
		{"truncated", good[strings.Index(good, "[198.51.100.200]")+4:], "", `f:32:52: "[": sequence end token ']' not found`},
		{"empty", good, "", "f:1:1: the file holds nothing; a lab file begins with `spklab: 1`"},
		{"comments only", good, "# later\n", "f:1:1: the file holds nothing; a lab file begins with `spklab: 1`"},
		{"two documents", "spklab: 1\n", "spklab: 1\n---\nspklab: 1\n", "f:3:1: a second document; write one lab a file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			if text == good {
				t.Fatal("the case changes nothing")
			}
			_, err := topo.Parse("f", []byte(text))
			if err == nil {
				t.Fatal("no error")
			}
			if got, _, _ := strings.Cut(err.Error(), "\n"); got != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestSchema(t *testing.T) {
	got, err := topo.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", append(got, '\n'))
}

// golden compares with a file of testdata, or rewrites it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s (-want +got):\n%s", path, cmp.Diff(string(want), string(got)))
	}
}

func TestPlanGolden(t *testing.T) {
	l, err := topo.Parse("f", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "base.plan", []byte(topo.NewPlan(append(topo.Base(l), topo.PodBase(l, testPod("p1"))...)).String()))
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("")
	f.Add("spklab: 1\n---\n")
	f.Add("workers: [{nics: [{addresses: [x]}]}]")
	f.Add("workers: ! ") // the YAML library dereferences nil
	f.Add("fabric: &a\n  x: *a\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := topo.Parse("f", []byte(text))
		if err == nil {
			return
		}
		var input *topo.InputError
		if !errors.As(err, &input) || input.File != "f" {
			t.Errorf("error without a place: %v", err)
		}
	})
}
