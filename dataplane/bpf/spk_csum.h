// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* One's complement arithmetic on checksum deltas (RFC 1624). A delta is kept folded to 16 bits,
 * and as 0 when nothing changes. */
#pragma once

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>

static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff ? 0 : sum;
}

/* What a sum gains when the 16-bit word old becomes new; not folded. */
static __always_inline __u32 csum_diff16(__be16 old, __be16 new)
{
	return (__u16)~old + new;
}

static __always_inline __u32 csum_diff32(__be32 old, __be32 new)
{
	return csum_diff16(old & 0xffff, new & 0xffff) + csum_diff16(old >> 16, new >> 16);
}

/* What a sum gains when the address old becomes new; IPv4 counts in the first word. */
static __always_inline __u32 csum_diff_addr(const __be32 *old, const __be32 *new)
{
	return csum_diff32(old[0], new[0]) + csum_diff32(old[1], new[1]) +
	       csum_diff32(old[2], new[2]) + csum_diff32(old[3], new[3]);
}

/* The delta of the way back. */
static __always_inline __u16 csum_negate(__u16 delta)
{
	return delta ? (__u16)~delta : 0;
}

/* Applies delta to the checksum field of an IPv4 header. */
static __always_inline __sum16 csum_apply(__sum16 check, __u32 delta)
{
	__u32 sum = (__u16)~check + delta;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__sum16)~sum;
}

/* What a sum gains when an address comes in; not folded. */
static __always_inline __u32 csum_addr(const __be32 *a)
{
	return (a[0] & 0xffff) + (a[0] >> 16) + (a[1] & 0xffff) + (a[1] >> 16) +
	       (a[2] & 0xffff) + (a[2] >> 16) + (a[3] & 0xffff) + (a[3] >> 16);
}

/* The sum of the pseudo header (RFC 8200 section 8.1) of len bytes of proto; an IPv4 address counts
 * in the first word. */
static __always_inline __u16 csum_pseudo(const __be32 *saddr, const __be32 *daddr, __u8 proto,
					 __u16 len)
{
	return csum_fold(csum_addr(saddr) + csum_addr(daddr) + bpf_htons(proto) + bpf_htons(len));
}

/* The checksum of an IPv4 header without options, whose own field is 0. */
static __always_inline __sum16 csum_header(const struct iphdr *ip)
{
	__u16 words[sizeof(*ip) / 2];
	__u32 sum = 0;

	__builtin_memcpy(words, ip, sizeof(words));
	for (__u32 i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}
