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

#include "lr_maps.h"

#define TCP_FLAGS_OFFSET 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define IP4_WORD 4 /* the unit of the header's length (RFC 791 section 3.1) */
#define IP4_MORE 0x2000
#define IP4_OFFSET 0x1fff
#define IP6_MORE 1 /* RFC 8200 section 4.5 */
#define IP6_OFFSET 0xfff8
#define IP6_HEADERS 8 /* extension headers that are read over */
#define ICMP_ECHO_REPLY 0 /* RFC 792 */
#define ICMP_ECHO_REQUEST 8
#define ICMP_UNREACHABLE 3
#define ICMP_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMP6_INFORMATION 128 /* errors are below (RFC 4443 section 2.1) */
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

/* An ICMP echo message, the same in both versions; errors have a header of the same size. */
struct lr_echo {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be16 id;
	__be16 sequence;
};

/* The IPv6 fragment header (RFC 8200 section 4.5). */
struct lr_fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

enum lr_part {
	LR_WHOLE,
	LR_FIRST,
	LR_LATER,
};

struct lr_packet {
	struct lr_addr src;
	struct lr_addr dst;
	__be16 sport;
	__be16 dport;
	__be32 id; /* of a datagram that was cut */
	__u32 l4;  /* offset of what comes after the headers of IP */
	__u8 proto;
	__u8 ttl;
	__u8 tcp_flags;
	__u8 part;	/* enum lr_part */
	__u8 about;	/* an ICMP error: the protocol that it quotes; ports are those of the quoted packet, turned */
	bool error;
	bool answers;	/* can only be an answer: no connection begins with it */
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

static __always_inline bool has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static __always_inline bool is_icmp_error(__u8 type, bool v6)
{
	if (v6)
		return type < ICMP6_INFORMATION;
	return type == ICMP_UNREACHABLE || type == ICMP_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER;
}

/* The ports of the packet that an ICMP error quotes, as its answer would have them. A quotation that
 * cannot be read has none. */
static __always_inline void parse_quoted(struct __sk_buff *skb, struct lr_packet *p, __u32 at)
{
	__u32 l4 = at + sizeof(struct ipv6hdr);
	struct lr_echo echo;
	struct iphdr ip;
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return;
	if (p->v6) {
		p->about = ((__u8 *)&ip)[offsetof(struct ipv6hdr, nexthdr)];
	} else {
		p->about = ip.protocol;
		l4 = at + ip.ihl * IP4_WORD;
		if (ip.frag_off & bpf_htons(IP4_OFFSET))
			return;
	}
	if (has_ports(p->about) && !bpf_skb_load_bytes(skb, l4, ports, sizeof(ports))) {
		p->sport = ports[1];
		p->dport = ports[0];
	} else if (p->about == p->proto && !bpf_skb_load_bytes(skb, l4, &echo, sizeof(echo))) {
		p->sport = echo.id;
		p->dport = echo.id;
	}
}

static __always_inline enum lr_counter parse_icmp(struct __sk_buff *skb, struct lr_packet *p)
{
	bool v6 = p->proto == IPPROTO_ICMPV6;
	struct lr_echo icmp;

	if (bpf_skb_load_bytes(skb, p->l4, &icmp, sizeof(icmp)))
		return LR_DROP_SHORT;
	if (is_icmp_error(icmp.type, v6)) {
		p->error = true;
		parse_quoted(skb, p, p->l4 + sizeof(icmp));
		return LR_OK;
	}
	p->answers = icmp.type == (v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY);
	if (p->answers || icmp.type == (v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST)) {
		p->sport = icmp.id;
		p->dport = icmp.id;
	}
	return LR_OK;
}

static __always_inline enum lr_counter parse_ports(struct __sk_buff *skb, struct lr_packet *p)
{
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, p->l4, ports, sizeof(ports)))
		return LR_DROP_SHORT;
	p->sport = ports[0];
	p->dport = ports[1];
	if (p->proto != IPPROTO_TCP)
		return LR_OK;
	if (bpf_skb_load_bytes(skb, p->l4 + TCP_FLAGS_OFFSET, &p->tcp_flags, sizeof(p->tcp_flags)))
		return LR_DROP_SHORT;
	p->answers = (p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
	return LR_OK;
}

/* A later fragment has the ports of the first one, which OVN's conntrack knows since it puts datagrams
 * together; here the first one has to come first. */
