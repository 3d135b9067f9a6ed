package dataplane

import (
	"hash/fnv"
	"math/bits"
	"net/netip"
)

// maglevShare is how many slots of the lookup table a member has at least, on average: with
// 100 their shares differ by less than one percent (Eisenbud et al., "Maglev: A Fast and Reliable
// Software Network Load Balancer", NSDI '16, section 3.4).
const maglevShare = 100

// maglevSize returns the length of the lookup table for so many members: a prime, so that every
// member's steps reach every slot.
func maglevSize(members int) uint32 {
	sizes := [...]uint32{251, 1021, 4093, 16381, 65537}
	for _, size := range sizes {
		if members*maglevShare <= int(size) {
			return size
		}
	}
	return sizes[len(sizes)-1]
}

// maglevSteps is the order in which one member asks for slots: offset, offset+skip, …
type maglevSteps struct{ next, skip uint32 }

// maglevStepsOf are determined by the member's address alone: every TMM comes to the same table.
func maglevStepsOf(member netip.AddrPort, size uint32) maglevSteps {
	h := fnv.New64a()
	b, _ := member.MarshalBinary() // fails for no address
	_, _ = h.Write(b)              // never fails
	sum := spread(h.Sum64())
	return maglevSteps{next: uint32(sum) % size, skip: uint32(sum>>32)%(size-1) + 1}
}

// spread makes every bit of a hash depend on every other one: the finalizer of MurmurHash3.
func spread(h uint64) uint64 {
	for _, factor := range []uint64{0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53} {
		h ^= h >> 33
		_, h = bits.Mul64(h, factor)
	}
	return h ^ h>>33
}

// maglevTable returns the lookup table: for every slot the index of its member. Members take
// turns in which each gets the next free slot of its order; one of half the weight has every
// second turn. Removing one of n members moves its share to the others, and little else, unless
// the table then has another size.
func maglevTable(members []Member) []int {
	if len(members) == 0 {
		return nil
	}
	size := maglevSize(len(members))
	steps := make([]maglevSteps, len(members))
	heaviest := 1
	for i, m := range members {
		steps[i] = maglevStepsOf(m.Addr, size)
		heaviest = max(heaviest, m.weight())
	}
	table := make([]int, size)
	for slot := range table {
		table[slot] = -1
	}
	turns := make([]int, len(members))
	for taken := uint32(0); ; {
		for i, m := range members {
			if turns[i] += m.weight(); turns[i] < heaviest {
				continue
			}
			turns[i] -= heaviest
			table[steps[i].take(table)] = i
			if taken++; taken == size {
				return table
			}
		}
	}
}

// take returns the member's next slot that is free.
func (s *maglevSteps) take(table []int) uint32 {
	for {
		slot := s.next
		s.next = (s.next + s.skip) % uint32(len(table))
		if table[slot] < 0 {
			return slot
		}
	}
}

// weight is the member's share beside the others.
func (m Member) weight() int { return max(int(m.Weight), 1) }
