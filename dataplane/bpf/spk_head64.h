// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Packets as the other family has them (RFC 7915): their headers and what stands in the transport of
 * the family. At traffic control only. */
#pragma once

#include "spk_slow.h"

#define IP6_IP4_GAP (sizeof(struct ipv6hdr) - sizeof(struct iphdr))
#define IP6_FRAGMENT_HEAD 8
#define IP6_MIN_MTU 1280

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
	long err;

	if (f->part == SPK_LATER_FRAGMENT)
		return 0;
	if (is_icmp(f->orig.proto)) {
		err = translate_echo(ctx, l4, family == SPK_AF_INET6 ? &f->orig : &f->xlat,
				     f->l4_len, ct->port_delta,
				     is_echo_request(f) ? ct->sport : ct->dport, family);
		return err || family == SPK_AF_INET ? err : settle_echo(ctx, l4, f->l4_len);
	}
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
