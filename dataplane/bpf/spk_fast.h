// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The fast path: one conntrack lookup, one rewrite, no clock but the coarse one. */
#pragma once

#include "spk_nexthop.h"
#include "spk_rewrite.h"

static __always_inline int slow(struct __sk_buff *skb, enum spk_prog prog, enum spk_side side)
{
	skb->cb[0] = side;
	bpf_tail_call(skb, &spk_progs, prog);
	return drop(SPK_DROP_TAIL_CALL);
}

static __always_inline int fast4(struct __sk_buff *skb, enum spk_side side)
{
	struct spk_headers4 h;
	struct spk_ct4 *v;

	if (!parse_fast4(skb, &h) || opens(h.tcp_flags))
		return slow(skb, SPK_PROG_SLOW4, side);
	struct spk_key4 key = {
		.saddr = h.ip->saddr,
		.daddr = h.ip->daddr,
		.sport = h.l4->source,
		.dport = h.l4->dest,
		.proto = h.ip->protocol,
		.side = side,
	};
	v = bpf_map_lookup_elem(&spk_ct4, &key);
	if (!v || !hop_is_current(&v->ct))
		return slow(skb, SPK_PROG_SLOW4, side);
	touch(&v->ct, h.tcp_flags);
	account(v->ct.owner, skb->len);
	if (rewrite4(skb, &h, v))
		return drop(SPK_DROP_REWRITE);
	return bpf_redirect(v->ct.oif, 0);
}

static __always_inline int fast6(struct __sk_buff *skb, enum spk_side side)
{
	struct spk_headers6 h;
	struct spk_ct6 *v;

	if (!parse_fast6(skb, &h) || opens(h.tcp_flags))
		return slow(skb, SPK_PROG_SLOW6, side);
	struct spk_key6 key = {
		.sport = h.l4->source,
		.dport = h.l4->dest,
		.proto = h.ip->nexthdr,
		.side = side,
	};
	__builtin_memcpy(key.saddr, &h.ip->saddr, sizeof(key.saddr));
	__builtin_memcpy(key.daddr, &h.ip->daddr, sizeof(key.daddr));
	v = bpf_map_lookup_elem(&spk_ct6, &key);
	if (!v || !hop_is_current(&v->ct))
		return slow(skb, SPK_PROG_SLOW6, side);
	touch(&v->ct, h.tcp_flags);
	account(v->ct.owner, skb->len);
	if (rewrite6(skb, &h, v))
		return drop(SPK_DROP_REWRITE);
	return bpf_redirect(v->ct.oif, 0);
}
