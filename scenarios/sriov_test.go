package scenarios

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLabelSRIOV: a lab whose TMMs have VFs runs a short list of scenarios under the label sriov, another lab none.
func TestLabelSRIOV(t *testing.T) {
	chosen := func(has ...Capability) []string {
		env := Env{Has: append(has, OVN, SimOVN, RoundRobin, Conntrack, Attached, BGP, IPv6)}
		var out []string
		for _, c := range chapters() {
			for _, s := range c.specs {
				if env.concerns(s.needs) && slices.Contains(env.labels(s), labelSRIOV) {
					out = append(out, c.name+": "+s.name)
				}
			}
		}
		return out
	}
	want := []string{
		"Ingress: TCP over IPv4, source translation automap, hop by hop",
		"Ingress: UDP over IPv6, source translation none, hop by hop",
		"Egress: TCP over IPv4 with the TMM's address, hop by hop",
		"BGP gate: every TMM announces: the router has one equal-cost path to each",
		"SR-IOV: network-status and the PCIDEVICE variables name the VFs that the TMMs have",
	}
	if diff := cmp.Diff(want, chosen(SRIOV)); diff != "" {
		t.Errorf("over VFs (-want +got):\n%s", diff)
	}
	if got := chosen(Macvlan); len(got) > 0 {
		t.Errorf("over macvlan: %v", got)
	}
}
