// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Cursors into the packet. The fast parsers accept only what the fast path can forward; the
 * slow readers say what is wrong with the rest. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>

#include "spk_counters.h"
#include "spk_types.h"

#define SPK_AF_INET 2
#define SPK_AF_INET6 10

/* RFC 9293 section 3.1: the control bits that matter here. */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_FLAGS_OFFSET 13

/* RFC 791 section 3.1: version 4, five words of header; more fragments and fragment offset. */
#define IP4_PLAIN 0x45
#define IP4_FRAGMENT_MASK 0x3fff

struct spk_ports_head {
	__be16 source;
	__be16 dest;
};

struct spk_headers4 {
	struct ethhdr *eth;
	struct iphdr *ip;
	struct spk_ports_head *l4;
	__u8 tcp_flags;
};

struct spk_headers6 {
	struct ethhdr *eth;
	struct ipv6hdr *ip;
	struct spk_ports_head *l4;
	__u8 tcp_flags;
};

/* Only the first packet of a connection carries SYN and nothing of the rest. */
static __always_inline bool opens(__u8 tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* Reads the transport header at l4; false when it is cut short or neither TCP nor UDP. */
static __always_inline bool parse_transport(void *l4, void *end, __u8 proto, __u8 *tcp_flags)
{
	*tcp_flags = 0;
	if (proto == IPPROTO_UDP)
		return l4 + sizeof(struct udphdr) <= end;
	if (proto != IPPROTO_TCP || l4 + sizeof(struct tcphdr) > end)
		return false;
	*tcp_flags = *(__u8 *)(l4 + TCP_FLAGS_OFFSET);
	return true;
}

/* True for whole TCP and UDP packets without options that may still be forwarded. */
static __always_inline bool parse_fast4(struct __sk_buff *skb, struct spk_headers4 *h)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	h->eth = data;
	h->ip = data + ETH_HLEN;
	h->l4 = data + ETH_HLEN + sizeof(*h->ip);
	if ((void *)(h->l4 + 1) > end)
		return false;
	if (*(__u8 *)h->ip != IP4_PLAIN || h->ip->ttl < 2 ||
	    (h->ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK)))
		return false;
	return parse_transport(h->l4, end, h->ip->protocol, &h->tcp_flags);
}

static __always_inline bool parse_fast6(struct __sk_buff *skb, struct spk_headers6 *h)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	h->eth = data;
	h->ip = data + ETH_HLEN;
	h->l4 = data + ETH_HLEN + sizeof(*h->ip);
	if ((void *)(h->l4 + 1) > end)
		return false;
	if (h->ip->version != 6 || h->ip->hop_limit < 2)
		return false;
	return parse_transport(h->l4, end, h->ip->nexthdr, &h->tcp_flags);
}

/* Makes the first len bytes, or the whole packet when it is shorter, directly readable. */
static __always_inline void pull(struct __sk_buff *skb, __u32 len)
{
	if (skb->data + len > skb->data_end)
		bpf_skb_pull_data(skb, skb->len < len ? skb->len : len);
}

static __always_inline enum spk_counter transport_fault(__u8 proto)
{
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		return SPK_DROP_ICMP;
	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP)
		return SPK_DROP_MALFORMED;
	return SPK_DROP_PROTOCOL;
}

/* Fills in t as far as the packet goes and says why it cannot be forwarded, if so. The
 * addresses are valid unless the answer is SPK_DROP_MALFORMED. */
static __always_inline enum spk_counter read_tuple4(struct __sk_buff *skb, struct spk_tuple *t)
{
	struct spk_headers4 h = {};
	void *data, *end;

	pull(skb, ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr));
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	h.ip = data + ETH_HLEN;
	if ((void *)(h.ip + 1) > end || h.ip->version != 4)
		return SPK_DROP_MALFORMED;
	t->family = SPK_AF_INET;
	t->saddr[0] = h.ip->saddr;
	t->daddr[0] = h.ip->daddr;
	t->proto = h.ip->protocol;
	if (h.ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK))
		return SPK_DROP_FRAGMENT;
	if (*(__u8 *)h.ip != IP4_PLAIN)
		return SPK_DROP_IP_OPTIONS;
	h.l4 = (void *)(h.ip + 1);
	if (!parse_transport(h.l4, end, t->proto, &t->tcp_flags))
		return transport_fault(t->proto);
	t->sport = h.l4->source;
	t->dport = h.l4->dest;
	return h.ip->ttl < 2 ? SPK_DROP_TTL_EXPIRED : SPK_OK;
}

static __always_inline enum spk_counter extension_fault(__u8 nexthdr)
{
	switch (nexthdr) {
	case IPPROTO_FRAGMENT:
		return SPK_DROP_FRAGMENT;
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return SPK_DROP_IP_OPTIONS;
	}
	return transport_fault(nexthdr);
}

static __always_inline enum spk_counter read_tuple6(struct __sk_buff *skb, struct spk_tuple *t)
{
	struct spk_headers6 h = {};
	void *data, *end;

	pull(skb, ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr));
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	h.ip = data + ETH_HLEN;
	if ((void *)(h.ip + 1) > end || h.ip->version != 6)
		return SPK_DROP_MALFORMED;
	t->family = SPK_AF_INET6;
	__builtin_memcpy(t->saddr, &h.ip->saddr, sizeof(t->saddr));
	__builtin_memcpy(t->daddr, &h.ip->daddr, sizeof(t->daddr));
	t->proto = h.ip->nexthdr;
	h.l4 = (void *)(h.ip + 1);
	if (!parse_transport(h.l4, end, t->proto, &t->tcp_flags))
		return extension_fault(t->proto);
	t->sport = h.l4->source;
	t->dport = h.l4->dest;
	return h.ip->hop_limit < 2 ? SPK_DROP_TTL_EXPIRED : SPK_OK;
}
