// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Passing on ICMP errors about flows that change family (RFC 7915 sections 4.2, 4.3, 5.2 and 5.3). An
 * error becomes one of the other family, and so does the packet that it quotes: as its sender sent
 * it. At traffic control only. */
#pragma once

#include "spk_codes64.h"
#include "spk_icmp.h"
#include "spk_nat64.h"

/* RFC 1191 section 7.1: the largest MTU that is usual and less than len, from 1280 - 20 on: what is less
 * is the same to IPv6. */
static __always_inline __u32 plateau(__u32 len)
{
	if (len > 32000)
		return 32000;
	if (len > 17914)
		return 17914;
	if (len > 8166)
		return 8166;
	if (len > 4352)
		return 4352;
	if (len > 2002)
		return 2002;
	return len > 1492 ? 1492 : 0;
}

/* What fits, in the other family's bytes: no more than either link of the TMM takes. */
static __always_inline __u32 translate_mtu(spk_ctx *ctx, const struct spk_flow *f,
					   const struct spk_quote *q, __u32 said,
					   const __u8 family)
{
	__u32 here = mtu_of(ctx, 0), mtu;

	if (family == SPK_AF_INET) {
		said = said & 0xffff ?: plateau(q->l4 - q->ip + q->l4_len);
		mtu = (said < here ? said : here) + IP6_IP4_GAP;
		mtu = mtu < f->hop.mtu ? mtu : f->hop.mtu;
		return mtu < IP6_LEAST_MTU ? IP6_LEAST_MTU : mtu;
	}
	mtu = said < here ? said : here;
	mtu = (mtu < IP6_LEAST_MTU ? IP6_LEAST_MTU : mtu) - IP6_IP4_GAP;
	if (q->fragment)
		mtu -= IP6_FRAGMENT_HEAD;
	return mtu < f->hop.mtu ? mtu : f->hop.mtu;
}

/* Is the error's sum right? It is made anew, so nobody behind would know (RFC 5508 section 4.2). That
 * of an error longer than sum_of goes is not: RFC 1812 and RFC 4443 want them a good deal shorter. */
static __always_inline bool is_sound(spk_ctx *ctx, const struct spk_flow *f, const __u8 family)
{
	__u64 sum = sum_of(ctx, f->l4, f->l4_len);

	if (family == SPK_AF_INET6)
		sum += csum_pseudo(f->orig.saddr, f->orig.daddr, IPPROTO_ICMPV6, f->l4_len);
	return fold_sum(sum) == 0xffff;
}

/* Bytes of the quoted IP header as the other family has it. */
static __always_inline __u32 quoted_head(const struct spk_quote *q, const __u8 family)
{
	if (family == SPK_AF_INET6)
		return sizeof(struct iphdr);
	return sizeof(struct ipv6hdr) + (q->fragment ? IP6_FRAGMENT_HEAD : 0);
}

/* Where the quoted packet ends: before padding and extensions, which tell of the other network
 * (RFC 4884), and before the error becomes longer than the way or IPv6 has it (RFC 4443 section
 * 2.4(c)). */
static __always_inline __u32 end_of_quote(const struct spk_flow *f, const struct spk_quote *q,
					  const struct spk_error *was, const __u8 family)
{
	__u32 limit = family == SPK_AF_INET ? IP6_LEAST_MTU : f->hop.mtu;
	__u32 ip = family == SPK_AF_INET ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 rest = bpf_ntohl(was->rest), end = q->end, said = 0;

	if (family == SPK_AF_INET)
		said = (rest >> 16 & 0xff) * 4;
	else if (was->type == ICMP6_UNREACHABLE || was->type == ICMP6_TIME_EXCEEDED)
		said = (rest >> 24) * 8;
	if (said && end > q->ip + said)
		end = q->ip + said;
	if (end > q->l4 + q->l4_len)
		end = q->l4 + q->l4_len;
	limit -= ip + ICMP_HEAD + quoted_head(q, family);
	return end > q->l4 + limit ? q->l4 + limit : end;
}

/* Turns the ports or the identifier that are quoted, and the sums that are. */
static __always_inline long translate_quoted(spk_ctx *ctx, const struct spk_flow *f,
					     const struct spk_quote *q, const struct spk_ct *ct,
					     const __u8 family)
{
	__u32 gain;

	if (is_icmp(q->proto))
		return translate_echo(ctx, q->l4, family == SPK_AF_INET6 ? &f->rev : &f->xlat,
				      q->l4_len, ct->port_delta,
				      f->rev.sport ? f->xlat.sport : f->xlat.dport, family);
	gain = write_quoted_ports(ctx, f, q, ct);
	fix_device_sum(ctx, csum_fold(gain));
	return 0;
}

/* Leaves in f->rev what is quoted as the other family has it, and in f->xlat the error's own
 * addresses. That of the flow's end is in its entry; a router with IPv4 has one in the NAT64 prefix;
 * any other router has none, and the TMM speaks for it (RFC 6791). */
static __always_inline enum spk_counter turn_ends(struct spk_flow *f, const struct spk_ct *ct,
						  const __u8 family)
{
	bool from_end = same_addr(f->orig.saddr, f->rev.saddr);
	struct spk_port *port;

	reverse_tuple(&f->xlat, f->orig.side, f->orig.zone, &f->rev);
	f->xlat.proto = family == SPK_AF_INET ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	if (from_end)
		return SPK_OK;
	if (family == SPK_AF_INET && !(ct->flags & SPK_CT_FORWARD)) {
		f->xlat.saddr[3] = f->orig.saddr[0];
		return SPK_OK;
	}
	port = port_of(f->hop.oif);
	return port ? automap(f, port) : SPK_DROP_NO_SELF_IP;
}

