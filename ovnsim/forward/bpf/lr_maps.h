// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The maps. All but the flows, the cursors and the counters are written by user space alone. */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lr_types.h"

/* By pod address: its MAC. The pods of this node. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LR_MAX_PODS);
	__type(key, struct lr_addr);
	__type(value, struct lr_pod);
} lr_pods SEC(".maps");

/* By longest prefix: whose address it is. What is not here is outside of the cluster. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LR_MAX_PODS);
	__type(key, struct lr_subnet_key);
	__type(value, struct lr_subnet);
} lr_subnets SEC(".maps");

/* By pod address: its external gateways. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LR_MAX_PODS);
	__type(key, struct lr_addr);
	__type(value, struct lr_group);
} lr_groups SEC(".maps");

/* By lr_group.cursor: new connections so far. It outlives changes of the group. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LR_MAX_PODS);
	__type(key, __u32);
	__type(value, __u64);
} lr_cursor SEC(".maps");

/* New connections of a pod by a gateway. User space makes the entries, the programs count. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LR_MAX_CHOSEN);
	__type(key, struct lr_chosen_key);
	__type(value, __u64);
} lr_chosen SEC(".maps");

/* Conntrack. Made by the programs, aged and flushed by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LR_MAX_FLOWS);
	__type(key, struct lr_key);
	__type(value, struct lr_flow);
} lr_flows SEC(".maps");

/* By datagram: the ports of its first fragment. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LR_MAX_FRAGMENTS);
	__type(key, struct lr_fragment_key);
	__type(value, struct lr_fragment);
} lr_fragments SEC(".maps");

/* struct lr_packet_in: what is dropped and answered. User space reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} lr_packets_in SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LR_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} lr_counters SEC(".maps");

/* Set before loading. */
const volatile __u32 lr_uplink;		/* ifindex */
const volatile __u32 lr_bridge;		/* ifindex */
const volatile __u8 lr_uplink_mac[6];
const volatile __u8 lr_bridge_mac[6];
const volatile __u32 lr_disabled;	/* enum lr_disable */
const volatile struct lr_profile lr_profile;

/* Keeps the enums in the type information that the Go types come from. */
const enum lr_counter *lr_type_counter __attribute__((unused));
const enum lr_disable *lr_type_disable __attribute__((unused));
const struct lr_packet_in *lr_type_packet_in __attribute__((unused));
const enum lr_choice *lr_type_choice __attribute__((unused));
const enum lr_memory *lr_type_memory __attribute__((unused));
const enum lr_kind *lr_type_kind __attribute__((unused));
const enum lr_flow_flag *lr_type_flow_flag __attribute__((unused));
const enum lr_subnet_kind *lr_type_subnet_kind __attribute__((unused));

static __always_inline void count(enum lr_counter what)
{
	__u32 key = what;
	__u64 *n = bpf_map_lookup_elem(&lr_counters, &key);

	if (n)
		*n += 1;
}
