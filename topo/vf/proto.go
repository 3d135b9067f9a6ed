package vf

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// etherType is a VLAN's protocol as the kernel numbers it.
func etherType(proto string) int {
	if proto == Proto8021AD {
		return unix.ETH_P_8021AD
	}
	return unix.ETH_P_8021Q
}

// vlanProto asks a PF for the protocol of a VF's VLAN.
func vlanProto(pf, vf int) (string, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(pf)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(nl.RTEXT_FILTER_VF)))
	answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return "", fmt.Errorf("ask the PF for VF %d: %w", vf, err)
	}
	for _, a := range answers {
		if len(a) < unix.SizeofIfInfomsg {
			continue
		}
		proto, err := protoOf(a[unix.SizeofIfInfomsg:], uint32(vf))
		if proto != "" || err != nil {
			return proto, err
		}
	}
	return Proto8021Q, nil // a kernel or driver that knows no other
}

// protoOf reads IFLA_VFINFO_LIST / IFLA_VF_INFO / IFLA_VF_VLAN_LIST / IFLA_VF_VLAN_INFO (linux/if_link.h,
// struct ifla_vf_vlan_info); empty where there is nothing of the VF.
func protoOf(attrs []byte, vf uint32) (string, error) {
	levels := []uint16{unix.IFLA_VFINFO_LIST, nl.IFLA_VF_INFO, nl.IFLA_VF_VLAN_LIST, nl.IFLA_VF_VLAN_INFO}
	at := [][]byte{attrs}
	for _, level := range levels {
		var next [][]byte
		for _, b := range at {
			list, err := nl.ParseRouteAttr(b)
			if err != nil {
				return "", fmt.Errorf("read VFs of the PF: %w", err)
			}
			for _, a := range list {
				if a.Attr.Type&^unix.NLA_F_NESTED == level {
					next = append(next, a.Value)
				}
			}
		}
		at = next
	}
	for _, b := range at {
		if len(b) < 14 || binary.NativeEndian.Uint32(b) != vf {
			continue
		}
		if binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_8021AD {
			return Proto8021AD, nil
		}
		return Proto8021Q, nil
	}
	return "", nil
}
