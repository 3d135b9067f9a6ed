package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), write it with -update:\n%s", path, diff)
	}
}

func decodeString(t *testing.T, file, text string) (Resources, []Warning, error) {
	t.Helper()
	objs, err := Split(file, []byte(text))
	if err != nil {
		return Resources{}, nil, err
	}
	return Decode(objs)
}

func TestDecodeUsersYAML(t *testing.T) {
	for _, name := range []string{"nads", "crs", "sriov"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			objs, err := Split(name+".yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, o := range objs {
				fmt.Fprintf(&b, "%s:%d %s %s (%s)\n", o.File, o.Line, o.APIVersion, o, o.StoreName())
			}
			res, warnings, err := Decode(objs)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				fmt.Fprintln(&b, w)
			}
			enc := json.NewEncoder(&b)
			enc.SetIndent("", " ")
			if err := enc.Encode(res); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".golden", b.String())
		})
	}
}

func TestStoredFormDecodesEqual(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "crs.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	res, _, err := decodeString(t, "crs.yaml", string(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{res.VLANs[0], res.IngressTCPs[0], res.IngressUDPs[0], res.IngressNGAPs[0], res.Egresses[0], res.Snatpools[0], res.StaticRoutes[0], res.Pods[0]} {
		out, err := sigsyaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		again, warnings, err := decodeString(t, "again.yaml", string(out))
		if err != nil || slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(w.Message, "unknown") }) {
			t.Fatalf("%v %v\n%s", warnings, err, out)
		}
		var got any
		switch v.(type) {
		case F5SPKVlan:
			got = again.VLANs[0]
		case F5SPKIngressTCP:
			got = again.IngressTCPs[0]
		case F5SPKIngressUDP:
			got = again.IngressUDPs[0]
		case F5SPKIngressNGAP:
			got = again.IngressNGAPs[0]
		case F5SPKEgress:
			got = again.Egresses[0]
		case F5SPKSnatpool:
			got = again.Snatpools[0]
		case F5SPKStaticRoute:
			got = again.StaticRoutes[0]
		default:
			got = again.Pods[0]
		}
		want, _ := json.Marshal(v)
		have, _ := json.Marshal(got)
		if diff := cmp.Diff(string(want), string(have)); diff != "" {
			t.Errorf("%T: %s", v, diff)
		}
	}
}

func vlan(spec string) string {
	return "apiVersion: k8s.f5net.com/v1\nkind: F5SPKVlan\nmetadata: {name: v}\nspec: " + spec + "\n"
}

func ingress(spec string) string {
	return "apiVersion: ingresstcp.k8s.f5net.com/v1\nkind: F5SPKIngressTCP\nmetadata: {name: i}\nservice: {name: s, port: 80}\nspec: " + spec + "\n"
}

func egress(spec string) string {
	return "apiVersion: k8s.f5net.com/v3\nkind: F5SPKEgress\nmetadata: {name: e}\nspec: " + spec + "\n"
}

func dnsCache(zones string) string {
	return "apiVersion: k8s.f5net.com/v1\nkind: F5SPKDnscache\nmetadata: {name: e}\nspec: {forwardZones: " + zones + "}\n"
}

func snatpool(spec string) string {
	return "apiVersion: k8s.f5net.com/v1\nkind: F5SPKSnatpool\nmetadata: {name: m}\nspec: " + spec + "\n"
}

func staticRoute(spec string) string {
	return "apiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute\nmetadata: {name: r}\nspec: " + spec + "\n"
}

func nad(config string) string {
	return "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: n}\nspec:\n  config: '" + config + "'\n"
}

