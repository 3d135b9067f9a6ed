// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Starting a connection: translate, find the way, take both conntrack keys. */
#pragma once

#include <linux/errno.h>

#include "spk_classify.h"

/* Steps through the port range from a random start. Odd and coprime to most range sizes, so
 * that neighbouring starts do not walk along each other's taken ports. */
#define PORT_STRIDE 7919

/* Where translated sources come from. */
struct spk_sources {
	struct spk_snat_range range;
	__u32 start; /* index of the first address to try */
};

/* Sends the packet to a member of the virtual server. */
static __always_inline enum spk_counter to_member(struct spk_flow *f, const struct spk_vs *vs)
{
	struct spk_owner *m;

	f->owner = pick_member(vs, &f->orig);
	m = bpf_map_lookup_elem(&spk_owners, &f->owner);
	if (!m || !is_member(vs, f->owner))
		return SPK_DROP_NO_MEMBER;
	f->xlat = f->orig;
	copy_addr(f->xlat.daddr, m->addr);
	if (m->port)
		f->xlat.dport = m->port;
	f->snat = vs->snat;
	f->snat_pool = vs->snat_pool;
	return SPK_OK;
}

static __always_inline void to_outside(struct spk_flow *f, const struct spk_egress *e)
{
	f->xlat = f->orig;
	f->owner = e->owner;
	f->snat = e->snat;
	f->snat_pool = e->snat_pool;
}

/* Takes the source address of the interface that the packet leaves by. */
static __always_inline enum spk_counter automap(struct spk_flow *f, const struct spk_port *port)
{
	if (f->xlat.family == SPK_AF_INET) {
		if (!port->self4)
			return SPK_DROP_NO_SELF_IP;
		f->xlat.saddr[0] = port->self4;
		return SPK_OK;
	}
	if (!(port->self6[0] | port->self6[1] | port->self6[2] | port->self6[3]))
		return SPK_DROP_NO_SELF_IP;
	copy_addr(f->xlat.saddr, port->self6);
	return SPK_OK;
}

/* The addresses and ports that a flow's source may be translated to. A client starts at the
 * address that its own determines. */
static __always_inline enum spk_counter find_sources(const struct spk_flow *f,
						     struct spk_sources *s, __u8 family)
{
	const struct spk_config *cfg = config();
	struct spk_snat_pool *pool;

	if (!cfg)
		return SPK_DROP_PORTS_EXHAUSTED;
	__builtin_memset(s, 0, sizeof(*s));
	if (f->snat == SPK_SNAT_POOL) {
		pool = bpf_map_lookup_elem(&spk_snat_pools, &f->snat_pool);
		if (!pool)
			return SPK_DROP_NO_SNAT_POOL;
		s->range = family == SPK_AF_INET ? pool->v4 : pool->v6;
		if (!s->range.count)
			return SPK_DROP_NO_SNAT_POOL;
		s->start = hash_addr(0, f->orig.saddr) % s->range.count;
	}
	if (!s->range.port_min) {
		s->range.port_min = cfg->port_min;
		s->range.port_max = cfg->port_max;
	}
	return s->range.port_max < s->range.port_min ? SPK_DROP_PORTS_EXHAUSTED : SPK_OK;
}

/* Sets the source to the nth address of the pool. */
static __noinline int take_address(struct spk_flow *f, const struct spk_sources *s, __u32 n)
{
	__u32 index = s->range.first + (s->start + n) % (s->range.count ?: 1);
	struct spk_addr6 *a = bpf_map_lookup_elem(&spk_snat_addrs, &index);

	if (a)
		copy_addr(f->xlat.saddr, a->addr);
	return 0;
}

/* What the sums gain when a becomes b. Not inlined: it would spill every word of both. IPv4's addresses
 * count in the first word, the rest is zero, so the families may differ. */
static __noinline __u16 addr_delta(const struct spk_tuple *a, const struct spk_tuple *b)
{
	return csum_fold(csum_diff_addr(a->saddr, b->saddr) + csum_diff_addr(a->daddr, b->daddr));
}

static __always_inline __u16 port_delta(const struct spk_tuple *a, const struct spk_tuple *b)
{
	return csum_fold(csum_diff16(a->sport, b->sport) + csum_diff16(a->dport, b->dport));
}

/* Fills in the entry that turns f->orig into f->xlat. */
static __noinline int forward_entry(const struct spk_flow *f, const struct spk_tuple *rev,
				    union spk_ct_any *v)
{
	__builtin_memset(v, 0, sizeof(*v));
	v->ct.seen = now_ticks();
	v->ct.flags = SPK_CT_FORWARD;
	if (rev->side == SPK_INTERNAL)
		v->ct.flags |= SPK_CT_PEER_INTERNAL;
	v->ct.peer_zone = rev->zone;
	v->ct.owner = f->owner;
	v->ct.sport = f->xlat.sport;
	v->ct.dport = f->xlat.dport;
	v->ct.addr_delta = addr_delta(&f->orig, &f->xlat);
	v->ct.port_delta = port_delta(&f->orig, &f->xlat);
	set_addrs(v, f->xlat.saddr, f->xlat.daddr, f->orig.family);
	return 0;
}

/* Takes the key of the answers for what f->xlat is now: -EEXIST when another flow has it. rob: one
 * that has only begun does not count. */
