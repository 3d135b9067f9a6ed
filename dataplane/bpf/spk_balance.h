// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Which member does a new connection go to? */
#pragma once

#include "spk_nexthop.h"
#include "spk_read.h"

/* The finalizer of MurmurHash3: every input bit reaches every output bit. All TMMs hash alike. */
static __always_inline __u32 mix(__u32 h, __u32 word)
{
	h ^= word;
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	h ^= h >> 16;
	return h;
}

static __always_inline __u32 hash_addr(__u32 h, const __be32 *a)
{
	return mix(mix(mix(mix(h, a[0]), a[1]), a[2]), a[3]);
}

static __noinline __u32 hash_tuple(const struct spk_tuple *t)
{
	__u32 h = hash_addr(hash_addr(t->proto, t->saddr), t->daddr);

	return mix(h, (__u32)t->sport << 16 | t->dport);
}

static __always_inline __u32 member_at(const struct spk_vs *vs, __u32 index)
{
	__u32 slot = vs->first + index;
	__u32 *id = bpf_map_lookup_elem(&spk_pool, &slot);

	return id ? *id : 0;
}

/* Connections of a member, a share of its weight: compare a by wa with b by wb as a*wb with b*wa. */
static __always_inline bool is_lighter(__u32 a, __u32 b)
{
	struct spk_load *la = bpf_map_lookup_elem(&spk_loads, &a);
	struct spk_load *lb = bpf_map_lookup_elem(&spk_loads, &b);
	struct spk_owner *oa = bpf_map_lookup_elem(&spk_owners, &a);
	struct spk_owner *ob = bpf_map_lookup_elem(&spk_owners, &b);
	__s64 na, nb;

	if (!la || !lb || !oa || !ob)
		return false;
	na = la->started - la->ended;
	nb = lb->started - lb->ended;
	return (na + 1) * (ob->weight ?: 1) < (nb + 1) * (oa->weight ?: 1);
}

/* The least loaded member: of all, or of two random ones where looking at all costs too much.
 * Where loads are equal the search starts at a member in turn. */
__noinline __u32 pick_least(const struct spk_vs *vs, __u32 turn)
{
	__u32 n = vs ? vs->count : 0, best, other;

	if (!n)
		return 0;
	best = member_at(vs, turn % n);
	if (n > SPK_EXACT_MEMBERS) {
		best = member_at(vs, bpf_get_prandom_u32() % n);
		other = member_at(vs, bpf_get_prandom_u32() % n);
		return is_lighter(other, best) ? other : best;
	}
	for (__u32 i = 1; i < SPK_EXACT_MEMBERS; i++) {
		if (i >= n)
			break;
		other = member_at(vs, (turn + i) % n);
		if (is_lighter(other, best))
			best = other;
	}
	return best;
}

/* A member of the virtual server that it may still be sent to; 0: none. An owner that is no
 * longer of this virtual server is seen only when the pool was replaced under a packet. */
static __always_inline bool is_member(const struct spk_vs *vs, __u32 id)
{
	struct spk_owner *owner = bpf_map_lookup_elem(&spk_owners, &id);

	return id && owner && owner->vs == vs->id && !(owner->flags & SPK_OWNER_REMOVED);
}

static __always_inline __u32 pick_anew(const struct spk_vs *vs, const struct spk_tuple *t)
{
	struct spk_cursor *cursor = bpf_map_lookup_elem(&spk_cursors, &vs->id);
	__u32 turn;

	if (!cursor || !vs->count)
		return 0;
	if (vs->method == SPK_MAGLEV)
		return member_at(vs, hash_tuple(t) % vs->count);
	turn = __sync_fetch_and_add(&cursor->next, 1);
	if (vs->method == SPK_LEAST_CONNECTIONS)
		return pick_least(vs, turn);
	return member_at(vs, turn % vs->count);
}

/* The member that the client had last, as long as that is remembered. */
static __noinline __u32 pick_member(const struct spk_vs *vs, const struct spk_tuple *t)
{
	struct spk_affinity_key k = {.vs = vs->id};
	struct spk_affinity v = {.seen = now_ticks()};
	struct spk_affinity *last;

	if (!vs->affinity)
		return pick_anew(vs, t);
	copy_addr(k.addr, t->saddr);
	last = bpf_map_lookup_elem(&spk_affinities, &k);
	if (last && v.seen - last->seen < vs->affinity) {
		struct spk_owner *owner = bpf_map_lookup_elem(&spk_owners, &last->owner);

		v.owner = last->owner;
		if (owner && !(owner->flags & SPK_OWNER_DRAINING) && is_member(vs, v.owner)) {
			last->seen = v.seen;
			return v.owner;
		}
	}
	v.owner = pick_anew(vs, t);
	bpf_map_update_elem(&spk_affinities, &k, &v, BPF_ANY);
	return v.owner;
}

static __always_inline void refuse(const struct spk_vs *vs)
{
	struct spk_cursor *cursor = bpf_map_lookup_elem(&spk_cursors, &vs->id);

	if (cursor)
		__sync_fetch_and_add(&cursor->refused, 1);
}

static __always_inline void load_add(__u32 owner, bool ended)
{
	struct spk_load *load = bpf_map_lookup_elem(&spk_loads, &owner);

	if (!load)
		return;
	if (ended)
		__sync_fetch_and_add(&load->ended, 1);
	else
		__sync_fetch_and_add(&load->started, 1);
}
