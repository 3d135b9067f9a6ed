package control

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/api"
)

var update = flag.Bool("update", false, "write the golden files")

// resources reads testdata/base.yaml with replacements, each from → to, and more documents.
func resources(t *testing.T, more string, replace ...string) api.Resources {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "base.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%q is not there to be replaced", replace[i])
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	objs, err := api.Split("base.yaml", []byte(text+"---\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	res, _, err := api.Decode(objs)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func twoInterfaces() Self {
	return Self{Namespace: "default", Name: "f5-tmm-1", Interfaces: []Interface{
		{Number: "1.1", Name: "net1", Network: "default/macvlan-internal", MAC: "02:00:00:00:00:01", MTU: 1500, Mode: "bridge"},
		{Number: "1.2", Name: "net2", Network: "default/macvlan-external", MAC: "02:00:00:00:00:02", MTU: 1500, Mode: "bridge"},
	}}
}

const (
	notReady = "- {addresses: [10.131.1.100], conditions: {ready: true, serving: true, terminating: false}}\n"
	index0   = `tmm-index: "0"`
)

// virtualServers has one resource for each thing that an ingress resource can say.
const virtualServers = `
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web-all, namespace: apps}
service: {name: web}
spec: {destinationAddress: 192.0.2.10, destinationPort: 0, idleTimeout: 4294967295, loadBalancingMethod: MAGLEV}
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web-tls, namespace: apps}
service: {name: web, port: 80}
spec: {destinationAddress: 192.0.2.10, destinationPort: 443, loadBalancingMethod: RATIO_LEAST_CONN_MEMBER, persistence: source_addr, serviceDownAction: RESELECT, snat: SRC_TRANS_NONE}
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web-any, namespace: apps}
service: {name: web, port: 80}
spec: {destinationAddress: 0.0.0.0/0, ipv6destinationAddress: "::", destinationPort: 80, serviceDownAction: DROP}
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web-near, namespace: apps}
service: {name: web, port: 80}
spec: {destinationAddress: 198.51.100.80, ipv6destinationAddress: "2001:db8:51::80", destinationPort: 80}
---
apiVersion: v1
kind: Service
metadata: {name: amf, namespace: apps}
spec: {ports: [{port: 38412, protocol: SCTP}, {name: u, port: 5300, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: amf-v4, namespace: apps, labels: {kubernetes.io/service-name: amf}}
addressType: IPv4
ports: [{name: "", port: 38412, protocol: SCTP}, {name: u, port: 5300, protocol: UDP}]
endpoints: [{addresses: [10.131.1.110]}]
---
apiVersion: k8s.f5net.com/v1
kind: F5SPKIngressNGAP
metadata: {name: amf, namespace: apps}
service: {name: amf, port: 38412}
spec: {destinationAddress: 192.0.2.20, destinationPort: 38412, serviceDownAction: RESET}
---
apiVersion: ingressudp.k8s.f5net.com/v1
kind: F5SPKIngressUDP
metadata: {name: net, namespace: apps}
service: {name: amf, port: 5300}
spec: {destinationAddress: 203.0.113.0, destinationPrefixLen: 24, destinationPort: 5300, persistence: {type: source_addr, timeout: 60}}
`

const usePool = "dualStackEnabled: true, snatType: SRC_TRANS_SNATPOOL, egressSnatpool: each"

// pools are a pool with a list for each TMM, a shared one, and one that nothing refers to.
const pools = `
apiVersion: k8s.f5net.com/v1
kind: F5SPKSnatpool
metadata: {name: each-of-two}
spec: {name: each, addressList: [[192.0.2.101, "2001:db8:2::101"], [198.51.100.112, 192.0.2.102, "2001:db8:2::102"]]}
---
apiVersion: k8s.f5net.com/v1
kind: F5SPKSnatpool
metadata: {name: all}
spec: {addressList: [[192.0.2.103], [192.0.2.104]], sharedSnatAddressEnabled: true}
---
apiVersion: k8s.f5net.com/v1
kind: F5SPKSnatpool
metadata: {name: none}
spec: {name: none, addressList: [[192.0.2.105], [192.0.2.106]]}
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: web-pool, namespace: apps}
service: {name: web, port: 80}
spec: {destinationAddress: 192.0.2.11, ipv6destinationAddress: "2001:db8:2::11", destinationPort: 80, snat: SRC_TRANS_SNATPOOL, snatpool: each}
`

// useDNS46 is what an egress says to have DNS46 ask nameServers.
const useDNS46 = "dualStackEnabled: true, dnsNat46Enabled: true, dnsNat46Ipv4Subnet: 10.2.2.0/24, maxDNS46TTL: 60, dnsCacheName: default/dns"

const nameServers = `
apiVersion: k8s.f5net.com/v1
kind: F5SPKDnscache
metadata: {name: dns, namespace: default}
spec:
  cacheType: resolver
  forwardZones:
    - {forwardZone: ., nameServers: [{ipAddress: 203.0.113.53}, {ipAddress: "2001:db8:113::53", port: 5353}]}
---
`

const anotherTMM = `
apiVersion: v1
kind: Pod
metadata: {name: f5-tmm-2, namespace: default, annotations: {spklab.dev/tmm-index: "1"}}
`

// namespaceEgress is an egress for the pods of a namespace, with pods of it and others.
const namespaceEgress = `
apiVersion: k8s.f5net.com/v3
kind: F5SPKEgress
metadata: {name: apps, namespace: default}
spec: {snatType: SRC_TRANS_NONE, dualStackEnabled: true, pseudoCNIConfig: {namespaces: [apps, empty]}}
---
apiVersion: v1
kind: Pod
metadata: {name: app-1, namespace: apps}
status: {podIPs: [{ip: 10.131.1.100}, {ip: "fd01:0:0:1::100"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: apps}
status: {phase: Succeeded, podIPs: [{ip: 10.131.1.101}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: apps}
spec: {hostNetwork: true, containers: []}
status: {podIPs: [{ip: 10.144.100.11}]}
`

// sharedAddress is an egress for the pods of a second namespace, one of which has taken over the
// address of a pod of the first.
const sharedAddress = namespaceEgress + `---
apiVersion: k8s.f5net.com/v3
kind: F5SPKEgress
metadata: {name: next, namespace: default}
spec: {snatType: SRC_TRANS_AUTOMAP, pseudoCNIConfig: {namespaces: [next]}}
---
apiVersion: v1
kind: Pod
metadata: {name: app-1, namespace: next}
status: {podIPs: [{ip: 10.131.1.100}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app-2, namespace: next}
status: {podIPs: [{ip: 10.131.1.120}]}
`

const allowed = `prefixlen_v6: 64
  allowed_services: [{protocol: tcp, port: "179"}, {protocol: udp, port: bfd}, {protocol: any, port: 22}, {protocol: tcp, port: ssh}, {protocol: icmp, port: 0}]
---`

// services has static routes of every form.
const services = `
apiVersion: k8s.f5net.com/v1
kind: F5SPKStaticRoute
metadata: {name: lab}
spec: {destination: 10.20.0.0, prefixLen: 16, gateway: 198.51.100.2, interface: external, destination_v6: "2001:db8:20::", prefixlen_v6: 48, gateway_v6: "fe80::2"}
---
apiVersion: k8s.f5net.com/v1
kind: F5SPKStaticRoute
metadata: {name: number}
spec: {destination: 10.30.0.0, prefixLen: 16, gateway: 10.144.100.2, interface: "1.1"}
`

func TestComputeGolden(t *testing.T) {
	tests := []struct {
		name    string
		self    Self
		more    string
		replace []string
	}{
		{name: "base", self: twoInterfaces()},
		{name: "second", self: twoInterfaces(), replace: []string{index0, `tmm-index: "1"`}},
		{name: "no-self-ip", self: twoInterfaces(), replace: []string{index0, `tmm-index: "2"`}},
		{name: "no-internal", self: twoInterfaces(), replace: []string{"internal: true", "internal: false"}},
		{name: "draining", self: twoInterfaces(), replace: []string{notReady, ""}},
		{name: "no-interfaces", self: Self{Namespace: "default", Name: "f5-tmm-1"}},
		{name: "tagged", self: twoInterfaces(), replace: []string{`interfaces: ["1.2"]`, "interfaces: [\"1.2\"]\n  tag: 100"}},
		{name: "virtual-servers", self: twoInterfaces(), more: virtualServers},
		{name: "snat-pools", self: twoInterfaces(), more: pools, replace: []string{index0, `tmm-index: "1"`, "dualStackEnabled: true", usePool}},
		{name: "snat-pools-short", self: twoInterfaces(), more: strings.ReplaceAll(pools, `, [198.51.100.112, 192.0.2.102, "2001:db8:2::102"]`, ""), replace: []string{index0, `tmm-index: "1"`, "dualStackEnabled: true", usePool}},
		{name: "snat-pools-shared", self: twoInterfaces(), more: pools, replace: []string{index0, `tmm-index: "1"`, "dualStackEnabled: true", "snatType: SRC_TRANS_SNATPOOL, egressSnatpool: all"}},
		{name: "nat64", self: twoInterfaces(), replace: []string{"dualStackEnabled: true", "dualStackEnabled: true, nat64Enabled: true, dnsNat46Enabled: true, dnsNat46Ipv4Subnet: 10.2.2.0/24, vlans: {vlanList: [external], disableListedVlans: true}"}},
		{name: "dns46", self: twoInterfaces(), more: nameServers, replace: []string{"dualStackEnabled: true", useDNS46}},
		{name: "egress-namespaces", self: twoInterfaces(), more: sharedAddress},
		{name: "services-routes", self: twoInterfaces(), more: services, replace: []string{"prefixlen_v6: 64\n---", allowed, "tmm:\n", "tmm:\n  frontends: {'1.1': tcx, '1.2': xdp}\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := json.MarshalIndent(Compute(resources(t, tt.more, tt.replace...), tt.self), "", " ")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", tt.name+".golden")
			if *update {
				if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("%s (-want +got), write it with -update:\n%s", path, diff)
			}
		})
	}
}

