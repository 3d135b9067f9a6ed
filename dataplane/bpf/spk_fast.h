// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The fast path: one conntrack lookup, one rewrite, no clock but the coarse one. */
#pragma once

#include "spk_nexthop.h"
#include "spk_rewrite.h"

/* No verdict of any front end: the slow path has to look at the packet. */
#define SPK_ACT_SLOW 256

/* Hands the packet to the slow path. */
static __always_inline int slow(spk_ctx *ctx, enum spk_prog prog, enum spk_side side, __u16 zone)
{
	struct spk_flow *f = the_flow();

	if (!f)
		return SPK_ACT_DROP;
	f->orig.side = side;
	f->orig.zone = zone;
	return go_on(ctx, prog);
}

/* Does what leaves fit the way? Segments that are offloaded together are longer than what leaves. */
static __always_inline bool fast_fits(spk_ctx *ctx, __u32 l3_len, __u32 head, __u8 proto,
				      __u16 mtu, __u8 doff)
{
	__u32 gso;

	if (l3_len <= mtu)
		return true;
	gso = ctx_gso_size(ctx);
	return gso && head + gso + (proto == IPPROTO_TCP ? (doff >> 4) * 4 : 8) <= mtu;
}

/* A packet of a connection that needs no second look; SPK_ACT_SLOW for any other. */
static __always_inline int known4(spk_ctx *ctx, enum spk_side side, __u16 zone)
{
	struct spk_headers4 h;
	struct spk_ct4 *v;

	if (!parse_fast4(ctx, &h) || opens(h.tcp_flags))
		return SPK_ACT_SLOW;
	struct spk_key4 key = {
		.saddr = h.ip->saddr,
		.daddr = h.ip->daddr,
		.sport = h.l4->source,
		.dport = h.l4->dest,
		.proto = h.ip->protocol,
		.side = side,
		.zone = zone,
	};
	v = bpf_map_lookup_elem(&spk_ct4, &key);
	if (!v || !is_current(&v->ct) ||
	    !fast_fits(ctx, h.l3_len, sizeof(*h.ip), key.proto, v->ct.mtu, h.doff))
		return SPK_ACT_SLOW;
	if (is_for_tc(&v->ct)) {
		count(SPK_TO_TC);
		return SPK_ACT_NEXT;
	}
	touch(&v->ct, h.tcp_flags);
	account(&v->ct, ctx_frame_len(ctx, h.l3_len));
	if (rewrite4(ctx, &h, v))
		return drop(ctx, SPK_DROP_REWRITE);
	return leave(ctx, &v->ct);
}

static __always_inline int known6(spk_ctx *ctx, enum spk_side side, __u16 zone)
{
	struct spk_headers6 h;
	struct spk_ct6 *v;

	if (!parse_fast6(ctx, &h) || opens(h.tcp_flags))
		return SPK_ACT_SLOW;
	struct spk_key6 key = {
		.sport = h.l4->source,
		.dport = h.l4->dest,
		.proto = h.ip->nexthdr,
		.side = side,
		.zone = zone,
	};
	__builtin_memcpy(key.saddr, &h.ip->saddr, sizeof(key.saddr));
	__builtin_memcpy(key.daddr, &h.ip->daddr, sizeof(key.daddr));
	v = bpf_map_lookup_elem(&spk_ct6, &key);
	if (!v || !is_current(&v->ct) ||
	    !fast_fits(ctx, h.l3_len, sizeof(*h.ip), key.proto, v->ct.mtu, h.doff))
		return SPK_ACT_SLOW;
	if (is_for_tc(&v->ct)) {
		count(SPK_TO_TC);
		return SPK_ACT_NEXT;
	}
	touch(&v->ct, h.tcp_flags);
	account(&v->ct, ctx_frame_len(ctx, h.l3_len));
	if (rewrite6(ctx, &h, v))
		return drop(ctx, SPK_DROP_REWRITE);
	return leave(ctx, &v->ct);
}

static __always_inline int fast4(spk_ctx *ctx, enum spk_side side, __u16 zone)
{
	int verdict = known4(ctx, side, zone);

	return verdict == SPK_ACT_SLOW ? slow(ctx, SPK_PROG_SLOW4, side, zone) : verdict;
}

static __always_inline int fast6(spk_ctx *ctx, enum spk_side side, __u16 zone)
{
	int verdict = known6(ctx, side, zone);

	return verdict == SPK_ACT_SLOW ? slow(ctx, SPK_PROG_SLOW6, side, zone) : verdict;
}
