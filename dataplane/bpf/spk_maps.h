// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The maps. All but spk_config belong to user space for writing unless said otherwise. */
#pragma once

#include <bpf/bpf_helpers.h>

#include "spk_counters.h"
#include "spk_packet.h"

/* Conntrack, one entry a direction, both made and deleted together. Written by the slow path,
 * aged out by user space. Never LRU: evicting one half of a pair breaks a connection. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_FLOWS);
	__type(key, struct spk_key4);
	__type(value, struct spk_ct4);
} spk_ct4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_FLOWS);
	__type(key, struct spk_key6);
	__type(value, struct spk_ct6);
} spk_ct6 SEC(".maps");

/* Flows whose sender has not proved itself, in the same form. A flood of first packets stays
 * here, and the oldest go; a client whose entry went tries again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPK_MAX_HALF_OPEN);
	__type(key, struct spk_key4);
	__type(value, struct spk_ct4);
} spk_half4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPK_MAX_HALF_OPEN);
	__type(key, struct spk_key6);
	__type(value, struct spk_ct6);
} spk_half6 SEC(".maps");

/* The IPv6 addresses of the flows that change family, by their key in the IPv4 table. Made and
 * deleted with that entry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_FLOWS);
	__type(key, struct spk_key4);
	__type(value, struct spk_nat64);
} spk_nat64 SEC(".maps");

/* IPv4 addresses that stand for IPv6 ones, while a name was resolved to them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_NAT46);
	__type(key, __be32);
	__type(value, struct spk_addr6);
} spk_nat46 SEC(".maps");

/* The last identification of IPv4 packets that have become so, by a hash of addresses and protocol.
 * Written by the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPK_IDENTIFICATIONS);
	__type(key, __u32);
	__type(value, __u32);
} spk_identifications SEC(".maps");

/* The ports of first fragments. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPK_MAX_FRAGMENTS);
	__type(key, struct spk_frag_key);
	__type(value, struct spk_frag);
} spk_frags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_VIRTUAL_SERVERS);
	__type(key, struct spk_vs_key4);
	__type(value, struct spk_vs);
} spk_vs4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_VIRTUAL_SERVERS);
	__type(key, struct spk_vs_key6);
	__type(value, struct spk_vs);
} spk_vs6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_SUBNETS);
	__type(key, struct spk_subnet_key);
	__type(value, struct spk_vs);
} spk_subnets SEC(".maps");

/* By virtual server id; the programs never look here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_VIRTUAL_SERVERS);
	__type(key, __u32);
	__type(value, struct spk_vs_info);
} spk_vs_info SEC(".maps");

/* Owner ids of the members that may get new flows; a virtual server has a range, or with Maglev a
 * lookup table. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPK_MAX_POOL_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} spk_pool SEC(".maps");

/* By virtual server id. Advanced by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPK_MAX_VIRTUAL_SERVERS);
	__type(key, __u32);
	__type(value, struct spk_cursor);
} spk_cursors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPK_MAX_OWNERS);
	__type(key, __u32);
	__type(value, struct spk_owner);
} spk_owners SEC(".maps");

/* By owner id. Counted by the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SPK_MAX_OWNERS);
	__type(key, __u32);
	__type(value, struct spk_traffic);
} spk_traffic SEC(".maps");

/* By owner id. User space maps this memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SPK_MAX_OWNERS);
	__type(key, __u32);
	__type(value, struct spk_load);
} spk_loads SEC(".maps");

/* Which member a client had last. Written by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPK_MAX_AFFINITIES);
	__type(key, struct spk_affinity_key);
	__type(value, struct spk_affinity);
} spk_affinities SEC(".maps");

/* By SNAT pool id, from 1. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPK_MAX_SNAT_POOLS);
	__type(key, __u32);
	__type(value, struct spk_snat_pool);
} spk_snat_pools SEC(".maps");

/* By SNAT pool id: its name; the programs never look here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_SNAT_POOLS);
	__type(key, __u32);
	__type(value, struct spk_snat_info);
} spk_snat_info SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPK_MAX_SNAT_ADDRS);
	__type(key, __u32);
	__type(value, struct spk_addr6);
} spk_snat_addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_EGRESS_PREFIXES);
	__type(key, struct spk_egress_key4);
	__type(value, struct spk_egress);
} spk_egress4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_EGRESS_PREFIXES);
	__type(key, struct spk_egress_key6);
	__type(value, struct spk_egress);
} spk_egress6 SEC(".maps");

/* By owner id; the programs never look here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPK_MAX_EGRESS_PREFIXES);
	__type(key, __u32);
	__type(value, struct spk_egress_info);
} spk_egress_info SEC(".maps");

/* Addresses that are never forwarded to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_LOCALS);
	__type(key, __be32);
	__type(value, struct spk_local);
} spk_local4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_LOCALS);
	__type(key, struct spk_addr6);
	__type(value, struct spk_local);
} spk_local6 SEC(".maps");

/* By interface index. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct spk_port);
} spk_ports SEC(".maps");

/* What guarded interfaces let through to the TMM itself. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_SERVICES);
	__type(key, struct spk_service);
	__type(value, __u32);
} spk_services SEC(".maps");

/* Tagged frames, where the kernel has no devices for them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_VLANS);
	__type(key, struct spk_vlan_key);
	__type(value, struct spk_vlan);
} spk_vlans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPK_MAX_VLANS);
	__type(key, __u32);
	__type(value, struct spk_vlan_device);
} spk_vlan_devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spk_config);
} spk_config SEC(".maps");

/* By enum spk_counter. Counted by the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SPK_COUNTERS);
	__type(key, enum spk_counter);
	__type(value, __u64);
} spk_counters SEC(".maps");

/* The packet that the slow programs are about; no packet interrupts another one's. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spk_flow);
} spk_flow SEC(".maps");

/* When each CPU's bucket of ICMP errors will be full again, CLOCK_MONOTONIC_COARSE in ns. Written by
 * the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} spk_icmp_budget SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SPK_EVENT_BYTES);
} spk_events SEC(".maps");

/* By enum spk_prog; one for each front end. User space holds or pins it: it empties with its last reference. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SPK_PROGS);
	__type(key, enum spk_prog);
	__type(value, __u32);
} spk_progs SEC(".maps");
