// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What the programs know of the packet at hand, and tell of it. */
#pragma once

#include "spk_types.h"

/* A 5-tuple of either family; an IPv4 address stands in the first word, the rest is zero. */
struct spk_tuple {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
	__u8 proto;
	enum spk_side side;
	__u8 family;
	__u8 tcp_flags; /* SCTP's chunks in TCP's terms */
	__u16 zone;
	__u16 pad;
};

struct spk_hop {
	__u32 oif; /* as the kernel knows it */
	__u32 tx;  /* where the frames leave: for a VLAN its interface */
	__u32 family; /* of gw */
	__be32 gw[4];
	__u8 dmac[6];
	__u8 smac[6];
	__u16 resolved; /* the MACs are valid */
	__u16 to_peer;  /* SPK_CT_TO_PEER */
	__u16 vlan;
	__u16 mtu;
};

enum spk_part {
	SPK_WHOLE = 0,
	SPK_FIRST_FRAGMENT = 1, /* with the transport header */
	SPK_LATER_FRAGMENT = 2, /* without */
} SPK_PACKED;

/* spk_flow.frag: more fragments follow; may not be cut (IPv4). */
#define SPK_MORE 0x8000
#define SPK_DF 0x4000

/* What the slow programs know of the packet at hand; they share it over tail calls. Offsets are
 * from the start of the frame. */
struct spk_flow {
	struct spk_tuple orig; /* as the packet came */
	struct spk_tuple xlat; /* as it leaves */
	struct spk_tuple rev;  /* as its answers come */
	struct spk_hop hop;
	__u32 owner;
	__u32 snat;
	__u32 snat_pool;
	__be32 frag_id;
	__u16 l4;     /* offset of the transport header */
	__u16 l4_len; /* bytes from there to the end of the packet */
	__u16 l3_len; /* bytes of the IP packet, 0: longer than 65535 */
	__u16 mtu;    /* SPK_REPLY_TOO_BIG: what would fit */
	__u16 frag;   /* offset in units of 8 bytes, and SPK_MORE */
	enum spk_part part;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 ttl;
	enum spk_reply reply;
	__u8 l4_head; /* bytes of the TCP header */
	__u8 reselect; /* goes on at another member */
	__u8 pad[3];
};

enum spk_event_kind {
	SPK_EVENT_FLOW = 1, /* a flow has started */
	SPK_EVENT_DROP = 2,
};

struct spk_event {
	__u64 time; /* CLOCK_MONOTONIC, ns */
	enum spk_event_kind kind;
	__u32 reason; /* enum spk_counter */
	__u32 ifindex;
	__u32 len; /* bytes of the frame */
	__u32 owner;
	__u32 pad;
	struct spk_tuple orig; /* SPK_EVENT_FLOW */
	struct spk_tuple xlat;
	__u8 packet[SPK_EVENT_PACKET]; /* SPK_EVENT_DROP: the frame's start */
};