func TestMistakes(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"cidr in self-IP", vlan("{interfaces: ['1.1'], selfip_v4s: [10.0.0.1/24], prefixlen_v4: 24}"),
			`f.yaml:4:42: "10.0.0.1/24": a CIDR where a bare address belongs; write 10.0.0.1 (the length has a field of its own)`},
		{"v6 among v4", vlan("{interfaces: ['1.1'], selfip_v4s: ['::1'], prefixlen_v4: 24}"),
			`f.yaml:4:42: "::1": an IPv6 address where an IPv4 address belongs`},
		{"no prefix length", vlan("{interfaces: ['1.1'], selfip_v4s: [10.0.0.1]}"),
			`f.yaml:4:7: self-IPs without a prefix length; write prefixlen_v4`},
		{"self-IP twice", vlan("{interfaces: ['1.1'], selfip_v4s: [10.0.0.1, 10.0.0.1], prefixlen_v4: 24}"),
			`f.yaml:4:52: "10.0.0.1": an address for two TMMs; write each once`},
		{"tag", vlan("{interfaces: ['1.1'], tag: 4095}"), `f.yaml:4:34: "4095": no 802.1Q tag; write 1 to 4094, or 0 for untagged`},
		{"mtu", vlan("{interfaces: ['1.1'], mtu: 900}"), `f.yaml:4:34: "900": MTU outside 1500 to 9000`},
		{"interface name", vlan("{interfaces: [net1]}"),
			`f.yaml:4:21: "net1": no interface of TMM; write "1.1" for the first of tmm.cniNetworks, "1.2" for the second`},
		{"interface as number", vlan("{interfaces: [1.1]}"), `f.yaml:4:21: "1.1": a number where a string belongs; write it in quotes: "1.1"`},
		{"no interface", vlan("{tag: 5}"), `f.yaml:4:7: a VLAN without an interface; write interfaces: ["1.1"]`},
		{"list for a mapping", vlan("[a]"), `f.yaml:4:7: a list where a mapping belongs`},
		{"allowed port", vlan("{interfaces: ['1.1'], allowed_services: [{protocol: tcp, port: ospf}]}"), `f.yaml:4:70: "ospf": no port; write a number like 179, or a name like bgp`},
		{"allowed port too high", vlan("{interfaces: ['1.1'], allowed_services: [{protocol: tcp, port: 65536}]}"), `f.yaml:4:70: "65536": port outside 0..65535`},
		{"port too high", ingress("{destinationAddress: 192.0.2.1, destinationPort: 65536}"), `f.yaml:5:56: "65536": port outside 0..65535`},
		{"port negative", ingress("{destinationAddress: 192.0.2.1, destinationPort: -1}"), `f.yaml:5:56: "-1": port outside 0..65535`},
		{"port as string", ingress("{destinationAddress: 192.0.2.1, destinationPort: http}"), `f.yaml:5:56: "http": a string where a whole number belongs`},
		{"cidr as destination", ingress("{destinationAddress: 192.0.2.0/24}"),
			`f.yaml:5:28: "192.0.2.0/24": a CIDR where a bare address belongs; write 192.0.2.0 (the length has a field of its own)`},
		{"no address", ingress("{destinationAddress: web}"), `f.yaml:5:28: "web": no IP address; write one like 192.0.2.10 or 2001:db8::10`},
		{"no destination", ingress("{destinationPort: 80}"), `f.yaml:5:7: a virtual server without an address; write destinationAddress, ipv6destinationAddress or both`},
		{"snat", ingress("{destinationAddress: 192.0.2.1, snat: AUTO}"), `f.yaml:5:45: "AUTO": unknown source translation; write SRC_TRANS_NONE, SRC_TRANS_AUTOMAP or SRC_TRANS_SNATPOOL`},
		{"snat without a pool", ingress("{destinationAddress: 192.0.2.1, snat: SRC_TRANS_SNATPOOL}"),
			`f.yaml:5:45: "SRC_TRANS_SNATPOOL": a pool without a name; write snatpool: and the spec.name of a F5SPKSnatpool`},
		{"wildcard with a length", ingress("{destinationAddress: 0.0.0.0, destinationPrefixLen: 8}"),
			`f.yaml:5:59: "8": 0.0.0.0 is every address; leave destinationPrefixLen out, or write the subnet's address`},
		{"length 0", ingress("{destinationAddress: 192.0.2.0, destinationPrefixLen: 0}"),
			`f.yaml:5:61: "0": a prefix length of 0 means every address; write destinationAddress: 0.0.0.0`},
		{"host of a subnet", ingress("{destinationAddress: 192.0.2.10, destinationPrefixLen: 24}"),
			`f.yaml:5:28: "192.0.2.10": a host of a subnet of length 24; write 192.0.2.0`},
		{"length too long", ingress("{ipv6destinationAddress: '2001:db8::', ipv6destinationPrefixLen: 129}"),
			`f.yaml:5:72: "129": prefix length outside 1 to 128`},
		{"length without an address", ingress("{destinationAddress: 192.0.2.1, ipv6destinationPrefixLen: 64}"),
			`f.yaml:5:65: "64": a prefix length without an address; write ipv6destinationAddress`},
		{"multicast", ingress("{destinationAddress: 224.0.0.1}"), `f.yaml:5:28: "224.0.0.1": no address that clients reach; write a unicast one`},
		{"egress snatType", egress("{snatType: AUTO}"), `f.yaml:4:18: "AUTO": unknown source translation; write SRC_TRANS_NONE, SRC_TRANS_AUTOMAP or SRC_TRANS_SNATPOOL`},
		{"egress of a pool with a long name", egress("{egressSnatpool: " + strings.Repeat("p", 254) + "}"),
			`f.yaml:4:24: "` + strings.Repeat("p", 60) + `": a name of 254 bytes; pools have at most 253`},
		{"egress without its pool", egress("{snatType: SRC_TRANS_SNATPOOL}"),
			`f.yaml:4:18: "SRC_TRANS_SNATPOOL": a pool without a name; write egressSnatpool: and the spec.name of a F5SPKSnatpool`},
		{"nat64 /64", egress("{nat64Enabled: true, nat64Ipv6Subnet: '64:ff9b::/64'}"), `f.yaml:4:45: "64:ff9b::/64": prefix length is not 96; write one like 64:ff9b::/96`},
		{"nat64 host bits", egress("{nat64Ipv6Subnet: '64:ff9b::1/96'}"), `f.yaml:4:25: "64:ff9b::1/96": bits behind the prefix length are set; write 64:ff9b::/96`},
		{"nat64 IPv4", egress("{nat64Ipv6Subnet: 10.0.0.0/24}"), `f.yaml:4:25: "10.0.0.0/24": no subnet of the family; write one like 64:ff9b::/96`},
		{"nat46 bare", egress("{dnsNat46Enabled: true, dnsNat46Ipv4Subnet: 10.2.2.0}"), `f.yaml:4:51: "10.2.2.0": no subnet of the family; write one like 10.2.2.0/24`},
		{"nat46 without a subnet", egress("{dnsNat46Enabled: true}"), `f.yaml:4:25: "true": DNS46 without addresses; write dnsNat46Ipv4Subnet: and a subnet like 10.2.2.0/24`},
		{"DNS cache without name servers", dnsCache("[]"), `f.yaml:4:7: no name server for every name; write forwardZones: [{forwardZone: ".", nameServers: [{ipAddress: 192.0.2.53}]}]`},
		{"name server without an address", dnsCache("[{forwardZone: ., nameServers: [{port: 53}]}]"), "f.yaml:4:54: no address of a name server; write ipAddress: and one like 192.0.2.53\nf.yaml:4:7: no name server for every name; write forwardZones: [{forwardZone: \".\", nameServers: [{ipAddress: 192.0.2.53}]}]"},
		{"name server of nobody", dnsCache("[{nameServers: [{ipAddress: 0.0.0.0}]}]"), `f.yaml:4:38: no address of a name server; write ipAddress: and one like 192.0.2.53`},
		{"TTL of nothing", egress("{maxDNS46TTL: 0}"), `f.yaml:4:21: "0": answers that nobody may keep; write 1 second or more, like 120`},
		{"TTL too long", egress("{maxDNS46TTL: 4294967296}"), `f.yaml:4:21: "4294967296": outside the range of the field; 0 to 4294967295`},
		{"pool CIDR", snatpool("{name: p, addressList: [[192.0.2.0/24]]}"), `f.yaml:4:32: "192.0.2.0/24": a CIDR where a bare address belongs; write 192.0.2.0 (the length has a field of its own)`},
		{"pool address twice", snatpool("{name: p, addressList: [[192.0.2.1], [192.0.2.1]]}"),
			`f.yaml:4:45: "192.0.2.1": an address for two TMMs; write each once, or sharedSnatAddressEnabled: true`},
		{"pool address twice in a shared list", snatpool("{name: p, sharedSnatAddressEnabled: true, addressList: [[192.0.2.1, 192.0.2.1]]}"),
			`f.yaml:4:75: "192.0.2.1": an address for two TMMs; write each once, or sharedSnatAddressEnabled: true`},
		{"pool empty", snatpool("{name: p, addressList: []}"), `f.yaml:4:30: a pool without an address; write addressList: [[192.0.2.100], [192.0.2.101]], a list for each TMM`},
		{"pool loopback", snatpool("{name: p, addressList: [['::1']]}"), `f.yaml:4:32: "::1": no address that others can answer; write one like 192.0.2.100`},
		{"pool name too long", snatpool("{name: " + strings.Repeat("p", 254) + ", addressList: [[192.0.2.1]]}"),
			`f.yaml:4:14: "` + strings.Repeat("p", 60) + `": a name of 254 bytes; write at most 253`},
		{"link-local gateway", staticRoute("{destination_v6: '::', gateway_v6: 'fe80::1'}"),
			`f.yaml:4:42: "fe80::1": a link-local gateway without an interface; write interface: and the name of the F5SPKVlan`},
		{"gateway unspecified", staticRoute("{destination: 10.0.0.0, prefixLen: 8, gateway: 0.0.0.0}"), `f.yaml:4:54: "0.0.0.0": no address of one host; write the gateway's own`},
		{"route prefix length", staticRoute("{destination: 10.0.0.0, prefixLen: 33, gateway: 10.0.0.1}"), `f.yaml:4:42: "33": prefix length outside 0 to 32`},
		{"front end", "tmm:\n  frontends: {'1.1': xdq}\n", `f.yaml:2:22: "xdq": no front end; write auto, tcx, clsact, xdp, xdp-generic`},
		{"drain of no unit", "tmm:\n  drain: 300\n", `f.yaml:2:10: "300": a number where a string belongs; write it in quotes: "300"`},
		{"drain of no time", "tmm:\n  drain: soon\n", `f.yaml:2:10: "soon": no time to serve on; write one like "300ms" or "2s", or "0s" for not at all`},
		{"drain before now", "tmm:\n  drain: -1s\n", `f.yaml:2:10: "-1s": no time to serve on; write one like "300ms" or "2s", or "0s" for not at all`},
		{"drain of a stop of no time", "tmm:\n  stopDrain: -1s\n", `f.yaml:2:14: "-1s": no time to serve on; write one like "10s", or "0s" for the drain time alone`},
		{"damping of no number", "tmm:\n  damping: {free: -1}\n", `f.yaml:2:19: "-1": no number of withdrawals; write 0 or more`},
		{"damping of no time", "tmm:\n  damping: {hold: 1s, max: soon, halfLife: -1s}\n",
			`f.yaml:2:28: "soon": no time; write one like "500ms" or "30s"` + "\n" + `f.yaml:2:44: "-1s": no time; write one like "500ms" or "30s"`},
		{"front end of no interface", "tmm:\n  frontends: {net1: xdp}\n", `f.yaml:2:15: "net1": no interface of TMM; write "1.1" for the first of tmm.cniNetworks, "1.2" for the second`},
		{"BGP key", routing("bgp: {asns: 65001}"), `f.yaml:5:15: "asns": unknown field; did you mean asn?`},
		{"BGP neighbor's key", routing("bgp: {neighbors: [{ip: 192.0.2.1, holdtime: 9}]}"), `f.yaml:5:43: "holdtime": unknown field; did you mean holdTime?`},
		{"BGP key like no other", routing("bgpAsNumber: 1"), `f.yaml:5:9: "bgpAsNumber": unknown field; known here: bgp, prefixList, routeMaps`},
		{"BGP ASN", routing("bgp: {asn: 23456}"), `f.yaml:5:20: "23456": a reserved AS number; write 1 to 4294967294, not 23456 (private ones begin at 64512)`},
		{"BGP neighbor's ASN", routing("bgp: {neighbors: [{asn: 4294967295}]}"), `f.yaml:5:33: "4294967295": a reserved AS number; write 1 to 4294967294, not 23456 (private ones begin at 64512)`},
		{"BGP hops", routing("bgp: {neighbors: [{ebgpMultihop: 256}]}"), `f.yaml:5:42: "256": no number of hops; write 1 to 255, or leave it out for a neighbor on the same network`},
		{"BGP restart time", routing("bgp: {gracefulRestartTime: 4096}"), `f.yaml:5:36: "4096": no restart time; write 1 to 4095 seconds, or 0 for no graceful restart`},
		{"BGP hold time", routing("bgp: {neighbors: [{holdTime: 2}]}"), `f.yaml:5:38: "2": too short a time; write 3 to 65535 seconds`},
		{"BGP keepalive", routing("bgp: {neighbors: [{keepalive: 9}]}"), `f.yaml:5:39: "9": the session would end first; write less than the hold time of 9 seconds`},
		{"prefix rule", routing("prefixList: [{name: l, prefix: 192.0.2.0/24 lt 32}]"), `f.yaml:5:40: "192.0.2.0/24 lt 32": no rule; write one like "192.0.2.0/24 le 32", or any`},
		{"prefix list of no name", routing("bgp: {prefixList: [{prefix: any}]}"), `f.yaml:5:28: an entry of no prefix list; write name`},
		{"route map of no name", routing("bgp: {routeMaps: [{match: l}]}"), `f.yaml:5:27: an entry of no route map; write name`},
		{"community", routing("routeMaps: [{name: m, set: {communities: ['65001:100', '65536:1']}}]"), `f.yaml:5:64: "65536:1": no community; write one like "65001:100", or no-export, no-advertise, no-peer`},
		{"MED", routing("routeMaps: [{name: m, set: {med: -1}}]"), `f.yaml:5:42: "-1": outside the range of the field; 0 to 4294967295`},
		{"BGP password", routing("bgp: {neighbors: [{password: " + strings.Repeat("x", 81) + "}]}"), `f.yaml:5:38: a password of 81 bytes; write at most 80 (TCP MD5)`},
		{"idle timeout", ingress("{destinationAddress: 192.0.2.1, idleTimeout: 0}"), `f.yaml:5:52: "0": idle timeout outside 1 to 4294967295 seconds`},
		{"idle timeout too long", ingress("{destinationAddress: 192.0.2.1, idleTimeout: 4294967296}"), `f.yaml:5:52: "4294967296": outside the range of the field; 0 to 4294967295`},
		{"nad no JSON", nad(`{"type": "macvlan",}`), "f.yaml:5:11: \"{\\\"type\\\": \\\"macvlan\\\",}\": config is no JSON object: invalid character '}' looking for beginning of object key string"},
		{"nad mtu", nad(`{"type": "macvlan", "master": "a", "mtu": 9}`), `f.yaml:5:48: "mtu": mtu 9 in the config is outside 68 to 65535`},
		{"nad mtu a string", nad(`{"type": "macvlan", "mtu": "9"}`), `f.yaml:5:33: "mtu": string where a whole number belongs; write mtu: 1500`},
		{"nad mode", nad(`{"type": "macvlan", "mode": "brigde"}`), `f.yaml:5:41: "brigde": unknown macvlan mode "brigde"; write bridge, private, vepa or passthru`},
		{"nad cniVersion", nad(`{"cniVersion": "2.0.0", "type": "macvlan"}`), `f.yaml:5:28: "2.0.0": incompatible CNI versions: config is "2.0.0"; write one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0`},
		{"nad mac", nad(`{"type": "macvlan", "mac": "01:00:00:00:00:01"}`), `f.yaml:5:40: "01:00:00:00:00:01": mac "01:00:00:00:00:01" is no MAC address of one interface; write one like 02:00:00:00:00:01`},
		{"nad subnet", nad(`{"type": "macvlan", "ipam": {"type": "host-local", "subnet": "192.0.2.1/24"}}`), `f.yaml:5:50: "host-local": host-local: invalid range set 0: network has host bits set; for a length of 24 write 192.0.2.0/24`},
		{"nad device", nad(`{"type": "host-device"}`), `f.yaml:5:11: "{\"type\": \"host-device\"}": host-device without a device; write device, hwaddr, kernelpath or pciBusID`},
		{"no kind", "apiVersion: v1\n", `f.yaml:1:1: no kind; write kind: (Helm values have a top key tmm or controller)`},
		{"no name", "apiVersion: v1\nkind: Pod\n", `f.yaml:1:1: Pod without a name; write metadata.name`},
		{"path as name", "apiVersion: v1\nkind: Other\nmetadata: {name: ../x}\n", `f.yaml:3:18: "../x": no name; write lower-case letters, digits, - and . only`},
		{"second document", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n--- # two\napiVersion: v1\nkind: Node\nmetadata:\n  name: [x]\n",
			`f.yaml:8:9: Node without a name; write metadata.name`},
		{"no YAML", "a: [1\n", `f.yaml:1:4: "[": sequence end token ']' not found`},
		{"key twice", "a: 1\na: 2\n", `f.yaml:2:1: "a": mapping key "a" already defined at [1:1]`},
		{"snatpool", "apiVersion: k8s.f5net.com/v1\nkind: F5SPKSnatpool\nmetadata: {name: p}\nspec: {addressList: [[x]]}\n",
			`f.yaml:4:23: "x": no IP address; write one like 192.0.2.10 or 2001:db8::10`},
		{"lists and addresses", snatpool("{name: p, addressList: [[192.0.2.1], 192.0.2.2]}"), `f.yaml:4:44: "192.0.2.2": a string where a list belongs`},
		{"route without gateway", "apiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute\nmetadata: {name: p}\nspec: {destination: 0.0.0.0}\n",
			`f.yaml:4:7: a route without a gateway; write gateway`},
		{"route of two families", "apiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute\nmetadata: {name: p}\nspec: {destination: 0.0.0.0, gateway: '::1'}\n",
			`f.yaml:4:39: "::1": destination and gateway of different families`},
		{"service port", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 70000}]}\n", `f.yaml:4:23: "70000": port outside 0..65535`},
		{"alias bomb", bomb(), "f.yaml:1:1: no kind; write kind: (Helm values have a top key tmm or controller)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := decodeString(t, "f.yaml", tt.text)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// routing is Helm values with a routing configuration.
func routing(config string) string {
	return "tmm:\n  dynamicRouting:\n    tmmRouting:\n      config:\n        " + config + "\n"
}

func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	return b.String()
}

