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
		{"unknown field far from any", "fabric:\n", "somethingelse: 1\nfabric:\n", `f:8:1: "somethingelse": unknown field; known here: spklab, name, networks, fabric, workers, routers, clients, manifests, values`},
		{"two unknown fields", "  driver: ovn\n", "  drivr: ovn\n  zzz: 1\n", lines(`f:9:3: "drivr": unknown field; did you mean driver?`, `f:10:3: "zzz": unknown field; known here: driver, backend, release, profile, udpHash, gatewayMode, maxRevalidator, clusterCIDRs, network, mtu`)},
		{"a pool's name", "    podCIDRs: [10.131.0.0/23]\n", "    podCIDRs: [10.131.0.0/23]\n    pools: [{resource: internal, vfs: [\"0000:01:10.0\"]}]\n", `f:15:24: "internal": no PREFIX/NAME; write one such as openshift.io/internal`},
		{"a pool without VFs", "    podCIDRs: [10.131.0.0/23]\n", "    podCIDRs: [10.131.0.0/23]\n    pools: [{resource: o/i, vfs: []}]\n", `f:15:34: an empty list; write PCI addresses of virtual functions`},
		{"a pool of an interface", "    podCIDRs: [10.131.0.0/23]\n", "    podCIDRs: [10.131.0.0/23]\n    pools: [{resource: o/i, vfs: [ens1f0v0]}]\n", `f:15:35: "ens1f0v0": no PCI address; write one such as 0000:01:10.0`},
		{"a VF twice", "    podCIDRs: [10.131.0.0/23]\n", "    podCIDRs: [10.131.0.0/23]\n    pools: [{resource: o/i, vfs: [\"0000:01:10.0\", \"0000:01:10.0\"]}]\n", `f:15:51: "0000:01:10.0": is also in workers[0].pools[0]; write each VF once`},
		{"missing fabric network", "  network: internal\nworkers", "workers", `f:9:3: field network is missing here or empty; add it`},
		{"empty fabric network", "  network: internal\nworkers", "  network:\nworkers", `f:9:3: field network is missing here or empty; add it`},
		{"missing network of a NIC", ", network: external}", "}", `f:17:10: field network is missing here or empty; add it`},
		{"missing gateway", ", via: 198.51.100.1}", "}", `f:34:10: field via is missing here or empty; add it`},
		{"no lab at all", good, "hello", `f:1:1: "hello": want fields, spklab: … and so on`},
		{"text for a list", "subnets: [10.144.100.0/24]", "subnets: 10.144.100.0/24", "f:5:14: \"10.144.100.0/24\": want a list, [a, b] or a line `- a` for each"},
		{"list for a text", "name: worker-1", "name: [worker-1]", `f:13:11: want a text`},
		{"number for a text", "name: client", "name: 7", `f:30:11: "7": want a text; write it in quotes`},
		{"fraction", "asn: 65001", "asn: 65001.5", `f:28:39: "65001.5": want a whole number`},
		{"tag", "driver: ovn", "driver: !!str ovn", `f:9:11: "!!str": a tag; write the value without it`},
		{"quoted key", "subnets: [10.144.100.0/24]", "\"subnets\": [ten]", `f:5:17: "ten": no network; write one like 10.144.100.0/24 or fd00::/64`},
		{"value of an alias", "  driver: ovn\n  clusterCIDRs: [10.131.0.0/16]", "  driver: &x ovn\n  clusterCIDRs: [*x]", `f:9:14: "ovn": no network; write one like 10.144.100.0/24 or fd00::/64`},
		{"alias of itself", "clusterCIDRs: [10.131.0.0/16]", "clusterCIDRs: &x [*x]", `f:10:20: no network; write one like 10.144.100.0/24 or fd00::/64`},
		{"merge of itself", "{name: ens256, network: external}", "&x {<<: *x}", `f:17:13: want fields, name: … and so on`},
		{"wrong kind", "asn: 65000", "asn: many", `f:24:10: "many": want a whole number`},
		{"number out of bounds", "asn: 65000", "asn: -5", `f:24:10: "-5": want a whole number from 0 to 4294967295`},
		{"wrong version", "spklab: 1", "spklab: 2", "f:1:9: \"2\": not a version of this format; the file begins with `spklab: 1`"},
		{"no lab name", "name: lab", "name: A_Lab", `f:2:7: "A_Lab": no name of a lab; want a lower-case DNS label of at most 15 characters`},
		{"duplicate network", "name: external", "name: internal", lines(
			`f:6:11: "internal": a network of this name stands above; give each its own`,
			`f:17:33: "external": no such network; there are: internal, internal`,
			`f:26:31: "external": no such network; there are: internal, internal`,
			`f:32:31: "external": no such network; there are: internal, internal`,
			`f:34:30: "198.51.100.1": on no network that the node is cabled to; choose a neighbour`)},
		{"duplicate node", "name: client", "name: worker-1", `f:30:11: "worker-1": a node of this name stands at workers[0].name; give each its own`},
		{"duplicate NIC", "name: ens256", "name: ens192", `f:17:16: "ens192": a NIC of this name stands above; give each its own`},
		{"duplicate key", "  driver: ovn\n", "  driver: ovn\n  driver: ovn\n", `f:10:3: "driver": mapping key "driver" already defined at [9:3]`},
		{"reserved name", "name: client", "name: lan", `f:30:11: "lan": this name is taken by the lab's switch; choose another`},
		{"a tag of none", "{name: ens256, network: external}", "{name: ens256, network: external, vlans: [{tag: 4095, network: internal}]}", `f:17:57: "4095": no VLAN tag; want 1 to 4094`},
		{"a tag twice", "{name: ens256, network: external}", "{name: ens256, network: external, vlans: [{tag: 7, network: internal}, {tag: 7, network: internal}]}", `f:17:86: "7": is network internal's tag already; give each network its own`},
		{"a tagged network of none", "{name: ens256, network: external}", "{name: ens256, network: external, vlans: [{tag: 7, network: red}]}", `f:17:69: "red": no such network; there are: internal, external`},
		{"a router that tags", "{name: eth0, network: external, addresses: [198.51.100.1]}", "{name: eth0, network: external, addresses: [198.51.100.1], vlans: [{tag: 7, network: internal}]}", `f:26:75: tagged networks are for workers, whose pods tag; give this node a NIC on each network`},
		{"pods' MTU above the network's", "  network: internal\nworkers", "  network: internal\n  mtu: 1501\nworkers", `f:12:8: "1501": want 1280 (RFC 8200) to 1500 bytes, the mtu of network internal`},
		{"NIC name too long", "name: ens256", "name: enp216s0f0np0v12", `f:17:16: "enp216s0f0np0v12": no name of an interface; want 1 to 15 letters, digits, _ or -, without a - in front`},
		{"NIC name with a dot", "name: ens256", "name: ens256.7", `f:17:16: "ens256.7": no name of an interface; want 1 to 15 letters, digits, _ or -, without a - in front`},
		{"NIC name that the kernel fills in", "name: ens256", "name: ens%d", `f:17:16: "ens%d": no name of an interface; want 1 to 15 letters, digits, _ or -, without a - in front`},
		{"NIC name taken", "name: ens256", "name: lo", `f:17:16: "lo": the kernel has this name for itself; choose another`},
		{"network name too long", "fabric:\n", "  - name: sixteen-letters-\nfabric:\n", `f:8:11: "sixteen-letters-": no name of an interface; want 1 to 15 letters, digits, _ or -, without a - in front`},
		{"node name with a dot", "name: client", "name: client.lab", `f:30:11: "client.lab": no name of a node; want a lower-case DNS label: at most 63 letters, digits and -, no dot`},
		{"lab name too long", "name: lab", "name: sixteen-letters-", `f:2:7: "sixteen-letters-": no name of a lab; want a lower-case DNS label of at most 15 characters`},
		{"overlapping subnets", "[198.51.100.0/24]\nfabric", "[198.51.100.0/24, 10.144.0.0/16]\nfabric", `f:7:32: "10.144.0.0/16": overlaps 10.144.100.0/24 of network internal; choose another`},
		{"overlapping pod CIDRs", "10.131.2.0/23", "10.131.0.0/22", `f:19:16: "10.131.0.0/22": overlaps 10.131.0.0/23 of worker-1; choose another`},
		{"pod CIDR outside", "10.131.2.0/23", "10.132.2.0/23", `f:19:16: "10.132.2.0/23": outside of fabric.clusterCIDRs [10.131.0.0/16]; choose one within`},
		{"address outside its network", "[10.144.100.12]", "[10.145.100.12]", `f:21:55: "10.145.100.12": outside of network internal, which has [10.144.100.0/24]; choose one within`},
		{"address used twice", "[10.144.100.12]", "[10.144.100.11]", `f:21:55: "10.144.100.11": is also the address of workers[0].nics[0]; give each its own`},
		{"address with length", "[10.144.100.12]", "[10.144.100.12/24]", `f:21:55: "10.144.100.12/24": no address; write one like 10.144.100.11, without a prefix length`},
		{"network with host bits", "[10.144.100.0/24]", "[10.144.100.1/24]", `f:5:15: "10.144.100.1/24": an address, not a network; write 10.144.100.0/24`},
		{"no network", "[10.144.100.0/24]", "[10.144.100.0/33]", `f:5:15: "10.144.100.0/33": no network; write one like 10.144.100.0/24 or fd00::/64`},
		{"unknown network", "network: external}", "network: outside}", `f:17:33: "outside": no such network; there are: internal, external`},
		{"unknown driver", "driver: ovn", "driver: calico", `f:9:11: "calico": want ovn or flannel-hostgw`},
		{"unknown backend", "driver: ovn", "driver: ovn\n  backend: rael", `f:10:12: "rael": want sim or real or real-on-sim`},
		{"backend of another driver", "driver: ovn", "driver: flannel-hostgw\n  backend: real", `f:10:12: "real": belongs to the driver ovn; leave it out`},
		{"unknown profile", "driver: ovn", "driver: ovn\n  profile: f5", `f:10:12: "f5": want spk or ovn-23.03 or ovn-25.03`},
		{"gateway mode", "driver: ovn", "driver: ovn\n  gatewayMode: locale", `f:10:16: "locale": want shared or local`},
		{"cached flows checked too often", "driver: ovn", "driver: ovn\n  maxRevalidator: 50", `f:10:19: "50": want 100 to 60000 milliseconds`},
		{"cached flows of another driver", "driver: ovn", "driver: flannel-hostgw\n  maxRevalidator: 100", `f:10:19: "100": belongs to the driver ovn; leave it out`},
		{"gateway mode of another driver", "driver: ovn", "driver: flannel-hostgw\n  gatewayMode: local", `f:10:16: "local": gateway modes belong to the driver ovn; leave it out`},
		{"profile of another driver", "driver: ovn", "driver: flannel-hostgw\n  profile: spk", `f:10:12: "spk": profiles belong to the driver ovn; leave it out`},
		{"unknown kind", "asn: 65000", "asn: 65000\n    kind: quagga", `f:25:11: "quagga": want embedded or frr or bird`},
		{"unknown fabric network", "  network: internal\nworkers", "  network: inside\nworkers", `f:11:12: "inside": no such network; there are: internal, external`},
		{"no networks", good[strings.Index(good, "networks"):], "networks: []\nfabric: {driver: ovn, clusterCIDRs: [], network: x}\nworkers: []\n", lines(
			`f:4:37: an empty list; write the networks of the pods, e.g. [10.131.0.0/16]`,
			`f:4:50: "x": no such network; there are: none`,
			`f:5:10: an empty list; a lab has at least one worker`)},
		{"MTU", "subnets: [10.144.100.0/24]", "mtu: 500", lines(
			`f:5:10: "500": want 1280 (RFC 8200) to 9216 bytes`,
			`f:16:55: "10.144.100.11": outside of network internal, which has []; choose one within`,
			`f:21:55: "10.144.100.12": outside of network internal, which has []; choose one within`)},
		{"ASN 0", "asn: 65001", "asn: 0", `f:28:39: "0": a reserved AS number; want 1 to 4294967294, not 23456 (private ones begin at 64512)`},
		{"BFD that is no switch", "asn: 65001", "asn: 65001, bfd: on-and-off", `f:28:51: "on-and-off": want true or false`},
		{"BFD misspelt", "asn: 65001", "asn: 65001, bdf: true", `f:28:46: "bdf": unknown field; known here: range, asn, holdTime, keepalive, password, maxPrefix, bfd, bfdInterval, bfdMultiplier`},
		{"BFD interval alone", "asn: 65001", "asn: 65001, bfdInterval: 100", `f:28:59: "100": belongs to bfd: true; write that, too, or leave this out`},
		{"BFD interval in words", "asn: 65001", "asn: 65001, bfd: true, bfdInterval: 300ms", `f:28:70: "300ms": want a whole number`},
		{"BFD interval of 17 bits", "asn: 65001", "asn: 65001, bfd: true, bfdInterval: 70000", `f:28:70: "70000": want a whole number from 0 to 65535`},
		{"BFD too fast and too nervous", "asn: 65001", "asn: 65001, bfd: true, bfdInterval: 10, bfdMultiplier: 1", lines(
			`f:28:70: "10": want 50 to 60000 milliseconds`, `f:28:89: "1": want 2 to 255`)},
		{"AS_TRANS", "asn: 65000", "asn: 23456", `f:24:10: "23456": a reserved AS number; want 1 to 4294967294, not 23456 (private ones begin at 64512)`},
		{"hold time", "asn: 65001}", "asn: 65001, holdTime: 2}", `f:28:56: "2": no hold time; want 3 to 65535 seconds`},
		{"hold time of 17 bits", "asn: 65001}", "asn: 65001, holdTime: 65536}", `f:28:56: "65536": no hold time; want 3 to 65535 seconds`},
		{"keepalive", "asn: 65001}", "asn: 65001, keepalive: 9}", `f:28:57: "9": sessions would end first; want less than the hold time of 9 seconds`},
		{"password", "asn: 65001}", "asn: 65001, password: open sesame}", `f:28:56: no password for BGP; want 1 to 80 letters, digits and signs, no space, quote or backslash`},
		{"ASN of 33 bits", "asn: 65000", "asn: 4294967296", `f:24:10: "4294967296": want a whole number from 0 to 4294967295`},
		{"gateway of another family", "to: 0.0.0.0/0", "to: ::/0", `f:34:25: "198.51.100.1": of another family than ::/0; choose a gateway of the same`},
		{"gateway elsewhere", "via: 198.51.100.1}", "via: 10.144.100.1}", `f:34:30: "10.144.100.1": on no network that the node is cabled to; choose a neighbour`},
		{"truncated", good[strings.Index(good, "[198.51.100.200]")+4:], "", `f:32:52: "[": sequence end token ']' not found`},
		{"empty", good, "", "f:1:1: the file holds nothing; a lab file begins with `spklab: 1`"},
		{"comments only", good, "# later\n", "f:1:1: the file holds nothing; a lab file begins with `spklab: 1`"},
		{"two documents", "spklab: 1\n", "spklab: 1\n---\nspklab: 1\n", "f:3:1: a second document; write one lab a file"},
		{"after an empty document", "spklab: 1\n", "---\n# nothing\n---\nspklab: 1\n", `f:3:1: "---": begins a document after an empty one; remove this line`},
		{"a long text", "driver: ovn", "driver: " + strings.Repeat("x", 100), `f:9:11: "` + strings.Repeat("x", 100) + `": want ovn or flannel-hostgw`},
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
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func lines(s ...string) string { return strings.Join(s, "\n") }

