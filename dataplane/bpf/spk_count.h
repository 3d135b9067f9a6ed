// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Counting and the verdicts that are counted. */
#pragma once

#include <linux/pkt_cls.h>

#include "spk_maps.h"

static __always_inline void count(enum spk_counter which)
{
	__u64 *n = bpf_map_lookup_elem(&spk_counters, &which);

	if (n)
		(*n)++;
}

static __always_inline int drop(enum spk_counter reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

/* Lets the next program, and then the kernel, have the packet. */
static __always_inline int to_kernel(void)
{
	count(SPK_TO_KERNEL);
	return TC_ACT_UNSPEC;
}

static __always_inline struct spk_config *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&spk_config, &zero);
}
