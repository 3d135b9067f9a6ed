// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Turning a packet into what its conntrack entry says. Headers are written first and the
 * transport checksum last, as the helpers that do it invalidate pointers into the packet. */
#pragma once

#include "spk_count.h"
#include "spk_csum.h"
#include "spk_parse.h"

/* TTL and protocol form one 16-bit word; TTL is its first byte on the wire. */
#define TTL_STEP ((__u16)~bpf_htons(0x0100))

/* IPv6: the hop limit is the second byte of its word. */
#define HOP_LIMIT_STEP ((__u16)~bpf_htons(0x0001))

#define ETH_ADDRS (2 * ETH_ALEN)

enum spk_checksum {
	SPK_CHECKSUM_NONE, /* a datagram without: it stays without */
	SPK_CHECKSUM_TCP,
	SPK_CHECKSUM_UDP,
};

static __always_inline enum spk_checksum checksum_kind(const void *l4, __u8 proto)
{
	const struct udphdr *udp = l4;

	if (proto == IPPROTO_TCP)
		return SPK_CHECKSUM_TCP;
	return udp->check ? SPK_CHECKSUM_UDP : SPK_CHECKSUM_NONE;
}

/* Adjusts the transport checksum of a packet whose addresses and ports have changed. With
 * CHECKSUM_PARTIAL the field holds the sum of the pseudo header only: the helper then takes the
 * address delta and leaves the port delta out, which is why they are two calls. */
static __always_inline long fix_transport(struct __sk_buff *skb, const struct spk_ct *ct,
					  __u32 l4_offset, enum spk_checksum kind)
{
	__u64 flags = kind == SPK_CHECKSUM_UDP ? BPF_F_MARK_MANGLED_0 : 0; /* 0 must not arise */
	__u32 offset = l4_offset + (kind == SPK_CHECKSUM_UDP ? offsetof(struct udphdr, check)
							     : offsetof(struct tcphdr, check));
	long err = 0;

	if (kind == SPK_CHECKSUM_NONE) {
		bpf_csum_update(skb, ct->port_delta); /* nothing cancels the ports out */
		return 0;
	}
	if (ct->addr_delta)
		err = bpf_l4_csum_replace(skb, offset, 0, ct->addr_delta,
					  flags | BPF_F_PSEUDO_HDR);
	if (ct->port_delta)
		err |= bpf_l4_csum_replace(skb, offset, 0, ct->port_delta, flags);
	return err;
}

static __always_inline long rewrite4(struct __sk_buff *skb, struct spk_headers4 *h,
				     const struct spk_ct4 *v)
{
	enum spk_checksum kind = checksum_kind(h->l4, h->ip->protocol);

	h->ip->saddr = v->saddr;
	h->ip->daddr = v->daddr;
	h->ip->ttl--;
	h->ip->check = csum_apply(h->ip->check, v->ct.addr_delta + TTL_STEP);
	h->l4->source = v->ct.sport;
	h->l4->dest = v->ct.dport;
	__builtin_memcpy(h->eth->h_dest, v->ct.dmac, ETH_ADDRS);
	return fix_transport(skb, &v->ct, ETH_HLEN + sizeof(struct iphdr), kind);
}

/* IPv6 has no header checksum, so a received CHECKSUM_COMPLETE sum has to follow the hop limit;
 * it must not follow the addresses, which the transport checksum cancels out, but the helper
 * takes them off as if it were IPv4: given back here, on every kernel alike. */
static __always_inline long rewrite6(struct __sk_buff *skb, struct spk_headers6 *h,
				     const struct spk_ct6 *v)
{
	enum spk_checksum kind = checksum_kind(h->l4, h->ip->nexthdr);

	__builtin_memcpy(&h->ip->saddr, v->saddr, sizeof(v->saddr));
	__builtin_memcpy(&h->ip->daddr, v->daddr, sizeof(v->daddr));
	h->ip->hop_limit--;
	h->l4->source = v->ct.sport;
	h->l4->dest = v->ct.dport;
	__builtin_memcpy(h->eth->h_dest, v->ct.dmac, ETH_ADDRS);
	if (fix_transport(skb, &v->ct, ETH_HLEN + sizeof(struct ipv6hdr), kind))
		return -1;
	bpf_csum_update(skb, v->ct.addr_delta + HOP_LIMIT_STEP);
	return 0;
}
