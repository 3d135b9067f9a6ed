// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What the wrapper, the yardsticks and user space share. */
#pragma once

#include <linux/types.h>

enum bench_limit {
	BENCH_MAX_FLOWS = 65536,
	BENCH_FRAME = 128, /* bytes of the frame that are restored */
	BENCH_HASH_ENTRIES = 262144,
};

/* The packet before the program under test gets it. */
struct bench_template {
	__u32 len;    /* bytes of the whole frame */
	__u32 copy;   /* bytes to restore: 64, 96 or 128 */
	__u32 mask;   /* flows - 1; the number of flows is a power of two */
	__u32 check;  /* offset of the transport checksum */
	__u32 family; /* 4, 6, or 0: the packet stays as it is */
	__u32 pad;
	__u8 frame[BENCH_FRAME];
};

/* What differs from flow to flow: addresses, ports and the checksums over them. In units that a
 * program under test reads as a whole: the CPU hands a load the bytes of one store that has not
 * reached the cache, but makes it wait for those of two. */
struct bench_flow4 {
	__u64 addrs; /* source, destination */
	__u32 ports;
	__sum16 ip_check;
	__sum16 check;
};

struct bench_flow6 {
	__u64 addrs[4];
	__u32 ports;
	__sum16 check;
	__u16 pad;
};

/* The yardsticks' keys and values are as long as those of conntrack: to translate IPv6 takes 24
 * bytes of addresses more. */
struct bench_key4 {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u32 proto;
};

struct bench_key6 {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__u32 proto;
};

/* A lookup is of use only with what it finds: the last word is what the programs read. */
struct bench_value4 {
	__u64 words[6];
	__u64 hop_limit;
};

struct bench_value6 {
	__u64 words[9];
	__u64 hop_limit;
};
