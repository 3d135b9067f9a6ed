// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* A test run does not restore the packet between its repetitions. The wrapper does: it writes the
 * template back, sets the addresses and ports of the next flow, and ends in the program under
 * test. Its own cost is that of the empty program behind it. */
#pragma once

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>

#include "bench_maps.h"

#define IP4_CHECK_OFFSET (ETH_HLEN + offsetof(struct iphdr, check))
#define IP4_ADDRS_OFFSET (ETH_HLEN + offsetof(struct iphdr, saddr))
#define IP4_PORTS_OFFSET (ETH_HLEN + sizeof(struct iphdr))
#define IP6_ADDRS_OFFSET (ETH_HLEN + offsetof(struct ipv6hdr, saddr))
#define IP6_PORTS_OFFSET (ETH_HLEN + sizeof(struct ipv6hdr))
#define CHECK_OFFSET_MAX (BENCH_FRAME - sizeof(__sum16))

static __always_inline struct bench_template *template(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&bench_packet, &zero);
}

/* The index of the next flow; counts the packet. */
static __always_inline __u32 next_flow(const struct bench_template *t)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&bench_next, &zero);

	return n ? (*n)++ & t->mask : 0;
}

static __always_inline bool write_check(void *data, void *end, __u32 offset, __sum16 check)
{
	__sum16 *at;

	if (offset > CHECK_OFFSET_MAX)
		return false;
	at = data + offset;
	if ((void *)(at + 1) > end)
		return false;
	*at = check;
	return true;
}

static __always_inline bool vary4(void *data, void *end, const struct bench_template *t, __u32 i)
{
	struct bench_flow4 *f = bpf_map_lookup_elem(&bench_flows4, &i);

	if (!f || data + IP4_PORTS_OFFSET + sizeof(f->ports) > end)
		return false;
	*(__sum16 *)(data + IP4_CHECK_OFFSET) = f->ip_check;
	*(__u64 *)(data + IP4_ADDRS_OFFSET) = f->addrs;
	*(__u32 *)(data + IP4_PORTS_OFFSET) = f->ports;
	return write_check(data, end, t->check, f->check);
}

static __always_inline bool vary6(void *data, void *end, const struct bench_template *t, __u32 i)
{
	__u64 *addrs = data + IP6_ADDRS_OFFSET;
	struct bench_flow6 *f = bpf_map_lookup_elem(&bench_flows6, &i);

	if (!f || data + IP6_PORTS_OFFSET + sizeof(f->ports) > end)
		return false;
	addrs[0] = f->addrs[0];
	addrs[1] = f->addrs[1];
	addrs[2] = f->addrs[2];
	addrs[3] = f->addrs[3];
	*(__u32 *)(data + IP6_PORTS_OFFSET) = f->ports;
	return write_check(data, end, t->check, f->check);
}

/* Writes the template and the flow into a frame of the right length. */
static __always_inline bool restore(void *data, void *end, const struct bench_template *t)
{
	__u32 i = next_flow(t);

	if (data + 64 > end)
		return false;
	__builtin_memcpy(data, t->frame, 64);
	if (t->copy > 64) {
		if (data + 96 > end)
			return false;
		__builtin_memcpy(data + 64, t->frame + 64, 32);
	}
	if (t->copy > 96) {
		if (data + 128 > end)
			return false;
		__builtin_memcpy(data + 96, t->frame + 96, 32);
	}
	if (t->family == 4)
		return vary4(data, end, t, i);
	return t->family == 6 ? vary6(data, end, t, i) : true;
}
