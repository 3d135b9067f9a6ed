// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Conntrack and the choice of a gateway. What the OVN profiles do is what northd's logical flows say
 * (add_ecmp_symmetric_reply_flows of northd.c in v23.03.1 and v25.03.1), with one entry of conntrack
 * where OVN has that and learnt flows. */
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
	k->proto = p->error ? p->about : p->proto;
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

static __always_inline bool has_mac(const struct lr_flow *f)
{
	__u8 any = 0;

	for (int i = 0; i < 6; i++)
		any |= f->mac[i];
	return any;
}

/* Whether replies of these routes follow the connection. */
static __always_inline bool is_symmetric(const struct lr_group *g)
{
	return g && g->symmetric && g->hops >= lr_profile.symmetric_routes && !(lr_disabled & LR_NO_SYMMETRY);
}

/* Whether what was learnt is still there: a flow that `last` used last. */
static __always_inline bool is_fresh(const struct lr_flow *f, __u64 last)
{
	__u64 now = bpf_ktime_get_ns();

	if (lr_profile.age && now - f->learnt > lr_profile.age)
		return false;
	return !lr_profile.idle || now - last <= lr_profile.idle;
}

/* Whether a packet of the pod goes to the connection's MAC. Where OVN has the routes decide
 * (everywhere but in spk), those must be there. */
static __always_inline bool goes_back(struct lr_flow *f, const struct lr_group *g, const struct lr_packet *p)
{
	if (!f || !has_mac(f))
		return false;
	if (lr_profile.memory == LR_PINS)
		return f->kind == LR_BY_MAC;
	if (!is_symmetric(g))
		return false;
	if (lr_profile.memory == LR_LABELS)
		return true;
	if (p->error || !is_fresh(f, f->replied)) /* no learnt flow is about ICMP */
		return false;
	f->replied = bpf_ktime_get_ns();
	return true;
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ (hash >> 15);
}

/* A hash that both directions have in common: Open vSwitch's flow_hash_symmetric_l3l4 has the same
 * inputs, and other bits. */
static __always_inline __u32 symmetric_hash(const struct lr_packet *p, bool ports)
{
	__u32 hash = 0;

	for (int i = 0; i < 4; i++)
		hash = mix(hash, p->src.w[i] ^ p->dst.w[i]);
	hash = mix(hash, p->proto);
	if (ports && !p->error)
		hash = mix(hash, p->sport ^ p->dport);
	return mix(hash, 0x85ebca6b);
}

static __always_inline __u32 choice_of(const struct lr_packet *p)
{
	if (p->proto == IPPROTO_UDP)
		return lr_profile.udp;
	if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)
		return p->error ? LR_HASH_ADDRESSES : lr_profile.icmp;
	return lr_profile.tcp;
}

/* Round robin goes by one cursor for all processors: the nth new connection takes gateway n. */
static __always_inline __u32 next_hop(const struct lr_group *g, const struct lr_packet *p)
{
	__u32 cursor = g->cursor, choice = choice_of(p), hops = g->hops;
	__u64 *n;

	if (!hops)
		return 0;
	if (lr_disabled & LR_NO_ROUND_ROBIN)
		return 0;
	if (choice != LR_ROUND_ROBIN)
		return symmetric_hash(p, choice == LR_HASH_PORTS) % hops;
	n = bpf_map_lookup_elem(&lr_cursor, &cursor);
	return n ? __sync_fetch_and_add(n, 1) % hops : 0;
}

static __always_inline void count_chosen(const struct lr_key *k, const struct lr_addr *hop)
{
	struct lr_chosen_key ck = { .pod = k->pod, .hop = *hop };
	__u64 *chosen = bpf_map_lookup_elem(&lr_chosen, &ck);

	if (chosen)
		__sync_fetch_and_add(chosen, 1);
	count(LR_NEW_EGRESS);
}

