// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What every packet that the TMM makes itself has in common: it is made of the one that it
 * answers, and goes back out of the interface that that one came in on, with the tag that the
 * kernel keeps aside of it. At traffic control only. */
#pragma once

#include "spk_read.h"
#include "spk_rewrite.h"
#include "spk_sum.h"

/* RFC 1700. */
#define ANSWER_TTL 64

/* RFC 1122 section 3.2.1.3: first octets of what is no host. */
#define IP4_THIS_NET 0
#define IP4_LOOPBACK 127
#define IP4_FIRST_GROUP 224

#define IP6_FIRST_GROUP 0xff
#define IP6_LOOPBACK 1

/* Can the sender be answered? RFC 1122 section 3.2.2 and RFC 4443 section 2.4: never what stands
 * for no single host. */
static __always_inline bool is_from_host(const struct spk_tuple *t)
{
	__u8 first = bpf_ntohl(t->saddr[0]) >> 24;

	if (t->family == SPK_AF_INET)
		return first != IP4_THIS_NET && first != IP4_LOOPBACK && first < IP4_FIRST_GROUP;
	return first != IP6_FIRST_GROUP &&
	       (t->saddr[0] | t->saddr[1] | t->saddr[2] || bpf_ntohl(t->saddr[3]) > IP6_LOOPBACK);
}

/* The offset of the transport's sum, 0: none that the device would complete. */
static __always_inline __u32 sum_offset(const struct spk_flow *f)
{
	if (f->part == SPK_LATER_FRAGMENT)
		return 0;
	if (f->orig.proto == IPPROTO_TCP)
		return f->l4 + offsetof(struct tcphdr, check);
	if (f->orig.proto == IPPROTO_UDP)
		return f->l4 + offsetof(struct udphdr, check);
	return 0;
}

/* Writes an IP header without options in front of len bytes of proto. IPv4 addresses stand in the
 * first word. Nothing of what the TMM makes is long enough to be cut (RFC 6864: no identification). */
static __always_inline long write_ip(spk_ctx *ctx, const __be32 *saddr, const __be32 *daddr,
				     __u8 proto, __u32 len, __u8 tos, const __u8 family)
{
	struct iphdr ip4 = {.version = 4, .ihl = 5, .tos = tos, .ttl = ANSWER_TTL};
	struct ipv6hdr ip6 = {.version = 6, .hop_limit = ANSWER_TTL};

	if (family == SPK_AF_INET) {
		ip4.tot_len = bpf_htons(len + sizeof(ip4));
		ip4.frag_off = bpf_htons(IP4_DF);
		ip4.protocol = proto;
		ip4.saddr = saddr[0];
		ip4.daddr = daddr[0];
		ip4.check = csum_header(&ip4);
		return store_summed(ctx, ETH_HLEN, &ip4, sizeof(ip4));
	}
	ip6.priority = tos >> 4;
	ip6.flow_lbl[0] = tos << 4;
	ip6.payload_len = bpf_htons(len);
	ip6.nexthdr = proto;
	__builtin_memcpy(&ip6.saddr, saddr, sizeof(ip6.saddr));
	__builtin_memcpy(&ip6.daddr, daddr, sizeof(ip6.daddr));
	return store_summed(ctx, ETH_HLEN, &ip6, sizeof(ip6));
}

/* Sends the frame back to where it came from. */
static __always_inline int send_back(spk_ctx *ctx)
{
	__u8 macs[ETH_ADDRS], turned[ETH_ADDRS];

	if (ctx_load(ctx, 0, macs, ETH_ADDRS))
		return drop(ctx, SPK_DROP_REWRITE);
	__builtin_memcpy(turned, macs + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(turned + ETH_ALEN, macs, ETH_ALEN);
	if (ctx_store(ctx, 0, turned, ETH_ADDRS))
		return drop(ctx, SPK_DROP_REWRITE);
	return bpf_redirect(ctx_ifindex(ctx), 0);
}
