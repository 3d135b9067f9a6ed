package churn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// aside is an address that nobody announces, and buckets how many a resilient group has.
const (
	aside     = "192.0.2.221"
	buckets   = 128
	nexthops  = 9000 // ids from here on
	groupID   = 9999
	evenShare = 25 // percent that a returned next hop of three has at least
)

// resilient asks the router's kernel what it would do with a resilient group of next hops (Linux 5.13,
// Documentation/networking/nexthop-group-resilient.rst) in place of a route's own ones: neither FRR 8.4 nor BIRD 2.0
// installs such a group for what BGP tells.
func (b *failover) resilient(ctx context.Context) ([]Share, error) {
	out := ""
	for _, nic := range b.router.NICs {
		if nic.Name != b.clientSide() {
			out = nic.Name
		}
	}
	var batch strings.Builder
	all := make([]string, len(b.hops))
	for i, h := range b.hops {
		all[i] = fmt.Sprint(nexthops + i)
		fmt.Fprintf(&batch, "nexthop add id %s via %s dev %s\n", all[i], h.addr, out)
	}
	fmt.Fprintf(&batch, "nexthop add id %d group %s type resilient buckets %d idle_timer 0\nroute add %s/32 nhid %d\n",
		groupID, strings.Join(all, "/"), buckets, aside, groupID)
	if _, err := ip(b.routerNetns(), batch.String()); err != nil {
		return nil, err
	}
	flows := synthetic()
	for i := range flows {
		flows[i].to = netip.AddrPortFrom(netip.MustParseAddr(aside), flows[i].to.Port())
	}
	var shares []Share
	for i, h := range b.hops {
		s, err := b.resilientShare(ctx, flows, all, i, h.addr)
		if err != nil {
			return nil, err
		}
		shares = append(shares, s)
	}
	_, err := ip(b.routerNetns(), fmt.Sprintf("route del %s/32\nnexthop flush\n", aside))
	return shares, err
}

// resilientShare takes one next hop out of the group and puts it back.
func (b *failover) resilientShare(ctx context.Context, flows []tuple, ids []string, i int, victim netip.Addr) (Share, error) {
	before, err := b.ways(flows)
	if err != nil {
		return Share{}, err
	}
	if err := b.group(slices.Delete(slices.Clone(ids), i, i+1)); err != nil {
		return Share{}, err
	}
	after, err := b.ways(flows)
	if err != nil {
		return Share{}, err
	}
	if err := b.group(ids); err != nil {
		return Share{}, err
	}
	var s Share
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = until(ctx, func() (bool, error) { // the kernel moves the buckets in its own time
		back, err := b.ways(flows)
		s = newShare(b.hops, victim, before, after, back)
		return s.Back >= evenShare, err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // it did not move them
	}
	return s, err
}

// group replaces the members of the resilient group.
func (b *failover) group(ids []string) error {
	_, err := ip(b.routerNetns(), fmt.Sprintf("nexthop replace id %d group %s type resilient buckets %d idle_timer 0\n", groupID, strings.Join(ids, "/"), buckets))
	return err
}
