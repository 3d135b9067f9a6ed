package api

import "fmt"

// parentMTU compares the MTU of a VLAN with what stands below it: the network of its interface as far as the
// NetworkAttachmentDefinition says an mtu, and for a tagged one the VLAN that the interface carries untagged.
func (c *checker) parentMTU(v *F5SPKVlan) {
	networks := c.r.Values.Networks()
	for _, number := range v.Spec.Interfaces {
		if u := c.untaggedOn(number); u != nil && v.Spec.Tag != 0 && u.Spec.MTU != 0 && v.Spec.MTU > u.Spec.MTU {
			c.add(SeverityError, Ref(KindVLAN, v), fmt.Sprintf("write mtu: %d there, or mtu: %d here", v.Spec.MTU, u.Spec.MTU),
				"mtu %d is above the %d of %s, which is untagged on interface %s", v.Spec.MTU, u.Spec.MTU, Ref(KindVLAN, u), number)
		}
		var n int
		if _, err := fmt.Sscanf(number, "1.%d", &n); err != nil || n < 1 || n > len(networks) {
			continue // of which vlans tells
		}
		nad := c.r.NAD(networks[n-1])
		if nad == nil {
			continue // of which values tells
		}
		if conf, err := nad.Config(); err == nil && conf.MTU != 0 && v.Spec.MTU > conf.MTU {
			c.add(SeverityError, Ref(KindVLAN, v), fmt.Sprintf("write \"mtu\": %d there, or mtu: %d here", v.Spec.MTU, conf.MTU),
				"mtu %d on interface %s is above the %d of %s", v.Spec.MTU, number, conf.MTU, Ref(KindNAD, nad))
		}
	}
}

// untaggedOn is the VLAN that an interface carries untagged, nil for none.
func (c *checker) untaggedOn(number string) *F5SPKVlan {
	for i := range c.r.VLANs {
		v := &c.r.VLANs[i]
		for _, name := range v.Spec.Interfaces {
			if name == number && v.Spec.Tag == 0 {
				return v
			}
		}
	}
	return nil
}
