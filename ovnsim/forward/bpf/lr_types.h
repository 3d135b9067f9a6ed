// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What the programs and their user space share. Addresses are 16 bytes in network order, IPv4 as
 * IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2). */
#pragma once

#include <linux/types.h>

#define LR_MAX_HOPS 16 /* a power of two */
#define LR_MAX_PODS 4096
#define LR_MAX_FLOWS 262144
#define LR_MAX_CHOSEN 65536
#define LR_MAX_FRAGMENTS 16384

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

/* Which gateway a packet takes that no entry leads. */
enum lr_choice {
	LR_ROUND_ROBIN,
	LR_HASH_PORTS,	   /* addresses, protocol and ports; both directions alike */
	LR_HASH_ADDRESSES, /* without the ports */
};

/* What conntrack knows of gateways. */
enum lr_memory {
	LR_PINS,   /* the gateway that was chosen for the pod, the MAC that a peer came from */
	LR_LEARNS, /* OVN 23.03: the MAC that a peer came from, for a while; nothing for the pod */
	LR_LABELS, /* OVN 25.03: the MAC that the last packet came from, whoever spoke first */
};

/* Set before loading, see Profile in Go. */
struct lr_profile {
	__u32 memory;
	__u32 tcp; /* enum lr_choice; SCTP and all that is not named here as well */
	__u32 udp;
	__u32 icmp;
	__u32 symmetric_routes; /* with fewer ecmp_symmetric_reply does nothing */
	__u32 symmetric_icmp;
	__u64 idle; /* ns without a reply, after which LR_LEARNS forgets; 0 is never */
	__u64 age;  /* the same since it was learnt */
};

enum lr_kind {
	LR_BY_HOP = 1, /* the pod spoke first: pinned to the gateway that was chosen */
	LR_BY_MAC = 2, /* the peer spoke first: replies go to the MAC it came from */
	LR_BY_HASH = 3, /* the pod spoke first: the hash leads, until there is a MAC */
};

enum lr_flow_flag {
	LR_FIN_POD = 1,
	LR_FIN_PEER = 2,
	LR_RST = 4,
};

/* Times are CLOCK_MONOTONIC, ns. */
struct lr_flow {
	__u64 seen;
	__u64 learnt; /* LR_LEARNS: when the MAC was */
	__u64 replied; /* LR_LEARNS: the last packet that went to the MAC */
	__u64 heard; /* LR_LEARNS: the last packet that came from it */
	struct lr_addr hop; /* of LR_BY_HASH: the one that the last packet took */
	__u8 mac[6]; /* zero: not known */
	__u8 kind;
	__u8 flags;
	__u64 packets;
};

/* A datagram that was cut: which, and the ports that its first fragment has. */
struct lr_fragment_key {
	struct lr_addr src;
	struct lr_addr dst;
	__be32 id;
	__u32 proto;
};

struct lr_fragment {
	__be16 sport;
	__be16 dport;
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

#define LR_QUOTE 512 /* octets of a packet that its ICMP error may quote, with the Ethernet header */

/* A packet for user space to answer, as ovn-controller gets it (packet-in). */
struct lr_packet_in {
	__u32 len; /* of data */
	__u8 uplink; /* it came by the uplink, not from a pod */
	__u8 router; /* whose it is to answer: 1 the first that it came to, 2 the second */
	__u8 pad[2];
	__u8 data[LR_QUOTE];
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
	LR_DROP_FRAGMENT, /* a later one before the first */
	LR_DROP_HEADERS,  /* no packet that a router could read */
	LR_DROP_SHORT,
	LR_DROP_TABLE_FULL,
	LR_DROP_REWRITE,
	LR_COUNTERS,
};

enum lr_disable {
	LR_NO_SYMMETRY = 1,
	LR_NO_PINNING = 2,
	LR_NO_ROUND_ROBIN = 4, /* the first one is chosen always, whatever the profile says */
};
