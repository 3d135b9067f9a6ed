// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* How much there may be of everything, and the unit of time. */
#pragma once

enum spk_limit {
	SPK_MAX_VIRTUAL_SERVERS = 4096,
	SPK_MAX_OWNERS = 16384,
	SPK_MAX_POOL_SLOTS = 1 << 20,
	SPK_MAX_SNAT_POOLS = 256,
	SPK_MAX_SNAT_ADDRS = 8192,
	SPK_MAX_AFFINITIES = 65536,
	SPK_MAX_FRAGMENTS = 16384,
	SPK_MAX_SERVICES = 4096,
	SPK_MAX_SUBNETS = 1024,
	SPK_MAX_NAT46 = 65536,
	SPK_MAX_VLANS = 64,
	SPK_IDENTIFICATIONS = 1024,
	SPK_EVENT_BYTES = 1 << 20,
	SPK_EVENT_PACKET = 96,
	SPK_MAX_LOCALS = 4096,
	SPK_MAX_EGRESS_PREFIXES = 4096,
	SPK_MAX_PORTS = 64,
	SPK_MAX_FLOWS = 262144,
	SPK_MAX_HALF_OPEN = 131072, /* entries, two a flow */
	SPK_NAME_LEN = 320,
	SPK_PORT_TRIES = 32, /* for each address */
	SPK_ADDR_TRIES = 4,
	SPK_EXACT_MEMBERS = 16, /* least connections looks at all members up to here */
};

/* Time is CLOCK_MONOTONIC_COARSE in ticks of 2^27 ns (134 ms): a shift instead of a division. */
enum spk_clock {
	SPK_TICK_SHIFT = 27,
	SPK_TOUCH_TICKS = 8,     /* how far spk_ct.seen may lag */
	SPK_TOUCH_JIFFIES = 100, /* a second at most, whatever the kernel's HZ */
};
