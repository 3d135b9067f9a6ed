// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Conntrack for both families behind one face: with a constant family each function folds to
 * the one map it works on. */
#pragma once

#include "spk_csum.h"
#include "spk_parse.h"

static __always_inline __u32 now_ticks(void)
{
	return bpf_ktime_get_coarse_ns() >> SPK_TICK_SHIFT;
}

/* Notes that a packet passed; at most one write a second on a flow in steady state. A packet
 * after a reset from the same end shows that the reset was somebody else's (RFC 5961). */
static __always_inline void touch(struct spk_ct *ct, __u8 tcp_flags)
{
	__u8 state = ct->state;
	__u32 jiffies = bpf_jiffies64();

	if (!opens(tcp_flags))
		state |= SPK_ST_SEEN;
	if (tcp_flags & TCP_FIN)
		state |= SPK_ST_FIN;
	if (tcp_flags & TCP_RST)
		state |= SPK_ST_RST;
	else
		state &= ~SPK_ST_RST;
	if (state != ct->state)
		ct->state = state;
	if (jiffies - ct->jiffies >= SPK_TOUCH_JIFFIES) {
		ct->jiffies = jiffies;
		ct->seen = now_ticks();
	}
}

static __always_inline void account(const struct spk_ct *ct, __u32 bytes)
{
	struct spk_traffic *t = bpf_map_lookup_elem(&spk_traffic, &ct->owner);
	__u32 way = ct->flags & SPK_CT_FORWARD;

	if (!t)
		return;
	t->packets[way]++;
	t->bytes[way] += bytes;
}

static __always_inline void copy_addr(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline bool same_addr(const __be32 *a, const __be32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
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
		.zone = t->zone,
	};
}

static __always_inline struct spk_key6 key6_of(const struct spk_tuple *t)
{
	struct spk_key6 k = {
		.sport = t->sport,
		.dport = t->dport,
		.proto = t->proto,
		.side = t->side,
		.zone = t->zone,
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

static __always_inline struct spk_ct *half_lookup(const struct spk_tuple *t, const __u8 family)
{
	if (family == SPK_AF_INET) {
		struct spk_key4 k = key4_of(t);

		return bpf_map_lookup_elem(&spk_half4, &k);
	}
	struct spk_key6 k = key6_of(t);

	return bpf_map_lookup_elem(&spk_half6, &k);
}

/* An entry of either family. */
union spk_ct_any {
	struct spk_ct ct;
	struct spk_ct4 v4;
	struct spk_ct6 v6;
};

/* Stores that what comes as t leaves with the given addresses and the rest of v, unless t has
 * an entry already: in conntrack, or in the half-open table. */
static __noinline long ct_insert(const struct spk_tuple *t, union spk_ct_any *v, bool half)
{
	if (t->family == SPK_AF_INET) {
		struct spk_key4 k = key4_of(t);

		return half ? bpf_map_update_elem(&spk_half4, &k, &v->v4, BPF_NOEXIST)
			    : bpf_map_update_elem(&spk_ct4, &k, &v->v4, BPF_NOEXIST);
	}
	struct spk_key6 k = key6_of(t);

	return half ? bpf_map_update_elem(&spk_half6, &k, &v->v6, BPF_NOEXIST)
		    : bpf_map_update_elem(&spk_ct6, &k, &v->v6, BPF_NOEXIST);
}

/* Stores a half-open entry in place of the one that t may have. */
static __noinline long half_replace(const struct spk_tuple *t, union spk_ct_any *v)
{
	if (t->family == SPK_AF_INET) {
		struct spk_key4 k = key4_of(t);

		return bpf_map_update_elem(&spk_half4, &k, &v->v4, BPF_ANY);
	}
	struct spk_key6 k = key6_of(t);

	return bpf_map_update_elem(&spk_half6, &k, &v->v6, BPF_ANY);
}

static __noinline int ct_delete(const struct spk_tuple *t, bool half)
{
	if (t->family == SPK_AF_INET) {
		struct spk_key4 k = key4_of(t);

		return half ? bpf_map_delete_elem(&spk_half4, &k)
			    : bpf_map_delete_elem(&spk_ct4, &k);
	}
	struct spk_key6 k = key6_of(t);

	return half ? bpf_map_delete_elem(&spk_half6, &k) : bpf_map_delete_elem(&spk_ct6, &k);
}

/* Reads what t is turned into. ct must be the entry of t, and of the same family on both sides. */
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

static __always_inline __u8 peer_side(const struct spk_ct *ct)
{
	return ct->flags & SPK_CT_PEER_INTERNAL ? SPK_INTERNAL : SPK_EXTERNAL;
}

/* The tuple that answers to t carry, coming in on the given side and zone. */
static __noinline int reverse_tuple(const struct spk_tuple *t, __u8 side, __u16 zone,
				    struct spk_tuple *r)
{
	copy_addr(r->saddr, t->daddr);
	copy_addr(r->daddr, t->saddr);
	r->sport = t->dport;
	r->dport = t->sport;
	r->proto = t->proto;
	r->family = t->family;
	r->side = side;
	r->zone = zone;
	r->tcp_flags = 0;
	r->pad = 0;
	return 0;
}

static __always_inline void set_addrs(union spk_ct_any *v, const __be32 *saddr,
				      const __be32 *daddr, __u8 family)
{
	if (family == SPK_AF_INET) {
		v->v4.saddr = saddr[0];
		v->v4.daddr = daddr[0];
		return;
	}
	copy_addr(v->v6.saddr, saddr);
	copy_addr(v->v6.daddr, daddr);
}

/* The entry of the opposite direction of ct, which turns orig into xlat; without a next hop. */
static __noinline int opposite_entry(const struct spk_ct *ct, const struct spk_tuple *orig,
				     union spk_ct_any *v)
{
	__builtin_memset(v, 0, sizeof(*v));
	v->ct.seen = ct->seen;
	v->ct.flags = (ct->flags & SPK_CT_FORWARD) ^ SPK_CT_FORWARD;
	if (orig->side == SPK_INTERNAL)
		v->ct.flags |= SPK_CT_PEER_INTERNAL;
	v->ct.owner = ct->owner;
	v->ct.peer_zone = orig->zone;
	v->ct.sport = orig->dport;
	v->ct.dport = orig->sport;
	v->ct.addr_delta = csum_negate(ct->addr_delta);
	v->ct.port_delta = csum_negate(ct->port_delta);
	set_addrs(v, orig->daddr, orig->saddr, orig->family);
	return 0;
}
