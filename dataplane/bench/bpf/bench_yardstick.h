// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The least that a load balancer with connections does: parse, look the connection up, send. */
#pragma once

#include <linux/in.h>

#include "bench_wrapper.h"

#define IP4_PLAIN 0x45
#define IP4_FRAGMENT_MASK 0x3fff

struct bench_ports {
	__be16 source;
	__be16 dest;
};

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/* Finds the IPv4 packet's connection and readies the frame to be sent back. */
static __always_inline bool look_up4(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + ETH_HLEN;
	struct bench_ports *l4 = data + ETH_HLEN + sizeof(*ip);
	struct bench_value4 *v;

	if ((void *)(l4 + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return false;
	if (*(__u8 *)ip != IP4_PLAIN || ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK))
		return false;
	struct bench_key4 key = {
		.saddr = ip->saddr,
		.daddr = ip->daddr,
		.sport = l4->source,
		.dport = l4->dest,
		.proto = ip->protocol,
	};
	v = bpf_map_lookup_elem(&bench_hash4, &key);
	if (!v)
		return false;
	ip->ttl = v->hop_limit;
	swap_macs(eth);
	return true;
}

static __always_inline bool look_up6(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct bench_ports *l4 = data + ETH_HLEN + sizeof(*ip);
	struct bench_value6 *v;

	if ((void *)(l4 + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return false;
	if (ip->version != 6 || (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
		return false;
	struct bench_key6 key = {
		.sport = l4->source,
		.dport = l4->dest,
		.proto = ip->nexthdr,
	};

	__builtin_memcpy(key.saddr, &ip->saddr, sizeof(key.saddr));
	__builtin_memcpy(key.daddr, &ip->daddr, sizeof(key.daddr));
	v = bpf_map_lookup_elem(&bench_hash6, &key);
	if (!v)
		return false;
	ip->hop_limit = v->hop_limit;
	swap_macs(eth);
	return true;
}
