// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What the programs and their user space share. Addresses are 16 bytes in network order, IPv4 as
 * IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2). */
#pragma once

#include <linux/types.h>

#define LR_MAX_HOPS 16 /* a power of two */
#define LR_MAX_PODS 4096
#define LR_MAX_FLOWS 262144
#define LR_MAX_CHOSEN 65536

struct lr_addr {
	__be32 w[4];
};

/* A connection as its pod sees it: both directions have the same key. */
struct lr_key {
	struct lr_addr pod;
	struct lr_addr peer;
	__be16 pod_port; /* ICMP echo: the identifier */
	__be16 peer_port;
	__u8 proto;
	__u8 pad[3];
};

enum lr_kind {
	LR_BY_HOP = 1, /* the pod spoke first: pinned to the gateway that was chosen */
	LR_BY_MAC = 2, /* the peer spoke first: replies go to the MAC it came from */
};

enum lr_flow_flag {
	LR_FIN_POD = 1,
	LR_FIN_PEER = 2,
	LR_RST = 4,
};

struct lr_flow {
	__u64 seen; /* CLOCK_MONOTONIC, ns */
	struct lr_addr hop;
	__u8 mac[6];
	__u8 kind;
	__u8 flags;
	__u64 packets;
};

/* The src-ip routes of one pod address. */
struct lr_group {
	__u32 hops;
	__u32 cursor; /* index into lr_cursor */
	__u8 symmetric; /* options:ecmp_symmetric_reply */
	__u8 pad[7];
	struct lr_addr hop[LR_MAX_HOPS];
};

enum lr_subnet_kind {
	LR_LOCAL = 1,	/* pods of this node */
	LR_REMOTE = 2,	/* pods of another node, reached by its address */
	LR_CLUSTER = 3, /* of the cluster, and no node has it */
	LR_KERNEL = 4,	/* the node's own: not for the logical routers */
};

struct lr_subnet_key {
	__u32 bits;
	struct lr_addr addr;
};

struct lr_subnet {
	__u32 kind;
	struct lr_addr node;
};

struct lr_pod {
	__u8 mac[6];
	__u8 pad[2];
};

struct lr_chosen_key {
	struct lr_addr pod;
	struct lr_addr hop;
};

enum lr_counter {
	LR_OK,
	LR_TO_KERNEL,
	LR_EGRESS,
	LR_INGRESS,
	LR_EAST_WEST,
	LR_LOCAL_POD, /* from a pod to another of its node, by the gateway */
	LR_NEW_EGRESS,
	LR_NEW_INGRESS,
	LR_DROP_NO_ROUTE,
	LR_DROP_NO_POD,
	LR_DROP_SPOOFED,
	LR_DROP_TTL,
	LR_DROP_FRAGMENT,
	LR_DROP_HEADERS,
	LR_DROP_SHORT,
	LR_DROP_ICMP_ERROR,
	LR_DROP_TABLE_FULL,
	LR_DROP_REWRITE,
	LR_COUNTERS,
};

enum lr_disable {
	LR_NO_SYMMETRY = 1,
	LR_NO_PINNING = 2,
	LR_NO_ROUND_ROBIN = 4,
};
