// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* One's complement arithmetic on checksum deltas (RFC 1624). A delta is kept folded to 16 bits,
 * and as 0 when nothing changes. */
#pragma once

#include <linux/types.h>

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
