// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The slow path: everything but a packet of a known connection with a known next hop. */
#pragma once

#include "spk_flow.h"
#include "spk_rewrite.h"

/* What becomes of the packet; not a verdict of a front end. */
enum spk_decision {
	SPK_FORWARD = 1, /* it has an entry, and spk_flow says which */
	SPK_PASS,        /* to the kernel */
	SPK_LEAVE_TO_TC, /* XDP cannot do it */
	SPK_ANSWER,      /* as spk_flow.reply says */
	SPK_TRANSLATE,   /* an ICMP error about a flow */
	SPK_OTHER_FAMILY,
	SPK_ASKED, /* who has one of the TMM's addresses? */
	SPK_DROP = 256,  /* and more: the reason on top */
};

static __always_inline enum spk_decision dropped(enum spk_counter reason)
{
	return SPK_DROP + reason;
}

static __always_inline enum spk_decision answer(struct spk_flow *f, enum spk_reply reply)
{
	f->reply = reply;
	return SPK_ANSWER;
}

/* The entry of the packet's direction, in conntrack or half-open. */
struct spk_found {
	struct spk_ct *ct;
	bool half;
};

static __always_inline struct spk_found find_entry(const struct spk_tuple *t, const __u8 family)
{
	struct spk_found e = {.ct = ct_lookup(t, family)};

	if (e.ct)
		return e;
	e.ct = half_lookup(t, family);
	e.half = true;
	return e;
}

/* Does the entry of either family turn the answers to t back? */
static __always_inline bool answers(const void *entry, const struct spk_tuple *t,
				    const __u8 family)
{
	const struct spk_ct4 *v4 = entry;
	const struct spk_ct6 *v6 = entry;

	if (v4->ct.sport != t->dport || v4->ct.dport != t->sport)
		return false;
	if (family == SPK_AF_INET)
		return v4->saddr == t->daddr[0] && v4->daddr == t->saddr[0];
	return same_addr(v6->saddr, t->daddr) && same_addr(v6->daddr, t->saddr);
}

/* Is the half-open entry of rev, if there is one, the way back of t's flow? */
static __noinline bool owns_half(const struct spk_tuple *rev, const struct spk_tuple *t)
{
	const void *peer;

	if (rev->family == SPK_AF_INET) {
		peer = half_lookup(rev, SPK_AF_INET);
		return peer && answers(peer, t, SPK_AF_INET);
	}
	peer = half_lookup(rev, SPK_AF_INET6);
	return peer && answers(peer, t, SPK_AF_INET6);
}

/* A SYN on an entry says that its sender's connection is over when it has closed its end, when
 * either end was reset, when the entry leads to a member that is no more, or when another flow has
 * taken its way back. */
static __noinline bool is_over(const struct spk_ct *ct, const struct spk_flow *f, bool half)
{
	struct spk_owner *owner = bpf_map_lookup_elem(&spk_owners, &ct->owner);
	struct spk_tuple rev;
	struct spk_ct *peer;

	if (ct->state & (SPK_ST_FIN | SPK_ST_RST))
		return true;
	if (!owner || !(owner->flags & SPK_OWNER_USED) || (owner->flags & SPK_OWNER_REMOVED))
		return true;
	reverse_tuple(&f->xlat, peer_side(ct), ct->peer_zone, &rev);
	if (rev.family == SPK_AF_INET)
		peer = half ? half_lookup(&rev, SPK_AF_INET) : ct_lookup(&rev, SPK_AF_INET);
	else
		peer = half ? half_lookup(&rev, SPK_AF_INET6) : ct_lookup(&rev, SPK_AF_INET6);
	return !peer || (peer->state & SPK_ST_RST) || (half && !owns_half(&rev, &f->orig));
}

/* Whoever deletes the entry of the first packet's direction counts the connection as ended: a
 * program or user space. */
static __noinline int remove_pair(const struct spk_ct *ct, const struct spk_flow *f, bool half)
{
	struct spk_tuple rev;
	__u32 owner = ct->owner;
	bool forward = ct->flags & SPK_CT_FORWARD;
	bool first = false, second;

	reverse_tuple(&f->xlat, peer_side(ct), ct->peer_zone, &rev);
	if (!half || owns_half(&rev, &f->orig))
		first = !ct_delete(&rev, half);
	second = !ct_delete(&f->orig, half);
	if (!half && (forward ? second : first))
		load_add(owner, true);
	return 0;
}

