package control

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
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
		{name: "SNAT pool", replace: []string{"dualStackEnabled: true", "snatType: SRC_TRANS_SNATPOOL"}, want: []string{"NotSupported F5SPKEgress default/egress"}, announce: both},
		{name: "egress not on the internal VLAN", replace: []string{"dualStackEnabled: true", "vlans: {vlanList: [external]}"}, want: []string{"Input F5SPKEgress default/egress"}, announce: both},
		{name: "BFD", replace: []string{"acceptsIPv4: true", "acceptsIPv4: true, fallover: true"}, want: []string{"NotSupported HelmValues spk"}, announce: both},
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

func TestMatchPrefix(t *testing.T) {
	tests := []struct {
		rule, prefix string
		want         bool
		bad          bool
	}{
		{rule: "192.0.2.0/24", prefix: "192.0.2.10/32"},
		{rule: "192.0.2.10/32", prefix: "192.0.2.10/32", want: true},
		{rule: "192.0.2.0/24 le 32", prefix: "192.0.2.10/32", want: true},
		{rule: "192.0.2.0/24 ge 25", prefix: "192.0.2.10/32", want: true},
		{rule: "192.0.2.0/24 ge 25 le 31", prefix: "192.0.2.10/32"},
		{rule: "192.0.2.0/24 le 32", prefix: "192.0.3.10/32"},
		{rule: "any", prefix: "2001:db8::1/128", want: true},
		{rule: "0.0.0.0/0 le 32", prefix: "2001:db8::1/128"},
		{rule: "2001:db8::/32 le 128", prefix: "2001:db8::1/128", want: true},
		{rule: "192.0.2.0/24 le", prefix: "192.0.2.10/32", bad: true},
		{rule: "192.0.2.0/24 le 33", prefix: "192.0.2.10/32", bad: true},
		{rule: "192.0.2.0/24 eq 32", prefix: "192.0.2.10/32", bad: true},
		{rule: "net", prefix: "192.0.2.10/32", bad: true},
		{rule: "", prefix: "192.0.2.10/32", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.rule+" "+tt.prefix, func(t *testing.T) {
			got, err := matchPrefix(tt.rule, netip.MustParsePrefix(tt.prefix))
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
