// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Starting a connection: translate, find the way, take both conntrack keys. */
#pragma once

#include <linux/errno.h>

#include "spk_classify.h"
#include "spk_nexthop.h"

/* Steps through the port range from a random start. Odd and coprime to most range sizes, so
 * that neighbouring starts do not walk along each other's taken ports. */
#define PORT_STRIDE 7919

struct spk_flow {
	struct spk_tuple orig; /* as the packet came */
	struct spk_tuple xlat; /* as it leaves */
	struct spk_hop hop;
	__u32 owner;
	__u32 snat;
};

/* Sends the packet to a member of the virtual server. */
static __always_inline enum spk_counter to_member(struct spk_flow *f, const struct spk_vs *vs)
{
	struct spk_owner *m = pick_member(vs, &f->owner);

	if (!m)
		return SPK_DROP_NO_MEMBER;
	f->xlat = f->orig;
	copy_addr(f->xlat.daddr, m->addr);
	if (m->port)
		f->xlat.dport = m->port;
	f->snat = vs->snat;
	return SPK_OK;
}

static __always_inline void to_outside(struct spk_flow *f, const struct spk_egress *e)
{
	f->xlat = f->orig;
	f->owner = e->owner;
	f->snat = e->snat;
}

/* Takes the source address of the interface that the packet leaves by. */
static __always_inline enum spk_counter translate_source(struct spk_flow *f,
							 const struct spk_port *port)
{
	if (f->snat != SPK_SNAT_AUTOMAP)
		return SPK_OK;
	if (f->orig.family == SPK_AF_INET) {
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

/* Finds the way of the translated packet and the side that answers will come in on. */
static __always_inline enum spk_counter route_flow(struct __sk_buff *skb, struct spk_flow *f,
						   bool must_leave, enum spk_side *side)
{
	enum spk_counter fault = find_hop(skb, &f->xlat, &f->hop);
	struct spk_port *port;

	if (fault)
		return fault;
	port = bpf_map_lookup_elem(&spk_ports, &f->hop.oif);
	if (!port || (must_leave && port->side == SPK_INTERNAL))
		return SPK_DROP_BAD_INTERFACE;
	*side = port->side;
	return translate_source(f, port);
}

/* What the sums gain when a becomes b. Not inlined: it would spill every word of both. */
static __noinline __u16 addr_delta(const struct spk_tuple *a, const struct spk_tuple *b)
{
	return csum_fold(csum_diff_addr(a->saddr, b->saddr) + csum_diff_addr(a->daddr, b->daddr));
}

static __always_inline __u16 port_delta(const struct spk_tuple *a, const struct spk_tuple *b)
{
	return csum_fold(csum_diff16(a->sport, b->sport) + csum_diff16(a->dport, b->dport));
}

/* Takes the key of the answers. When the source is translated, its port is whichever makes
 * that key a new one: the table itself allocates. */
static __always_inline enum spk_counter claim_reverse(struct spk_flow *f, struct spk_tuple *rev,
						      union spk_ct_any *v)
{
	const struct spk_config *cfg = config();
	__u32 range, offset;

	if (!cfg || cfg->port_max < cfg->port_min)
		return SPK_DROP_PORTS_EXHAUSTED;
	range = (__u32)cfg->port_max - cfg->port_min + 1;
	offset = bpf_get_prandom_u32() % range;
	for (int i = 0; i < SPK_PORT_TRIES; i++) {
		if (f->snat == SPK_SNAT_AUTOMAP)
			f->xlat.sport = bpf_htons(cfg->port_min + offset);
		rev->dport = f->xlat.sport;
		v->ct.port_delta = csum_negate(port_delta(&f->orig, &f->xlat));
		long err = ct_insert(rev, v, f->orig.daddr, f->orig.saddr);
		if (!err)
			return SPK_OK;
		if (err != -EEXIST)
			return SPK_DROP_TABLE_FULL;
		if (f->snat != SPK_SNAT_AUTOMAP)
			return SPK_DROP_CONFLICT;
		offset = (offset + PORT_STRIDE) % range;
	}
	return SPK_DROP_PORTS_EXHAUSTED;
}

/* Takes the key of the packet itself, after claim_reverse. */
static __always_inline enum spk_counter claim_forward(struct spk_flow *f, struct spk_tuple *rev,
						      union spk_ct_any *v)
{
	long err;

	v->ct.flags = SPK_CT_FORWARD | (rev->side == SPK_INTERNAL ? SPK_CT_PEER_INTERNAL : 0);
	v->ct.sport = f->xlat.sport;
	v->ct.dport = f->xlat.dport;
	v->ct.addr_delta = csum_negate(v->ct.addr_delta);
	v->ct.port_delta = csum_negate(v->ct.port_delta);
	store_hop(&v->ct, &f->hop);
	err = ct_insert(&f->orig, v, f->xlat.saddr, f->xlat.daddr);
	if (!err)
		return SPK_OK;
	ct_delete(rev, f->orig.family); /* another CPU was first, or the table is full */
	return err == -EEXIST ? SPK_OK : SPK_DROP_TABLE_FULL;
}

/* Makes both entries; answers an enum spk_counter. The hop of the way back is found with its
 * first packet. A global function, so that the verifier walks its loop once. */
__noinline int make_pair(struct spk_flow *f, enum spk_side side)
{
	union spk_ct_any v = {};
	struct spk_tuple rev;
	enum spk_counter fault;

	if (!f)
		return SPK_DROP_MALFORMED;
	reverse_tuple(&f->xlat, side, &rev);
	v.ct.seen = now_ticks();
	v.ct.owner = f->owner;
	v.ct.flags = f->orig.side == SPK_INTERNAL ? SPK_CT_PEER_INTERNAL : 0;
	v.ct.sport = f->orig.dport;
	v.ct.dport = f->orig.sport;
	v.ct.addr_delta = addr_delta(&f->xlat, &f->orig);
	fault = claim_reverse(f, &rev, &v);
	return fault ? fault : claim_forward(f, &rev, &v);
}

static __always_inline enum spk_counter start_flow(struct __sk_buff *skb, struct spk_flow *f,
						   bool egress)
{
	struct spk_traffic *t;
	enum spk_side side = SPK_EXTERNAL;
	enum spk_counter fault = route_flow(skb, f, egress, &side);

	if (!fault)
		fault = make_pair(f, side);
	if (fault)
		return fault;
	t = bpf_map_lookup_elem(&spk_traffic, &f->owner);
	if (t)
		t->connections++;
	count(SPK_FLOWS_STARTED);
	return SPK_OK;
}