/* Has the sender of a half-open flow proved that it gets what is sent to it, or that it means
 * it? The client of TCP or SCTP by anything that is not the first packet again; everybody else by
 * an answer or by a second packet. */
static __always_inline bool is_proof(const struct spk_ct *ct, const struct spk_flow *f)
{
	if (f->orig.proto != IPPROTO_TCP && f->orig.proto != IPPROTO_SCTP_)
		return true;
	return ct->flags & SPK_CT_FORWARD && !(f->orig.tcp_flags & (TCP_SYN | TCP_RST));
}

/* Copies the half-open entry of t. */
static __noinline bool read_half(const struct spk_tuple *t, union spk_ct_any *v)
{
	struct spk_ct *half;

	__builtin_memset(v, 0, sizeof(*v));
	if (t->family == SPK_AF_INET) {
		half = half_lookup(t, SPK_AF_INET);
		if (half)
			__builtin_memcpy(&v->v4, half, sizeof(v->v4));
	} else {
		half = half_lookup(t, SPK_AF_INET6);
		if (half)
			__builtin_memcpy(&v->v6, half, sizeof(v->v6));
	}
	return half;
}

/* The flow's way back belongs to another one, which took it after the half-open table had pushed
 * it out, unless another CPU has moved the flow meanwhile. Answers an enum spk_counter. */
static __noinline int not_alone(const struct spk_tuple *t)
{
	if (t->family == SPK_AF_INET ? (bool)ct_lookup(t, SPK_AF_INET)
				     : (bool)ct_lookup(t, SPK_AF_INET6))
		return SPK_OK;
	ct_delete(t, true);
	return SPK_DROP_CONFLICT;
}

/* Moves a half-open flow to conntrack: the entry of the packet's direction, and from it that of
 * the other one. Answers an enum spk_counter. A global function, for the verifier. */
__noinline int promote(struct spk_flow *f)
{
	union spk_ct_any v, peer;
	struct spk_tuple rev;
	long err;

	if (!f || !read_half(&f->orig, &v))
		return SPK_DROP_NO_FLOW;
	if (f->orig.family == SPK_AF_INET)
		ct_target(&v.ct, &f->orig, &f->xlat, SPK_AF_INET);
	else
		ct_target(&v.ct, &f->orig, &f->xlat, SPK_AF_INET6);
	reverse_tuple(&f->xlat, peer_side(&v.ct), v.ct.peer_zone, &rev);
	if (!read_half(&rev, &peer))
		opposite_entry(&v.ct, &f->orig, &peer);
	else if (!owns_half(&rev, &f->orig))
		return not_alone(&f->orig);
	err = ct_insert(&rev, &peer, false);
	if (err)
		return err == -EEXIST ? not_alone(&f->orig) : SPK_DROP_TABLE_FULL;
	err = ct_insert(&f->orig, &v, false);
	if (err && err != -EEXIST) {
		ct_delete(&rev, false);
		return SPK_DROP_TABLE_FULL;
	}
	ct_delete(&f->orig, true);
	ct_delete(&rev, true);
	load_add(v.ct.owner, false);
	count(SPK_FLOWS_ESTABLISHED);
	return SPK_OK;
}

/* What becomes of a packet whose member was removed; 0: it goes on. */
static __always_inline int check_owner(struct spk_flow *f, struct spk_ct *ct)
{
	struct spk_owner *owner = bpf_map_lookup_elem(&spk_owners, &ct->owner);

	if (!owner || !(owner->flags & SPK_OWNER_REMOVED) || owner->down == SPK_DOWN_NONE)
		return 0;
	if (owner->down == SPK_DOWN_DROP)
		return dropped(SPK_DROP_MEMBER_DOWN);
	ct->state |= SPK_ST_RST; /* no need to keep it for long */
	return answer(f, SPK_REPLY_RESET);
}

/* What becomes of a packet that cannot be sent on: RFC 1812 section 5.2.7.1 has the sender told that
 * there is no route. */
static __always_inline enum spk_decision no_way(struct spk_flow *f, enum spk_counter fault)
{
	return fault == SPK_DROP_NO_ROUTE ? answer(f, SPK_REPLY_UNREACHABLE) : dropped(fault);
}

/* Looks at a flow again after something has changed: which way does it go now? */
static __always_inline enum spk_decision validate(spk_ctx *ctx, struct spk_flow *f,
						  struct spk_ct *ct)
{
	const struct spk_config *cfg = config();
	__u32 gen = cfg ? cfg->gen : 0; /* before what it stands for is read */
	enum spk_counter fault;