func TestAliasBombInValues(t *testing.T) {
	_, _, err := decodeString(t, "f.yaml", bomb()+"tmm: {topologyManager: *a39}\n")
	if err != nil {
		return // refused: fine as long as it returns
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown field", ingress("{destinationAddress: 192.0.2.1, destinationport: 80}"), `f.yaml:5:39: unknown field "destinationport" is ignored; did you mean destinationPort?`},
		{"service inside spec", ingress("{destinationAddress: 192.0.2.1, service: {name: x}}"), `f.yaml:5:39: unknown field "service" is ignored; service stands beside spec, not inside it`},
		{"method", ingress("{destinationAddress: 192.0.2.1, loadBalancingMethod: FASTEST}"), `f.yaml:5:60: loadBalancingMethod "FASTEST" is kept, ROUND_ROBIN is used; RATIO_LEAST_CONN_MEMBER and MAGLEV are known, too`},
		{"down action", ingress("{destinationAddress: 192.0.2.1, serviceDownAction: PANIC}"), `f.yaml:5:58: serviceDownAction is kept, NONE is used; write REJECT, DROP or RESELECT for another`},
		{"persistence", ingress("{destinationAddress: 192.0.2.1, persistence: cookie}"), `f.yaml:5:52: persistence is kept, none is used; write source_addr, or {type: source_addr, timeout: 180} with seconds`},
		{"persistence timeout", ingress("{destinationAddress: 192.0.2.1, persistence: {type: source_addr, timeout: 0}}"), `f.yaml:5:52: persistence is kept, source_addr is used; write source_addr, or {type: source_addr, timeout: 180} with seconds`},
		{"client timeout", ingress("{destinationAddress: 192.0.2.1, clientTimeout: 5}"), `f.yaml:5:54: clientTimeout is kept and not used; idleTimeout is`},
		{"pool with automap", ingress("{destinationAddress: 192.0.2.1, snat: SRC_TRANS_AUTOMAP, snatpool: p}"), `f.yaml:5:74: snatpool is not used with snat: SRC_TRANS_AUTOMAP; write SRC_TRANS_SNATPOOL to use it`},
		{"egress pool with none", egress("{snatType: SRC_TRANS_NONE, egressSnatpool: p}"), `f.yaml:4:50: egressSnatpool is not used with snatType: SRC_TRANS_NONE; write SRC_TRANS_SNATPOOL to use it`},
		{"vxlan", egress("{pseudoCNIConfig: {namespaces: [apps], appPodInterface: eth0, vxlan: {create: true, key: 101}}}"), `f.yaml:4:76: vxlan is kept and not used; pods reach TMM by the cluster network's own routes`},
		{"nothing disabled", egress("{vlans: {disableListedVlans: true}}"), `f.yaml:4:15: disableListedVlans without vlanList disables nothing`},
		{"allowed protocol", vlan("{interfaces: ['1.1'], allowed_services: [{protocol: ospf, port: 1}]}"), `f.yaml:4:59: protocol "ospf" is not known and allows nothing; tcp, udp, sctp, icmp and any are`},
		{"zone of its own", dnsCache("[{forwardZone: ., nameServers: [{ipAddress: 192.0.2.53}]}, {forwardZone: lab, nameServers: [{ipAddress: 192.0.2.54}]}]"), `f.yaml:4:95: a zone of its own is kept and not used: the name servers of "." are asked for every name`},
		{"route type", staticRoute("{destination: 10.0.0.0, prefixLen: 8, gateway: 10.1.0.1, type: pool}"), `f.yaml:4:70: type "pool" is kept, gateway is used`},
		{"pool without spec.name", snatpool("{addressList: [[192.0.2.1]]}"), `f.yaml:4:7: no spec.name: metadata.name "m" is the pool's name`},
		{"nad vlan", nad(`{"type": "macvlan", "master": "a", "vlan": 5}`), `f.yaml:5:48: vlan in the config of a NetworkAttachmentDefinition; the tag belongs to F5SPKVlan`},
		{"nad unknown field", nad(`{"type": "macvlan", "masterr": "a"}`), `f.yaml:5:33: unknown field "masterr" is ignored by macvlan; did you mean master?`},
		{"nad ipam", nad(`{"type": "macvlan", "master": "a", "ipam": {"type": "dhcp"}}`), `f.yaml:5:65: ipam of type "dhcp" is not run here: the interface comes up without addresses; write host-local, static or {}`},
		{"flat list", snatpool("{name: p, addressList: [10.0.0.1]}"),
			`f.yaml:4:30: a flat addressList counts as the first TMM's; write a list of lists, the Nth for the Nth TMM`},
		{"unknown kind", "apiVersion: v9\nkind: Thing\nmetadata: {name: p}\n", `f.yaml:1:1: unknown kind "Thing" is kept and not used`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings, err := decodeString(t, "f.yaml", tt.text)
			if err != nil || len(warnings) != 1 {
				t.Fatalf("%v, %v", warnings, err)
			}
			if diff := cmp.Diff(tt.want, warnings[0].String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzSplitDecode looks for panics, endless work, and places outside the file.
func FuzzSplitDecode(f *testing.F) {
	for _, name := range []string{"nads.yaml", "crs.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for _, d := range documents(data) {
			f.Add(d.text)
		}
	}
	f.Add([]byte(bomb()))
	f.Add([]byte("--- {a: b}\n...\n--- x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objs, _ := Split("f.yaml", data)
		lines := strings.Count(string(data), "\n") + 1
		for _, o := range objs {
			if o.Line < 1 || o.Line > lines {
				t.Errorf("%s at line %d of %d", o, o.Line, lines)
			}
			if strings.ContainsAny(o.StoreName(), "/\x00") {
				t.Errorf("store name %q", o.StoreName())
			}
		}
		res, _, _ := Decode(objs)
		Check(res)
	})
}
