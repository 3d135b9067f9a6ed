// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Turning a packet into what its conntrack entry says. Headers are written first and the
 * transport checksum last, as the helpers that do it invalidate pointers into the packet. */
#pragma once

#include <bpf/bpf_core_read.h>

#include "spk_conntrack.h"
#include "spk_device.h"
#include "spk_read.h"
#include "spk_sctp.h"

/* TTL and protocol form one 16-bit word; TTL is its first byte on the wire. */
#define TTL_STEP ((__u16)~bpf_htons(0x0100))

/* IPv6: the hop limit is the second byte of its word. */
#define HOP_LIMIT_STEP ((__u16)~bpf_htons(0x0001))

#define ETH_ADDRS (2 * ETH_ALEN)

#define ICMP_CHECK_OFFSET 2
#define ICMP_ID_OFFSET 4

/* What the checksum field of the transport holds. XDP has whole checksums only: an end point on
 * the same machine must not leave them to its interface (ethtool -K tx off). */
enum spk_sum {
	SPK_SUM_WHOLE,
	SPK_SUM_PSEUDO, /* CHECKSUM_PARTIAL: the pseudo header's, and the device does the rest */
	SPK_SUM_DEVICE, /* whole, and the device's own sum over the packet has to follow */
};

/* A checksum that changes with addresses and ports. */
static __always_inline __sum16 whole_sum(__sum16 check, __u32 delta, bool udp)
{
	__sum16 sum = csum_apply(check, delta);

	return udp && !sum ? 0xffff : sum;
}

static __always_inline __sum16 corrected(__sum16 check, const struct spk_ct *ct,
					 enum spk_sum kind, bool udp)
{
	__u32 sum;

	if (kind == SPK_SUM_WHOLE)
		return whole_sum(check, (__u32)ct->addr_delta + ct->port_delta, udp);
	sum = (__u32)check + ct->addr_delta; /* not complemented */
	sum = (sum & 0xffff) + (sum >> 16);
	return udp && !sum ? 0xffff : sum;
}

/* Corrects the field where it lies. */
static __always_inline long fix_in_place(spk_ctx *ctx, const struct spk_ct *ct, void *l4,
					 __u8 proto, enum spk_sum kind)
{
	struct udphdr *udp = l4;
	struct tcphdr *tcp = l4;

	if (proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > ctx_end(ctx))
			return -1;
		tcp->check = corrected(tcp->check, ct, kind, false);
	} else {
		if ((void *)(udp + 1) > ctx_end(ctx))
			return -1;
		if (udp->check)
			udp->check = corrected(udp->check, ct, kind, true);
	}
	return 0;
}

#ifdef SPK_XDP

static __always_inline enum spk_sum sum_kind(spk_ctx *ctx)
{
	return SPK_SUM_WHOLE;
}

/* Corrects the 16-bit sum at offset for addresses and ports that have changed. */
static __always_inline long fix_sum(spk_ctx *ctx, __u32 offset, __u16 addr_delta,
				    __u16 port_delta, bool udp)
{
	__sum16 sum;

	if (ctx_load(ctx, offset, &sum, sizeof(sum)))
		return -1;
	if (udp && !sum)
		return 0;
	sum = whole_sum(sum, (__u32)addr_delta + port_delta, udp);
	return ctx_store(ctx, offset, &sum, sizeof(sum));
}

static __always_inline long fix_fast(spk_ctx *ctx, const struct spk_ct *ct, void *l4, __u8 proto,
				     __u32 offset, enum spk_sum kind)
{
	return fix_in_place(ctx, ct, l4, proto, kind);
}

#else

/* linux/skbuff.h: skb->ip_summed. */
#define CHECKSUM_COMPLETE 2
#define CHECKSUM_PARTIAL 3

struct sk_buff___spk {
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

/* Linux 6.2. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

/* Where the kernel cannot be asked, the helpers find out for themselves. */
static __always_inline enum spk_sum sum_kind(spk_ctx *ctx)
{
	struct sk_buff___spk *skb;
	__u8 summed;

	if (!bpf_cast_to_kern_ctx)
		return SPK_SUM_DEVICE;
	skb = bpf_cast_to_kern_ctx(ctx);
	summed = BPF_CORE_READ_BITFIELD(skb, ip_summed);
	if (summed == CHECKSUM_COMPLETE)
		return SPK_SUM_DEVICE;
	return summed == CHECKSUM_PARTIAL ? SPK_SUM_PSEUDO : SPK_SUM_WHOLE;
}

/* With CHECKSUM_PARTIAL the helper takes the address delta and leaves the port delta out, which
 * is why they are two calls. */
static __always_inline long fix_with_flags(spk_ctx *ctx, __u32 offset, __u16 addr_delta,
					   __u16 port_delta, __u64 flags)
{
	long err = 0;

	if (addr_delta)
		err = bpf_l4_csum_replace(ctx, offset, 0, addr_delta, flags | BPF_F_PSEUDO_HDR);
	if (port_delta)
		err |= bpf_l4_csum_replace(ctx, offset, 0, port_delta, flags);
	return err;
}

static __always_inline long fix_sum(spk_ctx *ctx, __u32 offset, __u16 addr_delta,
				    __u16 port_delta, bool udp)
{
	__sum16 sum;

	if (!udp)
		return fix_with_flags(ctx, offset, addr_delta, port_delta, 0);
	if (ctx_load(ctx, offset, &sum, sizeof(sum)))
		return -1;
	if (!sum) {
		bpf_csum_update(ctx, port_delta); /* nothing cancels the ports out */
		return 0;
	}
	return fix_with_flags(ctx, offset, addr_delta, port_delta, BPF_F_MARK_MANGLED_0);
}

static __always_inline long fix_fast(spk_ctx *ctx, const struct spk_ct *ct, void *l4, __u8 proto,
				     __u32 offset, enum spk_sum kind)
{
	const struct udphdr *udp = l4;

	if (kind != SPK_SUM_DEVICE)
		return fix_in_place(ctx, ct, l4, proto, kind);
	if (proto == IPPROTO_TCP)
		return fix_with_flags(ctx, offset + offsetof(struct tcphdr, check),
				      ct->addr_delta, ct->port_delta, 0);
	if (!udp->check) {
		bpf_csum_update(ctx, ct->port_delta);
		return 0;
	}
	return fix_with_flags(ctx, offset + offsetof(struct udphdr, check), ct->addr_delta,
			      ct->port_delta, BPF_F_MARK_MANGLED_0);
}

#endif

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
		return fix_sum(ctx, l4 + ICMP_CHECK_OFFSET,
			       f->orig.family == SPK_AF_INET ? 0 : ct->addr_delta,
			       ct->port_delta, false);
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
