// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What is a packet without a connection about? Lookups of the configured objects. */
#pragma once

#include "spk_conntrack.h"

/* RFC 1112, RFC 919, RFC 3927; RFC 4291 sections 2.4 and 2.5.6. Never forwarded. */
#define IP4_MULTICAST_MASK 0xf0000000
#define IP4_MULTICAST 0xe0000000
#define IP4_BROADCAST 0xffffffff
#define IP4_LINK_LOCAL_MASK 0xffff0000
#define IP4_LINK_LOCAL 0xa9fe0000
#define IP6_MULTICAST_MASK 0xff000000
#define IP6_MULTICAST 0xff000000
#define IP6_LINK_LOCAL_MASK 0xffc00000
#define IP6_LINK_LOCAL 0xfe800000

static __always_inline bool stays_on_link(const struct spk_tuple *t)
{
	__u32 first = bpf_ntohl(t->daddr[0]);

	if (t->family == SPK_AF_INET)
		return (first & IP4_MULTICAST_MASK) == IP4_MULTICAST ||
		       (first & IP4_LINK_LOCAL_MASK) == IP4_LINK_LOCAL || first == IP4_BROADCAST;
	return (first & IP6_MULTICAST_MASK) == IP6_MULTICAST ||
	       (first & IP6_LINK_LOCAL_MASK) == IP6_LINK_LOCAL;
}

static __always_inline struct spk_vs *find_vs4(const struct spk_tuple *t)
{
	struct spk_vs_key4 k = {.addr = t->daddr[0], .port = t->dport, .proto = t->proto};
	struct spk_vs *vs = bpf_map_lookup_elem(&spk_vs4, &k);

	if (vs)
		return vs;
	k.port = 0;
	return bpf_map_lookup_elem(&spk_vs4, &k);
}

static __always_inline struct spk_vs *find_vs6(const struct spk_tuple *t)
{
	struct spk_vs_key6 k = {.port = t->dport, .proto = t->proto};
	struct spk_vs *vs;

	copy_addr(k.addr, t->daddr);
	vs = bpf_map_lookup_elem(&spk_vs6, &k);
	if (vs)
		return vs;
	k.port = 0;
	return bpf_map_lookup_elem(&spk_vs6, &k);
}

static __always_inline struct spk_vs *find_vs(const struct spk_tuple *t, const __u8 family)
{
	return family == SPK_AF_INET ? find_vs4(t) : find_vs6(t);
}

/* Bits of enum spk_local_kind, 0 for any other address. */
static __always_inline __u32 local_kinds(const struct spk_tuple *t, const __u8 family)
{
	struct spk_addr6 a;
	struct spk_local *l;

	if (family == SPK_AF_INET) {
		l = bpf_map_lookup_elem(&spk_local4, &t->daddr[0]);
		return l ? l->kinds : 0;
	}
	copy_addr(a.addr, t->daddr);
	l = bpf_map_lookup_elem(&spk_local6, &a);
	return l ? l->kinds : 0;
}

/* The egress that lets the source of t out: the longest prefix. */
static __always_inline struct spk_egress *find_egress(const struct spk_tuple *t,
						      const __u8 family)
{
	if (family == SPK_AF_INET) {
		struct spk_egress_key4 k = {.prefixlen = 32, .addr = t->saddr[0]};

		return bpf_map_lookup_elem(&spk_egress4, &k);
	}
	struct spk_egress_key6 k = {.prefixlen = 128};

	copy_addr(k.addr, t->saddr);
	return bpf_map_lookup_elem(&spk_egress6, &k);
}

/* Round robin, exact over all CPUs. An owner that is no longer of this virtual server is seen
 * only when the pool was replaced twice under a packet; it counts as none. */
static __always_inline struct spk_owner *pick_member(const struct spk_vs *vs, __u32 *id)
{
	struct spk_cursor *cursor = bpf_map_lookup_elem(&spk_cursors, &vs->id);
	struct spk_owner *owner;
	__u32 slot, *member;

	if (!cursor || !vs->count)
		return NULL;
	slot = vs->first + __sync_fetch_and_add(&cursor->next, 1) % vs->count;
	member = bpf_map_lookup_elem(&spk_pool, &slot);
	if (!member)
		return NULL;
	*id = *member;
	owner = bpf_map_lookup_elem(&spk_owners, member);
	return owner && owner->vs == vs->id ? owner : NULL;
}

static __always_inline void refuse(const struct spk_vs *vs)
{
	struct spk_cursor *cursor = bpf_map_lookup_elem(&spk_cursors, &vs->id);

	if (cursor)
		__sync_fetch_and_add(&cursor->refused, 1);
}
