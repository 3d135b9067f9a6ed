// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The structures that the maps hold and that the programs share. Go's types are generated
 * from these. SPK_LAYOUT must be raised whenever a pinned structure changes its meaning. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

/* One byte in a structure. */
#define SPK_PACKED __attribute__((packed))

enum spk_layout {
	SPK_LAYOUT = 1,
};

enum spk_limit {
	SPK_MAX_VIRTUAL_SERVERS = 4096,
	SPK_MAX_OWNERS = 16384,
	SPK_MAX_POOL_SLOTS = 65536,
	SPK_MAX_LOCALS = 4096,
	SPK_MAX_EGRESS_PREFIXES = 4096,
	SPK_MAX_PORTS = 64,
	SPK_MAX_FLOWS = 262144,
	SPK_NAME_LEN = 320,
	SPK_PORT_TRIES = 64,
};

/* Time is CLOCK_MONOTONIC_COARSE in ticks of 2^27 ns (134 ms): a shift instead of a division. */
enum spk_clock {
	SPK_TICK_SHIFT = 27,
	SPK_TOUCH_TICKS = 8,
};

/* The side that an interface is on; part of every conntrack key, so that what belongs to an
 * inner flow cannot be hit from outside. */
enum spk_side {
	SPK_EXTERNAL = 0,
	SPK_INTERNAL = 1,
} SPK_PACKED;

enum spk_snat {
	SPK_SNAT_NONE = 0,
	SPK_SNAT_AUTOMAP = 1,
};

enum spk_ct_flag {
	SPK_CT_FORWARD = 1,       /* the direction of the first packet */
	SPK_CT_PEER_INTERNAL = 2, /* the opposite direction comes in on the internal side */
} SPK_PACKED;

/* What was seen in one direction. */
enum spk_ct_state {
	SPK_ST_SEEN = 1, /* anything but a bare SYN */
	SPK_ST_FIN = 2,
	SPK_ST_RST = 4,
} SPK_PACKED;

enum spk_owner_flag {
	SPK_OWNER_USED = 1,
	SPK_OWNER_EGRESS = 2,
	SPK_OWNER_DRAINING = 4,
	SPK_OWNER_REMOVED = 8, /* kept only for the flows that are left */
} SPK_PACKED;

enum spk_local_kind {
	SPK_LOCAL_SELF = 1, /* an address of the TMM itself */
	SPK_LOCAL_VIP = 2,  /* the address of a virtual server */
};

/* The programs that the entry points tail-call. */
enum spk_prog {
	SPK_PROG_SLOW4 = 0,
	SPK_PROG_SLOW6 = 1,
	SPK_PROGS = 2,
};

struct spk_key4 {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	enum spk_side side;
	__u16 zone; /* reserved for the VLAN; 0 */
};

struct spk_key6 {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__u8 proto;
	enum spk_side side;
	__u16 zone;
};

/* The complete rewrite of one direction, but for the addresses. The deltas are what the
 * one's complement sums gain: addresses count for the IPv4 header and for the transport's
 * pseudo header, ports for the transport only. */
struct spk_ct {
	__u32 seen; /* ticks */
	enum spk_ct_state state;
	enum spk_ct_flag flags;
	__u16 addr_delta;
	__u16 port_delta;
	__be16 sport;
	__be16 dport;
	__u16 pad;
	__u8 dmac[6];
	__u8 smac[6];
	__u32 oif;
	__u32 fib_gen; /* valid while equal to spk_config.fib_gen; 0: no next hop known */
	__u32 owner;
};

/* 56 bytes at most: with the key and the kernel's head it fills a 128-byte object. */
struct spk_ct4 {
	struct spk_ct ct;
	__be32 saddr;
	__be32 daddr;
};

struct spk_ct6 {
	struct spk_ct ct;
	__be32 saddr[4];
	__be32 daddr[4];
};

struct spk_vs_key4 {
	__be32 addr;
	__be16 port; /* 0: every port that has no entry of its own */
	__u8 proto;
	__u8 pad;
};

struct spk_vs_key6 {
	__be32 addr[4];
	__be16 port;
	__u8 proto;
	__u8 pad;
};

/* A virtual server and the range of spk_pool that holds its members. Replaced as a whole, so
 * a packet sees the old pool or the new one. */
struct spk_vs {
	__u32 id;
	__u32 first;
	__u32 count;
	enum spk_snat snat;
};

/* What only user space wants to know of a virtual server. */
struct spk_vs_info {
	__u64 idle_ns;
	__u64 past_connections; /* of members that are gone */
	__u64 past_packets;
	__u64 past_bytes;
	__be32 addr[4];
	__be16 port;
	__u8 proto;
	__u8 family;
	__u32 pad;
	__u8 name[SPK_NAME_LEN];
};

/* What every flow belongs to: a pool member or an egress. */
struct spk_owner {
	__be32 addr[4]; /* member */
	__be16 port;    /* member; 0: the port that the client asked for */
	__u8 family;
	enum spk_owner_flag flags;
	__u32 vs; /* member: id of its virtual server */
};

/* Shared by all CPUs, so that round robin is exact; a cache line of its own. */
struct spk_cursor {
	__u32 next;
	__u32 pad;
	__u64 refused;
	__u64 line[6];
};

struct spk_traffic {
	__u64 connections;
	__u64 packets;
	__u64 bytes;
};

struct spk_egress_key4 {
	__u32 prefixlen;
	__be32 addr;
};

struct spk_egress_key6 {
	__u32 prefixlen;
	__be32 addr[4];
};

struct spk_egress {
	__u32 owner;
	enum spk_snat snat;
};

struct spk_egress_info {
	enum spk_snat snat;
	__u8 name[SPK_NAME_LEN];
};

struct spk_addr6 {
	__be32 addr[4];
};

struct spk_local {
	enum spk_local_kind kinds;
	__u8 interface[12]; /* number of a self-IP's interface, "1.1" */
};

/* An interface that packets may leave by. */
struct spk_port {
	enum spk_side side;
	__u8 pad[3];
	__be32 self4; /* automap; 0: none */
	__be32 self6[4];
	__u8 interface[12];
};

struct spk_config {
	__u32 fib_gen;
	__u16 port_min; /* ports of translated sources, both included */
	__u16 port_max;
	enum spk_layout layout;
	enum spk_clock clock; /* SPK_TICK_SHIFT: the unit of spk_ct.seen */
};

/* A 5-tuple of either family; an IPv4 address stands in the first word, the rest is zero. */
struct spk_tuple {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__u8 proto;
	enum spk_side side;
	__u8 family;
	__u8 tcp_flags;
};
