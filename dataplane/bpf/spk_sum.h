// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Sums over what stands in a frame, for checksums that are made anew. */
#pragma once

#include "spk_ctx.h"

#define ICMP_CHECK_OFFSET 2

#define SUM_CHUNK 64
#define SUM_CHUNKS 32

/* The sum of len bytes of the frame, up to SUM_CHUNK * SUM_CHUNKS; not folded to 16 bits. */
static __noinline __u32 sum_of(spk_ctx *ctx, __u32 off, __u32 len)
{
	__be32 chunk[SUM_CHUNK / 4];
	__u32 sum = 0, last;

	for (int i = 0; i < SUM_CHUNKS && len >= SUM_CHUNK; i++) {
		if (ctx_load(ctx, off, chunk, SUM_CHUNK))
			return 0;
		sum = bpf_csum_diff(NULL, 0, chunk, SUM_CHUNK, sum);
		off += SUM_CHUNK;
		len -= SUM_CHUNK;
	}
	last = len - 1; /* from "len is not 0" the verifier of Linux 6.1 learns no bound */
	barrier_var(last);
	if (last >= SUM_CHUNK - 1)
		return sum;
	__builtin_memset(chunk, 0, sizeof(chunk));
	if (ctx_load(ctx, off, chunk, last + 1))
		return 0;
	return bpf_csum_diff(NULL, 0, chunk, SUM_CHUNK, sum);
}

/* Folds a sum to 16 bits. It is of a packet, not a delta: 0xffff stays what it is. */
static __always_inline __u16 fold_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The sum of a ping of len bytes, whose field was changed step by step: of nothing but zeros, as a pong
 * may be, it is 0xffff and not 0, which the steps do not tell apart (RFC 1624 section 3). A global
 * function, for the verifier. */
__noinline int settle_echo(spk_ctx *ctx, __u32 at, __u32 len)
{
	__sum16 sum, none = 0xffff;

	if (ctx_load(ctx, at + ICMP_CHECK_OFFSET, &sum, sizeof(sum)))
		return -1;
	if (sum || sum_of(ctx, at, len))
		return 0;
	return ctx_store(ctx, at + ICMP_CHECK_OFFSET, &none, sizeof(none));
}
