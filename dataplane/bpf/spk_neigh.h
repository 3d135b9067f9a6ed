// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* ARP and neighbour discovery for addresses that the kernel does not have: those of virtual
 * servers and SNAT pools inside a network that the TMM is connected to. At traffic control only. */
#pragma once

#include "spk_answer.h"
#include "spk_classify.h"

/* RFC 826, Ethernet and IPv4. */
#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

/* RFC 4861 sections 4.3, 4.4 and 4.6.1. */
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000
#define ND_SOURCE_MAC 1
#define ND_TARGET_MAC 2
#define ND_MAX_OPTIONS 8
#define ND_HOP_LIMIT 255

struct spk_arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

/* A solicitation; an advertisement has the option. */
struct spk_nd {
	struct ipv6hdr ip;
	__u8 type;
	__u8 code;
	__sum16 check;
	__be32 flags;
	__be32 target[4];
	__u8 option;
	__u8 option_len; /* in 8 bytes */
	__u8 mac[ETH_ALEN];
};

#define ND_ASKED offsetof(struct spk_nd, option)
#define ND_PAYLOAD (sizeof(struct spk_nd) - sizeof(struct ipv6hdr))

/* Sends the frame, whose packet is an answer by now, to a MAC address of its link. */
static __always_inline int send_to(spk_ctx *ctx, const __u8 *to, const __u8 *from)
{
	__u8 macs[2 * ETH_ALEN];

	__builtin_memcpy(macs, to, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, from, ETH_ALEN);
	if (ctx_store(ctx, 0, macs, sizeof(macs)))
		return drop(ctx, SPK_DROP_REWRITE);
	count(SPK_NEIGHBOURS_ANSWERED);
	return bpf_redirect(ctx_ifindex(ctx), 0);
}

static __always_inline int answer_arp(spk_ctx *ctx)
{
	struct spk_port *port = port_of(ctx_ifindex(ctx));
	struct spk_local *local;
	struct spk_arp arp;
	__be32 target;

	if (!port || ctx_load(ctx, ETH_HLEN, &arp, sizeof(arp)))
		return SPK_ACT_NEXT;
	if (arp.hardware != bpf_htons(ARP_ETHERNET) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_len != ETH_ALEN || arp.protocol_len != sizeof(target) ||
	    arp.operation != bpf_htons(ARP_REQUEST) || arp.sender == arp.target)
		return SPK_ACT_NEXT;
	target = arp.target;
	local = bpf_map_lookup_elem(&spk_local4, &target);
	if (!local || !(local->kinds & SPK_LOCAL_ARP))
		return SPK_ACT_NEXT;
	arp.operation = bpf_htons(ARP_REPLY);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, ETH_ALEN);
	__builtin_memcpy(arp.sender_mac, port->mac, ETH_ALEN);
	arp.target = arp.sender;
	arp.sender = target;
	if (store_summed(ctx, ETH_HLEN, &arp, sizeof(arp)))
		return drop(ctx, SPK_DROP_REWRITE);
	return send_to(ctx, arp.target_mac, port->mac);
}

/* The checksum of ICMPv6 over nd (RFC 4443 section 2.3). */
static __always_inline __sum16 nd_check(struct spk_nd *nd)
{
	__u64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&nd->type, ND_PAYLOAD, 0);

	sum += csum_pseudo(nd->ip.saddr.in6_u.u6_addr32, nd->ip.daddr.in6_u.u6_addr32,
			   IPPROTO_ICMPV6, ND_PAYLOAD);
	return (__sum16)~fold_sum(sum);
}

/* The address that those who may have target listen on (RFC 4291 section 2.7.1). */
static __always_inline bool is_solicited_node(const __be32 *a, const __be32 *target)
{
	return a[0] == bpf_htonl(0xff020000) && !a[1] && a[2] == bpf_htonl(1) &&
	       a[3] == (target[3] | bpf_htonl(0xff000000));
}

/* RFC 4861 section 7.1.1, the part about options: none is empty, and nobody without an address has
 * one with its MAC. */
