// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* What is a packet without a connection about? Lookups of the configured objects. */
#pragma once

#include "spk_balance.h"

/* struct spk_subnet_key up to the address. */
#define SUBNET_HEAD_BITS 64

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

/* Destinations of more than one address: the longest prefix, and with a port before without. */
static __noinline struct spk_vs *find_subnet(const struct spk_tuple *t)
{
	struct spk_subnet_key k = {
		.prefixlen = SUBNET_HEAD_BITS + (t->family == SPK_AF_INET ? 32 : 128),
		.proto = t->proto,
		.family = t->family,
		.port = t->dport,
	};
	struct spk_vs *with, *without;

	copy_addr(k.addr, t->daddr);
	with = bpf_map_lookup_elem(&spk_subnets, &k);
	k.port = 0;
	without = bpf_map_lookup_elem(&spk_subnets, &k);
	if (!with || !without)
		return with ?: without;
	return without->prefix_bits > with->prefix_bits ? without : with;
}

/* The virtual server of a packet: the most specific destination. */
static __always_inline struct spk_vs *find_vs(const struct spk_tuple *t, const __u8 family)
{
	const struct spk_config *cfg = config();
	struct spk_vs *vs;

	if (is_icmp(t->proto))
		return NULL;
	vs = family == SPK_AF_INET ? find_vs4(t) : find_vs6(t);
	if (vs || !cfg || !(cfg->flags & SPK_HAS_SUBNETS))
		return vs;
	return find_subnet(t);
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

/* The interface that the packet came in on. */
static __always_inline struct spk_port *port_of(__u32 ifindex)
{
	return bpf_map_lookup_elem(&spk_ports, &ifindex);
}

/* The egress that lets the source of t out: the longest prefix, where it listens. */
static __always_inline struct spk_egress *find_egress(const struct spk_flow *f, __u32 ifindex,
						      const __u8 family)
{
	struct spk_egress_key4 k4 = {.prefixlen = 32, .addr = f->orig.saddr[0]};
	struct spk_egress_key6 k6 = {.prefixlen = 128};
	struct spk_port *port;
	struct spk_egress *e;

	copy_addr(k6.addr, f->orig.saddr);
	e = family == SPK_AF_INET ? bpf_map_lookup_elem(&spk_egress4, &k4)
				  : bpf_map_lookup_elem(&spk_egress6, &k6);
	if (!e || !e->ports)
		return e;
	port = port_of(ifindex);
	return port && e->ports & (1U << (port->bit & 31)) ? e : NULL;
}

static __noinline bool is_service(__u32 ifindex, __u8 proto, __be16 port)
{
	struct spk_service k = {.ifindex = ifindex, .port = port, .proto = proto};

	if (bpf_map_lookup_elem(&spk_services, &k))
		return true;
	k.port = 0;
	return bpf_map_lookup_elem(&spk_services, &k);
}

/* May the packet have a service of the TMM itself? Of ICMP it may have everything; else what is
 * listed, and what may be an answer to the TMM's own: no opening of a connection, and datagrams
 * to the ports that the kernel takes for itself. */
static __noinline bool is_allowed(const struct spk_flow *f, __u32 ifindex)
{
	const struct spk_config *cfg = config();
	struct spk_port *port = port_of(ifindex);
	__u16 dport = bpf_ntohs(f->orig.dport);

	if (!port || !cfg || !(port->flags & SPK_PORT_GUARDED) || is_icmp(f->orig.proto))
		return true;
	if (is_service(ifindex, f->orig.proto, f->orig.dport))
		return true;
	if (f->orig.proto == IPPROTO_TCP)
		return !opens(f->orig.tcp_flags);
	return f->orig.proto == IPPROTO_UDP && dport >= 1024 &&
	       (dport < cfg->port_min || dport > cfg->port_max);
}
