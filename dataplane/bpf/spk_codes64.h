// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* ICMP's types and codes as the other family has them (RFC 7915 sections 4.2 and 5.2). */
#pragma once

#include "spk_error.h"

/* RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3: codes that have a counterpart. */
#define ICMP4_NET_UNREACHABLE 0
#define ICMP4_PROTOCOL_UNREACHABLE 2
#define ICMP4_SOURCE_ROUTE_FAILED 5
#define ICMP4_HOST_ISOLATED 8
#define ICMP4_NET_PROHIBITED 9
#define ICMP4_HOST_PROHIBITED 10
#define ICMP4_NET_TOS 11
#define ICMP4_HOST_TOS 12
#define ICMP4_PRECEDENCE_CUTOFF 15
#define ICMP4_POINTED_AT 0
#define ICMP4_BAD_LENGTH 2
#define ICMP6_BEYOND_SCOPE 2
#define ICMP6_ADDRESS_UNREACHABLE 3
#define ICMP6_BAD_HEADER 0
#define ICMP6_NEXT_HEADER 1

/* No type of an error in either family: there is no counterpart. */
#define NO_ERROR 0

#define NO_POINTER 0xff

/* RFC 7915 figure 3: where in the IPv6 header stands what is there in the IPv4 one. */
static __always_inline __u32 pointer_to6(__u32 at)
{
	if (at <= offsetof(struct iphdr, tos))
		return at; /* version, traffic class */
	if (at < offsetof(struct iphdr, id))
		return offsetof(struct ipv6hdr, payload_len);
	if (at == offsetof(struct iphdr, ttl))
		return offsetof(struct ipv6hdr, hop_limit);
	if (at == offsetof(struct iphdr, protocol))
		return offsetof(struct ipv6hdr, nexthdr);
	if (at < offsetof(struct iphdr, saddr) || at >= sizeof(struct iphdr))
		return NO_POINTER;
	return at < offsetof(struct iphdr, daddr) ? offsetof(struct ipv6hdr, saddr)
						  : offsetof(struct ipv6hdr, daddr);
}

/* RFC 7915 figure 6: the other way round. */
static __always_inline __u32 pointer_to4(__u32 at)
{
	if (at <= offsetof(struct iphdr, tos))
		return at;
	if (at < offsetof(struct ipv6hdr, payload_len) || at >= sizeof(struct ipv6hdr))
		return NO_POINTER; /* the flow label, extension headers */
	if (at < offsetof(struct ipv6hdr, nexthdr))
		return offsetof(struct iphdr, tot_len);
	if (at == offsetof(struct ipv6hdr, nexthdr))
		return offsetof(struct iphdr, protocol);
	if (at == offsetof(struct ipv6hdr, hop_limit))
		return offsetof(struct iphdr, ttl);
	return at < offsetof(struct ipv6hdr, daddr) ? offsetof(struct iphdr, saddr)
						    : offsetof(struct iphdr, daddr);
}

/* RFC 7915 section 4.2: the codes of destination unreachable but for fragmentation needed. */
static __always_inline void unreachable_to6(__u8 code, struct spk_error *e)
{
	e->type = ICMP6_UNREACHABLE;
	switch (code) {
	case ICMP4_NET_UNREACHABLE:
	case ICMP4_HOST_UNREACHABLE:
	case ICMP4_SOURCE_ROUTE_FAILED ... ICMP4_HOST_ISOLATED:
	case ICMP4_NET_TOS:
	case ICMP4_HOST_TOS:
		e->code = ICMP6_NO_ROUTE;
		break;
	case ICMP4_NET_PROHIBITED:
	case ICMP4_HOST_PROHIBITED:
	case ICMP4_PROHIBITED:
	case ICMP4_PRECEDENCE_CUTOFF:
		e->code = ICMP6_PROHIBITED;
		break;
	case ICMP4_PORT_UNREACHABLE:
		e->code = ICMP6_PORT_UNREACHABLE;
		break;
	case ICMP4_PROTOCOL_UNREACHABLE:
		e->type = ICMP6_PARAMETER;
		e->code = ICMP6_NEXT_HEADER;
		e->rest = bpf_htonl(offsetof(struct ipv6hdr, nexthdr));
		break;
	default:
		e->type = NO_ERROR;
	}
}

/* RFC 7915 section 4.2. mtu is what fits. */
static __always_inline struct spk_error error_to6(const struct spk_error *was, __u32 mtu)
{
	struct spk_error e = {.type = NO_ERROR};
	__u32 pointer;

	switch (was->type) {
	case ICMP4_UNREACHABLE:
		if (was->code != ICMP4_FRAGMENTATION_NEEDED) {
			unreachable_to6(was->code, &e);
			break;
		}
		e.type = ICMP6_TOO_BIG;
		e.rest = bpf_htonl(mtu);
		break;
	case ICMP4_TIME_EXCEEDED:
		e.type = ICMP6_TIME_EXCEEDED;
		e.code = was->code;
		break;
	case ICMP4_PARAMETER:
		pointer = pointer_to6(bpf_ntohl(was->rest) >> 24);
		if (was->code != ICMP4_POINTED_AT && was->code != ICMP4_BAD_LENGTH)
			break;
		if (pointer == NO_POINTER)
			break;
		e.type = ICMP6_PARAMETER;
		e.code = ICMP6_BAD_HEADER;
		e.rest = bpf_htonl(pointer);
	}
	return e;
}

/* RFC 7915 section 5.2: the codes of destination unreachable. */
static __always_inline void unreachable_to4(__u8 code, struct spk_error *e)
{
	e->type = ICMP4_UNREACHABLE;
	switch (code) {
	case ICMP6_NO_ROUTE:
	case ICMP6_BEYOND_SCOPE:
	case ICMP6_ADDRESS_UNREACHABLE:
		e->code = ICMP4_HOST_UNREACHABLE;
		break;
	case ICMP6_PROHIBITED:
		e->code = ICMP4_HOST_PROHIBITED;
		break;
	case ICMP6_PORT_UNREACHABLE:
		e->code = ICMP4_PORT_UNREACHABLE;
		break;
	default:
		e->type = NO_ERROR;
	}
}

/* RFC 7915 section 5.2. mtu is what fits. */
static __always_inline struct spk_error error_to4(const struct spk_error *was, __u32 mtu)
{
	struct spk_error e = {.type = NO_ERROR};
	__u32 pointer;

	switch (was->type) {
	case ICMP6_UNREACHABLE:
		unreachable_to4(was->code, &e);
		break;
	case ICMP6_TOO_BIG:
		e.type = ICMP4_UNREACHABLE;
		e.code = ICMP4_FRAGMENTATION_NEEDED;
		e.rest = bpf_htonl(mtu);
		break;
	case ICMP6_TIME_EXCEEDED:
		e.type = ICMP4_TIME_EXCEEDED;
		e.code = was->code;
		break;
	case ICMP6_PARAMETER:
		pointer = pointer_to4(bpf_ntohl(was->rest));
		if (was->code == ICMP6_NEXT_HEADER) {
			e.type = ICMP4_UNREACHABLE;
			e.code = ICMP4_PROTOCOL_UNREACHABLE;
		} else if (was->code == ICMP6_BAD_HEADER && pointer != NO_POINTER) {
			e.type = ICMP4_PARAMETER;
			e.rest = bpf_htonl(pointer << 24);
		}
	}
	return e;
}