static __always_inline enum lr_counter parse_later(struct lr_packet *p, const struct lr_fragment_key *k)
{
	struct lr_fragment *first = bpf_map_lookup_elem(&lr_fragments, k);

	if (!first)
		return LR_DROP_FRAGMENT;
	p->sport = first->sport;
	p->dport = first->dport;
	return LR_OK;
}

static __always_inline enum lr_counter parse_l4(struct __sk_buff *skb, struct lr_packet *p)
{
	struct lr_fragment_key k = { .src = p->src, .dst = p->dst, .id = p->id, .proto = p->proto };
	struct lr_fragment first;
	enum lr_counter why = LR_OK;

	if (p->part == LR_LATER)
		return parse_later(p, &k);
	if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)
		why = parse_icmp(skb, p);
	else if (has_ports(p->proto))
		why = parse_ports(skb, p);
	if (why != LR_OK || p->part == LR_WHOLE)
		return why;
	first.sport = p->sport;
	first.dport = p->dport;
	bpf_map_update_elem(&lr_fragments, &k, &first, BPF_ANY);
	return LR_OK;
}

static __always_inline enum lr_counter parse_ip4(struct __sk_buff *skb, struct lr_packet *p)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return LR_DROP_SHORT;
	mapped(&p->src, ip.saddr);
	mapped(&p->dst, ip.daddr);
	p->proto = ip.protocol;
	p->ttl = ip.ttl;
	if (ip.version != 4 || ip.ihl * IP4_WORD < sizeof(ip))
		return LR_DROP_HEADERS;
	p->l4 = ETH_HLEN + ip.ihl * IP4_WORD;
	p->id = ip.id;
	if (ip.frag_off & bpf_htons(IP4_OFFSET))
		p->part = LR_LATER;
	else if (ip.frag_off & bpf_htons(IP4_MORE))
		p->part = LR_FIRST;
	return parse_l4(skb, p);
}

/* One extension header. False ends the walk: what follows is no header of IP. */
static __always_inline bool parse_extension(struct __sk_buff *skb, struct lr_packet *p)
{
	struct lr_fragment_header h;
	__u8 next;

	if (p->proto != IPPROTO_HOPOPTS && p->proto != IPPROTO_ROUTING && p->proto != IPPROTO_DSTOPTS &&
	    p->proto != IPPROTO_AH && p->proto != IPPROTO_FRAGMENT)
		return false;
	if (bpf_skb_load_bytes(skb, p->l4, &h, sizeof(h)))
		return false;
	next = h.next;
	if (p->proto == IPPROTO_FRAGMENT) {
		p->id = h.id;
		if (h.offset & bpf_htons(IP6_OFFSET))
			p->part = LR_LATER;
		else if (h.offset & bpf_htons(IP6_MORE))
			p->part = LR_FIRST;
		p->l4 += sizeof(h);
	} else if (p->proto == IPPROTO_AH) {
		p->l4 += (h.reserved + 2) * 4; /* RFC 4302 section 2.2 */
	} else {
		p->l4 += (h.reserved + 1) * 8;
	}
	p->proto = next;
	return p->part != LR_LATER;
}

static __always_inline enum lr_counter parse_ip6(struct __sk_buff *skb, struct lr_packet *p)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return LR_DROP_SHORT;
	__builtin_memcpy(&p->src, &ip.saddr, sizeof(p->src));
	__builtin_memcpy(&p->dst, &ip.daddr, sizeof(p->dst));
	p->proto = ip.nexthdr;
	p->ttl = ip.hop_limit;
	p->v6 = true;
	p->l4 = ETH_HLEN + sizeof(ip);
	for (int i = 0; i < IP6_HEADERS; i++)
		if (!parse_extension(skb, p))
			break;
	return parse_l4(skb, p);
}

/* Reads the packet; LR_TO_KERNEL for what is no IP. Addresses are filled in even where the
 * transport header cannot be read, so that the node's own traffic can be told. */
static __always_inline enum lr_counter parse(struct __sk_buff *skb, struct lr_packet *p)
{
	struct ethhdr eth;

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return LR_TO_KERNEL;
	__builtin_memcpy(p->smac, eth.h_source, sizeof(p->smac));
	if (eth.h_proto == bpf_htons(ETH_P_IP))
		return parse_ip4(skb, p);
	if (eth.h_proto == bpf_htons(ETH_P_IPV6))
		return parse_ip6(skb, p);
	return LR_TO_KERNEL;
}
