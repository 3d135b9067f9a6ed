// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Packets that leave as the other family (RFC 7915), with state as in RFC 6146: NAT64 from IPv6
 * pods to IPv4 hosts, NAT46 from IPv4 pods to IPv6 hosts. At traffic control only. */
#pragma once

#include "spk_head64.h"

/* The translated destination, and the tuple's new family. */
static __always_inline enum spk_counter other_destination(struct spk_flow *f, const __u8 family)
{
	struct spk_addr6 *mapped;

	f->xlat = f->orig;
	__builtin_memset(f->xlat.saddr, 0, 2 * sizeof(f->xlat.saddr));
	if (family == SPK_AF_INET6) {
		f->xlat.family = SPK_AF_INET;
		f->xlat.daddr[0] = f->orig.daddr[3]; /* RFC 6052 section 2.2, /96 */
		if (f->orig.proto == IPPROTO_ICMPV6)
			f->xlat.proto = IPPROTO_ICMP;
		return SPK_OK;
	}
	mapped = bpf_map_lookup_elem(&spk_nat46, &f->orig.daddr[0]);
	if (!mapped)
		return SPK_DROP_NAT64;
	f->xlat.family = SPK_AF_INET6;
	copy_addr(f->xlat.daddr, mapped->addr);
	if (f->orig.proto == IPPROTO_ICMP)
		f->xlat.proto = IPPROTO_ICMPV6;
	return SPK_OK;
}

/* The source has to be the TMM's: the client has no address of the other family. */
static __always_inline enum spk_counter other_source(struct spk_flow *f,
						     const struct spk_port *port)
{
	if (f->snat == SPK_SNAT_POOL)
		return SPK_OK; /* taken with the port */
	f->snat = SPK_SNAT_AUTOMAP;
	return automap(f, port);
}

/* Keeps the IPv6 addresses that packets with the IPv4 tuple t leave with. */
static __noinline int keep_addresses(const struct spk_tuple *t, const __be32 *saddr,
				     const __be32 *daddr)
{
	struct spk_key4 k = key4_of(t);
	struct spk_nat64 v;

	copy_addr(v.saddr, saddr);
	copy_addr(v.daddr, daddr);
	return bpf_map_update_elem(&spk_nat64, &k, &v, BPF_ANY);
}

/* Makes both entries for what f->xlat is now: -EEXIST when another flow has the answers' key. */
static __noinline long claim_other(struct spk_flow *f)
{
	struct spk_tuple *rev = &f->rev;
	const struct spk_config *cfg = config();
	union spk_ct_any v;
	long err;

	__builtin_memset(&v, 0, sizeof(v));
	v.ct.seen = now_ticks();
	v.ct.flags = SPK_CT_FAMILY;
	if (f->orig.side == SPK_INTERNAL)
		v.ct.flags |= SPK_CT_PEER_INTERNAL;
	v.ct.owner = f->owner;
	v.ct.peer_zone = f->orig.zone;
	v.ct.sport = f->orig.dport;
	v.ct.dport = f->orig.sport;
	v.ct.addr_delta = csum_negate(addr_delta(&f->orig, &f->xlat));
	v.ct.port_delta = csum_negate(port_delta(&f->orig, &f->xlat));
	if (rev->family == SPK_AF_INET6)
		set_addrs(&v, f->orig.daddr, f->orig.saddr, SPK_AF_INET6);
	err = ct_insert(rev, &v, false);
	if (err)
		return err;
	v.ct.flags = SPK_CT_FAMILY | SPK_CT_FORWARD;
	if (rev->side == SPK_INTERNAL)
		v.ct.flags |= SPK_CT_PEER_INTERNAL;
	v.ct.peer_zone = rev->zone;
	v.ct.sport = f->xlat.sport;
	v.ct.dport = f->xlat.dport;
	v.ct.addr_delta = addr_delta(&f->orig, &f->xlat);
	v.ct.port_delta = port_delta(&f->orig, &f->xlat);
	if (f->orig.family == SPK_AF_INET6)
		set_addrs(&v, f->xlat.saddr, f->xlat.daddr, SPK_AF_INET6);
	store_hop(&v.ct, &f->hop, cfg ? ~cfg->gen : 0); /* never current on the fast path */
	if (f->orig.family == SPK_AF_INET6)
		err = keep_addresses(rev, f->orig.daddr, f->orig.saddr);
	else
		err = keep_addresses(&f->orig, f->xlat.saddr, f->xlat.daddr);
	if (!err)
		err = ct_insert(&f->orig, &v, false);
	if (err)
		ct_delete(rev, false);
	return err;
}

static __always_inline enum spk_counter start_other(spk_ctx *ctx, struct spk_flow *f,
						    const __u8 family)
{
	enum spk_counter fault = other_destination(f, family);
	struct spk_port *port;

	if (!fault)
		fault = find_hop(ctx, &f->xlat, &f->hop);
	if (fault)
		return fault;
	port = port_of(f->hop.oif);
	if (!port || port->side == SPK_INTERNAL)
		return SPK_DROP_BAD_INTERFACE;
	fault = other_source(f, port);
	if (!fault)
		fault = find_source(f, port->side, port->zone, true);
	if (fault)
		return fault;
	load_add(f->owner, false);
	count(SPK_FLOWS_STARTED);
	count(SPK_FLOWS_ESTABLISHED);
	return SPK_OK;
}