// tagging is a network whose VFs put a tag on what the pod sends.
const tagging = `apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: macvlan-external, namespace: default}
spec: {config: '{"type": "sriov", "vlan": 30}'}
`

// TestComputeConditions changes one thing each and looks at what is said and what stays
// announced.
func TestComputeConditions(t *testing.T) {
	both := []string{"192.0.2.10/32", "2001:db8:2::10/128"}
	tests := []struct {
		name     string
		more     string
		replace  []string
		want     []string // Reason Object
		announce []string
	}{
		{name: "sound", announce: both},
		{name: "service missing", replace: []string{"service: {name: web", "service: {name: wbe"}, want: []string{"ServiceMissing F5SPKIngressTCP apps/web"}},
		{name: "service port missing", replace: []string{"service: {name: web, port: 80", "service: {name: web, port: 81"}, want: []string{"ServiceMissing F5SPKIngressTCP apps/web"}},
		{name: "no IPv6 endpoint", replace: []string{`- {addresses: ["fd01:0:0:1::100"]}`, "[]"}, want: []string{"NoEndpoints F5SPKIngressTCP apps/web"}, announce: both[:1]},
		{name: "only draining", replace: []string{notReady, ""}, want: []string{"NoEndpoints F5SPKIngressTCP apps/web"}, announce: both[1:]},
		{name: "interface beyond", replace: []string{`interfaces: ["1.2"]`, `interfaces: ["1.3"]`},
			want: []string{"InterfaceMissing F5SPKVlan default/external", "Input F5SPKStaticRoute default/default-v4", "Input F5SPKStaticRoute default/default-v4"}},
		{name: "tagged on a VF that tags", replace: []string{`interfaces: ["1.2"]`, "interfaces: [\"1.2\"]\n  tag: 100"}, more: tagging, want: []string{"TwoTags F5SPKVlan default/external"}, announce: both},
		{name: "untagged on a VF that tags", more: tagging, announce: both},
		{name: "fewer IPv6 self-IPs", replace: []string{index0, `tmm-index: "1"`, `selfip_v6s: ["2001:db8:51::16", "2001:db8:51::17"]`, `selfip_v6s: ["2001:db8:51::16"]`},
			want: []string{"NoSelfIP F5SPKVlan default/external"}, announce: both[:1]},
		{name: "no index", replace: []string{index0, `other: "0"`}, want: []string{"NoSelfIP Pod default/f5-tmm-1"}},
		{name: "route map denies", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, routeMap: m", "asn: 65001", "routeMaps: [{name: m, match: l}]\n          prefixList: [{name: l, prefix: 198.51.100.0/24 le 32}]\n          asn: 65001"},
			want: []string{"Filtered HelmValues spk"}, announce: both[1:]},
		{name: "route map permits", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, routeMap: m", "asn: 65001", "routeMaps: [{name: m, match: l}]\n          prefixList: [{name: l, prefix: 192.0.2.0/24 le 32}]\n          asn: 65001"},
			announce: both},
		{name: "route map unknown", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, routeMap: m"}, want: []string{"Input HelmValues spk"}, announce: both},
		{name: "no family accepted", replace: []string{"acceptsIPv4: true", "acceptsIPv4: false"}, want: []string{"Input HelmValues spk"}, announce: both[1:]},
		{name: "dynamic routing off", replace: []string{"enabled: true", "enabled: false"}},
		{name: "destination is a self-IP", replace: []string{"destinationAddress: 192.0.2.10", "destinationAddress: 198.51.100.16"}, want: []string{"Conflict F5SPKIngressTCP apps/web"}, announce: both[1:]},
		{name: "destination twice", more: "apiVersion: ingresstcp.k8s.f5net.com/v1\nkind: F5SPKIngressTCP\nmetadata: {name: zweb, namespace: apps}\nservice: {name: web, port: 80}\nspec: {destinationAddress: 192.0.2.10, destinationPort: 80}\n",
			want: []string{"Conflict F5SPKIngressTCP apps/zweb"}, announce: both},
		{name: "SNAT pool", more: pools, replace: []string{"dualStackEnabled: true", usePool},
			announce: []string{"192.0.2.10/32", "192.0.2.11/32", "192.0.2.101/32", "2001:db8:2::10/128", "2001:db8:2::11/128", "2001:db8:2::101/128"}},
		{name: "SNAT pool with too few lists", more: strings.ReplaceAll(pools, `, [198.51.100.112, 192.0.2.102, "2001:db8:2::102"]`, ""), replace: []string{index0, `tmm-index: "1"`, "dualStackEnabled: true", usePool},
			want: []string{"NoSNATAddress F5SPKSnatpool default/each-of-two", "NoSNATAddress F5SPKEgress default/egress", "NoSNATAddress F5SPKEgress default/egress",
				"NoSNATAddress F5SPKIngressTCP apps/web-pool", "NoSNATAddress F5SPKIngressTCP apps/web-pool"}, announce: both},
		{name: "SNAT pool without IPv6", more: strings.ReplaceAll(pools, `, "2001:db8:2::101"`, ""), replace: []string{"dualStackEnabled: true", usePool},
			want:     []string{"NoSNATAddress F5SPKEgress default/egress", "NoSNATAddress F5SPKIngressTCP apps/web-pool"},
			announce: []string{"192.0.2.10/32", "192.0.2.11/32", "192.0.2.101/32", "2001:db8:2::10/128"}},
		{name: "SNAT pool by metadata.name", more: pools, replace: []string{"dualStackEnabled: true", "egressSnatpool: each-of-two"}, want: []string{"Input F5SPKEgress default/egress"},
			announce: []string{"192.0.2.10/32", "192.0.2.11/32", "192.0.2.101/32", "2001:db8:2::10/128", "2001:db8:2::11/128", "2001:db8:2::101/128"}},
		{name: "SNAT pool missing", replace: []string{"dualStackEnabled: true", "egressSnatpool: x"}, want: []string{"Input F5SPKEgress default/egress"}, announce: both},
		{name: "SNAT pool filtered", more: pools, replace: []string{"dualStackEnabled: true", usePool, "acceptsIPv4: true", "acceptsIPv4: true, routeMap: m",
			"asn: 65001", "routeMaps: [{name: m, match: l}]\n          prefixList: [{name: l, prefix: 192.0.2.0/27 le 32}]\n          asn: 65001"},
			want: []string{"Filtered HelmValues spk"}, announce: []string{"192.0.2.10/32", "192.0.2.11/32", "2001:db8:2::10/128", "2001:db8:2::11/128", "2001:db8:2::101/128"}},
		{name: "SNAT pool of taken addresses", more: strings.ReplaceAll(pools, "[[192.0.2.101,", "[[198.51.100.16, 192.0.2.10, 192.0.2.101,"), replace: []string{"dualStackEnabled: true", usePool},
			want:     []string{"Conflict F5SPKSnatpool default/each-of-two", "Conflict F5SPKSnatpool default/each-of-two"},
			announce: []string{"192.0.2.10/32", "192.0.2.11/32", "192.0.2.101/32", "2001:db8:2::10/128", "2001:db8:2::11/128", "2001:db8:2::101/128"}},
		{name: "two egresses for all pods", more: "apiVersion: k8s.f5net.com/v3\nkind: F5SPKEgress\nmetadata: {name: more}\nspec: {}\n", want: []string{"Conflict F5SPKEgress default/more"}, announce: both},
		{name: "two egresses for one namespace", more: namespaceEgress + "---\n" + strings.Replace(namespaceEgress, "name: apps,", "name: twice,", 1), want: []string{"Conflict F5SPKEgress default/twice", "Conflict F5SPKEgress default/twice"}, announce: both},
		{name: "NAT64 alone", replace: []string{"dualStackEnabled: true", "nat64Enabled: true"}, want: []string{"Input F5SPKEgress default/egress"}, announce: both},
		{name: "NAT64 and NAT46 without translation", replace: []string{"dualStackEnabled: true", "dualStackEnabled: true, nat64Enabled: true, dnsNat46Enabled: true, dnsNat46Ipv4Subnet: 10.2.2.0/24, snatType: SRC_TRANS_NONE"},
			want: []string{"Input F5SPKEgress default/egress", "Input F5SPKEgress default/egress"}, announce: both},
		{name: "DNS46 of several TMMs", more: nameServers + anotherTMM, replace: []string{"dualStackEnabled: true", useDNS46}, want: []string{"NotSupported F5SPKEgress default/egress"}, announce: both},
		{name: "DNS46 that asks nobody", more: nameServers, replace: []string{"dualStackEnabled: true", "dualStackEnabled: true, dnsNat46Enabled: true, dnsNat46Ipv4Subnet: 10.2.2.0/24"}, want: []string{"Input F5SPKEgress default/egress"}, announce: both},
		{name: "DNS46 that asks who is not there", replace: []string{"dualStackEnabled: true", useDNS46}, want: []string{"Input F5SPKEgress default/egress"}, announce: both},
		{name: "DNS46 twice", more: nameServers + strings.Replace(namespaceEgress, "snatType: SRC_TRANS_NONE, dualStackEnabled: true", useDNS46, 1), replace: []string{"dualStackEnabled: true", useDNS46}, want: []string{"Conflict F5SPKEgress default/egress"}, announce: both},
		{name: "beyond maxTmmReplicas", replace: []string{index0, `tmm-index: "1"`, "dualStackEnabled: true", "maxTmmReplicas: 1"}, want: []string{"Input F5SPKEgress default/egress"}, announce: both},
		{name: "egress on two VLANs", replace: []string{"dualStackEnabled: true", "vlans: {vlanList: [internal, external]}"}, want: []string{"Input F5SPKEgress default/egress"}, announce: both},
		{name: "BGP not allowed", replace: []string{"prefixlen_v6: 64\n---\napiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute", "prefixlen_v6: 64\n  allowed_services: [{protocol: udp, port: 179}]\n---\napiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute"},
			want: []string{"Input F5SPKVlan default/external", "Input F5SPKVlan default/external"}, announce: both},
		{name: "BGP allowed", replace: []string{"prefixlen_v6: 64\n---\napiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute", "prefixlen_v6: 64\n  allowed_services: [{protocol: tcp, port: 179}]\n---\napiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute"},
			announce: both},
		{name: "static route by no interface", replace: []string{"gateway: 198.51.100.1,", "gateway: 198.51.100.1, interface: x,"}, want: []string{"Input F5SPKStaticRoute default/default-v4"}, announce: both},
		{name: "static route by another interface", replace: []string{"gateway: 198.51.100.1,", "gateway: 198.51.100.1, interface: internal,"}, want: []string{"Input F5SPKStaticRoute default/default-v4", "Input F5SPKStaticRoute default/default-v4"}, announce: both},
		{name: "static route twice", more: services + "---\n" + strings.Replace(services, "name: lab", "name: lab2", 1), want: []string{"Input F5SPKStaticRoute default/lab2", "Input F5SPKStaticRoute default/lab2"}, announce: both},
		{name: "egress not on the internal VLAN", replace: []string{"dualStackEnabled: true", "vlans: {vlanList: [external]}"}, want: []string{"Input F5SPKEgress default/egress", "Input F5SPKEgress default/egress"}, announce: both},
		{name: "BFD", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, fallover: true"}, announce: both},
		{name: "BFD over several hops", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, fallover: true, ebgpMultihop: 2"}, want: []string{"NotSupported HelmValues spk"}, announce: both},
		{name: "soft reconfiguration", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, softReconf: true"}, want: []string{"NotSupported HelmValues spk"}, announce: both},
		{name: "no soft reconfiguration", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, softReconf: false"}, announce: both},
		{name: "BFD with somebody far", replace: []string{"ip: 198.51.100.1,", "ip: 198.51.101.1, fallover: true,"}, want: []string{"Input HelmValues spk"}, announce: both},
		{name: "one self-IP on two VLANs", replace: []string{"selfip_v6s: [\"fd00:10:144:100::16\"", "selfip_v6s: [\"2001:db8:51::16\""},
			want: []string{"Conflict F5SPKVlan default/internal"}, announce: both},
		{name: "two untagged VLANs", more: "apiVersion: k8s.f5net.com/v1\nkind: F5SPKVlan\nmetadata: {name: x}\nspec: {interfaces: ['1.2'], selfip_v4s: [10.9.0.1, 10.9.0.2], prefixlen_v4: 24}\n",
			want: []string{"NotSupported F5SPKVlan default/x"}, announce: both},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Compute(resources(t, tt.more, tt.replace...), twoInterfaces())
			var got, announce []string
			for _, c := range d.Conditions {
				got = append(got, c.Reason+" "+c.Object)
			}
			for _, a := range d.Announce {
				announce = append(announce, a.Prefix.String())
			}
			sortWant := cmp.Transformer("set", func(s []string) map[string]int {
				m := map[string]int{}
				for _, x := range s {
					m[x]++
				}
				return m
			})
			if diff := cmp.Diff(tt.want, got, sortWant); diff != "" {
				t.Errorf("conditions (-want +got):\n%s\n%+v", diff, d.Conditions)
			}
			if diff := cmp.Diff(tt.announce, announce); diff != "" {
				t.Errorf("announced (-want +got):\n%s", diff)
			}
		})
	}
}

// TestComputeRefuses: a virtual server that the maps could not hold is no part of the state, so that it
// is withdrawn like one that was deleted; the others are.
func TestComputeRefuses(t *testing.T) {
	res := resources(t, strings.ReplaceAll(pools, "name: web-pool", "name: odd"))
	i := slices.IndexFunc(res.IngressTCPs, func(in api.F5SPKIngressTCP) bool { return in.Name == "odd" })
	res.IngressTCPs[i].Name = strings.Repeat("x", 320) // longer than Kubernetes has names
	d := Compute(res, twoInterfaces())
	var refused []string
	for _, c := range d.Conditions {
		if c.Reason == ReasonRefused {
			refused = append(refused, c.Object)
		}
	}
	ref := "F5SPKIngressTCP apps/" + strings.Repeat("x", 320)
	if diff := cmp.Diff([]string{ref, ref}, refused); diff != "" { // a destination of each family
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	for _, vs := range d.State.VirtualServers {
		if vs.Name != "apps/web" {
			t.Errorf("%s is part of the state", vs.Name)
		}
	}
	if len(d.State.VirtualServers) != 2 || len(d.Announce) != 2 {
		t.Errorf("%d virtual servers, announced %v", len(d.State.VirtualServers), d.Announce)
	}
}
