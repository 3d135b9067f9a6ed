// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Reading packets. The fast parsers look straight into the frame and accept only what the fast
 * path can forward; the slow readers take anything apart and say what is wrong with it. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stddef.h>

#include "spk_count.h"

#define SPK_AF_INET 2
#define SPK_AF_INET6 10

/* RFC 9293 section 3.1: the control bits that matter here. */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_DOFF_OFFSET 12
#define TCP_FLAGS_OFFSET 13

/* RFC 791 section 3.1: version 4, five words of header; more fragments and fragment offset. */
#define IP4_PLAIN 0x45
#define IP4_FRAGMENT_MASK 0x3fff
#define IP4_OFFSET_MASK 0x1fff

struct spk_ports_head {
	__be16 source;
	__be16 dest;
};

struct spk_headers4 {
	struct ethhdr *eth;
	struct iphdr *ip;
	struct spk_ports_head *l4;
	__u32 l3_len; /* by its header */
	__u8 tcp_flags;
	__u8 doff; /* TCP: the byte with the header's length */
};

struct spk_headers6 {
	struct ethhdr *eth;
	struct ipv6hdr *ip;
	struct spk_ports_head *l4;
	__u32 l3_len; /* by its header */
	__u8 tcp_flags;
	__u8 doff; /* TCP: the byte with the header's length */
};

/* Only the first packet of a connection carries SYN and nothing of the rest. */
static __always_inline bool opens(__u8 tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* Reads the transport header at l4; false when it is cut short or neither TCP nor UDP. */
static __always_inline bool parse_transport(void *l4, void *end, __u8 proto, __u8 *doff,
					    __u8 *tcp_flags)
{
	*tcp_flags = TCP_ACK;
	*doff = 0;
	if (proto == IPPROTO_UDP)
		return l4 + sizeof(struct udphdr) <= end;
	if (proto != IPPROTO_TCP || l4 + sizeof(struct tcphdr) > end)
		return false;
	*doff = *(__u8 *)(l4 + TCP_DOFF_OFFSET);
	*tcp_flags = *(__u8 *)(l4 + TCP_FLAGS_OFFSET);
	return true;
}

/* True for whole TCP and UDP packets without options that may still be forwarded. */
static __always_inline bool parse_fast4(spk_ctx *ctx, struct spk_headers4 *h)
{
	void *data = ctx_data(ctx), *end = ctx_end(ctx);

	h->eth = data;
	h->ip = data + ETH_HLEN;
	h->l4 = data + ETH_HLEN + sizeof(*h->ip);
	if ((void *)(h->l4 + 1) > end)
		return false;
	if (*(__u8 *)h->ip != IP4_PLAIN || h->ip->ttl < 2 ||
	    (h->ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK)))
		return false;
	h->l3_len = bpf_ntohs(h->ip->tot_len);
	if (!ctx_holds(ctx, h->l3_len))
		return false;
	return parse_transport(h->l4, end, h->ip->protocol, &h->doff, &h->tcp_flags);
}

static __always_inline bool parse_fast6(spk_ctx *ctx, struct spk_headers6 *h)
{
	void *data = ctx_data(ctx), *end = ctx_end(ctx);

	h->eth = data;
	h->ip = data + ETH_HLEN;
	h->l4 = data + ETH_HLEN + sizeof(*h->ip);
	if ((void *)(h->l4 + 1) > end)
		return false;
	if (h->ip->version != 6 || h->ip->hop_limit < 2)
		return false;
	h->l3_len = bpf_ntohs(h->ip->payload_len) + sizeof(*h->ip);
	if (!ctx_holds(ctx, h->l3_len))
		return false;
	return parse_transport(h->l4, end, h->ip->nexthdr, &h->doff, &h->tcp_flags);
}
