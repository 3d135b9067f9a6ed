// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Conntrack for both families behind one face: with a constant family each function folds to
 * the one map it works on. */
#pragma once

#include "spk_count.h"
#include "spk_csum.h"
#include "spk_parse.h"

static __always_inline __u32 now_ticks(void)
{
	return bpf_ktime_get_coarse_ns() >> SPK_TICK_SHIFT;
}

/* Notes that a packet passed; at most one write a second on a flow in steady state. */
static __always_inline void touch(struct spk_ct *ct, __u8 tcp_flags)
{
	__u8 state = opens(tcp_flags) ? 0 : SPK_ST_SEEN;
	__u32 now = now_ticks();

	if (tcp_flags & TCP_FIN)
		state |= SPK_ST_FIN;
	if (tcp_flags & TCP_RST)
		state |= SPK_ST_RST;
	if ((ct->state | state) != ct->state)
		ct->state |= state;
	if (now - ct->seen >= SPK_TOUCH_TICKS)
		ct->seen = now;
}

static __always_inline void account(__u32 owner, __u32 bytes)
{
	struct spk_traffic *t = bpf_map_lookup_elem(&spk_traffic, &owner);

	if (!t)
		return;
	t->packets++;
	t->bytes += bytes;
}

static __always_inline void copy_addr(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline struct spk_key4 key4_of(const struct spk_tuple *t)
{
	return (struct spk_key4){
		.saddr = t->saddr[0],
		.daddr = t->daddr[0],
		.sport = t->sport,
		.dport = t->dport,
		.proto = t->proto,
		.side = t->side,
	};
}

static __always_inline struct spk_key6 key6_of(const struct spk_tuple *t)
{
	struct spk_key6 k = {
		.sport = t->sport,
		.dport = t->dport,
		.proto = t->proto,
		.side = t->side,
	};

	copy_addr(k.saddr, t->saddr);
	copy_addr(k.daddr, t->daddr);
	return k;
}

static __always_inline struct spk_ct *ct_lookup(const struct spk_tuple *t, const __u8 family)
{
	if (family == SPK_AF_INET) {
		struct spk_key4 k = key4_of(t);

		return bpf_map_lookup_elem(&spk_ct4, &k);
	}
	struct spk_key6 k = key6_of(t);

	return bpf_map_lookup_elem(&spk_ct6, &k);
}

/* An entry of either family. */
union spk_ct_any {
	struct spk_ct ct;
	struct spk_ct4 v4;
	struct spk_ct6 v6;
};

/* Stores that what comes as t leaves with the given addresses and the rest of v, unless t has
 * an entry already. */
static __noinline long ct_insert(const struct spk_tuple *t, union spk_ct_any *v,
				      const __be32 *saddr, const __be32 *daddr)
{
	if (t->family == SPK_AF_INET) {
		struct spk_key4 k = key4_of(t);

		v->v4.saddr = saddr[0];
		v->v4.daddr = daddr[0];
		return bpf_map_update_elem(&spk_ct4, &k, &v->v4, BPF_NOEXIST);
	}
	struct spk_key6 k = key6_of(t);

	copy_addr(v->v6.saddr, saddr);
	copy_addr(v->v6.daddr, daddr);
	return bpf_map_update_elem(&spk_ct6, &k, &v->v6, BPF_NOEXIST);
}

static __always_inline void ct_delete(const struct spk_tuple *t, const __u8 family)
{
	if (family == SPK_AF_INET) {
		struct spk_key4 k = key4_of(t);

		bpf_map_delete_elem(&spk_ct4, &k);
		return;
	}
	struct spk_key6 k = key6_of(t);

	bpf_map_delete_elem(&spk_ct6, &k);
}

/* Reads what t is turned into. ct must be the entry of t. */
static __always_inline void ct_target(const struct spk_ct *ct, const struct spk_tuple *t,
				      struct spk_tuple *to, const __u8 family)
{
	*to = *t;
	if (family == SPK_AF_INET) {
		const struct spk_ct4 *v = (const void *)ct;

		to->saddr[0] = v->saddr;
		to->daddr[0] = v->daddr;
	} else {
		const struct spk_ct6 *v = (const void *)ct;

		copy_addr(to->saddr, v->saddr);
		copy_addr(to->daddr, v->daddr);
	}
	to->sport = ct->sport;
	to->dport = ct->dport;
}

/* The tuple that answers to t carry, coming in on the given side. */
static __noinline void reverse_tuple(const struct spk_tuple *t, __u8 side,
					  struct spk_tuple *r)
{
	copy_addr(r->saddr, t->daddr);
	copy_addr(r->daddr, t->saddr);
	r->sport = t->dport;
	r->dport = t->sport;
	r->proto = t->proto;
	r->family = t->family;
	r->side = side;
	r->tcp_flags = 0;
}

static __always_inline __u8 peer_side(const struct spk_ct *ct)
{
	return ct->flags & SPK_CT_PEER_INTERNAL ? SPK_INTERNAL : SPK_EXTERNAL;
}
