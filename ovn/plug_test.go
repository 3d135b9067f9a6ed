package ovn

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodePorts(t *testing.T) {
	for _, tc := range []struct {
		name, table string
		want        []NodePort
		fails       string
	}{
		{name: "pods' ports among others", table: `{"data":[
			["br-int",["map",[]]],
			["veth1",["map",[["attached-mac","0a:58:0a:83:01:64"],["iface-id","apps_app-1"],["ovn-installed","true"]]]],
			["ens192",["map",[]]]],"headings":["name","external_ids"]}`, want: []NodePort{{Name: "apps_app-1", Link: "veth1"}}},
		{name: "none", table: `{"data":[],"headings":["name","external_ids"]}`},
		{name: "other columns", table: `{"data":[["veth1"]]}`, fails: "1 columns"},
		{name: "no map", table: `{"data":[["veth1",7]]}`, fails: "decode list of ports"},
		{name: "cut off", table: `{"data":[`, fails: "decode list of ports"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decodePorts(tc.table)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("error %v, want %q", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestManagementMAC(t *testing.T) {
	for text, want := range map[string]string{"fd01:0:0:1::2/64 10.131.0.2/23": "0a:58:0a:83:00:02", "fd01:0:0:1::2/64": "0a:58:00:00:00:02"} {
		var addresses []netip.Prefix
		for _, w := range words(text) {
			addresses = append(addresses, netip.MustParsePrefix(w))
		}
		if got := managementMAC(addresses).String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for text, want := range map[string]string{
		"ovn-northd 23.03.1\nOpen vSwitch Library 3.1.0": "23.03.1",
		"ovs-vswitchd (Open vSwitch) 3.1.0\n":            "3.1.0",
		"":                                               "",
	} {
		if got := versionOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