/* The quoted IP header as it becomes. What identification a packet had that is IPv4 again is not
 * known. */
static __always_inline struct spk_head head_of_quote(const struct spk_quote *q, const __u8 family)
{
	struct spk_head h = {
		.len = q->l4_len, .id = q->id, .frag = q->frag, .fragment = q->fragment,
		.tos = q->tos, .ttl = q->ttl,
	};

	if (family == SPK_AF_INET6 && !q->fragment) {
		h.id = 0;
		h.frag = may_be_cut4(q->l4_len) ? 0 : SPK_DF;
	}
	return h;
}

/* Changes both IP headers and what is between them; f->rev is the quoted packet's tuple by now. e
 * becomes complete. */
static __always_inline long write_error(spk_ctx *ctx, const struct spk_flow *f,
					const struct spk_quote *q, struct spk_error *e, __u32 end,
					const __u8 family)
{
	const bool to4 = family == SPK_AF_INET6;
	__u32 ip = to4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr), icmp = ETH_HLEN + ip;
	struct spk_head outer = {.tos = traffic_class(ctx, family), .ttl = f->ttl - 1};
	struct spk_head inner = head_of_quote(q, family);
	__s32 more = icmp + ICMP_HEAD + quoted_head(q, family) - q->l4;
	__u64 sum;
	long err;

	outer.len = ICMP_HEAD + quoted_head(q, family) + end - q->l4;
	if (to4)
		identify(&outer, &f->xlat);
	err = end < ctx_len(ctx) ? bpf_skb_change_tail(ctx, end, 0) : 0;
	err = err ?: bpf_skb_change_proto(ctx, bpf_htons(to4 ? ETH_P_IP : ETH_P_IPV6), 0);
	err = err ?: change_room(ctx, to4 ? more + (__s32)IP6_IP4_GAP : more - (__s32)IP6_IP4_GAP);
	if (to4)
		err = err ?: write_head4(ctx, ETH_HLEN, &f->xlat, &outer) ?:
			     write_head4(ctx, icmp + ICMP_HEAD, &f->rev, &inner);
	else
		err = err ?: write_head6(ctx, ETH_HLEN, &f->xlat, &outer) ?:
			     write_head6(ctx, icmp + ICMP_HEAD, &f->rev, &inner);
	sum = sum_of(ctx, icmp + ICMP_HEAD, outer.len - ICMP_HEAD);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)e, sizeof(*e), fold_sum(sum));
	if (!to4)
		sum += csum_pseudo(f->xlat.saddr, f->xlat.daddr, IPPROTO_ICMPV6, outer.len);
	e->check = ~fold_sum(sum);
	return err ?: store_summed(ctx, icmp, e, sizeof(*e));
}

/* Writes the error as the other family has it. f->xlat is what an answer of the flow would be turned
 * into. */
static __always_inline enum spk_counter rewrite_error(spk_ctx *ctx, struct spk_flow *f,
						      const struct spk_quote *q,
						      const struct spk_ct *ct, const __u8 family)
{
	enum spk_counter fault;
	struct spk_error was, e;
	__u32 mtu;

	if (ctx_load(ctx, f->l4, &was, sizeof(was)))
		return SPK_DROP_MALFORMED;
	mtu = translate_mtu(ctx, f, q, bpf_ntohl(was.rest), family);
	e = family == SPK_AF_INET ? error_to6(&was, mtu) : error_to4(&was, mtu);
	if (e.type == NO_ERROR)
		return SPK_DROP_NAT64;
	if (translate_quoted(ctx, f, q, ct, family))
		return SPK_DROP_REWRITE;
	fault = turn_ends(f, ct, family);
	if (fault)
		return fault;
	return write_error(ctx, f, q, &e, end_of_quote(f, q, &was, family), family)
		       ? SPK_DROP_REWRITE
		       : SPK_OK;
}

static __always_inline int translate_error(spk_ctx *ctx, const __u8 family)
{
	struct spk_flow *f = the_flow();
	struct spk_ct *ct = NULL, way;
	struct spk_quote q = {};
	enum spk_counter fault;

	if (!f)
		return SPK_ACT_DROP;
	if (read_quote(ctx, f, &q, family))
		ct = ct_lookup(&f->rev, family);
	if (!ct || !(ct->flags & SPK_CT_FAMILY))
		return drop(ctx, SPK_DROP_ICMP_ERROR);
	if (f->ttl < 2)
		return drop(ctx, SPK_DROP_TTL_EXPIRED);
	if (!is_sound(ctx, f, family))
		return drop(ctx, SPK_DROP_MALFORMED);
	fault = other_target(ct, &f->rev, &f->xlat, family);
	if (!fault)
		fault = find_hop(ctx, &f->xlat, &f->hop);
	if (!fault)
		fault = rewrite_error(ctx, f, &q, ct, family);
	if (fault)
		return drop(ctx, fault);
	way = *ct;
	store_hop(&way, &f->hop, 1);
	if (write_ether(ctx, way.dmac, family))
		return drop(ctx, SPK_DROP_REWRITE);
	count(SPK_ICMP_TRANSLATED);
	return deliver(ctx, f, &way);
}