/* Reads what t is turned into. ct must be the entry of t, and of a flow that changes family. */
static __always_inline enum spk_counter other_target(const struct spk_ct *ct,
						     const struct spk_tuple *t,
						     struct spk_tuple *to, const __u8 family)
{
	*to = *t;
	to->sport = ct->sport;
	to->dport = ct->dport;
	if (family == SPK_AF_INET6) {
		const struct spk_ct6 *v = (const void *)ct;

		__builtin_memset(to->saddr, 0, 2 * sizeof(to->saddr));
		to->family = SPK_AF_INET;
		to->saddr[0] = v->saddr[0];
		to->daddr[0] = v->daddr[0];
		if (t->proto == IPPROTO_ICMPV6)
			to->proto = IPPROTO_ICMP;
	} else {
		struct spk_key4 k = key4_of(t);
		struct spk_nat64 *v = bpf_map_lookup_elem(&spk_nat64, &k);

		if (!v)
			return SPK_DROP_NO_FLOW;
		to->family = SPK_AF_INET6;
		copy_addr(to->saddr, v->saddr);
		copy_addr(to->daddr, v->daddr);
		if (t->proto == IPPROTO_ICMP)
			to->proto = IPPROTO_ICMPV6;
	}
	return SPK_OK;
}

/* Fills in f->xlat and the way of a packet whose entry is known. */
static __always_inline enum spk_counter follow_other(spk_ctx *ctx, struct spk_flow *f,
						     struct spk_ct *ct, const __u8 family)
{
	const struct spk_config *cfg = config();
	__u32 gen = cfg ? ~cfg->gen : 0;
	enum spk_counter fault = other_target(ct, &f->orig, &f->xlat, family);

	if (fault)
		return fault;
	if (gen && ct->gen == gen) {
		way_of(f, ct);
		return SPK_OK;
	}
	fault = find_hop(ctx, &f->xlat, &f->hop);
	if (!fault)
		store_hop(ct, &f->hop, gen);
	return fault;
}

/* Does the packet fit the way in its new shape? Of segments that are offloaded together, each by
 * itself; their size does not change with the family. */
static __always_inline bool fits_other(spk_ctx *ctx, const struct spk_flow *f, const __u8 family)
{
	__u32 head = family == SPK_AF_INET6 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u32 gso = ctx_gso_size(ctx), len = f->l4_len;

	if (gso)
		len = gso + (f->orig.proto == IPPROTO_TCP ? f->l4_head : sizeof(struct udphdr));
	if (family == SPK_AF_INET && f->part)
		head += IP6_FRAGMENT_HEAD;
	return len + head <= f->hop.mtu;
}

/* What fits the way, in the bytes of the packet as it came. */
static __always_inline __u16 other_mtu(const struct spk_flow *f, const __u8 family)
{
	if (family == SPK_AF_INET6)
		return f->hop.mtu + IP6_IP4_GAP;
	return f->hop.mtu - IP6_IP4_GAP - (f->part ? IP6_FRAGMENT_HEAD : 0);
}

/* May the kernel cut what leaves? As IPv4 what IPv6 would not have cut any more; as IPv6 no router cuts
 * anything. */
static __always_inline bool may_be_cut_other(spk_ctx *ctx, const struct spk_flow *f,
					     const __u8 family)
{
	return family == SPK_AF_INET6 && !ctx_gso_size(ctx) &&
	       (f->part || may_be_cut4(f->l4_len));
}

/* Writes the packet anew. ct is the entry of its direction. */
static __always_inline int send_other(spk_ctx *ctx, struct spk_flow *f, struct spk_ct *ct,
				      const __u8 family)
{
	bool whole = fits_other(ctx, f, family);

	touch(ct, f->orig.tcp_flags);
	account(ct, ctx_len(ctx));
	if (is_icmp(f->orig.proto) && f->part)
		return drop(ctx, SPK_DROP_NAT64); /* the sum asks for the whole length */
	if (translate_transport(ctx, f, ct, family) || change_head(ctx, f, family) ||
	    write_ether(ctx, f->hop.resolved ? ct->dmac : f->hop.dmac, family))
		return drop(ctx, SPK_DROP_NAT64);
	return whole ? deliver(ctx, f, ct) : cut_by_kernel(ctx);
}

static __always_inline int other_family(spk_ctx *ctx, const __u8 family)
{
	struct spk_flow *f = the_flow();
	enum spk_counter fault;
	struct spk_ct *ct;

	if (!f)
		return SPK_ACT_DROP;
	ct = ct_lookup(&f->orig, family);
	fault = ct ? follow_other(ctx, f, ct, family) : start_other(ctx, f, family);
	if (fault)
		return conclude(ctx, f, no_way(f, fault), family);
	ct = ct ?: ct_lookup(&f->orig, family);
	if (!ct)
		return drop(ctx, SPK_DROP_NO_FLOW);
	if (!fits_other(ctx, f, family) && !may_be_cut_other(ctx, f, family)) {
		f->reply = SPK_REPLY_TOO_BIG;
		f->mtu = other_mtu(f, family);
		return go_on(ctx, family == SPK_AF_INET6 ? SPK_PROG_REPLY6 : SPK_PROG_REPLY4);
	}
	return send_other(ctx, f, ct, family);
}
