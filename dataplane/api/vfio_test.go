package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestCheckVFIO: TMM's resources have to stand in the order of its networks.
func TestCheckVFIO(t *testing.T) {
	nad := func(name, resource string) NetworkAttachmentDefinition {
		n := NetworkAttachmentDefinition{}
		n.Namespace, n.Name = "default", name
		if resource != "" {
			n.Annotations = map[string]string{AnnotationResourceName: resource}
		}
		return n
	}
	for _, tc := range []struct {
		name string
		env  string // values of the variables 1, 2, …; - leaves one out
		want []string
	}{
		{"none, as for macvlan", "", nil},
		{"in order", "inside openshift.io/outside", nil},
		{"swapped", "outside inside", []string{
			"error: 1.1 and 1.2 are swapped: tmm.cniNetworks has default/in (resource inside) as 1.1 and default/out (resource outside) as 1.2, and OPENSHIFT_VFIO_RESOURCE_1 is outside, OPENSHIFT_VFIO_RESOURCE_2 is inside; write OPENSHIFT_VFIO_RESOURCE_1: inside, and OPENSHIFT_VFIO_RESOURCE_2: outside"}},
		{"one is missing", "inside", []string{"error: OPENSHIFT_VFIO_RESOURCE_2 is missing: interface 1.2 is default/out, of resource outside; write OPENSHIFT_VFIO_RESOURCE_2: outside"}},
		{"one is wrong", "inside other", []string{"error: OPENSHIFT_VFIO_RESOURCE_2 is other, and interface 1.2 is default/out, of resource outside; write OPENSHIFT_VFIO_RESOURCE_2: outside"}},
		{"both the same", "inside inside", []string{"error: OPENSHIFT_VFIO_RESOURCE_2 is inside, and interface 1.2 is default/out, of resource outside; write OPENSHIFT_VFIO_RESOURCE_2: outside"}},
		{"one too many", "inside outside x third", []string{"warning: OPENSHIFT_VFIO_RESOURCE_4 has no network: tmm.cniNetworks holds 3; write one variable for each network"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &Values{TMM: TMMValues{CNINetworks: "default/in,default/out,default/plain"}}
			for i, value := range strings.Fields(tc.env) {
				v.TMM.CustomEnvVars = append(v.TMM.CustomEnvVars, corev1.EnvVar{Name: vfioPrefix + string(rune('1'+i)), Value: value})
			}
			r := &Resources{Values: v, NADs: []NetworkAttachmentDefinition{nad("in", "openshift.io/inside"), nad("out", "openshift.io/outside"), nad("plain", "")}}
			var got []string
			for _, f := range CheckVFIO(r) {
				got = append(got, f.Severity+": "+f.Message+"; "+f.Hint)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
