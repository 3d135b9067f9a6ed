// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Counting and the verdicts that are counted. */
#pragma once

#include <stdbool.h>

#include "spk_ctx.h"
#include "spk_maps.h"

static __always_inline struct spk_config *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&spk_config, &zero);
}

/* The packet at hand, as far as the slow programs know it. */
static __always_inline struct spk_flow *the_flow(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&spk_flow, &zero);
}

static __always_inline __u64 count(enum spk_counter which)
{
	__u64 *n = bpf_map_lookup_elem(&spk_counters, &which);

	return n ? ++*n : 0;
}

static __always_inline struct spk_event *new_event(enum spk_event_kind kind)
{
	struct spk_event *e = bpf_ringbuf_reserve(&spk_events, sizeof(*e), 0);

	if (!e) {
		count(SPK_EVENTS_LOST);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	e->kind = kind;
	return e;
}

/* Tells of a drop, with the start of the frame. */
static __noinline int tell_drop(spk_ctx *ctx, enum spk_counter reason)
{
	struct spk_event *e = new_event(SPK_EVENT_DROP);
	__u32 len = ctx_len(ctx);

	if (!e)
		return 0;
	e->reason = reason;
	e->ifindex = ctx_ifindex(ctx);
	e->len = len;
	if (len > SPK_EVENT_PACKET)
		len = SPK_EVENT_PACKET;
	if (len >= ETH_HLEN) /* always; of "not 0" the verifier of Linux 6.1 learns no bound */
		ctx_load(ctx, 0, e->packet, len);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int drop(spk_ctx *ctx, enum spk_counter reason)
{
	__u64 n = count(reason);
	const struct spk_config *cfg = config();

	if (cfg && cfg->drop_sample && n % cfg->drop_sample == 0)
		tell_drop(ctx, reason);
	return SPK_ACT_DROP;
}

/* Lets the next program, and then the kernel, have the packet. */
static __always_inline int to_kernel(void)
{
	count(SPK_TO_KERNEL);
	return SPK_ACT_NEXT;
}

/* Ends in the program of that slot, or drops. */
static __always_inline int go_on(spk_ctx *ctx, enum spk_prog prog)
{
	bpf_tail_call(ctx, &spk_progs, prog);
	return drop(ctx, SPK_DROP_TAIL_CALL);
}
