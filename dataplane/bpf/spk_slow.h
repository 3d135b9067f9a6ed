// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The slow path: everything but a packet of a known connection with a known next hop. */
#pragma once

#include "spk_known.h"
#include "spk_rewrite.h"

/* A packet for the TMM's own address. */
static __always_inline enum spk_decision for_the_tmm(spk_ctx *ctx, const struct spk_flow *f)
{
	return is_allowed(f, ctx_ifindex(ctx)) ? SPK_PASS : dropped(SPK_DROP_NOT_ALLOWED);
}

/* Does the destination stand for one of the other family? */
static __always_inline bool changes_family(const struct spk_flow *f, const struct spk_egress *e,
					   const __u8 family)
{
	const __be32 *p = e->nat64, *d = f->orig.daddr;

	if (family == SPK_AF_INET)
		return e->nat46 && bpf_map_lookup_elem(&spk_nat46, &d[0]);
	return (p[0] | p[1] | p[2]) && p[0] == d[0] && p[1] == d[1] && p[2] == d[2];
}

/* May a packet out of the middle of a connection be taken up? Where every TMM chooses alike and members see the
 * client itself, the member that is chosen knows the connection, whichever TMM has had it; another
 * one resets it. */
static __always_inline bool resumes(const struct spk_flow *f, const struct spk_vs *vs)
{
	return vs && vs->method == SPK_MAGLEV && vs->snat == SPK_SNAT_NONE && !vs->affinity &&
	       f->orig.proto == IPPROTO_TCP &&
	       (f->orig.tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK;
}

/* A packet of no connection. fault says why it could not be forwarded anyway. */
static __always_inline int new_flow(spk_ctx *ctx, struct spk_flow *f, enum spk_counter fault,
				    const __u8 family)
{
	struct spk_vs *vs = NULL;
	struct spk_egress *egress = NULL;
	__u32 kinds = local_kinds(&f->orig, family);
	bool opening = (f->orig.proto != IPPROTO_TCP && f->orig.proto != IPPROTO_SCTP_) ||
		       opens(f->orig.tcp_flags) || f->reselect;

	if (!fault)
		vs = find_vs(&f->orig, family);
	if (!vs && (kinds & SPK_LOCAL_SELF))
		return for_the_tmm(ctx, f);
	if (fault == SPK_DROP_TTL_EXPIRED && kinds & SPK_LOCAL_ECHO && is_icmp(f->orig.proto) &&
	    is_echo_request(f))
		return answer(f, SPK_REPLY_ECHO); /* it has arrived: RFC 1122 section 3.2.1.7 */
	if (fault == SPK_DROP_TTL_EXPIRED)
		return answer(f, SPK_REPLY_TTL);
	if (fault == SPK_DROP_ICMP && kinds & SPK_LOCAL_ARP && is_solicitation(f))
		return SPK_ASKED;
	if (fault)
		return dropped(fault);
	if (!vs && (kinds & SPK_LOCAL_VIP)) {
		if (!is_icmp(f->orig.proto))
			return dropped(SPK_DROP_NO_VIRTUAL_SERVER);
		if (!is_echo_request(f))
			return dropped(SPK_DROP_NO_FLOW);
		return kinds & SPK_LOCAL_ECHO ? answer(f, SPK_REPLY_ECHO)
					      : dropped(SPK_DROP_NO_MEMBER);
	}
	if (!vs && (kinds & SPK_LOCAL_SNAT))
		return dropped(SPK_DROP_NO_FLOW);
	if (!vs && f->orig.side == SPK_INTERNAL)
		egress = find_egress(f, ctx_ifindex(ctx), family);
	if (!vs && !egress)
		return dropped(SPK_DROP_NOT_PERMITTED);
	if (!(opening || resumes(f, vs)) || (is_icmp(f->orig.proto) && !is_echo_request(f)))
		return dropped(SPK_DROP_NO_FLOW);
	if (egress && changes_family(f, egress, family)) {
		f->owner = egress->owner;
		f->snat = egress->snat;
		f->snat_pool = egress->snat_pool;
		return SPK_OTHER_FAMILY;
	}
	if (egress)
		to_outside(f, egress);
	else
		fault = to_member(f, vs);
	if (!fault)
		fault = start_flow(ctx, f, !vs);
	if (!fault)
		return SPK_FORWARD;
	if (vs)
		refuse(vs);
	return no_way(f, fault);
}

/* Does what leaves fit the way? Of segments that are offloaded together, each by itself. */
static __always_inline bool fits(spk_ctx *ctx, const struct spk_flow *f)
{
	__u32 gso = ctx_gso_size(ctx), len = f->l3_len;

	if (gso)
		len = f->l4 - ETH_HLEN + gso +
		      (f->orig.proto == IPPROTO_TCP ? f->l4_head : sizeof(struct udphdr));
	return len <= f->hop.mtu;
}

/* May a router cut the packet (RFC 791)? */
static __always_inline bool may_be_cut(const struct spk_flow *f)
{
	return f->orig.family == SPK_AF_INET && !(f->frag & SPK_DF);
}

/* Has the kernel cut what was rewritten, as a packet that comes in on loopback, where it may forward;
 * it takes one off the TTL for that. XDP leaves such a packet to traffic control. */
static __always_inline int cut_by_kernel(spk_ctx *ctx)
{
	__u8 to[ETH_ALEN] = {};
	struct iphdr ip;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return drop(ctx, SPK_DROP_REWRITE);
	ip.ttl++;
	ip.check = csum_apply(ip.check, bpf_htons(0x0100));
	if (ctx_store(ctx, ETH_HLEN, &ip, sizeof(ip)) || ctx_store(ctx, 0, to, sizeof(to)))
		return drop(ctx, SPK_DROP_REWRITE);
	return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
}

/* Decides on the packet and fills in f. */
static __always_inline int decide(spk_ctx *ctx, struct spk_flow *f, const __u8 family)
{
	enum spk_counter fault;
	int decision;

	f->reselect = 0;
	f->reply = 0;
	fault = family == SPK_AF_INET ? read_packet4(ctx, f) : read_packet6(ctx, f);
	if (fault == SPK_DROP_MALFORMED)
		return dropped(fault);
	if (stays_on_link(&f->orig))
		return SPK_PASS;
	if (fault == SPK_DROP_ICMP && is_icmp_error(f))
		return SPK_TRANSLATE;
	if (!fault && f->ttl < 2)
		fault = SPK_DROP_TTL_EXPIRED;
	if (!fault) {
		decision = known_flow(ctx, f, family);
		if (decision)
			return decision;
	}
	return new_flow(ctx, f, fault, family);
}

/* Refuses what is known where to send but cannot be sent there. */
static __always_inline int check_way(spk_ctx *ctx, struct spk_flow *f)
{
	if (!fits(ctx, f) && !may_be_cut(f)) {
		f->mtu = f->hop.mtu;
		return answer(f, SPK_REPLY_TOO_BIG);
	}
	if (!SPK_AT_TC && (!f->hop.resolved || f->hop.vlan || !fits(ctx, f)))
		return SPK_LEAVE_TO_TC; /* who can ask for the neighbour, and push the tag */
	return SPK_FORWARD;
}

/* Ends with what was decided; SPK_FORWARD has been dealt with. */
static __always_inline int conclude(spk_ctx *ctx, const struct spk_flow *f, int decision,
				    const __u8 family)
{
	bool v4 = family == SPK_AF_INET;

	if (!SPK_AT_TC && decision < SPK_DROP)
		decision = SPK_LEAVE_TO_TC;
	switch (decision) {
	case SPK_PASS:
		return to_kernel();
	case SPK_LEAVE_TO_TC:
		count(SPK_TO_TC);
		return SPK_ACT_NEXT;
	case SPK_ANSWER:
		return go_on(ctx, v4 ? SPK_PROG_REPLY4 : SPK_PROG_REPLY6);
	case SPK_TRANSLATE:
		return go_on(ctx, v4 ? SPK_PROG_ICMP4 : SPK_PROG_ICMP6);
	case SPK_OTHER_FAMILY:
		return go_on(ctx, v4 ? SPK_PROG_NAT46 : SPK_PROG_NAT64);
	case SPK_ASKED:
		return go_on(ctx, SPK_PROG_NEIGH);
	}
	return drop(ctx, decision - SPK_DROP);
}

/* Sends what was rewritten as ct says. The entry of a flow that lost the race to another CPU
 * is that CPU's, and so is its hop. */
static __always_inline int deliver(spk_ctx *ctx, const struct spk_flow *f, const struct spk_ct *ct)
{
	if (!SPK_AT_TC)
		return bpf_redirect(f->hop.tx, 0);
	return f->hop.resolved && ct->gen ? leave(ctx, ct) : send_unresolved(&f->hop);
}

static __always_inline int forward4(spk_ctx *ctx, struct spk_flow *f)
{
	struct spk_ct *ct = find_entry(&f->orig, SPK_AF_INET).ct;
	bool whole = fits(ctx, f);

	if (!ct)
		return drop(ctx, SPK_DROP_NO_FLOW);
	touch(ct, f->orig.tcp_flags);
	account(ct, ctx_len(ctx));
	if (rewrite_slow4(ctx, f, (const struct spk_ct4 *)ct))
		return drop(ctx, SPK_DROP_REWRITE);
	return whole ? deliver(ctx, f, ct) : cut_by_kernel(ctx);
}

static __always_inline int forward6(spk_ctx *ctx, struct spk_flow *f)
{
	struct spk_ct *ct = find_entry(&f->orig, SPK_AF_INET6).ct;

	if (!ct)
		return drop(ctx, SPK_DROP_NO_FLOW);
	touch(ct, f->orig.tcp_flags);
	account(ct, ctx_len(ctx));
	if (rewrite_slow6(ctx, f, (const struct spk_ct6 *)ct))
		return drop(ctx, SPK_DROP_REWRITE);
	return deliver(ctx, f, ct);
}

static __always_inline int slow_path(spk_ctx *ctx, const __u8 family)
{
	struct spk_flow *f = the_flow();
	int decision;

	if (!f)
		return SPK_ACT_DROP;
	decision = decide(ctx, f, family);
	if (decision == SPK_FORWARD)
		decision = check_way(ctx, f);
	if (decision != SPK_FORWARD)
		return conclude(ctx, f, decision, family);
	return family == SPK_AF_INET ? forward4(ctx, f) : forward6(ctx, f);
}
