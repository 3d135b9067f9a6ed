// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The device's part in checksums: a sum over the frame that came with it (CHECKSUM_COMPLETE) and has
 * to follow what is written, and a transport's sum that is still to be completed by the device that
 * the packet leaves by (CHECKSUM_PARTIAL). XDP knows neither. */
#pragma once

#include "spk_csum.h"
#include "spk_ctx.h"

#ifdef SPK_XDP

static __always_inline void fix_device_sum(spk_ctx *ctx, __u32 delta)
{
}

static __always_inline bool is_partial(spk_ctx *ctx, __u32 offset)
{
	return false;
}

#else

static __always_inline void fix_device_sum(spk_ctx *ctx, __u32 delta)
{
	bpf_csum_update(ctx, delta);
}

/* Writes where nothing cancels out what the device's sum over the packet gains. */
static __always_inline long store_summed(spk_ctx *ctx, __u32 off, const void *from, __u32 len)
{
	return bpf_skb_store_bytes(ctx, off, from, len, BPF_F_RECOMPUTE_CSUM);
}

/* Is the 16-bit sum at offset still to be completed by the device (CHECKSUM_PARTIAL)? The helper
 * leaves such a field alone; nothing else tells. */
static __noinline bool is_partial(spk_ctx *ctx, __u32 offset)
{
	__sum16 was, is;

	if (ctx_load(ctx, offset, &was, sizeof(was)) ||
	    bpf_l4_csum_replace(ctx, offset, 0, 1, 0) ||
	    ctx_load(ctx, offset, &is, sizeof(is)))
		return false;
	if (was == is)
		return true;
	ctx_store(ctx, offset, &was, sizeof(was));
	return false;
}

#endif