/* Chooses a gateway for a connection of the pod and remembers it. When two packets of one new
 * connection race, the second takes what the first remembered. An ICMP error begins no connection. */
static __always_inline enum lr_counter choose(const struct lr_key *k, const struct lr_group *g, const struct lr_packet *p,
					      struct lr_addr *hop)
{
	bool pins = lr_profile.memory == LR_PINS;
	struct lr_flow f = { .kind = pins ? LR_BY_HOP : LR_BY_HASH, .packets = 1, .seen = bpf_ktime_get_ns() };
	struct lr_flow *other;

	*hop = g->hop[next_hop(g, p) & (LR_MAX_HOPS - 1)];
	if (p->error)
		return LR_OK;
	count_chosen(k, hop);
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

/* The gateway of a packet of the pod whose connection has no MAC to go to. */
static __always_inline enum lr_counter route(struct lr_flow *f, const struct lr_key *k, const struct lr_group *g,
					     const struct lr_packet *p, struct lr_addr *hop)
{
	if (!f)
		return choose(k, g, p, hop);
	if (f->kind == LR_BY_HOP) {
		*hop = f->hop;
		return LR_OK;
	}
	*hop = g->hop[next_hop(g, p) & (LR_MAX_HOPS - 1)];
	if (f->kind == LR_BY_HASH && !p->error)
		f->hop = *hop;
	return LR_OK;
}

static __always_inline void learn(struct lr_flow *f, const struct lr_packet *p)
{
	__builtin_memcpy(f->mac, p->smac, sizeof(f->mac));
	f->learnt = bpf_ktime_get_ns();
	f->replied = f->learnt;
	f->heard = f->learnt;
}

/* Whether a packet from outside leaves its MAC in the connection's entry, NULL for a new one. */
static __always_inline bool is_learnt(struct lr_flow *f, const struct lr_packet *p)
{
	bool icmp = p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6;

	if (icmp && !lr_profile.symmetric_icmp)
		return false;
	if (lr_profile.memory == LR_LABELS)
		return true;
	if (lr_profile.memory == LR_PINS || !f)
		return !f;
	if (f->kind != LR_BY_MAC || !has_ports(p->proto))
		return false;
	if (has_mac(f) && !__builtin_memcmp(f->mac, p->smac, sizeof(f->mac)) && is_fresh(f, f->heard)) {
		f->heard = bpf_ktime_get_ns();
		return false;
	}
	return true;
}

/* A connection that the peer opens. */
static __always_inline enum lr_counter remember(const struct lr_key *k, const struct lr_group *g, const struct lr_packet *p)
{
	struct lr_flow f = { .kind = LR_BY_MAC, .packets = 1, .seen = bpf_ktime_get_ns() };

	if (lr_disabled & LR_NO_PINNING)
		return LR_OK;
	if (is_symmetric(g) && is_learnt(NULL, p))
		learn(&f, p);
	count(LR_NEW_INGRESS);
	if (bpf_map_update_elem(&lr_flows, k, &f, BPF_NOEXIST) && !bpf_map_lookup_elem(&lr_flows, k))
		return LR_DROP_TABLE_FULL;
	return LR_OK;
}

/* A packet from outside. An ICMP error changes nothing, and an answer to nothing that is known begins no
 * connection. Only pods with gateways have connections; spk knows them where replies are symmetric. */
static __always_inline enum lr_counter track(const struct lr_group *g, const struct lr_packet *p)
{
	struct lr_flow *f;
	struct lr_key k;

	if (p->error)
		return LR_OK;
	flow_key(&k, p, false);
	f = find_flow(&k, p);
	if (f) {
		touch(f, p, false);
		if (is_symmetric(g) && is_learnt(f, p))
			learn(f, p);
		return LR_OK;
	}
	if (!g || (lr_profile.memory == LR_PINS ? !is_symmetric(g) : p->answers))
		return LR_OK;
	return remember(&k, g, p);
}
