// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Next hops, from the kernel's own routes and neighbours. */
#pragma once

#include "spk_conntrack.h"

/* Lookups are made as if the TMM itself sent the packet. So it is enough that loopback has
 * forwarding on, and the kernel itself forwards nothing between the interfaces. */
#define LOOPBACK_IFINDEX 1

/* Bytes of an IP packet, at most. */
#define LONGEST_PACKET 0xffff

/* The MTU of an interface, 0 for the one that the packet came in on (Linux 5.12). */
static __always_inline __u32 mtu_of(spk_ctx *ctx, __u32 ifindex)
{
	__u32 mtu = 0;

	return bpf_check_mtu(ctx, ifindex, &mtu, 0, 0) < 0 ? LONGEST_PACKET : mtu;
}

/* What fits the hop: what the way allows, and the interface that the packet leaves by, which may be
 * another one than the kernel knows: a redirect asks for no MTU. */
static __always_inline void limit_hop(spk_ctx *ctx, struct spk_hop *hop, __u32 way)
{
	__u32 here = mtu_of(ctx, hop->tx);

	hop->mtu = here < way ? here : way;
}

/* Where does a packet with the addresses of t go? SPK_OK, or why it goes nowhere. The length
 * that is asked about fits everywhere; asking has the kernel tell the MTU of the way, which it
 * keeps for itself while the neighbour is not known. */
static __noinline enum spk_counter find_hop(spk_ctx *ctx, const struct spk_tuple *t,
					    struct spk_hop *hop)
{
	struct bpf_fib_lookup f = {.ifindex = LOOPBACK_IFINDEX, .tot_len = 1};
	struct spk_vlan_device *vlan;
	struct spk_port *port;
	long rc;

	f.family = t->family;
	f.l4_protocol = t->proto;
	f.sport = t->sport;
	f.dport = t->dport;
	if (t->family == SPK_AF_INET) {
		f.ipv4_src = t->saddr[0];
		f.ipv4_dst = t->daddr[0];
	} else {
		copy_addr(f.ipv6_src, t->saddr);
		copy_addr(f.ipv6_dst, t->daddr);
	}
	rc = bpf_fib_lookup(ctx, &f, sizeof(f), 0);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return SPK_DROP_NO_ROUTE;
	hop->resolved = rc == BPF_FIB_LKUP_RET_SUCCESS;
	hop->oif = f.ifindex;
	hop->family = f.family; /* an IPv4 route may have an IPv6 gateway (RFC 5549) */
	copy_addr(hop->gw, f.ipv6_dst);
	__builtin_memcpy(hop->dmac, f.dmac, sizeof(hop->dmac));
	__builtin_memcpy(hop->smac, f.smac, sizeof(hop->smac));
	vlan = bpf_map_lookup_elem(&spk_vlan_devices, &hop->oif);
	hop->tx = vlan ? vlan->ifindex : hop->oif;
	hop->vlan = vlan ? vlan->tag : 0;
	limit_hop(ctx, hop, hop->resolved ? f.mtu_result : LONGEST_PACKET);
	port = bpf_map_lookup_elem(&spk_ports, &hop->tx);
	hop->to_peer = port && port->flags & SPK_PORT_PEER;
	count(hop->resolved ? SPK_HOPS_RESOLVED : SPK_HOPS_UNRESOLVED);
	return SPK_OK;
}

/* Writes the hop into an entry. An unresolved one keeps generation 0: the next packet of the
 * flow asks again. Another CPU may see the MACs half written; it loses that one packet. */
static __always_inline void store_hop(struct spk_ct *ct, const struct spk_hop *hop, __u32 gen)
{
	ct->flags = hop->to_peer ? ct->flags | SPK_CT_TO_PEER : ct->flags & ~SPK_CT_TO_PEER;
	ct->oif = hop->tx;
	ct->vlan = hop->vlan;
	ct->mtu = hop->mtu;
	__builtin_memcpy(ct->dmac, hop->dmac, sizeof(ct->dmac));
	__builtin_memcpy(ct->smac, hop->smac, sizeof(ct->smac));
	ct->gen = hop->resolved ? gen : 0;
}

/* The member is in use, the next hop is known, and both are still so. */
static __always_inline bool is_current(const struct spk_ct *ct)
{
	const struct spk_config *cfg = config();

	return cfg && ct->gen == cfg->gen;
}

/* Does the packet leave with a tag, which is pushed at traffic control? */
static __always_inline bool is_for_tc(const struct spk_ct *ct)
{
	return !SPK_AT_TC && ct->vlan;
}

/* Sends what is rewritten on its way. At traffic control a packet may go on at the other end of
 * a veth pair without waiting in that end's queue (Linux 5.10); the pair's own transmission, and
 * what is attached to it there, never see it. */
static __always_inline int leave(spk_ctx *ctx, const struct spk_ct *ct)
{
	if (SPK_AT_TC && ct->vlan && ctx_push_tag(ctx, ct->vlan))
		return drop(ctx, SPK_DROP_REWRITE);
	if (SPK_AT_TC && ct->flags & SPK_CT_TO_PEER)
		return bpf_redirect_peer(ct->oif, 0);
	return bpf_redirect(ct->oif, 0);
}

/* Has the kernel ask for the neighbour's MAC; the packet waits there for the answer. At
 * traffic control only. */
static __always_inline int send_unresolved(const struct spk_hop *hop)
{
	struct bpf_redir_neigh nh = {.nh_family = hop->family};

	copy_addr(nh.ipv6_nh, hop->gw);
	return bpf_redirect_neigh(hop->oif, &nh, sizeof(nh), 0);
}
