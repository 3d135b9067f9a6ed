// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Answering the packet at hand as spk_flow.reply says. */
#pragma once

#include "spk_error.h"
#include "spk_reset.h"
#include "spk_slow.h"

/* A ping becomes its answer in place; of one in fragments every part does so by itself, as the
 * type stands in the first one, and addresses that change places leave every sum as it is. */
static __always_inline long turn_echo(spk_ctx *ctx, const struct spk_flow *f, __u8 reply)
{
	__u8 head[ICMP_CHECK_OFFSET + 2];
	__be16 was, is;
	__sum16 sum;

	if (f->part == SPK_LATER_FRAGMENT)
		return 0;
	if (ctx_load(ctx, f->l4, head, sizeof(head)))
		return -1;
	__builtin_memcpy(&was, head, sizeof(was));
	head[0] = reply;
	__builtin_memcpy(&is, head, sizeof(is));
	__builtin_memcpy(&sum, head + ICMP_CHECK_OFFSET, sizeof(sum));
	sum = csum_apply(sum, csum_diff16(was, is));
	__builtin_memcpy(head + ICMP_CHECK_OFFSET, &sum, sizeof(sum));
	return ctx_store(ctx, f->l4, head, sizeof(head)) ?: settle_echo(ctx, f->l4, f->l4_len);
}

static __always_inline int echo4(spk_ctx *ctx, const struct spk_flow *f)
{
	struct iphdr ip;
	__be16 was, is;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return drop(ctx, SPK_DROP_REWRITE);
	__builtin_memcpy(&was, &ip.ttl, sizeof(was));
	ip.ttl = ANSWER_TTL;
	__builtin_memcpy(&is, &ip.ttl, sizeof(is));
	ip.check = csum_apply(ip.check, csum_diff16(was, is));
	ip.saddr = f->orig.daddr[0];
	ip.daddr = f->orig.saddr[0];
	if (ctx_store(ctx, ETH_HLEN, &ip, sizeof(ip)) || turn_echo(ctx, f, ICMP4_ECHO_REPLY))
		return drop(ctx, SPK_DROP_REWRITE);
	count(SPK_ECHO_REPLIES);
	return send_back(ctx);
}

static __always_inline int echo6(spk_ctx *ctx, const struct spk_flow *f)
{
	struct ipv6hdr ip;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return drop(ctx, SPK_DROP_REWRITE);
	ip.hop_limit = ANSWER_TTL;
	__builtin_memcpy(&ip.saddr, f->orig.daddr, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, f->orig.saddr, sizeof(ip.daddr));
	if (store_summed(ctx, ETH_HLEN, &ip, sizeof(ip)) || turn_echo(ctx, f, ICMP6_ECHO_REPLY))
		return drop(ctx, SPK_DROP_REWRITE);
	count(SPK_ECHO_REPLIES);
	return send_back(ctx);
}

/* Why the packet went no further, for when it cannot be answered. */
static __always_inline enum spk_counter reason_of(enum spk_reply reply)
{
	switch (reply) {
	case SPK_REPLY_ECHO:
		return SPK_DROP_NO_FLOW;
	case SPK_REPLY_TTL:
		return SPK_DROP_TTL_EXPIRED;
	case SPK_REPLY_TOO_BIG:
		return SPK_DROP_TOO_BIG;
	case SPK_REPLY_UNREACHABLE:
		return SPK_DROP_NO_ROUTE;
	case SPK_REPLY_PROHIBITED:
		return SPK_DROP_NOT_PERMITTED;
	case SPK_REPLY_RESET:
		break;
	}
	return SPK_DROP_MEMBER_DOWN;
}

static __always_inline int reply(spk_ctx *ctx, const __u8 family)
{
	struct spk_flow *f = the_flow();

	if (!f)
		return SPK_ACT_DROP;
	if (!is_from_host(&f->orig))
		return drop(ctx, reason_of(f->reply));
	if (f->reply == SPK_REPLY_ECHO)
		return family == SPK_AF_INET ? echo4(ctx, f) : echo6(ctx, f);
	if (f->part == SPK_LATER_FRAGMENT)
		return drop(ctx, reason_of(f->reply));
	if (f->reply == SPK_REPLY_RESET && f->orig.proto == IPPROTO_TCP)
		return reset_tcp(ctx, f, family);
	if (f->reply == SPK_REPLY_RESET && f->orig.proto == IPPROTO_SCTP_)
		return abort_sctp(ctx, f, family);
	return send_error(ctx, f, reason_of(f->reply), family);
}