// TestParseForms holds what is no mistake.
func TestParseForms(t *testing.T) {
	tests := []struct{ name, old, new string }{
		{"document header", "spklab", "# a lab\n---\nspklab"},
		{"directive", "spklab", "%YAML 1.2\n---\nspklab"},
		{"document end", "    routes:\n      - {to: 0.0.0.0/0, via: 198.51.100.1}\n", "...\n"},
		{"nothing after the header", "    routes:\n      - {to: 0.0.0.0/0, via: 198.51.100.1}\n", "---\n# the end\n"},
		{"empty optional field", "    routes:\n      - {to: 0.0.0.0/0, via: 198.51.100.1}\n", "    routes:\n"},
		{"anchor and alias", "[10.131.0.0/16]\n  network: internal\nworkers", "[&all 10.131.0.0/16, *all]\n  network: internal\nworkers"},
		{"merge", "{name: ens256, network: external}", "{<<: {network: external}, name: ens256}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			if text == good {
				t.Fatal("the case changes nothing")
			}
			l, err := topo.Parse("f", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got := l.Workers[0].NICs[1]; got.Name != "ens256" || got.Network != "external" {
				t.Errorf("NIC %+v", got)
			}
		})
	}
}

// TestShipped parses the lab files that ship with the project.
func TestShipped(t *testing.T) {
	for name, workers := range map[string][]string{"spk": {"worker-1", "worker-2"}, "flannel": {"node-1", "node-2"}, "bgp": {"worker-1", "worker-2"}, "spk-sriov": {"worker-1", "worker-2"}} {
		t.Run(name, func(t *testing.T) {
			l, err := topo.Load(filepath.Join("..", "lab", "topologies", name, name+".spklab.yml"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range l.Workers {
				got = append(got, w.Name)
			}
			if diff := cmp.Diff(workers, got); l.Name != name || diff != "" {
				t.Errorf("lab %s, workers (-want +got):\n%s", l.Name, diff)
			}
		})
	}
}

func TestLocate(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"value", &topo.InputError{Path: "workers[1].podCIDRs[0]", Text: "x", Message: "m"}, `f:19:16: "x": m`},
		{"list", &topo.InputError{Path: "workers[1].podCIDRs", Message: "m"}, `f:19:15: m`},
		{"mapping", &topo.InputError{Path: "workers[1]", Message: "m"}, `f:18:5: m`},
		{"missing field", &topo.InputError{Path: "workers[1].nics[0].addresses[7]", Message: "m"}, `f:21:54: m`},
		{"missing element", &topo.InputError{Path: "workers[9].name", Message: "m"}, `f:13:3: m`},
		{"unknown path", &topo.InputError{Path: "nodes[1]", Message: "m"}, `f: nodes[1]: m`},
		{"joined", errors.Join(&topo.InputError{Path: "name", Message: "m"}, &topo.InputError{File: "g", Line: 1, Column: 2, Message: "n"}), "f:2:7: m\ng:1:2: n"},
		{"another error", os.ErrNotExist, "file does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, topo.Locate("f", []byte(good), tt.err).Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
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
	f.Add("clients: [&a {<<: [*a, {name: x}]}]")
	f.Add("? [a]\n: b\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := topo.Parse("f", []byte(text))
		if err == nil {
			return
		}
		for _, e := range unjoin(err) {
			var input *topo.InputError
			if !errors.As(e, &input) || input.File != "f" {
				t.Errorf("error without a place: %v", e)
			}
		}
	})
}

func unjoin(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, unjoin(e)...)
	}
	return out
}
