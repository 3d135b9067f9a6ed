// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What differs between the front ends, but for checksums (spk_device.h) and for the programs that only
 * one of them has (spk.bpf.c): no other source asks for SPK_XDP. They are compiled twice: for traffic
 * control, and with SPK_XDP for XDP. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifdef SPK_XDP

typedef struct xdp_md spk_ctx;

#define SPK_SEC "xdp.frags"

enum { SPK_ACT_NEXT = XDP_PASS, SPK_ACT_DROP = XDP_DROP };

/* Constant, so that what it excludes is in no program. */
enum { SPK_AT_TC = false };

static __always_inline __u32 ctx_len(spk_ctx *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

static __always_inline long ctx_load(spk_ctx *ctx, __u32 off, void *to, __u32 len)
{
	return bpf_xdp_load_bytes(ctx, off, to, len);
}

static __always_inline long ctx_store(spk_ctx *ctx, __u32 off, const void *from, __u32 len)
{
	return bpf_xdp_store_bytes(ctx, off, (void *)from, len);
}

static __always_inline __u32 ctx_ifindex(spk_ctx *ctx)
{
	return ctx->ingress_ifindex;
}

/* True when the frame holds so many bytes of IP packet. */
static __always_inline bool ctx_holds(spk_ctx *ctx, __u32 l3)
{
	return ctx->data_end - ctx->data >= ETH_HLEN + l3 || ctx_len(ctx) >= ETH_HLEN + l3;
}

/* Bytes of the frame of so many bytes of IP packet, without a call. */
static __always_inline __u32 ctx_frame_len(spk_ctx *ctx, __u32 l3)
{
	return ETH_HLEN + l3;
}

/* XDP sees each packet by itself. */
static __always_inline __u32 ctx_gso_size(spk_ctx *ctx)
{
	return 0;
}

/* What leaves with a tag is left to traffic control. */
static __always_inline long ctx_push_tag(spk_ctx *ctx, __u16 tag)
{
	return -1;
}

#else

typedef struct __sk_buff spk_ctx;

#define SPK_SEC "tc"

enum { SPK_ACT_NEXT = TC_ACT_UNSPEC, SPK_ACT_DROP = TC_ACT_SHOT };

enum { SPK_AT_TC = true };

static __always_inline __u32 ctx_len(spk_ctx *ctx)
{
	return ctx->len;
}

static __always_inline long ctx_load(spk_ctx *ctx, __u32 off, void *to, __u32 len)
{
	return bpf_skb_load_bytes(ctx, off, to, len);
}

static __always_inline long ctx_store(spk_ctx *ctx, __u32 off, const void *from, __u32 len)
{
	return bpf_skb_store_bytes(ctx, off, from, len, 0);
}

static __always_inline __u32 ctx_ifindex(spk_ctx *ctx)
{
	return ctx->ifindex;
}

static __always_inline bool ctx_holds(spk_ctx *ctx, __u32 l3)
{
	return ctx->len >= ETH_HLEN + l3;
}

static __always_inline __u32 ctx_frame_len(spk_ctx *ctx, __u32 l3)
{
	return ctx->len;
}

/* Payload of each of the segments that are offloaded together; 0: a packet by itself. */
static __always_inline __u32 ctx_gso_size(spk_ctx *ctx)
{
	return ctx->gso_size;
}

/* Has the frame leave with an 802.1Q tag. */
static __always_inline long ctx_push_tag(spk_ctx *ctx, __u16 tag)
{
	return bpf_skb_vlan_push(ctx, bpf_htons(ETH_P_8021Q), tag);
}

#endif

static __always_inline void *ctx_data(spk_ctx *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *ctx_end(spk_ctx *ctx)
{
	return (void *)(long)ctx->data_end;
}
