// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* ICMP errors of the TMM itself (RFC 792, RFC 1191, RFC 1812 section 4.3, RFC 4443), from its
 * self-IP on the interface that the packet came in on. */
#pragma once

#include "spk_answer.h"
#include "spk_classify.h"

/* RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4(c): bytes of an error as a whole. */
#define ICMP4_ERROR_MAX 576
#define ICMP6_ERROR_MAX 1280

/* RFC 1812 section 4.3.2.5: precedence internetwork control. */
#define ICMP_ERROR_TOS 0xc0

/* RFC 792 and RFC 1812 section 5.2.7.1. */
#define ICMP4_HOST_UNREACHABLE 1
#define ICMP4_PORT_UNREACHABLE 3
#define ICMP4_FRAGMENTATION_NEEDED 4
#define ICMP4_PROHIBITED 13
#define IP4_LEAST_MTU 68

/* RFC 4443 section 3; RFC 8200 section 5. */
#define ICMP6_UNREACHABLE 1
#define ICMP6_NO_ROUTE 0
#define ICMP6_PROHIBITED 1
#define ICMP6_PORT_UNREACHABLE 4
#define ICMP6_TOO_BIG 2
#define ICMP6_TIME_EXCEEDED 3
#define IP6_LEAST_MTU 1280

/* RFC 1812 section 4.3.2.8, RFC 4443 section 2.4(f): a CPU sends this many at once, and one a
 * millisecond after that. */
#define ICMP_ERROR_BURST 100
#define ICMP_ERROR_INTERVAL_NS 1000000

/* An ICMP error's own head. */
struct spk_error {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be32 rest; /* MTU */
};

/* Takes a token. What is kept is when the bucket will be full again. */
static __always_inline bool may_send_error(void)
{
	__u64 now = bpf_ktime_get_coarse_ns(), *full, due;
	__u32 zero = 0;

	full = bpf_map_lookup_elem(&spk_icmp_budget, &zero);
	if (!full)
		return false;
	due = *full > now ? *full : now;
	if (due - now >= (__u64)ICMP_ERROR_BURST * ICMP_ERROR_INTERVAL_NS)
		return false;
	*full = due + ICMP_ERROR_INTERVAL_NS;
	return true;
}

static __always_inline struct spk_error error4(const struct spk_flow *f)
{
	struct spk_error e = {.type = ICMP4_UNREACHABLE};

	switch (f->reply) {
	case SPK_REPLY_TTL:
		e.type = ICMP4_TIME_EXCEEDED;
		break;
	case SPK_REPLY_TOO_BIG:
		e.code = ICMP4_FRAGMENTATION_NEEDED;
		e.rest = bpf_htonl(f->mtu < IP4_LEAST_MTU ? IP4_LEAST_MTU : f->mtu);
		break;
	case SPK_REPLY_UNREACHABLE:
		e.code = ICMP4_HOST_UNREACHABLE;
		break;
	case SPK_REPLY_PROHIBITED:
		e.code = ICMP4_PROHIBITED;
		break;
	default:
		e.code = ICMP4_PORT_UNREACHABLE;
	}
	return e;
}

static __always_inline struct spk_error error6(const struct spk_flow *f)
{
	struct spk_error e = {.type = ICMP6_UNREACHABLE};

	switch (f->reply) {
	case SPK_REPLY_TTL:
		e.type = ICMP6_TIME_EXCEEDED;
		break;
	case SPK_REPLY_TOO_BIG:
		e.type = ICMP6_TOO_BIG;
		e.rest = bpf_htonl(f->mtu < IP6_LEAST_MTU ? IP6_LEAST_MTU : f->mtu);
		break;
	case SPK_REPLY_UNREACHABLE:
		e.code = ICMP6_NO_ROUTE;
		break;
	case SPK_REPLY_PROHIBITED:
		e.code = ICMP6_PROHIBITED;
		break;
	default:
		e.code = ICMP6_PORT_UNREACHABLE;
	}
	return e;
}

/* Where the error comes from: a port unreachable from the address that had no such port, the rest
 * from the TMM. */
static __always_inline bool error_source(spk_ctx *ctx, const struct spk_flow *f, __be32 *addr)
{
	struct spk_port *port = port_of(ctx_ifindex(ctx));

	if (f->reply == SPK_REPLY_RESET) {
		copy_addr(addr, f->orig.daddr);
		return true;
	}
	if (!port)
		return false;
	if (f->orig.family == SPK_AF_INET) {
		addr[0] = port->self4;
		addr[1] = addr[2] = addr[3] = 0;
	} else {
		copy_addr(addr, port->self6);
	}
	return addr[0] | addr[1] | addr[2] | addr[3];
}

/* Cuts the packet down to what is quoted of it and makes room in front. Answers how much is quoted,
 * 0 when that failed. */
static __always_inline __u32 cut_quote(spk_ctx *ctx, const struct spk_flow *f, __u32 head,
				       __u32 max)
{
	__u32 len = ctx_len(ctx) - ETH_HLEN;

	if (f->l3_len && len > f->l3_len)
		len = f->l3_len;
	if (len > max - head)
		len = max - head;
	if (bpf_skb_change_tail(ctx, ETH_HLEN + len, 0) ||
	    bpf_skb_adjust_room(ctx, head, BPF_ADJ_ROOM_MAC, 0))
		return 0;
	return len;
}

/* The sum of what is quoted. Where the device still completes the transport's sum in it, from there
 * on it will be the complement of what stands in the field now. */
static __always_inline __u32 sum_quote(spk_ctx *ctx, const struct spk_flow *f, __u32 head,
				       __u32 len, bool partial)
{
	__u32 from = ETH_HLEN + head;
	__sum16 seed = 0;

	if (!partial)
		return sum_of(ctx, from, len);
	ctx_load(ctx, sum_offset(f) + head, &seed, sizeof(seed));
	return fold_sum(sum_of(ctx, from, f->l4 - ETH_HLEN)) + (__u16)~seed;
}

/* Answers with an ICMP error, or drops for the reason given. */
static __always_inline int send_error(spk_ctx *ctx, const struct spk_flow *f,
				      enum spk_counter reason, const __u8 family)
{
	const bool v4 = family == SPK_AF_INET;
	struct spk_error e = v4 ? error4(f) : error6(f);
	__u32 ip = v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr), head = ip + sizeof(e);
	__u32 at = sum_offset(f), len;
	bool partial = at && is_partial(ctx, at);
	__be32 from[4];
	__u64 sum;

	if (!error_source(ctx, f, from) || !may_send_error())
		return drop(ctx, reason);
	len = cut_quote(ctx, f, head, v4 ? ICMP4_ERROR_MAX : ICMP6_ERROR_MAX);
	if (!len)
		return drop(ctx, SPK_DROP_REWRITE);
	sum = sum_quote(ctx, f, head, len, partial);
	len += sizeof(e);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&e, sizeof(e), fold_sum(sum));
	if (!v4)
		sum += csum_pseudo(from, f->orig.saddr, IPPROTO_ICMPV6, len);
	e.check = ~fold_sum(sum);
	if (write_ip(ctx, from, f->orig.saddr, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, len,
		     ICMP_ERROR_TOS, family) ||
	    store_summed(ctx, ETH_HLEN + ip, &e, sizeof(e)))
		return drop(ctx, SPK_DROP_REWRITE);
	count(f->reply == SPK_REPLY_RESET ? SPK_RESETS_SENT : SPK_ICMP_SENT);
	return send_back(ctx);
}
