// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Conntrack and the choice of a gateway. */
#pragma once

#include "lr_maps.h"
#include "lr_parse.h"

static __always_inline void flow_key(struct lr_key *k, const struct lr_packet *p, bool from_pod)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->pod = from_pod ? p->src : p->dst;
	k->peer = from_pod ? p->dst : p->src;
	k->pod_port = from_pod ? p->sport : p->dport;
	k->peer_port = from_pod ? p->dport : p->sport;
	k->proto = p->proto;
}

static __always_inline bool opens(const struct lr_packet *p)
{
	return p->proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline bool is_over(const struct lr_flow *f)
{
	return (f->flags & LR_RST) || (f->flags & (LR_FIN_POD | LR_FIN_PEER)) == (LR_FIN_POD | LR_FIN_PEER);
}

/* The packet's connection; a SYN on one that is over begins a new one. */
static __always_inline struct lr_flow *find_flow(const struct lr_key *k, const struct lr_packet *p)
{
	struct lr_flow *f;

	if (lr_disabled & LR_NO_PINNING)
		return NULL;
	f = bpf_map_lookup_elem(&lr_flows, k);
	if (f && opens(p) && is_over(f)) {
		bpf_map_delete_elem(&lr_flows, k);
		return NULL;
	}
	return f;
}

static __always_inline void touch(struct lr_flow *f, const struct lr_packet *p, bool from_pod)
{
	f->seen = bpf_ktime_get_ns();
	__sync_fetch_and_add(&f->packets, 1);
	if (p->tcp_flags & TCP_RST)
		f->flags |= LR_RST;
	if (p->tcp_flags & TCP_FIN)
		f->flags |= from_pod ? LR_FIN_POD : LR_FIN_PEER;
}

/* Round robin by one cursor for all processors: the nth new connection takes gateway n. */
static __always_inline __u32 next_hop(const struct lr_group *g)
{
	__u32 cursor = g->cursor;
	__u64 *n = bpf_map_lookup_elem(&lr_cursor, &cursor);
	__u32 hops = g->hops;

	if (!n || !hops)
		return 0;
	if (lr_disabled & LR_NO_ROUND_ROBIN)
		return bpf_get_prandom_u32() % hops;
	return __sync_fetch_and_add(n, 1) % hops;
}

/* Takes the next gateway and remembers it. When two packets of one new connection race, the
 * second takes what the first remembered. */
static __always_inline enum lr_counter choose(const struct lr_key *k, const struct lr_group *g, struct lr_addr *hop)
{
	struct lr_chosen_key ck = { .pod = k->pod };
	struct lr_flow f = { .kind = LR_BY_HOP, .packets = 1, .seen = bpf_ktime_get_ns() };
	struct lr_flow *other;
	__u64 *chosen;

	*hop = g->hop[next_hop(g) & (LR_MAX_HOPS - 1)];
	ck.hop = *hop;
	chosen = bpf_map_lookup_elem(&lr_chosen, &ck);
	if (chosen)
		__sync_fetch_and_add(chosen, 1);
	count(LR_NEW_EGRESS);
	if (lr_disabled & LR_NO_PINNING)
		return LR_OK;
	f.hop = *hop;
	if (!bpf_map_update_elem(&lr_flows, k, &f, BPF_NOEXIST))
		return LR_OK;
	other = bpf_map_lookup_elem(&lr_flows, k);
	if (!other)
		return LR_DROP_TABLE_FULL;
	if (other->kind == LR_BY_HOP)
		*hop = other->hop;
	return LR_OK;
}

/* A connection that the peer opens: its replies will go where it comes from. */
static __always_inline enum lr_counter remember(const struct lr_key *k, const struct lr_packet *p)
{
	struct lr_flow f = { .kind = LR_BY_MAC, .packets = 1, .seen = bpf_ktime_get_ns() };

	if (lr_disabled & (LR_NO_SYMMETRY | LR_NO_PINNING))
		return LR_OK;
	__builtin_memcpy(f.mac, p->smac, sizeof(f.mac));
	count(LR_NEW_INGRESS);
	if (bpf_map_update_elem(&lr_flows, k, &f, BPF_NOEXIST) && !bpf_map_lookup_elem(&lr_flows, k))
		return LR_DROP_TABLE_FULL;
	return LR_OK;
}
