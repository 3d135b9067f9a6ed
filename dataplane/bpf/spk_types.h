// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The structures that the maps hold and that the programs share. Go's types are generated
 * from these. SPK_LAYOUT must be raised whenever a pinned structure changes its meaning. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include "spk_limits.h"

/* One byte in a structure. */
#define SPK_PACKED __attribute__((packed))

enum spk_layout {
	SPK_LAYOUT = 4,
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
	SPK_SNAT_POOL = 2,
};

enum spk_method {
	SPK_ROUND_ROBIN = 0,
	SPK_LEAST_CONNECTIONS = 1,
	SPK_MAGLEV = 2, /* spk_vs.first and count name a lookup table, not the members */
};

enum spk_down {
	SPK_DOWN_NONE = 0,
	SPK_DOWN_RESET = 1,
	SPK_DOWN_DROP = 2,
	SPK_DOWN_RESELECT = 3,
} SPK_PACKED;

enum spk_ct_flag {
	SPK_CT_FORWARD = 1,       /* the direction of the first packet */
	SPK_CT_PEER_INTERNAL = 2, /* the opposite direction comes in on the internal side */
	SPK_CT_FAMILY = 4,        /* leaves as the other family; the addresses are in spk_nat64 */
	SPK_CT_TO_PEER = 8,       /* leaves by a device whose other end lies in another namespace */
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
	SPK_LOCAL_SNAT = 4, /* of a SNAT pool */
	SPK_LOCAL_ECHO = 8, /* answers pings: a virtual server that has a member */
	SPK_LOCAL_ARP = 16, /* answers ARP and neighbour solicitations */
};

/* The programs that are tail-called. */
enum spk_prog {
	SPK_PROG_SLOW4 = 0,
	SPK_PROG_SLOW6 = 1,
	SPK_PROG_ICMP4 = 2,  /* passes an ICMP error on */
	SPK_PROG_ICMP6 = 3,
	SPK_PROG_REPLY4 = 4, /* answers the packet, as spk_flow.reply says */
	SPK_PROG_REPLY6 = 5,
	SPK_PROG_NEIGH = 6,  /* ARP and neighbour discovery */
	SPK_PROG_NAT64 = 7,
	SPK_PROG_NAT46 = 8,
	SPK_PROG_ICMP64 = 9, /* passes an ICMP error on as the other family */
	SPK_PROG_ICMP46 = 10,
	SPK_PROGS = 16,
};

/* What a packet is answered with. */
enum spk_reply {
	SPK_REPLY_ECHO = 1,     /* echo reply */
	SPK_REPLY_RESET,        /* TCP reset, ICMP port unreachable for the rest */
	SPK_REPLY_TTL,          /* time exceeded */
	SPK_REPLY_TOO_BIG,      /* fragmentation needed, packet too big: spk_flow.mtu */
	SPK_REPLY_UNREACHABLE,  /* no way to the host */
	SPK_REPLY_PROHIBITED,   /* administratively */
} SPK_PACKED;

