package kubesim_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/kubesim"
)

func TestParseSelections(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []kubesim.Selection
		fails      bool
	}{
		{name: "nothing", text: " "},
		{name: "two of one namespace", text: "default/a, b", want: []kubesim.Selection{
			{Namespace: "default", Name: "a", Interface: "net1"}, {Namespace: "here", Name: "b", Interface: "net2"}}},
		{name: "named interface", text: "x/a@eth7,b", want: []kubesim.Selection{
			{Namespace: "x", Name: "a", Interface: "eth7"}, {Namespace: "here", Name: "b", Interface: "net2"}}},
		{name: "JSON", text: `[{"name":"a","namespace":"x","mac":"02:00:00:00:00:01"},{"name":"b","interface":"up"}]`, want: []kubesim.Selection{
			{Namespace: "x", Name: "a", Interface: "net1", MAC: "02:00:00:00:00:01"}, {Namespace: "here", Name: "b", Interface: "up"}}},
		{name: "fixed addresses", text: `[{"name":"a","ips":["192.0.2.7/24","2001:db8::7/64"]}]`, want: []kubesim.Selection{
			{Namespace: "here", Name: "a", Interface: "net1", IPs: prefixes("192.0.2.7/24", "2001:db8::7/64")}}},
		{name: "an empty address", text: `[{"name":"a","ips":[""]}]`, fails: true},
		{name: "an address without length", text: `[{"name":"a","ips":["192.0.2.7"]}]`, fails: true},
		{name: "too many slashes", text: "a/b/c", fails: true},
		{name: "no name", text: "a/", fails: true},
		{name: "broken JSON", text: "[{", fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := kubesim.ParseSelections(tc.text, "here")
			if (err != nil) != tc.fails {
				t.Fatalf("error %v, want one: %v", err, tc.fails)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(netip.Prefix{})); !tc.fails && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParseSelections: whatever is accepted names its network and interface fully.
func FuzzParseSelections(f *testing.F) {
	for _, s := range []string{"", "a", "ns/a@eth1,b", `[{"name":"a"}]`, "[", "a//b", "@", "/@,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := kubesim.ParseSelections(text, "here")
		if err != nil {
			return
		}
		for _, s := range got {
			if s.Namespace == "" || s.Name == "" || s.Interface == "" {
				t.Errorf("%q: incomplete %+v", text, s)
			}
		}
	})
}
