// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Turning a packet into what its conntrack entry says. Headers are written first and the
 * transport checksum last, as the helpers that do it invalidate pointers into the packet. */
#pragma once

#include "spk_conntrack.h"
#include "spk_device.h"
#include "spk_read.h"
#include "spk_sctp.h"
#include "spk_sum.h"

/* TTL and protocol form one 16-bit word; TTL is its first byte on the wire. */
#define TTL_STEP ((__u16)~bpf_htons(0x0100))

/* IPv6: the hop limit is the second byte of its word. */
#define HOP_LIMIT_STEP ((__u16)~bpf_htons(0x0001))

#define ETH_ADDRS (2 * ETH_ALEN)

#define ICMP_ID_OFFSET 4

static __always_inline long rewrite4(spk_ctx *ctx, struct spk_headers4 *h,
				     const struct spk_ct4 *v)
{
	__u8 proto = h->ip->protocol;

	h->ip->saddr = v->saddr;
	h->ip->daddr = v->daddr;
	h->ip->ttl--;
	h->ip->check = csum_apply(h->ip->check, v->ct.addr_delta + TTL_STEP);
	h->l4->source = v->ct.sport;
	h->l4->dest = v->ct.dport;
	__builtin_memcpy(h->eth->h_dest, v->ct.dmac, ETH_ADDRS);
	return fix_fast(ctx, &v->ct, h->l4, proto, ETH_HLEN + sizeof(struct iphdr), sum_kind(ctx));
}

/* IPv6 has no header checksum, so a received CHECKSUM_COMPLETE sum has to follow the hop limit;
 * it must not follow the addresses, which the transport checksum cancels out, but the helper
 * takes them off as if it were IPv4: given back here, on every kernel alike. */
static __always_inline long rewrite6(spk_ctx *ctx, struct spk_headers6 *h,
				     const struct spk_ct6 *v)
{
	__u8 proto = h->ip->nexthdr;
	enum spk_sum kind = sum_kind(ctx);

	__builtin_memcpy(&h->ip->saddr, v->saddr, sizeof(v->saddr));
	__builtin_memcpy(&h->ip->daddr, v->daddr, sizeof(v->daddr));
	h->ip->hop_limit--;
	h->l4->source = v->ct.sport;
	h->l4->dest = v->ct.dport;
	__builtin_memcpy(h->eth->h_dest, v->ct.dmac, ETH_ADDRS);
	if (fix_fast(ctx, &v->ct, h->l4, proto, ETH_HLEN + sizeof(struct ipv6hdr), kind))
		return -1;
	if (kind == SPK_SUM_DEVICE)
		fix_device_sum(ctx, v->ct.addr_delta + HOP_LIMIT_STEP);
	return 0;
}

/* The slow path's part for what follows the IP header: ports and checksum of any transport. A
 * later fragment has neither; answers 1 when the addresses were left out of the sums. */
static __always_inline long rewrite_transport(spk_ctx *ctx, const struct spk_flow *f,
					      const struct spk_ct *ct)
{
	struct spk_ports_head ports = {.source = ct->sport, .dest = ct->dport};
	__u32 l4 = f->l4;
	__be16 id;

	if (f->part == SPK_LATER_FRAGMENT)
		return 1;
	if (is_icmp(f->orig.proto)) {
		id = is_echo_request(f) ? ct->sport : ct->dport;
		if (ctx_store(ctx, l4 + ICMP_ID_OFFSET, &id, sizeof(id)))
			return -1;
		if (f->orig.family == SPK_AF_INET6)
			return fix_sum(ctx, l4 + ICMP_CHECK_OFFSET, ct->addr_delta,
				       ct->port_delta, false);
		if (fix_sum(ctx, l4 + ICMP_CHECK_OFFSET, 0, ct->port_delta, false))
			return -1;
		return f->part ? 0 : settle_echo(ctx, l4, f->l4_len);
	}
	if (f->orig.proto == IPPROTO_SCTP_)
		return rewrite_sctp(ctx, f, ct) ? -1 : 1;
	if (ctx_store(ctx, l4, &ports, sizeof(ports)))
		return -1;
	if (f->orig.proto == IPPROTO_TCP)
		return fix_sum(ctx, l4 + offsetof(struct tcphdr, check), ct->addr_delta,
			       ct->port_delta, false);
	return fix_sum(ctx, l4 + offsetof(struct udphdr, check), ct->addr_delta, ct->port_delta,
		       true);
}

/* Rewrites a packet of any kind; the transport first, which may refuse. */
static __always_inline long rewrite_slow4(spk_ctx *ctx, const struct spk_flow *f,
					  const struct spk_ct4 *v)
{
	struct iphdr ip;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)) || rewrite_transport(ctx, f, &v->ct) < 0)
		return -1;
	ip.saddr = v->saddr;
	ip.daddr = v->daddr;
	ip.ttl--;
	ip.check = csum_apply(ip.check, v->ct.addr_delta + TTL_STEP);
	if (ctx_store(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	return ctx_store(ctx, 0, v->ct.dmac, ETH_ADDRS);
}

static __always_inline long rewrite_slow6(spk_ctx *ctx, const struct spk_flow *f,
					  const struct spk_ct6 *v)
{
	struct ipv6hdr ip;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)) || rewrite_transport(ctx, f, &v->ct) < 0)
		return -1;
	__builtin_memcpy(&ip.saddr, v->saddr, sizeof(v->saddr));
	__builtin_memcpy(&ip.daddr, v->daddr, sizeof(v->daddr));
	ip.hop_limit--;
	if (ctx_store(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	if (ctx_store(ctx, 0, v->ct.dmac, ETH_ADDRS))
		return -1;
	/* Where no sum follows the addresses, a device's sum must follow them: the same delta
	 * as the helper's, for another reason. */
	fix_device_sum(ctx, v->ct.addr_delta + HOP_LIMIT_STEP);
	return 0;
}
