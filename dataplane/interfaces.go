package dataplane

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spklab/spklab/dataplane/bpf"
)

// maxInterfaces is how many interfaces have a bit in spk_egress.ports; its last bit belongs to
// none, so that an egress whose interfaces are all missing listens nowhere instead of everywhere.
const (
	maxInterfaces = 31
	noInterface   = 1 << maxInterfaces
)

var errManyInterfaces = fmt.Errorf("more than %d interfaces", maxInterfaces)

// writePortsLocked makes spk_ports hold the attached interfaces with their automap addresses
// (the first self-IP of each family) and spk_services what the guarded ones let through. A guard
// goes up when all that it lets through is there.
func (d *Dataplane) writePortsLocked(selfIPs []SelfIP) error {
	have, err := readAll[uint32, bpf.Port](d.objs.SpkPorts)
	if err != nil {
		return fmt.Errorf("read interfaces: %w", err)
	}
	haveServices, err := readAll[bpf.Service, uint32](d.objs.SpkServices)
	if err != nil {
		return fmt.Errorf("read services: %w", err)
	}
	want, err := d.portValues(have, selfIPs)
	if err != nil {
		return err
	}
	d.bits = map[string]uint32{}
	for _, v := range want {
		d.bits[cstring(v.Interface[:])] |= 1 << v.Bit
	}
	wantServices := d.serviceEntries()
	if _, err := putMissing(d.objs.SpkServices, haveServices, wantServices); err != nil {
		return err
	}
	if _, err := syncMap(d.objs.SpkPorts, have, want); err != nil {
		return err
	}
	_, err = deleteExtra(d.objs.SpkServices, haveServices, wantServices)
	return err
}

// portValues are the entries of spk_ports, by interface index. An interface keeps its bit.
func (d *Dataplane) portValues(have map[uint32]bpf.Port, selfIPs []SelfIP) (map[uint32]bpf.Port, error) {
	bits, err := portBits(d.served(), have)
	if err != nil {
		return nil, err
	}
	want := map[uint32]bpf.Port{}
	for _, index := range d.served() {
		p := d.ports[index]
		v := portValue(p.iface, p.device.MAC, selfIPs)
		v.Bit = bits[index]
		if _, guarded := d.services[p.iface.Number]; guarded {
			v.Flags |= bpf.PortGuarded
		}
		if p.device.Peer {
			v.Flags |= bpf.PortPeer
		}
		want[uint32(index)] = v
	}
	return want, nil
}

// served are the indices of the interfaces that packets are forwarded between, in order.
func (d *Dataplane) served() []int {
	var out []int
	for index, p := range d.ports {
		if p.served {
			out = append(out, index)
		}
	}
	slices.Sort(out)
	return out
}

// portBits gives every interface a bit: the one it has, or one that no interface has had a moment
// ago, as long as there are such.
func portBits(indexes []int, have map[uint32]bpf.Port) (map[int]uint8, error) {
	if len(indexes) > maxInterfaces {
		return nil, fmt.Errorf("serve %d interfaces: %w", len(indexes), errManyInterfaces)
	}
	bits, kept := map[int]uint8{}, map[uint8]bool{}
	for _, index := range indexes {
		if v, ok := have[uint32(index)]; ok && v.Bit < maxInterfaces && !kept[v.Bit] {
			bits[index], kept[v.Bit] = v.Bit, true
		}
	}
	stale := maps.Clone(kept)
	for _, v := range have {
		stale[v.Bit] = true
	}
	for _, index := range indexes {
		if _, ok := bits[index]; ok {
			continue
		}
		bit, ok := freeBit(stale)
		if !ok {
			bit, ok = freeBit(kept)
		}
		if !ok {
			return nil, errManyInterfaces
		}
		bits[index], kept[bit], stale[bit] = bit, true, true
	}
	return bits, nil
}

// portMask is what spk_egress.ports says of interfaces by number, 0 for no list: all of them.
func (d *Dataplane) portMask(numbers []string) uint32 {
	if len(numbers) == 0 {
		return 0
	}
	mask := uint32(noInterface)
	for _, number := range numbers {
		mask |= d.bits[number]
	}
	return mask
}

func freeBit(taken map[uint8]bool) (uint8, bool) {
	for bit := range uint8(maxInterfaces) {
		if !taken[bit] {
			return bit, true
		}
	}
	return 0, false
}

func portValue(i Interface, mac [6]byte, selfIPs []SelfIP) bpf.Port {
	v := bpf.Port{Mac: mac}
	if i.Internal {
		v.Side = bpf.Internal
	}
	copy(v.Interface[:len(v.Interface)-1], i.Number)
	v.Zone = i.Zone
	var have4, have6 bool
	for _, ip := range selfIPs {
		if ip.Interface != i.Number {
			continue
		}
		a := ip.Addr
		if a.Is4() && !have4 {
			v.Self4, have4 = wire4(a), true
		}
		if a.Is6() && !have6 {
			v.Self6, have6 = wire6(a), true
		}
	}
	return v
}

// serviceEntries are the entries of spk_services: what is allowed on the attached interfaces.
func (d *Dataplane) serviceEntries() map[bpf.Service]uint32 {
	out := map[bpf.Service]uint32{}
	for _, index := range d.served() {
		for _, s := range d.services[d.ports[index].iface.Number] {
			out[bpf.Service{Ifindex: uint32(index), Port: wire16(s.Port), Proto: uint8(s.Protocol)}] = 1
		}
	}
	return out
}

// guards are the allowed services by interface number; a number without an entry is not guarded.
type guards map[string][]Service

func guardsOf(services []Services) guards {
	out := guards{}
	for _, s := range services {
		out[s.Interface] = s.Allowed
	}
	return out
}

// services are the guards that the maps hold.
func (k *kernel) services() []Services {
	allowed := map[uint32][]Service{}
	for s := range k.allowed {
		allowed[s.Ifindex] = append(allowed[s.Ifindex], Service{Protocol(s.Proto), portOf(s.Port)})
	}
	var out []Services
	for index, p := range k.ports {
		if p.Flags&bpf.PortGuarded != 0 {
			out = append(out, Services{Interface: cstring(p.Interface[:]), Allowed: allowed[index]})
		}
	}
	return out
}

// putServices writes the interfaces' entries and says which guards have changed. Services of an
// interface that is not attached are kept for when it is.
func (a *applier) putServices(s State) error {
	old, want := a.d.services, guardsOf(s.Services)
	a.d.services = want
	if err := a.d.writePortsLocked(s.SelfIPs); err != nil {
		a.d.services = old
		return err
	}
	for _, number := range slices.Sorted(maps.Keys(want)) {
		allowed, had := old[number]
		switch {
		case !had:
			a.changes.Added = append(a.changes.Added, "services of "+number)
		case !slices.Equal(allowed, want[number]):
			a.changes.Updated = append(a.changes.Updated, "services of "+number)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(old)) {
		if _, ok := want[number]; !ok {
			a.changes.Removed = append(a.changes.Removed, "services of "+number)
		}
	}
	return nil
}

// isNumber reports whether a map has room for an interface's number.
func isNumber(number string) bool {
	return number != "" && len(number) < len(bpf.Port{}.Interface)
}
