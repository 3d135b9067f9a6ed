package vf

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vfInfo is what a PF answers of one VF.
func vfInfo(vf uint32, proto uint16) []byte {
	list := nl.NewRtAttr(unix.IFLA_VFINFO_LIST, nil)
	info := list.AddRtAttr(nl.IFLA_VF_INFO, nil)
	vlans := info.AddRtAttr(nl.IFLA_VF_VLAN_LIST, nil)
	msg := nl.VfVlanInfo{VfVlan: nl.VfVlan{Vf: vf, Vlan: 5}, VlanProto: proto>>8 | proto<<8}
	vlans.AddRtAttr(nl.IFLA_VF_VLAN_INFO, msg.Serialize())
	return list.Serialize()
}

func TestProtoOf(t *testing.T) {
	answer := append(vfInfo(3, unix.ETH_P_8021AD), vfInfo(4, unix.ETH_P_8021Q)...)
	for vf, want := range map[uint32]string{3: Proto8021AD, 4: Proto8021Q, 5: ""} {
		if got, err := protoOf(answer, vf); got != want || err != nil {
			t.Errorf("VF %d: %q (%v), want %q", vf, got, err, want)
		}
	}
}

// FuzzProtoOf has nothing that a kernel may answer end in a panic.
func FuzzProtoOf(f *testing.F) {
	f.Add(vfInfo(3, unix.ETH_P_8021AD), uint32(3))
	f.Add(vfInfo(3, unix.ETH_P_8021Q)[:20], uint32(3))
	f.Fuzz(func(t *testing.T, attrs []byte, vf uint32) {
		if proto, err := protoOf(attrs, vf); err != nil && proto != "" {
			t.Errorf("%q with %v", proto, err)
		}
	})
}
