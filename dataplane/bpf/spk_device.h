// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The device's part in checksums: a sum over the frame that came with it (CHECKSUM_COMPLETE) and has
 * to follow what is written, and a transport's sum that is still to be completed by the device that
 * the packet leaves by (CHECKSUM_PARTIAL). XDP knows neither. */
#pragma once

#include <bpf/bpf_core_read.h>

#include "spk_csum.h"
#include "spk_ctx.h"
#include "spk_parse.h"

/* What the checksum field of the transport holds. XDP has whole checksums only: an end point on
 * the same machine must not leave them to its interface (ethtool -K tx off). */
enum spk_sum {
	SPK_SUM_WHOLE,
	SPK_SUM_PSEUDO, /* CHECKSUM_PARTIAL: the pseudo header's, and the device does the rest */
	SPK_SUM_DEVICE, /* whole, and the device's own sum over the packet has to follow */
};

/* A checksum that changes with addresses and ports. */
static __always_inline __sum16 whole_sum(__sum16 check, __u32 delta, bool udp)
{
	__sum16 sum = csum_apply(check, delta);

	return udp && !sum ? 0xffff : sum;
}

static __always_inline __sum16 corrected(__sum16 check, const struct spk_ct *ct,
					 enum spk_sum kind, bool udp)
{
	__u32 sum;

	if (kind == SPK_SUM_WHOLE)
		return whole_sum(check, (__u32)ct->addr_delta + ct->port_delta, udp);
	sum = (__u32)check + ct->addr_delta; /* not complemented */
	sum = (sum & 0xffff) + (sum >> 16);
	return udp && !sum ? 0xffff : sum;
}

/* Corrects the field where it lies. */
static __always_inline long fix_in_place(spk_ctx *ctx, const struct spk_ct *ct, void *l4,
					 __u8 proto, enum spk_sum kind)
{
	struct udphdr *udp = l4;
	struct tcphdr *tcp = l4;

	if (proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > ctx_end(ctx))
			return -1;
		tcp->check = corrected(tcp->check, ct, kind, false);
	} else {
		if ((void *)(udp + 1) > ctx_end(ctx))
			return -1;
		if (udp->check)
			udp->check = corrected(udp->check, ct, kind, true);
	}
	return 0;
}

#ifdef SPK_XDP

static __always_inline void fix_device_sum(spk_ctx *ctx, __u32 delta)
{
}

static __always_inline bool is_partial(spk_ctx *ctx, __u32 offset)
{
	return false;
}

static __always_inline enum spk_sum sum_kind(spk_ctx *ctx)
{
	return SPK_SUM_WHOLE;
}

/* Corrects the 16-bit sum at offset for addresses and ports that have changed. */
static __always_inline long fix_sum(spk_ctx *ctx, __u32 offset, __u16 addr_delta,
				    __u16 port_delta, bool udp)
{
	__sum16 sum;

	if (ctx_load(ctx, offset, &sum, sizeof(sum)))
		return -1;
	if (udp && !sum)
		return 0;
	sum = whole_sum(sum, (__u32)addr_delta + port_delta, udp);
	return ctx_store(ctx, offset, &sum, sizeof(sum));
}

static __always_inline long fix_fast(spk_ctx *ctx, const struct spk_ct *ct, void *l4, __u8 proto,
				     __u32 offset, enum spk_sum kind)
{
	return fix_in_place(ctx, ct, l4, proto, kind);
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

/* linux/skbuff.h: skb->ip_summed. */
#define CHECKSUM_COMPLETE 2
#define CHECKSUM_PARTIAL 3

struct sk_buff___spk {
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

/* Linux 6.2. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

/* Where the kernel cannot be asked, the helpers find out for themselves. */
static __always_inline enum spk_sum sum_kind(spk_ctx *ctx)
{
	struct sk_buff___spk *skb;
	__u8 summed;

	if (!bpf_cast_to_kern_ctx)
		return SPK_SUM_DEVICE;
	skb = bpf_cast_to_kern_ctx(ctx);
	summed = BPF_CORE_READ_BITFIELD(skb, ip_summed);
	if (summed == CHECKSUM_COMPLETE)
		return SPK_SUM_DEVICE;
	return summed == CHECKSUM_PARTIAL ? SPK_SUM_PSEUDO : SPK_SUM_WHOLE;
}

/* Is the 16-bit sum at offset still to be completed by the device? Where the kernel cannot be asked,
 * by the helper, which leaves such a field alone. */
static __noinline bool is_partial(spk_ctx *ctx, __u32 offset)
{
	__sum16 was, is;

	if (bpf_cast_to_kern_ctx)
		return sum_kind(ctx) == SPK_SUM_PSEUDO;
	if (ctx_load(ctx, offset, &was, sizeof(was)) ||
	    bpf_l4_csum_replace(ctx, offset, 0, 1, 0) ||
	    ctx_load(ctx, offset, &is, sizeof(is)))
		return false;
	if (was == is)
		return true;
	ctx_store(ctx, offset, &was, sizeof(was));
	return false;
}

/* With CHECKSUM_PARTIAL the helper takes the address delta and leaves the port delta out, which
 * is why they are two calls. */
static __always_inline long fix_with_flags(spk_ctx *ctx, __u32 offset, __u16 addr_delta,
					   __u16 port_delta, __u64 flags)
{
	long err = 0;

	if (addr_delta)
		err = bpf_l4_csum_replace(ctx, offset, 0, addr_delta, flags | BPF_F_PSEUDO_HDR);
	if (port_delta)
		err |= bpf_l4_csum_replace(ctx, offset, 0, port_delta, flags);
	return err;
}

static __always_inline long fix_sum(spk_ctx *ctx, __u32 offset, __u16 addr_delta,
				    __u16 port_delta, bool udp)
{
	__sum16 sum;

	if (!udp)
		return fix_with_flags(ctx, offset, addr_delta, port_delta, 0);
	if (ctx_load(ctx, offset, &sum, sizeof(sum)))
		return -1;
	if (!sum) {
		bpf_csum_update(ctx, port_delta); /* nothing cancels the ports out */
		return 0;
	}
	return fix_with_flags(ctx, offset, addr_delta, port_delta, BPF_F_MARK_MANGLED_0);
}

static __always_inline long fix_fast(spk_ctx *ctx, const struct spk_ct *ct, void *l4, __u8 proto,
				     __u32 offset, enum spk_sum kind)
{
	const struct udphdr *udp = l4;

	if (kind != SPK_SUM_DEVICE)
		return fix_in_place(ctx, ct, l4, proto, kind);
	if (proto == IPPROTO_TCP)
		return fix_with_flags(ctx, offset + offsetof(struct tcphdr, check),
				      ct->addr_delta, ct->port_delta, 0);
	if (!udp->check) {
		bpf_csum_update(ctx, ct->port_delta);
		return 0;
	}
	return fix_with_flags(ctx, offset + offsetof(struct udphdr, check), ct->addr_delta,
			      ct->port_delta, BPF_F_MARK_MANGLED_0);
}

#endif
