// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Packets that leave as the other family (RFC 7915), with state as in RFC 6146: NAT64 from IPv6
 * pods to IPv4 hosts, NAT46 from IPv4 pods to IPv6 hosts. At traffic control only. */
#pragma once

#include "spk_slow.h"

#define IP6_IP4_GAP (sizeof(struct ipv6hdr) - sizeof(struct iphdr))
#define IP6_FRAGMENT_HEAD 8
#define IP6_MIN_MTU 1280

/* What the sums of a transport gain when the addresses of one family become those of the other;
 * IPv4's count in the first word, the rest is zero. */
static __always_inline __u16 family_delta(const struct spk_flow *f)
{
	return csum_fold(csum_diff_addr(f->orig.saddr, f->xlat.saddr) +
			 csum_diff_addr(f->orig.daddr, f->xlat.daddr));
}

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
	v.ct.addr_delta = csum_negate(family_delta(f));
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
	v.ct.addr_delta = family_delta(f);
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

/* The header of a ping at the offset at: type, identifier and sum. ICMPv6 has a pseudo header in its
 * sum, of the addresses of six and the length, and ICMP has none. */
static __always_inline long translate_echo(spk_ctx *ctx, __u32 at, const struct spk_tuple *six,
					   __u16 len, __u16 port_delta, __be16 id,
					   const __u8 family)
{
	struct spk_icmp icmp;
	__be16 was, is;
	__u32 delta;

	if (ctx_load(ctx, at, &icmp, sizeof(icmp)))
		return -1;
	__builtin_memcpy(&was, &icmp, sizeof(was));
	if (family == SPK_AF_INET6)
		icmp.type = icmp.type == ICMP6_ECHO ? ICMP4_ECHO : ICMP4_ECHO_REPLY;
	else
		icmp.type = icmp.type == ICMP4_ECHO ? ICMP6_ECHO : ICMP6_ECHO_REPLY;
	__builtin_memcpy(&is, &icmp, sizeof(is));
	delta = csum_pseudo(six->saddr, six->daddr, IPPROTO_ICMPV6, len);
	if (family == SPK_AF_INET6)
		delta = csum_negate(delta);
	delta += csum_diff16(was, is) + port_delta;
	icmp.check = csum_apply(icmp.check, csum_fold(delta));
	icmp.id = id;
	return store_summed(ctx, at, &icmp, sizeof(icmp));
}

/* The transport's part: ports, identifier, type, checksum (RFC 7915 sections 4.2 and 5.2). */
static __always_inline long translate_transport(spk_ctx *ctx, const struct spk_flow *f,
						const struct spk_ct *ct, const __u8 family)
{
	struct spk_ports_head ports = {.source = ct->sport, .dest = ct->dport};
	__u32 l4 = f->l4;
	__sum16 sum;

	if (f->part == SPK_LATER_FRAGMENT)
		return 0;
	if (is_icmp(f->orig.proto))
		return translate_echo(ctx, l4, family == SPK_AF_INET6 ? &f->orig : &f->xlat,
				      f->l4_len, ct->port_delta,
				      is_echo_request(f) ? ct->sport : ct->dport, family);
	if (f->orig.proto == IPPROTO_SCTP_)
		return rewrite_sctp(ctx, f, ct);
	if (ctx_store(ctx, l4, &ports, sizeof(ports)))
		return -1;
	if (f->orig.proto == IPPROTO_TCP)
		return fix_sum(ctx, l4 + offsetof(struct tcphdr, check), ct->addr_delta,
			       ct->port_delta, false);
	if (ctx_load(ctx, l4 + offsetof(struct udphdr, check), &sum, sizeof(sum)) || !sum)
		return -1; /* IPv6 has no datagrams without a checksum */
	return fix_sum(ctx, l4 + offsetof(struct udphdr, check), ct->addr_delta, ct->port_delta,
		       true);
}

/* What a header says besides the addresses, in the terms of either family. */
struct spk_head {
	__u32 len;     /* bytes behind it and behind a fragment header; 0: more than it can say */
	__be32 id;     /* of a fragment header; IPv4 has the low half of it */
	__u16 frag;    /* as in spk_flow */
	bool fragment; /* frag and id count in IPv6 too */
	__u8 tos;
	__u8 ttl;
};

/* A whole packet must not be fragmented on its way, but for those that IPv6 would not have cut
 * either (RFC 7915 section 5.1). */
static __always_inline bool may_be_cut4(__u32 len)
{
	return len <= IP6_MIN_MTU - sizeof(struct ipv6hdr);
}

static __always_inline long write_head4(spk_ctx *ctx, __u32 at, const struct spk_tuple *t,
					const struct spk_head *h)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .tos = h->tos, .ttl = h->ttl};

	ip.tot_len = bpf_htons(h->len ? h->len + sizeof(ip) : 0);
	ip.id = h->id >> 16;
	ip.frag_off = bpf_htons((h->frag & IP4_OFFSET_MASK) | (h->frag & SPK_MORE ? IP4_MF : 0) |
				(h->frag & SPK_DF ? IP4_DF : 0));
	ip.protocol = t->proto;
	ip.saddr = t->saddr[0];
	ip.daddr = t->daddr[0];
	ip.check = csum_header(&ip);
	return store_summed(ctx, at, &ip, sizeof(ip));
}