	fault = find_hop(ctx, &f->xlat, &f->hop);
	if (fault)
		return no_way(f, fault);
	store_hop(ct, &f->hop, gen);
	count(SPK_FLOWS_VALIDATED);
	return SPK_FORWARD;
}

/* Takes the way from an entry that is current. */
static __always_inline enum spk_decision way_of(struct spk_flow *f, const struct spk_ct *ct)
{
	f->hop.resolved = 1;
	f->hop.tx = ct->oif;
	f->hop.vlan = ct->vlan;
	f->hop.mtu = ct->mtu;
	return SPK_FORWARD;
}

/* May the packet be the first one of a connection? A datagram may, until it is answered. */
static __always_inline bool is_first(const struct spk_flow *f, const struct spk_found *e)
{
	if (f->orig.proto == IPPROTO_TCP || f->orig.proto == IPPROTO_SCTP_)
		return opens(f->orig.tcp_flags);
	return e->half && e->ct->flags & SPK_CT_FORWARD;
}

/* Does the packet start a connection although it has an entry? Then the entry goes. */
static __noinline bool starts_anew(struct spk_flow *f, const struct spk_found *e)
{
	struct spk_owner *owner = bpf_map_lookup_elem(&spk_owners, &e->ct->owner);

	if (owner && owner->flags & SPK_OWNER_REMOVED && owner->down == SPK_DOWN_RESELECT &&
	    e->ct->flags & SPK_CT_FORWARD) {
		f->reselect = 1;
		count(SPK_FLOWS_RESELECTED);
	} else if (!is_first(f, e) || !is_over(e->ct, f, e->half)) {
		return false;
	} else {
		count(SPK_FLOWS_REPLACED);
	}
	remove_pair(e->ct, f, e->half);
	return true;
}

/* What the sender of a flow that finds no room learns: that it has to try again later. */
static __always_inline enum spk_decision not_promoted(struct spk_flow *f, enum spk_counter fault)
{
	struct spk_owner *owner = bpf_map_lookup_elem(&spk_owners, &f->owner);

	if (fault != SPK_DROP_TABLE_FULL || !owner)
		return dropped(fault);
#ifndef SPK_XDP /* the program at traffic control, which answers, comes here too */
	struct spk_cursor *cursor = bpf_map_lookup_elem(&spk_cursors, &owner->vs);

	if (cursor)
		__sync_fetch_and_add(&cursor->refused, 1);
	count(SPK_DROP_TABLE_FULL);
#endif
	return answer(f, SPK_REPLY_RESET);
}

/* A packet of a connection. 0: it opens a new one in its place. */
static __always_inline int known_flow(spk_ctx *ctx, struct spk_flow *f, const __u8 family)
{
	struct spk_found e = find_entry(&f->orig, family);
	enum spk_counter fault;
	int decision;

	if (!e.ct)
		return 0;
	if (e.ct->flags & SPK_CT_FAMILY)
		return SPK_OTHER_FAMILY;
	ct_target(e.ct, &f->orig, &f->xlat, family);
	f->owner = e.ct->owner;
	if (starts_anew(f, &e))
		return 0;
	decision = check_owner(f, e.ct);
	if (decision) /* the member may have been removed a moment ago */
		return starts_anew(f, &e) ? 0 : decision;
	if (e.half && is_proof(e.ct, f)) {
		fault = promote(f);
		if (fault)
			return not_promoted(f, fault);
		e.ct = ct_lookup(&f->orig, family);
		if (!e.ct)
			return dropped(SPK_DROP_NO_FLOW);
	}
	return is_current(e.ct) ? way_of(f, e.ct) : validate(ctx, f, e.ct);
}

/* A packet for the TMM's own address. */
static __always_inline enum spk_decision for_the_tmm(spk_ctx *ctx, const struct spk_flow *f)
{
	return is_allowed(f, ctx_ifindex(ctx)) ? SPK_PASS : dropped(SPK_DROP_NOT_ALLOWED);
}

/* Does the destination stand for one of the other family? */
static __always_inline bool changes_family(const struct spk_flow *f, const struct spk_egress *e,
					   const __u8 family)
{
	const __be32 *p = e->nat64, *d = f->orig.daddr;

	if (family == SPK_AF_INET)
		return e->nat46 && bpf_map_lookup_elem(&spk_nat46, &d[0]);
	return (p[0] | p[1] | p[2]) && p[0] == d[0] && p[1] == d[1] && p[2] == d[2];
}