static __noinline long claim(struct spk_flow *f, bool rob)
{
	struct spk_tuple *rev = &f->rev;
	union spk_ct_any forward, v;

	if (rev->family == SPK_AF_INET ? (bool)ct_lookup(rev, SPK_AF_INET)
				       : (bool)ct_lookup(rev, SPK_AF_INET6))
		return -EEXIST;
	forward_entry(f, rev, &forward);
	opposite_entry(&forward.ct, &f->orig, &v);
	return rob ? half_replace(rev, &v) : ct_insert(rev, &v, true);
}

/* Takes the key of the packet itself, after claim; the flow may be another CPU's already. */
static __noinline int claim_forward(struct spk_flow *f)
{
	struct spk_tuple *rev = &f->rev;
	const struct spk_config *cfg = config();
	union spk_ct_any v;
	long err;

	forward_entry(f, rev, &v);
	store_hop(&v.ct, &f->hop, cfg ? cfg->gen : 0);
	err = ct_insert(&f->orig, &v, true);
	if (!err)
		return SPK_OK;
	ct_delete(rev, true);
	return err == -EEXIST ? SPK_OK : SPK_DROP_TABLE_FULL;
}

/* The search for a source that makes the key of the answers a new one: the tables themselves
 * allocate. */
struct spk_search {
	struct spk_sources from;
	__u32 range;  /* ports */
	__u32 offset; /* of the one to try */
	enum spk_side side; /* where the answers come in */
	__u16 zone;
	bool other; /* they are of the other family */
	bool rob;   /* flows that have only begun: those of a flood hold no port against others */
	long err;
};

/* Of the program that changes families, which only traffic control has. */
static long claim_other(struct spk_flow *f);

/* One try; answers 1 when there is nothing more to try. */
static long try_source(__u32 i, struct spk_search *s)
{
	struct spk_flow *f = the_flow();

	if (!f)
		return 1;
	if (f->snat == SPK_SNAT_POOL && !(i % SPK_PORT_TRIES))
		take_address(f, &s->from, i / SPK_PORT_TRIES);
	if (f->snat != SPK_SNAT_NONE)
		f->xlat.sport = bpf_htons(s->from.range.port_min + s->offset);
	reverse_tuple(&f->xlat, s->side, s->zone, &f->rev);
	s->err = s->other ? claim_other(f) : claim(f, s->rob);
	s->offset = (s->offset + PORT_STRIDE) % (s->range ?: 1);
	return s->err != -EEXIST || f->snat == SPK_SNAT_NONE;
}

/* Takes the key of the answers, which come in on the given side and zone: for a source that is
 * translated with whichever port makes it a new one. */
static __always_inline enum spk_counter find_source(struct spk_flow *f, enum spk_side side,
						    __u16 zone, bool other)
{
	struct spk_search s = {.side = side, .zone = zone, .other = other, .err = -EEXIST};
	enum spk_counter fault = find_sources(f, &s.from, f->xlat.family);

	if (fault)
		return fault;
	s.range = (__u32)s.from.range.port_max - s.from.range.port_min + 1;
	s.offset = bpf_get_prandom_u32() % s.range;
	bpf_loop(SPK_PORT_TRIES * SPK_ADDR_TRIES, try_source, &s, 0);
	if (s.err == -EEXIST && f->snat != SPK_SNAT_NONE && !other) {
		s.rob = true;
		bpf_loop(SPK_PORT_TRIES * SPK_ADDR_TRIES, try_source, &s, 0);
	}
	if (!s.err)
		return SPK_OK;
	if (s.err != -EEXIST)
		return SPK_DROP_TABLE_FULL;
	return f->snat == SPK_SNAT_NONE ? SPK_DROP_CONFLICT : SPK_DROP_PORTS_EXHAUSTED;
}

/* Tells of the start of a flow. */
static __noinline int tell_flow(spk_ctx *ctx, const struct spk_flow *f)
{
	struct spk_event *e = new_event(SPK_EVENT_FLOW);

	if (!e)
		return 0;
	e->ifindex = ctx_ifindex(ctx);
	e->len = ctx_len(ctx);
	e->owner = f->owner;
	e->orig = f->orig;
	e->xlat = f->xlat;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* Finds the way of a new flow and makes its entries. A member that could answer the client past
 * the TMM gets a source of the TMM's: both are on the same side, as when a pod reaches its own
 * virtual server. */
static __always_inline enum spk_counter start_flow(spk_ctx *ctx, struct spk_flow *f, bool egress)
{
	const struct spk_config *cfg = config();
	enum spk_counter fault = find_hop(ctx, &f->xlat, &f->hop);
	struct spk_port *port;

	if (fault)
		return fault;
	port = port_of(f->hop.oif);
	if (!port || (egress && port->side == SPK_INTERNAL))
		return SPK_DROP_BAD_INTERFACE;
	if (!egress && f->snat == SPK_SNAT_NONE && port->side == f->orig.side)
		f->snat = SPK_SNAT_AUTOMAP;
	if (f->snat == SPK_SNAT_AUTOMAP)
		fault = automap(f, port);
	if (!fault)
		fault = find_source(f, port->side, port->zone, false);
	if (!fault)
		fault = claim_forward(f);
	if (fault)
		return fault;
	count(SPK_FLOWS_STARTED);
	if (cfg && cfg->flags & SPK_FLOW_EVENTS)
		tell_flow(ctx, f);
	return SPK_OK;
}
