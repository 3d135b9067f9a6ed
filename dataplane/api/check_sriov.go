package api

import (
	"fmt"

	"github.com/spklab/spklab/cni"
)

// sriov looks at a VLAN on interfaces that are virtual functions: a tag of the VLAN beside one that the VF
// puts on, and an MTU that the VFs of the policy do not have.
func (c *checker) sriov(v *F5SPKVlan) {
	networks := c.r.Values.Networks()
	for _, number := range v.Spec.Interfaces {
		var n int
		if _, err := fmt.Sscanf(number, "1.%d", &n); err != nil || n < 1 || n > len(networks) {
			continue // of which vlans tells
		}
		if message, hint := c.r.DoubleTag(v, networks[n-1]); message != "" {
			c.add(SeverityError, Ref(KindVLAN, v), hint, "interface %s: %s", number, message)
		}
		if nad := c.r.NAD(networks[n-1]); nad != nil {
			c.policyMTU(v, number, nad)
		}
	}
}

// DoubleTag says why frames of a VLAN by a network, namespace/name, would carry two tags, and what would be
// right; empty where they do not. A VF with a VLAN puts its tag on whatever the pod sends (VST).
func (r *Resources) DoubleTag(v *F5SPKVlan, network string) (message, hint string) {
	nad := r.NAD(network)
	if v.Spec.Tag == 0 || nad == nil {
		return "", ""
	}
	conf, err := nad.Config()
	if err != nil || conf.Type != cni.TypeSRIOV || conf.SRIOV == nil || conf.SRIOV.VLAN == nil || *conf.SRIOV.VLAN == 0 {
		return "", ""
	}
	return fmt.Sprintf("%s tags with %d, and the VF of %s with %d again: no frame of TMM has the tag that its neighbours expect",
			Ref(KindVLAN, v), v.Spec.Tag, Ref(KindNAD, nad), *conf.SRIOV.VLAN),
		fmt.Sprintf("write tag: 0 in the F5SPKVlan, or \"vlan\": 0 in the config of %s", Ref(KindNAD, nad))
}

// policyMTU compares the MTU of a VLAN with that of the VFs, as far as a policy says it.
func (c *checker) policyMTU(v *F5SPKVlan, number string, nad *NetworkAttachmentDefinition) {
	resource := nad.Annotations[AnnotationResourceName]
	want := v.Spec.MTU
	if want == 0 {
		want = DefaultMTU
	}
	for i := range c.r.SriovPolicies {
		p := &c.r.SriovPolicies[i]
		if resource != ResourcePrefix+"/"+p.Spec.ResourceName || p.Spec.MTU == 0 || p.Spec.MTU >= want {
			continue
		}
		c.add(SeverityError, Ref(KindVLAN, v), fmt.Sprintf("write mtu: %d in the policy, or mtu: %d here", want, p.Spec.MTU),
			"mtu %d on interface %s is above the %d of %s, which makes the VFs of %s", want, number, p.Spec.MTU, Ref(KindSriovPolicy, p), resource)
	}
}
