// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What a router does to a packet: hop limit and MACs. */
#pragma once

#include "lr_maps.h"
#include "lr_parse.h"

#define TTL4 (ETH_HLEN + offsetof(struct iphdr, ttl))
#define CHECK4 (ETH_HLEN + offsetof(struct iphdr, check))
#define TTL6 (ETH_HLEN + offsetof(struct ipv6hdr, hop_limit))

/* The IPv4 header's checksum covers the hop limit, so that a sum over the whole packet stays as
 * it is; IPv6 has no such field, and the sum over the packet is corrected by the helper. */
static __always_inline bool age(struct __sk_buff *skb, const struct lr_packet *p, __u8 routers)
{
	__u8 ttl = p->ttl - routers;

	if (p->v6)
		return !bpf_skb_store_bytes(skb, TTL6, &ttl, sizeof(ttl), BPF_F_RECOMPUTE_CSUM);
	if (bpf_l3_csum_replace(skb, CHECK4, bpf_htons(p->ttl << 8), bpf_htons(ttl << 8), sizeof(__u16)))
		return false;
	return !bpf_skb_store_bytes(skb, TTL4, &ttl, sizeof(ttl), 0);
}

static __always_inline bool set_macs(struct __sk_buff *skb, const __u8 *dst, const volatile __u8 *src)
{
	__u8 macs[12];

	for (int i = 0; i < 6; i++) {
		macs[i] = dst[i];
		macs[6 + i] = src[i];
	}
	return !bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
}

/* Out of the uplink to a neighbour: the kernel resolves and remembers its MAC. */
static __always_inline long to_neighbour(const struct lr_packet *p, const struct lr_addr *hop)
{
	struct bpf_redir_neigh nh = {};

	if (p->v6) {
		nh.nh_family = 10; /* AF_INET6 */
		__builtin_memcpy(nh.ipv6_nh, hop, sizeof(nh.ipv6_nh));
	} else {
		nh.nh_family = 2; /* AF_INET */
		nh.ipv4_nh = hop->w[3];
	}
	return bpf_redirect_neigh(lr_uplink, &nh, sizeof(nh), 0);
}
