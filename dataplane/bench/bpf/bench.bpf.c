// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/* The programs of the benchmarks, each for both front ends. */
#include "bench_yardstick.h"

static __always_inline void *data_of(__u32 data)
{
	return (void *)(long)data;
}

SEC("xdp.frags")
int bench_wrap_xdp(struct xdp_md *ctx)
{
	const struct bench_template *t = template();
	long len = (long)ctx->data_end - (long)ctx->data;

	if (!t)
		return XDP_ABORTED;
	if (len != t->len && bpf_xdp_adjust_head(ctx, len - (long)t->len))
		return XDP_ABORTED;
	if (restore(data_of(ctx->data), data_of(ctx->data_end), t))
		bpf_tail_call(ctx, &bench_under_xdp, 0);
	return XDP_ABORTED;
}

SEC("tc")
int bench_wrap_tc(struct __sk_buff *ctx)
{
	const struct bench_template *t = template();

	if (!t)
		return TC_ACT_SHOT;
	if (ctx->len != t->len &&
	    bpf_skb_adjust_room(ctx, t->len - ctx->len, BPF_ADJ_ROOM_MAC, 0))
		return TC_ACT_SHOT;
	if (restore(data_of(ctx->data), data_of(ctx->data_end), t))
		bpf_tail_call(ctx, &bench_under_tc, 0);
	return TC_ACT_SHOT;
}

SEC("xdp.frags")
int bench_empty_xdp(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("tc")
int bench_empty_tc(struct __sk_buff *ctx)
{
	return TC_ACT_REDIRECT;
}

SEC("xdp.frags")
int bench_hash4_xdp(struct xdp_md *ctx)
{
	return look_up4(data_of(ctx->data), data_of(ctx->data_end)) ? XDP_TX : XDP_DROP;
}

SEC("xdp.frags")
int bench_hash6_xdp(struct xdp_md *ctx)
{
	return look_up6(data_of(ctx->data), data_of(ctx->data_end)) ? XDP_TX : XDP_DROP;
}

SEC("tc")
int bench_hash4_tc(struct __sk_buff *ctx)
{
	if (!look_up4(data_of(ctx->data), data_of(ctx->data_end)))
		return TC_ACT_SHOT;
	return bpf_redirect(ctx->ifindex, 0);
}

SEC("tc")
int bench_hash6_tc(struct __sk_buff *ctx)
{
	if (!look_up6(data_of(ctx->data), data_of(ctx->data_end)))
		return TC_ACT_SHOT;
	return bpf_redirect(ctx->ifindex, 0);
}

static __always_inline void count_sunk(__u32 len)
{
	__u32 frames = 0, bytes = 1;
	__u64 *n = bpf_map_lookup_elem(&bench_sunk, &frames);
	__u64 *b = bpf_map_lookup_elem(&bench_sunk, &bytes);

	if (n && b) {
		(*n)++;
		*b += len;
	}
}

/* Counts IPv4 frames and drops everything: what the interfaces say of themselves is not counted. */
SEC("xdp.frags")
int bench_sink_xdp(struct xdp_md *ctx)
{
	const struct ethhdr *eth = data_of(ctx->data);

	if ((void *)(eth + 1) <= data_of(ctx->data_end) && eth->h_proto == bpf_htons(ETH_P_IP))
		count_sunk(bpf_xdp_get_buff_len(ctx));
	return XDP_DROP;
}

SEC("tc")
int bench_sink_tc(struct __sk_buff *ctx)
{
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		count_sunk(ctx->len);
	return TC_ACT_SHOT;
}

SEC("xdp.frags")
int bench_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* For the types that Go has besides those of the maps. */
const enum bench_limit *bench_limit_type __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
