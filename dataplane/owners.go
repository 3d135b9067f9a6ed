package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

var (
	errServersFull = errors.New("no virtual server id is free")
	errOwnersFull  = errors.New("no room for another member or egress")
	errPoolFull    = errors.New("no room for the pool")
)

// newOwner takes a free owner id and writes the owner with clean counters.
func (a *applier) newOwner(o bpf.Owner) (uint32, error) {
	for id := max(a.lastOwner, 1); id < a.d.objs.SpkOwners.MaxEntries(); id++ {
		if _, used := a.k.owners[id]; used {
			continue
		}
		a.lastOwner = id
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			return 0, fmt.Errorf("count CPUs: %w", err)
		}
		if err := a.d.objs.SpkTraffic.Put(id, make([]bpf.Traffic, cpus)); err != nil {
			return 0, fmt.Errorf("clear counters of owner %d: %w", id, err)
		}
		a.d.loads.clear(id)
		return id, a.putOwner(id, o)
	}
	return 0, errOwnersFull
}

func (a *applier) putOwner(id uint32, o bpf.Owner) error {
	a.d.ownersEnd = max(a.d.ownersEnd, id+1)
	if err := a.d.objs.SpkOwners.Put(id, o); err != nil {
		return fmt.Errorf("write owner %d: %w", id, err)
	}
	if _, known := a.k.owners[id]; !known {
		a.k.byServer[o.Vs] = append(a.k.byServer[o.Vs], id)
	}
	a.k.owners[id] = o
	return nil
}

// free gives an owner id back. What a member has counted stays with its virtual server.
func (a *applier) free(id uint32) error {
	vs := a.k.owners[id].Vs
	if info, ok := a.k.infos[vs]; ok {
		folded, err := a.d.foldTraffic(id, vs, info)
		if err != nil {
			return err
		}
		a.k.infos[vs] = folded
	}
	delete(a.k.owners, id)
	return a.d.clearOwner(id)
}

// foldTraffic adds the counters of a member that goes to those of its virtual server.
func (d *Dataplane) foldTraffic(owner, vs uint32, info bpf.VSInfo) (bpf.VSInfo, error) {
	t, err := d.traffic(owner)
	if err != nil {
		return info, err
	}
	info.PastConnections += t.Connections
	info.PastPackets[0] += t.PacketsOut
	info.PastPackets[1] += t.PacketsIn
	info.PastBytes[0] += t.BytesOut
	info.PastBytes[1] += t.BytesIn
	if err := d.objs.SpkVsInfo.Put(vs, info); err != nil {
		return info, fmt.Errorf("write counters of virtual server %d: %w", vs, err)
	}
	return info, nil
}

func (d *Dataplane) clearOwner(id uint32) error {
	if err := d.objs.SpkOwners.Put(id, bpf.Owner{}); err != nil {
		return fmt.Errorf("free owner %d: %w", id, err)
	}
	return nil
}

// newServerID takes an id that neither a virtual server nor what an interrupted Apply left
// behind refers to, and starts its round robin anew.
func (a *applier) newServerID() (uint32, error) {
	used := a.serverIDs
	if used == nil {
		used = map[uint32]bool{}
		for _, vs := range a.k.servers {
			used[vs.Id] = true
		}
		for _, o := range a.k.owners {
			used[o.Vs] = true
		}
		for id := range a.k.infos {
			used[id] = true
		}
		a.serverIDs = used
	}
	for id := max(a.lastServer, 1); id < a.d.objs.SpkCursors.MaxEntries(); id++ {
		if used[id] {
			continue
		}
		used[id], a.lastServer = true, id
		if err := a.d.objs.SpkCursors.Put(id, bpf.Cursor{}); err != nil {
			return 0, fmt.Errorf("clear round robin of virtual server %d: %w", id, err)
		}
		return id, nil
	}
	return 0, errServersFull
}

// readPool reads spk_pool up to the last slot that a virtual server refers to.
func (d *Dataplane) readPool(servers map[serverKey]bpf.VS) ([]uint32, error) {
	var end uint32
	for _, vs := range servers {
		end = max(end, vs.First+vs.Count)
	}
	pool := make([]uint32, 0, end)
	if err := scanArray(d.objs.SpkPool, end, func(_ uint32, owner *uint32) { pool = append(pool, *owner) }); err != nil {
		return nil, fmt.Errorf("read pool: %w", err)
	}
	return pool, nil
}

// poolHolds reports whether the range of vs held exactly the members when the maps were read.
func (k *kernel) poolHolds(vs bpf.VS, members []uint32) bool {
	first, end := int(vs.First), int(vs.First+vs.Count)
	return end <= len(k.pool) && slices.Equal(k.pool[first:end], members)
}

// writePool writes the members to a range that no virtual server refers to and returns where it
// starts. Ranges are taken in turn, so that one that a packet may still be reading is not
// written to for as long as possible.
func (a *applier) writePool(members []uint32) (uint32, error) {
	if len(members) == 0 {
		return 0, nil
	}
	first, err := a.freeRange(uint32(len(members)))
	if err != nil {
		return 0, err
	}
	slots := make([]uint32, len(members))
	for i := range slots {
		slots[i] = first + uint32(i)
	}
	if _, err := a.d.objs.SpkPool.BatchUpdate(slots, members, nil); err != nil {
		return 0, fmt.Errorf("write pool: %w", err)
	}
	a.d.poolNext = first + uint32(len(members))
	return first, nil
}

func (a *applier) freeRange(n uint32) (uint32, error) {
	var used []poolRange
	for _, vs := range a.k.servers {
		if vs.Count > 0 {
			used = append(used, poolRange{vs.First, vs.Count})
		}
	}
	first, ok := findRange(used, n, a.d.poolNext, a.d.objs.SpkPool.MaxEntries())
	if !ok {
		return 0, errPoolFull
	}
	return first, nil
}