static __always_inline long write_head6(spk_ctx *ctx, __u32 at, const struct spk_tuple *t,
					const struct spk_head *h)
{
	struct ipv6hdr ip = {.version = 6, .priority = h->tos >> 4, .nexthdr = t->proto};
	__u8 fragment[IP6_FRAGMENT_HEAD] = {t->proto};
	__u32 len = h->len;
	__be16 offset;

	if (h->fragment) {
		ip.nexthdr = IPPROTO_FRAGMENT;
		len += sizeof(fragment);
		offset = bpf_htons((h->frag & IP4_OFFSET_MASK) << 3 | !!(h->frag & SPK_MORE));
		__builtin_memcpy(fragment + 2, &offset, sizeof(offset));
		__builtin_memcpy(fragment + 4, &h->id, sizeof(h->id));
		if (store_summed(ctx, at + sizeof(ip), fragment, sizeof(fragment)))
			return -1;
	}
	ip.flow_lbl[0] = h->tos << 4;
	ip.payload_len = bpf_htons(h->len ? len : 0);
	ip.hop_limit = h->ttl;
	__builtin_memcpy(&ip.saddr, t->saddr, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, t->daddr, sizeof(ip.daddr));
	return store_summed(ctx, at, &ip, sizeof(ip));
}

/* Traffic class or type of service (RFC 7915 sections 4.1 and 5.1: copied). */
static __always_inline __u8 traffic_class(spk_ctx *ctx, const __u8 family)
{
	__u8 head[2] = {};

	ctx_load(ctx, ETH_HLEN, head, sizeof(head));
	return family == SPK_AF_INET ? head[1] : head[0] << 4 | head[1] >> 4;
}

/* The identification of an IPv4 packet that may be cut on its way: other than those of the packets
 * before it with the same addresses and protocol (RFC 6864 section 4.3), and never 0. */
static __noinline __be16 next_id(const struct spk_tuple *t)
{
	__u32 slot = mix(mix(t->proto, t->saddr[0]), t->daddr[0]) % SPK_IDENTIFICATIONS;
	__u32 *last = bpf_map_lookup_elem(&spk_identifications, &slot);

	if (!last)
		return bpf_htons(1);
	if (!*last)
		*last = bpf_get_prandom_u32() | 1; /* nobody can guess where it begins */
	return bpf_htons(1 + __sync_fetch_and_add(last, 1) % 0xffff);
}

/* Says of a packet that becomes IPv4 that it may not be cut, or what its parts would have in common. */
static __always_inline void identify(struct spk_head *h, const struct spk_tuple *t)
{
	if (may_be_cut4(h->len))
		h->id = (__u32)next_id(t) << 16;
	else
		h->frag = SPK_DF;
}

/* The header that the packet leaves with. */
static __always_inline struct spk_head new_head(spk_ctx *ctx, const struct spk_flow *f,
						const __u8 family)
{
	struct spk_head h = {
		.len = f->l4_len,
		.fragment = f->part,
		.tos = traffic_class(ctx, family),
		.ttl = f->ttl - 1,
	};

	if (f->part) {
		h.frag = f->frag & (IP4_OFFSET_MASK | SPK_MORE);
		h.id = family == SPK_AF_INET6 ? f->frag_id : f->frag_id << 16;
	} else if (family == SPK_AF_INET6) {
		identify(&h, &f->xlat);
	}
	if (!f->l3_len)
		h.len = 0;
	return h;
}

/* Makes the head longer or shorter, behind the part that every packet of its family has. */
static __always_inline long change_room(spk_ctx *ctx, __s32 more)
{
	if (!more)
		return 0;
	return bpf_skb_adjust_room(ctx, more, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Makes room for the header of the other family where that of this one is: options and extension
 * headers go, but for a fragment's. */
static __always_inline long change_head(spk_ctx *ctx, const struct spk_flow *f, const __u8 family)
{
	struct spk_head h = new_head(ctx, f, family);
	long err;

	if (family == SPK_AF_INET6) {
		err = bpf_skb_change_proto(ctx, bpf_htons(ETH_P_IP), 0) ?:
		      change_room(ctx, -(__s32)(f->l4 - ETH_HLEN - sizeof(struct ipv6hdr)));
		return err ?: write_head4(ctx, ETH_HLEN, &f->xlat, &h);
	}
	err = change_room(ctx, -(__s32)(f->l4 - ETH_HLEN - sizeof(struct iphdr))) ?:
	      bpf_skb_change_proto(ctx, bpf_htons(ETH_P_IPV6), 0);
	err = err ?: change_room(ctx, f->part ? IP6_FRAGMENT_HEAD : 0);
	return err ?: write_head6(ctx, ETH_HLEN, &f->xlat, &h);
}

/* The Ethernet header of a packet of the other family. */
static __always_inline long write_ether(spk_ctx *ctx, const __u8 *macs, const __u8 family)
{
	__be16 proto = bpf_htons(family == SPK_AF_INET6 ? ETH_P_IP : ETH_P_IPV6);

	return ctx_store(ctx, 0, macs, ETH_ADDRS) ?:
	       ctx_store(ctx, offsetof(struct ethhdr, h_proto), &proto, sizeof(proto));
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
