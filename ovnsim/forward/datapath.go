package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/spklab/spklab/ovnsim/forward/bpf"
)

// datapath is the loaded programs with their maps. It belongs to one goroutine, but for the
// methods that say otherwise.
type datapath struct {
	objs  bpf.Objects
	links []link.Link

	cursors map[netip.Addr]uint32 // by pod address: its place in lr_cursor
	have    desired               // what the maps hold
}

// load loads the programs of a profile for a bridge and an uplink.
func load(bridge, uplink *net.Interface, profile Profile, disable uint32) (*datapath, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memory limit: %w", err)
	}
	spec, err := bpf.Load()
	if err != nil {
		return nil, fmt.Errorf("read programs: %w", err)
	}
	for name, value := range map[string]any{
		"lr_uplink": uint32(uplink.Index), "lr_bridge": uint32(bridge.Index), "lr_disabled": disable, "lr_profile": profile.programmed(),
		"lr_uplink_mac": [6]byte(uplink.HardwareAddr), "lr_bridge_mac": [6]byte(bridge.HardwareAddr),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	d := &datapath{cursors: map[netip.Addr]uint32{}}
	if err := spec.LoadAndAssign(&d.objs, nil); err != nil {
		return nil, fmt.Errorf("load programs: %w", err)
	}
	return d, nil
}

// start attaches the programs, once they know the node's own addresses.
func (d *datapath) start(bridge, uplink *net.Interface) error {
	return errors.Join(d.attach(d.objs.LrFromPod, bridge), d.attach(d.objs.LrFromUplink, uplink))
}

func (d *datapath) attach(prog *ebpf.Program, i *net.Interface) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: prog, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return fmt.Errorf("attach to %s: %w", i.Name, err)
	}
	d.links = append(d.links, l)
	return nil
}

// close detaches the programs.
func (d *datapath) close() error {
	var errs []error
	for _, l := range d.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, d.objs.Close())...)
}

// own tells the programs which addresses are the node's, for the kernel to answer.
func (d *datapath) own(addrs []netip.Addr) error {
	for _, a := range addrs {
		value := bpf.Subnet{Kind: uint32(bpf.SubnetKernel)}
		if err := d.objs.LrSubnets.Put(subnetKey(netip.PrefixFrom(a, a.BitLen())), value); err != nil {
			return fmt.Errorf("set own address %s: %w", a, err)
		}
	}
	return nil
}

// apply makes the maps equal to want: pods and gateways before the networks that lead to them,
// removal the other way round.
func (d *datapath) apply(want desired) error {
	for ip, mac := range want.Pods {
		if err := d.objs.LrPods.Put(wire(ip), bpf.Pod{Mac: [6]byte(mac)}); err != nil {
			return fmt.Errorf("set pod %s: %w", ip, err)
		}
	}
	for ip, g := range want.Groups {
		if err := d.putGroup(ip, g); err != nil {
			return err
		}
	}
	for p, s := range want.Subnets {
		value := bpf.Subnet{Kind: uint32(bpf.SubnetRemote), Node: wire(s.Node)}
		if s.Local {
			value = bpf.Subnet{Kind: uint32(bpf.SubnetLocal)}
		}
		if !s.Local && !s.Node.IsValid() {
			value.Kind = uint32(bpf.SubnetCluster)
		}
		if err := d.objs.LrSubnets.Put(subnetKey(p), value); err != nil {
			return fmt.Errorf("set network %s: %w", p, err)
		}
	}
	if err := d.remove(want); err != nil {
		return err
	}
	d.have = want
	return nil
}

func (d *datapath) remove(want desired) error {
	var errs []error
	for p := range d.have.Subnets {
		if _, ok := want.Subnets[p]; !ok {
			errs = append(errs, gone(d.objs.LrSubnets.Delete(subnetKey(p))))
		}
	}
	for ip := range d.have.Groups {
		if _, ok := want.Groups[ip]; !ok {
			errs = append(errs, gone(d.objs.LrGroups.Delete(wire(ip))))
		}
	}
	for ip := range d.have.Pods {
		if _, ok := want.Pods[ip]; !ok {
			errs = append(errs, gone(d.objs.LrPods.Delete(wire(ip))))
		}
	}
	return errors.Join(errs...)
}

// gone is nil for what was not there.
func gone(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// putGroup sets a pod's gateways. Its cursor stays, so that the round goes on.
func (d *datapath) putGroup(ip netip.Addr, g group) error {
	cursor, ok := d.cursors[ip]
	if !ok {
		cursor = uint32(len(d.cursors))
		if cursor >= d.objs.LrCursor.MaxEntries() {
			return fmt.Errorf("gateways of %s: more than %d pods", ip, d.objs.LrCursor.MaxEntries())
		}
		d.cursors[ip] = cursor
	}
	value := bpf.Group{Hops: uint32(len(g.Hops)), Cursor: cursor}
	if g.Symmetric {
		value.Symmetric = 1
	}
	for i, hop := range g.Hops {
		value.Hop[i] = wire(hop)
		key := bpf.ChosenKey{Pod: wire(ip), Hop: wire(hop)}
		if err := d.objs.LrChosen.Update(key, uint64(0), ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("count connections of %s by %s: %w", ip, hop, err)
		}
	}
	if err := d.objs.LrGroups.Put(wire(ip), value); err != nil {
		return fmt.Errorf("set gateways of %s: %w", ip, err)
	}
	return nil
}

// wire is an address as the maps hold it: 16 bytes in network order. An invalid one is zero.
func wire(a netip.Addr) bpf.Addr {
	var out bpf.Addr
	if !a.IsValid() {
		return out
	}
	b := a.As16()
	for i := range out.W {
		out.W[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}

// unwire is the other way.
func unwire(a bpf.Addr) netip.Addr {
	var b [16]byte
	for i, w := range a.W {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

func subnetKey(p netip.Prefix) bpf.SubnetKey {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return bpf.SubnetKey{Bits: uint32(bits), Addr: wire(p.Masked().Addr())}
}

// port turns a port from network byte order.
func port(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}