/* A packet of no connection. fault says why it could not be forwarded anyway. */
static __always_inline int new_flow(spk_ctx *ctx, struct spk_flow *f, enum spk_counter fault,
				    const __u8 family)
{
	struct spk_vs *vs = NULL;
	struct spk_egress *egress = NULL;
	__u32 kinds = local_kinds(&f->orig, family);
	bool opening = (f->orig.proto != IPPROTO_TCP && f->orig.proto != IPPROTO_SCTP_) ||
		       opens(f->orig.tcp_flags) || f->reselect;

	if (!fault)
		vs = find_vs(&f->orig, family);
	if (!vs && (kinds & SPK_LOCAL_SELF))
		return for_the_tmm(ctx, f);
	if (fault == SPK_DROP_TTL_EXPIRED && kinds & SPK_LOCAL_ECHO && is_icmp(f->orig.proto) &&
	    is_echo_request(f))
		return answer(f, SPK_REPLY_ECHO); /* it has arrived: RFC 1122 section 3.2.1.7 */
	if (fault == SPK_DROP_TTL_EXPIRED)
		return answer(f, SPK_REPLY_TTL);
	if (fault == SPK_DROP_ICMP && kinds & SPK_LOCAL_ARP && is_solicitation(f))
		return SPK_ASKED;
	if (fault)
		return dropped(fault);
	if (!vs && (kinds & SPK_LOCAL_VIP)) {
		if (!is_icmp(f->orig.proto))
			return dropped(SPK_DROP_NO_VIRTUAL_SERVER);
		if (!is_echo_request(f))
			return dropped(SPK_DROP_NO_FLOW);
		return kinds & SPK_LOCAL_ECHO ? answer(f, SPK_REPLY_ECHO)
					      : dropped(SPK_DROP_NO_MEMBER);
	}
	if (!vs && (kinds & SPK_LOCAL_SNAT))
		return dropped(SPK_DROP_NO_FLOW);
	if (!vs && f->orig.side == SPK_INTERNAL)
		egress = find_egress(f, ctx_ifindex(ctx), family);
	if (!vs && !egress)
		return dropped(SPK_DROP_NOT_PERMITTED);
	if (!opening || (is_icmp(f->orig.proto) && !is_echo_request(f)))
		return dropped(SPK_DROP_NO_FLOW);
	if (egress && changes_family(f, egress, family)) {
		f->owner = egress->owner;
		f->snat = egress->snat;
		f->snat_pool = egress->snat_pool;
		return SPK_OTHER_FAMILY;
	}
	if (egress)
		to_outside(f, egress);
	else
		fault = to_member(f, vs);
	if (!fault)
		fault = start_flow(ctx, f, !vs);
	if (!fault)
		return SPK_FORWARD;
	if (vs)
		refuse(vs);
	return no_way(f, fault);
}

/* Does what leaves fit the way? Of segments that are offloaded together, each by itself. */
static __always_inline bool fits(spk_ctx *ctx, const struct spk_flow *f)
{
	__u32 gso = ctx_gso_size(ctx), len = f->l3_len;

	if (gso)
		len = f->l4 - ETH_HLEN + gso +
		      (f->orig.proto == IPPROTO_TCP ? f->l4_head : sizeof(struct udphdr));
	return len <= f->hop.mtu;
}

/* May a router cut the packet (RFC 791)? */
static __always_inline bool may_be_cut(const struct spk_flow *f)
{
	return f->orig.family == SPK_AF_INET && !(f->frag & SPK_DF);
}

/* Has the kernel cut what was rewritten, as a packet that comes in on loopback, where it may forward;
 * it takes one off the TTL for that. XDP leaves such a packet to traffic control. */
static __always_inline int cut_by_kernel(spk_ctx *ctx)
{
	__u8 to[ETH_ALEN] = {};
	struct iphdr ip;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return drop(ctx, SPK_DROP_REWRITE);
	ip.ttl++;
	ip.check = csum_apply(ip.check, bpf_htons(0x0100));
	if (ctx_store(ctx, ETH_HLEN, &ip, sizeof(ip)) || ctx_store(ctx, 0, to, sizeof(to)))
		return drop(ctx, SPK_DROP_REWRITE);
	return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
}

