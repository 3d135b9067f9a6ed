// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* From a frame to addresses, ports and what the rewrite needs. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lr_types.h"

#define TCP_FLAGS_OFFSET 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define IP4_PLAIN 0x45 /* version 4, no options (RFC 791 section 3.1) */
#define IP4_FRAGMENT_MASK 0x3fff
#define ICMP_ECHO_REPLY 0 /* RFC 792 */
#define ICMP_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128 /* RFC 4443 section 4 */
#define ICMP6_ECHO_REPLY 129
#define L4_NEEDED 20 /* a TCP header, the longest that is read */

/* An ICMP echo message, the same in both versions. */
struct lr_echo {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be16 id;
	__be16 sequence;
};

struct lr_packet {
	struct lr_addr src;
	struct lr_addr dst;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 ttl;
	__u8 tcp_flags;
	bool v6;
	__u8 smac[6];
};

static __always_inline void mapped(struct lr_addr *a, __be32 ip4)
{
	a->w[0] = 0;
	a->w[1] = 0;
	a->w[2] = bpf_htonl(0xffff);
	a->w[3] = ip4;
}

/* The node's own business: multicast, broadcast, link-local. */
static __always_inline bool kernels_own(const struct lr_packet *p)
{
	__u32 w0 = bpf_ntohl(p->dst.w[0]), w3 = bpf_ntohl(p->dst.w[3]);

	if (p->v6)
		return (w0 >> 24) == 0xff || (w0 >> 22) == (0xfe80 >> 6);
	return (w3 >> 28) == 0xe || (w3 >> 16) == 0xa9fe || w3 == 0xffffffff;
}

static __always_inline enum lr_counter parse_icmp(struct lr_packet *p, void *l4, void *end, bool v6)
{
	struct lr_echo *icmp = l4;

	if ((void *)(icmp + 1) > end)
		return LR_DROP_SHORT;
	if (v6 ? (icmp->type != ICMP6_ECHO_REQUEST && icmp->type != ICMP6_ECHO_REPLY) :
		 (icmp->type != ICMP_ECHO_REQUEST && icmp->type != ICMP_ECHO_REPLY))
		return LR_DROP_ICMP_ERROR;
	p->sport = icmp->id;
	p->dport = icmp->id;
	return LR_OK;
}

static __always_inline enum lr_counter parse_l4(struct lr_packet *p, void *l4, void *end)
{
	__be16 *ports = l4;

	if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)
		return parse_icmp(p, l4, end, p->proto == IPPROTO_ICMPV6);
	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP)
		return LR_DROP_HEADERS;
	if (l4 + sizeof(struct udphdr) > end)
		return LR_DROP_SHORT;
	p->sport = ports[0];
	p->dport = ports[1];
	if (p->proto == IPPROTO_TCP) {
		if (l4 + sizeof(struct tcphdr) > end)
			return LR_DROP_SHORT;
		p->tcp_flags = *(__u8 *)(l4 + TCP_FLAGS_OFFSET);
	}
	return LR_OK;
}

static __always_inline enum lr_counter parse_ip4(struct lr_packet *p, void *l3, void *end)
{
	struct iphdr *ip = l3;

	if ((void *)(ip + 1) > end)
		return LR_DROP_SHORT;
	mapped(&p->src, ip->saddr);
	mapped(&p->dst, ip->daddr);
	p->proto = ip->protocol;
	p->ttl = ip->ttl;
	if (*(__u8 *)ip != IP4_PLAIN)
		return LR_DROP_HEADERS;
	if (ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK))
		return LR_DROP_FRAGMENT;
	return parse_l4(p, ip + 1, end);
}

static __always_inline enum lr_counter parse_ip6(struct lr_packet *p, void *l3, void *end)
{
	struct ipv6hdr *ip = l3;

	if ((void *)(ip + 1) > end)
		return LR_DROP_SHORT;
	__builtin_memcpy(&p->src, &ip->saddr, sizeof(p->src));
	__builtin_memcpy(&p->dst, &ip->daddr, sizeof(p->dst));
	p->proto = ip->nexthdr;
	p->ttl = ip->hop_limit;
	p->v6 = true;
	if (p->proto == IPPROTO_FRAGMENT)
		return LR_DROP_FRAGMENT;
	return parse_l4(p, ip + 1, end);
}

/* Reads the packet; LR_TO_KERNEL for what is no IP. Addresses are filled in even where the
 * transport header cannot be read, so that the node's own traffic can be told. */
static __always_inline enum lr_counter parse(struct __sk_buff *skb, struct lr_packet *p)
{
	__u32 want = ETH_HLEN + sizeof(struct ipv6hdr) + L4_NEEDED;
	void *data, *end;
	struct ethhdr *eth;

	bpf_skb_pull_data(skb, skb->len < want ? skb->len : want);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return LR_TO_KERNEL;
	__builtin_memcpy(p->smac, eth->h_source, sizeof(p->smac));
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_ip4(p, eth + 1, end);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return parse_ip6(p, eth + 1, end);
	return LR_TO_KERNEL;
}
