package dataplane

import (
	"fmt"

	"github.com/spklab/spklab/dataplane/bpf"
)

// vlanMaps is what the maps of VLANs hold: frames by interface and tag, and devices by index.
type vlanMaps struct {
	frames  map[bpf.VLANKey]bpf.VLAN
	devices map[uint32]bpf.VLANDevice
}

func vlanMapsOf(plans map[int]*port) vlanMaps {
	m := vlanMaps{map[bpf.VLANKey]bpf.VLAN{}, map[uint32]bpf.VLANDevice{}}
	for index, p := range plans {
		if p.parent == 0 {
			continue
		}
		v := bpf.VLAN{Device: uint32(index), Zone: p.iface.Zone}
		if p.iface.Internal {
			v.Side = bpf.Internal
		}
		parent, tag := uint32(p.parent), uint32(p.iface.Tag)
		m.frames[bpf.VLANKey{Ifindex: parent, Tag: tag}] = v
		m.devices[uint32(index)] = bpf.VLANDevice{Ifindex: parent, Tag: tag}
	}
	return m
}

// addVLANs tells the programs of the VLANs whose tags they do, and answers what they knew.
func (d *Dataplane) addVLANs(plans map[int]*port) (vlanMaps, error) {
	var have vlanMaps
	var err error
	if have.frames, err = readAll[bpf.VLANKey, bpf.VLAN](d.objs.SpkVlans); err != nil {
		return have, fmt.Errorf("read VLANs: %w", err)
	}
	if have.devices, err = readAll[uint32, bpf.VLANDevice](d.objs.SpkVlanDevices); err != nil {
		return have, fmt.Errorf("read VLAN devices: %w", err)
	}
	want := vlanMapsOf(plans)
	if _, err := putMissing(d.objs.SpkVlanDevices, have.devices, want.devices); err != nil {
		return have, err
	}
	_, err = putMissing(d.objs.SpkVlans, have.frames, want.frames)
	return have, err
}

// removeVLANs has the programs forget the VLANs that are no longer there.
func (d *Dataplane) removeVLANs(have vlanMaps, plans map[int]*port) error {
	want := vlanMapsOf(plans)
	if _, err := deleteExtra(d.objs.SpkVlans, have.frames, want.frames); err != nil {
		return err
	}
	_, err := deleteExtra(d.objs.SpkVlanDevices, have.devices, want.devices)
	return err
}