/* Decides on the packet and fills in f. */
static __always_inline int decide(spk_ctx *ctx, struct spk_flow *f, const __u8 family)
{
	enum spk_counter fault;
	int decision;

	f->reselect = 0;
	f->reply = 0;
	fault = family == SPK_AF_INET ? read_packet4(ctx, f) : read_packet6(ctx, f);
	if (fault == SPK_DROP_MALFORMED)
		return dropped(fault);
	if (stays_on_link(&f->orig))
		return SPK_PASS;
	if (fault == SPK_DROP_ICMP && is_icmp_error(f))
		return SPK_TRANSLATE;
	if (!fault && f->ttl < 2)
		fault = SPK_DROP_TTL_EXPIRED;
	if (!fault) {
		decision = known_flow(ctx, f, family);
		if (decision)
			return decision;
	}
	return new_flow(ctx, f, fault, family);
}

/* Refuses what is known where to send but cannot be sent there. */
static __always_inline int check_way(spk_ctx *ctx, struct spk_flow *f)
{
	if (!fits(ctx, f) && !may_be_cut(f)) {
		f->mtu = f->hop.mtu;
		return answer(f, SPK_REPLY_TOO_BIG);
	}
#ifdef SPK_XDP
	if (!f->hop.resolved || f->hop.vlan || !fits(ctx, f))
		return SPK_LEAVE_TO_TC; /* who can ask for the neighbour, and push the tag */
#endif
	return SPK_FORWARD;
}

/* Ends with what was decided; SPK_FORWARD has been dealt with. */
static __always_inline int conclude(spk_ctx *ctx, const struct spk_flow *f, int decision,
				    const __u8 family)
{
	bool v4 = family == SPK_AF_INET;

#ifdef SPK_XDP
	if (decision < SPK_DROP)
		decision = SPK_LEAVE_TO_TC;
#endif
	switch (decision) {
	case SPK_PASS:
		return to_kernel();
	case SPK_LEAVE_TO_TC:
		count(SPK_TO_TC);
		return SPK_ACT_NEXT;
	case SPK_ANSWER:
		return go_on(ctx, v4 ? SPK_PROG_REPLY4 : SPK_PROG_REPLY6);
	case SPK_TRANSLATE:
		return go_on(ctx, v4 ? SPK_PROG_ICMP4 : SPK_PROG_ICMP6);
	case SPK_OTHER_FAMILY:
		return go_on(ctx, v4 ? SPK_PROG_NAT46 : SPK_PROG_NAT64);
	case SPK_ASKED:
		return go_on(ctx, SPK_PROG_NEIGH);
	}
	return drop(ctx, decision - SPK_DROP);
}

/* Sends what was rewritten as ct says. The entry of a flow that lost the race to another CPU
 * is that CPU's, and so is its hop. */
static __always_inline int deliver(spk_ctx *ctx, const struct spk_flow *f, const struct spk_ct *ct)
{
#ifdef SPK_XDP
	return bpf_redirect(f->hop.tx, 0);
#else
	return f->hop.resolved && ct->gen ? leave(ctx, ct) : send_unresolved(&f->hop);
#endif
}

static __always_inline int forward4(spk_ctx *ctx, struct spk_flow *f)
{
	struct spk_ct *ct = find_entry(&f->orig, SPK_AF_INET).ct;
	bool whole = fits(ctx, f);

	if (!ct)
		return drop(ctx, SPK_DROP_NO_FLOW);
	touch(ct, f->orig.tcp_flags);
	account(ct, ctx_len(ctx));
	if (rewrite_slow4(ctx, f, (const struct spk_ct4 *)ct))
		return drop(ctx, SPK_DROP_REWRITE);
	return whole ? deliver(ctx, f, ct) : cut_by_kernel(ctx);
}

static __always_inline int forward6(spk_ctx *ctx, struct spk_flow *f)
{
	struct spk_ct *ct = find_entry(&f->orig, SPK_AF_INET6).ct;

	if (!ct)
		return drop(ctx, SPK_DROP_NO_FLOW);
	touch(ct, f->orig.tcp_flags);
	account(ct, ctx_len(ctx));
	if (rewrite_slow6(ctx, f, (const struct spk_ct6 *)ct))
		return drop(ctx, SPK_DROP_REWRITE);
	return deliver(ctx, f, ct);
}

static __always_inline int slow_path(spk_ctx *ctx, const __u8 family)
{
	struct spk_flow *f = the_flow();
	int decision;

	if (!f)
		return SPK_ACT_DROP;
	decision = decide(ctx, f, family);
	if (decision == SPK_FORWARD)
		decision = check_way(ctx, f);
	if (decision != SPK_FORWARD)
		return conclude(ctx, f, decision, family);
	return family == SPK_AF_INET ? forward4(ctx, f) : forward6(ctx, f);
}