struct spk_key4 {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	enum spk_side side;
	__u16 zone; /* of the interface that it came in on */
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
 * pseudo header, ports for the transport only. ICMP's identifier is the source port of requests
 * and the destination port of replies. */
struct spk_ct {
	__u32 seen; /* ticks */
	enum spk_ct_state state;
	enum spk_ct_flag flags;
	__u16 addr_delta;
	__u16 port_delta;
	__be16 sport;
	__be16 dport;
	__u16 vlan; /* tag to leave with, 0 = none */
	__u8 dmac[6];
	__u8 smac[6];
	__u32 oif;
	__u32 gen; /* valid while equal to spk_config.gen; 0: no next hop known */
	__u32 owner;
	__u16 peer_zone; /* of the opposite direction's key */
	__u16 mtu;       /* longest IP packet that leaves */
	__u32 jiffies;   /* when seen was written: reading them is no call, unlike the clock */
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

/* Destinations that are more than one address: protocol and port first, so that one trie holds
 * all of them. */
struct spk_subnet_key {
	__u32 prefixlen; /* 64 bits of the head, then those of the address */
	__u8 proto;
	__u8 family;
	__be16 port;
	__u32 pad;
	__be32 addr[4];
};

/* A virtual server and the range of spk_pool that holds its members. Replaced as a whole, so
 * a packet sees the old pool or the new one. */
struct spk_vs {
	__u32 id;
	__u32 first;
	__u32 count;
	enum spk_snat snat;
	__u32 snat_pool;
	enum spk_method method;
	__u32 affinity;    /* ticks, 0 = off */
	__u32 prefix_bits; /* of the destination, for comparison */
};

struct spk_affinity_key {
	__be32 addr[4];
	__u32 vs;
};

struct spk_affinity {
	__u32 owner;
	__u32 seen; /* ticks */
};

/* What only user space wants to know of a virtual server. */
struct spk_vs_info {
	__u64 idle_ns;
	__u64 affinity_ns;
	__u64 past_connections; /* of members that are gone */
	__u64 past_packets[2];
	__u64 past_bytes[2];
	__be32 addr[4];
	__be16 port;
	__u8 proto;
	__u8 family;
	__u8 host_bits;
	__u8 arp;
	__u8 down;
	__u8 pad;
	__u8 name[SPK_NAME_LEN];
};

/* What every flow belongs to: a pool member or an egress. */
struct spk_owner {
	__be32 addr[4]; /* member */
	__be16 port;    /* member; 0: the port that the client asked for */
	__u8 family;
	enum spk_owner_flag flags;
	__u32 vs; /* member: id of its virtual server */
	__u16 weight;
	enum spk_down down;
	__u8 pad;
};

/* Connections of an owner, now = started - ended. Added to by the programs and, in the map's
 * memory, by user space; a cache line of its own. */
struct spk_load {
	__u64 started;
	__u64 ended;
	__u64 line[6];
};

/* Shared by all CPUs, so that round robin is exact; a cache line of its own. */
struct spk_cursor {
	__u32 next;
	__u32 pad;
	__u64 refused;
	__u64 line[6];
};

/* [0] is what answers, [1] is what asks: the index is spk_ct.flags & SPK_CT_FORWARD. */
struct spk_traffic {
	__u64 packets[2];
	__u64 bytes[2];
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
	__u32 snat_pool;
	__u32 ports;     /* bit n: listens on the interface whose spk_port.bit is n; 0: on all */
	__be32 nat64[3]; /* RFC 6052 section 2.2, /96: addresses that stand for IPv4 ones; 0: none */
	__u32 nat46;     /* spk_nat46 may have the destination */
};

/* The addresses of a SNAT pool of one family: a range of spk_snat_addrs. */
struct spk_snat_range {
	__u32 first;
	__u32 count;
	__u16 port_min; /* both included; 0: those of spk_config */
	__u16 port_max;
};

struct spk_snat_pool {
	struct spk_snat_range v4;
	struct spk_snat_range v6;
};

struct spk_snat_info {
	__u16 port_min;
	__u16 port_max;
	__u8 name[SPK_NAME_LEN];
};

/* What packets of an entry of the IPv4 table leave with when they leave as IPv6; an entry of the
 * IPv6 table has its IPv4 addresses in the first words of its own. */
struct spk_nat64 {
	__be32 saddr[4];
	__be32 daddr[4];
};

/* A service of the TMM itself. */
struct spk_service {
	__u32 ifindex;
	__be16 port; /* 0: every one */
	__u8 proto;
	__u8 pad;
};

/* First fragment seen: what the later ones do not carry. */
struct spk_frag_key {
	__be32 saddr[4];
	__be32 daddr[4];
	__be32 id;
	__u8 proto;
	enum spk_side side;
	__u16 zone;
};

struct spk_frag {
	__be16 sport;
	__be16 dport;
};

struct spk_egress_info {
	enum spk_snat snat;
	__u32 snat_pool;
	__u32 nat64[3]; /* prefix; 0: none */
	__u32 nat46;    /* IPv4 network; 0: none */
	__u32 nat46_bits;
	__u8 interfaces[64]; /* numbers, with commas between */
	__u8 name[SPK_NAME_LEN];
};

struct spk_addr6 {
	__be32 addr[4];
};

struct spk_local {
	enum spk_local_kind kinds;
	__u8 interface[12]; /* number of a self-IP's interface, "1.1" */
};

enum spk_port_flag {
	SPK_PORT_GUARDED = 1, /* only what spk_services allows reaches the TMM itself */
	SPK_PORT_PEER = 2,    /* a pair's end; what leaves may be given to the other end at once */
} SPK_PACKED;

/* An interface that packets come in on and leave by. */
struct spk_port {
	enum spk_side side;
	enum spk_port_flag flags;
	__u8 bit; /* in spk_egress.ports */
	__u8 pad;
	__u16 zone;
	__u8 mac[6];
	__be32 self4; /* automap; 0: none */
	__be32 self6[4];
	__u8 interface[12];
};

/* A VLAN of an interface, as the frames carry it, and the device that the kernel knows it by. */
struct spk_vlan_key {
	__u32 ifindex;
	__u32 tag;
};

struct spk_vlan {
	__u32 device;
	enum spk_side side;
	__u8 pad;
	__u16 zone;
};

/* By device: where its frames really leave. */
struct spk_vlan_device {
	__u32 ifindex;
	__u32 tag;
};

enum spk_config_flag {
	SPK_HAS_SUBNETS = 1,  /* spk_subnets is not empty */
	SPK_HAS_ARP = 2,      /* some address has SPK_LOCAL_ARP */
	SPK_FLOW_EVENTS = 4,
};

struct spk_config {
	__u32 gen;
	__u16 port_min; /* ports of translated sources, both included */
	__u16 port_max;
	enum spk_layout layout;
	enum spk_clock clock; /* SPK_TICK_SHIFT: the unit of spk_ct.seen */
	enum spk_config_flag flags;
	__u32 drop_sample; /* an event for every so manieth drop of a reason; 0: none */
	__u8 mac[2][8];    /* by side: of the first interface */
};
