// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Packets of connections that are known, but need a second look. */
#pragma once

#include "spk_flow.h"

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
	struct spk_cursor *cursor;

	if (fault != SPK_DROP_TABLE_FULL || !owner)
		return dropped(fault);
	if (SPK_AT_TC) { /* which answers, so that the packet comes there too */
		cursor = bpf_map_lookup_elem(&spk_cursors, &owner->vs);
		if (cursor)
			__sync_fetch_and_add(&cursor->refused, 1);
		count(SPK_DROP_TABLE_FULL);
	}
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