static __noinline bool are_options_valid(spk_ctx *ctx, __u32 off, __u32 end, bool probe)
{
	__u8 option[2];

	for (int i = 0; i < ND_MAX_OPTIONS && off < end; i++) {
		if (ctx_load(ctx, off, option, sizeof(option)) || !option[1] ||
		    (probe && option[0] == ND_SOURCE_MAC))
			return false;
		off += option[1] * 8;
	}
	return off == end;
}

/* RFC 4861 section 7.1.1; and it is sent to where the target listens. */
static __always_inline bool is_valid(spk_ctx *ctx, const struct spk_nd *nd)
{
	const __be32 *from = nd->ip.saddr.in6_u.u6_addr32, *to = nd->ip.daddr.in6_u.u6_addr32;
	__u32 l4 = ETH_HLEN + sizeof(nd->ip), len = bpf_ntohs(nd->ip.payload_len);
	bool probe = !(from[0] | from[1] | from[2] | from[3]);

	if (nd->ip.nexthdr != IPPROTO_ICMPV6 || nd->ip.hop_limit != ND_HOP_LIMIT ||
	    nd->type != ICMP6_SOLICITATION || nd->code || l4 + len > ctx_len(ctx) ||
	    len < ND_ASKED - sizeof(nd->ip) || len > SUM_CHUNK * SUM_CHUNKS)
		return false;
	if (!is_solicited_node(to, nd->target) &&
	    (probe || __builtin_memcmp(to, nd->target, sizeof(nd->target))))
		return false;
	if (fold_sum((__u64)csum_pseudo(from, to, IPPROTO_ICMPV6, len) + sum_of(ctx, l4, len)) !=
	    0xffff)
		return false;
	return are_options_valid(ctx, ETH_HLEN + ND_ASKED, l4 + len, probe);
}

/* Makes an advertisement of a solicitation. Who has no address yet asks whether one is taken
 * (RFC 4862 section 5.4), and all are told. */
static __always_inline void advertise(struct spk_nd *nd, const struct spk_port *port)
{
	const __be32 *asker = nd->ip.saddr.in6_u.u6_addr32;
	bool probe = !(asker[0] | asker[1] | asker[2] | asker[3]);

	nd->ip.payload_len = bpf_htons(ND_PAYLOAD);
	nd->ip.daddr = nd->ip.saddr;
	if (probe) {
		nd->ip.daddr.in6_u.u6_addr32[0] = bpf_htonl(0xff020000);
		nd->ip.daddr.in6_u.u6_addr32[3] = bpf_htonl(1);
	}
	__builtin_memcpy(&nd->ip.saddr, nd->target, sizeof(nd->target));
	nd->type = ICMP6_ADVERTISEMENT;
	nd->check = 0;
	nd->flags = bpf_htonl(probe ? ND_OVERRIDE : ND_OVERRIDE | ND_SOLICITED);
	nd->option = ND_TARGET_MAC;
	nd->option_len = 1;
	__builtin_memcpy(nd->mac, port->mac, ETH_ALEN);
	nd->check = nd_check(nd);
}

static __always_inline int answer_solicitation(spk_ctx *ctx)
{
	struct spk_port *port = port_of(ctx_ifindex(ctx));
	__u8 to[ETH_ALEN], all[ETH_ALEN] = {0x33, 0x33, 0, 0, 0, 1}; /* RFC 2464 section 7 */
	struct spk_local *local;
	struct spk_addr6 target;
	struct spk_nd nd = {};

	if (!port || ctx_load(ctx, ETH_HLEN, &nd, ND_ASKED) || ctx_load(ctx, ETH_ALEN, to, ETH_ALEN))
		return SPK_ACT_NEXT;
	__builtin_memcpy(target.addr, nd.target, sizeof(target.addr));
	local = bpf_map_lookup_elem(&spk_local6, &target);
	if (!local || !(local->kinds & SPK_LOCAL_ARP) || !is_valid(ctx, &nd))
		return SPK_ACT_NEXT;
	advertise(&nd, port);
	if (bpf_skb_change_tail(ctx, ETH_HLEN + sizeof(nd), 0) ||
	    store_summed(ctx, ETH_HLEN, &nd, sizeof(nd)))
		return drop(ctx, SPK_DROP_REWRITE);
	return send_to(ctx, nd.flags & bpf_htonl(ND_SOLICITED) ? to : all, port->mac);
}
