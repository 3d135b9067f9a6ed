// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The slow path: everything but a packet of a known connection with a known next hop. */
#pragma once

#include "spk_flow.h"
#include "spk_rewrite.h"

/* Not a verdict of traffic control: the packet has an entry now and can be forwarded. */
#define FORWARD 1000

/* A SYN on an entry says that its sender's connection is over when it has closed its end, when
 * either end was reset, or when the entry leads to a member that is no more. */
static __noinline bool is_over(const struct spk_ct *ct, const struct spk_tuple *to,
				    const __u8 family)
{
	struct spk_owner *owner = bpf_map_lookup_elem(&spk_owners, &ct->owner);
	struct spk_tuple rev;
	struct spk_ct *peer;

	if (ct->state & (SPK_ST_FIN | SPK_ST_RST))
		return true;
	if (!owner || !(owner->flags & SPK_OWNER_USED) || (owner->flags & SPK_OWNER_REMOVED))
		return true;
	reverse_tuple(to, peer_side(ct), &rev);
	peer = ct_lookup(&rev, family);
	return !peer || (peer->state & SPK_ST_RST);
}

static __noinline void remove_pair(const struct spk_ct *ct, const struct spk_flow *f,
					const __u8 family)
{
	struct spk_tuple rev;

	reverse_tuple(&f->xlat, peer_side(ct), &rev);
	ct_delete(&rev, family);
	ct_delete(&f->orig, family);
	count(SPK_FLOWS_REPLACED);
}

/* A packet of a connection: false when it opens a new one in its place. */
static __always_inline bool known_flow(struct __sk_buff *skb, struct spk_flow *f,
				       const __u8 family, enum spk_counter *fault)
{
	struct spk_ct *ct = ct_lookup(&f->orig, family);

	if (!ct)
		return false;
	ct_target(ct, &f->orig, &f->xlat, family);
	if (opens(f->orig.tcp_flags) && is_over(ct, &f->xlat, family)) {
		remove_pair(ct, f, family);
		return false;
	}
	*fault = find_hop(skb, &f->xlat, &f->hop);
	if (!*fault)
		store_hop(ct, &f->hop);
	return true;
}

/* A packet of no connection: FORWARD once it has one, else the verdict. fault says why it
 * could not be forwarded anyway. */
static __always_inline int new_flow(struct __sk_buff *skb, struct spk_flow *f,
				    enum spk_counter fault, const __u8 family)
{
	struct spk_vs *vs = NULL;
	struct spk_egress *egress = NULL;
	__u32 kinds = local_kinds(&f->orig, family);
	bool opening = f->orig.proto != IPPROTO_TCP || opens(f->orig.tcp_flags);

	if (!fault)
		vs = find_vs(&f->orig, family);
	if (!vs && (kinds & SPK_LOCAL_SELF))
		return to_kernel();
	if (fault)
		return drop(fault);
	if (!vs && (kinds & SPK_LOCAL_VIP))
		return drop(SPK_DROP_NO_VIRTUAL_SERVER);
	if (!vs && f->orig.side == SPK_INTERNAL)
		egress = find_egress(&f->orig, family);
	if (!vs && !egress)
		return drop(SPK_DROP_NOT_PERMITTED);
	if (!opening)
		return drop(SPK_DROP_NO_FLOW);
	if (egress)
		to_outside(f, egress);
	else
		fault = to_member(f, vs);
	if (!fault)
		fault = start_flow(skb, f, !vs);
	if (!fault)
		return FORWARD;
	if (vs)
		refuse(vs);
	return drop(fault);
}

/* Decides on the packet and fills in f: FORWARD, or a verdict. */
static __always_inline int decide(struct __sk_buff *skb, struct spk_flow *f, const __u8 family)
{
	enum spk_counter fault;

	f->orig.side = skb->cb[0];
	fault = family == SPK_AF_INET ? read_tuple4(skb, &f->orig) : read_tuple6(skb, &f->orig);
	if (fault == SPK_DROP_MALFORMED)
		return drop(fault);
	if (stays_on_link(&f->orig))
		return to_kernel();
	if (!fault && known_flow(skb, f, family, &fault))
		return fault ? drop(fault) : FORWARD;
	return new_flow(skb, f, fault, family);
}

/* Sends what was rewritten as ct says. The entry of a flow that lost the race to another CPU
 * is that CPU's, and so is its hop. */
static __always_inline int leave(const struct spk_ct *ct, const struct spk_hop *hop)
{
	return hop_is_current(ct) ? (int)bpf_redirect(ct->oif, 0) : send_unresolved(hop);
}

static __always_inline int deliver4(struct __sk_buff *skb, struct spk_flow *f)
{
	struct spk_key4 key = key4_of(&f->orig);
	struct spk_ct4 *v = bpf_map_lookup_elem(&spk_ct4, &key);
	struct spk_headers4 h;

	if (!v)
		return drop(SPK_DROP_NO_FLOW);
	touch(&v->ct, f->orig.tcp_flags);
	account(v->ct.owner, skb->len);
	if (!parse_fast4(skb, &h) || rewrite4(skb, &h, v))
		return drop(SPK_DROP_REWRITE);
	return leave(&v->ct, &f->hop);
}

static __always_inline int deliver6(struct __sk_buff *skb, struct spk_flow *f)
{
	struct spk_key6 key = key6_of(&f->orig);
	struct spk_ct6 *v = bpf_map_lookup_elem(&spk_ct6, &key);
	struct spk_headers6 h;

	if (!v)
		return drop(SPK_DROP_NO_FLOW);
	touch(&v->ct, f->orig.tcp_flags);
	account(v->ct.owner, skb->len);
	if (!parse_fast6(skb, &h) || rewrite6(skb, &h, v))
		return drop(SPK_DROP_REWRITE);
	return leave(&v->ct, &f->hop);
}
