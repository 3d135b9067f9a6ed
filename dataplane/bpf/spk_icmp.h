// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Passing on ICMP errors about packets of flows (RFC 5508 for TCP, UDP and pings behind a NAT). The
 * error quotes a packet as it left here, so its addresses the other way round are the key of the
 * answers to it, and what that entry makes of answers it makes of the error. At traffic control
 * only. */
#pragma once

#include "spk_slow.h"

#define ICMP_HEAD 8

/* RFC 792: bytes of the transport that every error quotes. */
#define QUOTED_LEAST 8

/* The packet that an error is about. Offsets are from the start of the frame. */
struct spk_quote {
	__u32 ip;
	__u32 l4;
	__u32 end;    /* of what is quoted */
	__u32 l4_len; /* bytes of the transport before it was cut */
	__be32 id;    /* of a fragment, as in IPv6 */
	__u16 frag;   /* as in spk_flow */
	bool fragment;
	__u8 proto;
	__u8 tos;
	__u8 ttl;
};

static __always_inline bool read_quote4(spk_ctx *ctx, struct spk_flow *f, struct spk_quote *q)
{
	struct iphdr ip;

	if (ctx_load(ctx, q->ip, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 ||
	    ip.frag_off & bpf_htons(IP4_OFFSET_MASK) || bpf_ntohs(ip.tot_len) < ip.ihl * 4)
		return false;
	q->l4 = q->ip + ip.ihl * 4;
	q->l4_len = bpf_ntohs(ip.tot_len) - ip.ihl * 4;
	q->id = (__u32)ip.id << 16;
	q->fragment = ip.frag_off & bpf_htons(IP4_MF);
	q->frag = q->fragment ? SPK_MORE : 0;
	q->proto = ip.protocol;
	q->tos = ip.tos;
	q->ttl = ip.ttl;
	__builtin_memset(f->rev.saddr, 0, 2 * sizeof(f->rev.saddr));
	f->rev.saddr[0] = ip.daddr;
	f->rev.daddr[0] = ip.saddr;
	return true;
}

/* The walk over the extension headers goes from f->l4: it is lent to what is quoted. */
static __always_inline bool read_quote6(spk_ctx *ctx, struct spk_flow *f, struct spk_quote *q)
{
	struct ipv6hdr ip;
	bool readable;

	if (ctx_load(ctx, q->ip, &ip, sizeof(ip)) || ip.version != 6)
		return false;
	__builtin_memcpy(f->rev.saddr, &ip.daddr, sizeof(f->rev.saddr));
	__builtin_memcpy(f->rev.daddr, &ip.saddr, sizeof(f->rev.daddr));
	f->orig.proto = ip.nexthdr;
	f->l4 = q->ip + sizeof(ip);
	f->l4_len = q->end - f->l4;
	readable = !walk_extensions(ctx, f) && f->part != SPK_LATER_FRAGMENT &&
		   q->ip + sizeof(ip) + bpf_ntohs(ip.payload_len) >= f->l4;
	q->l4 = f->l4;
	q->l4_len = bpf_ntohs(ip.payload_len) + q->ip + sizeof(ip) - q->l4;
	q->id = f->frag_id;
	q->fragment = f->part == SPK_FIRST_FRAGMENT;
	q->frag = q->fragment ? SPK_MORE : 0;
	q->proto = f->orig.proto;
	q->tos = ip.priority << 4 | ip.flow_lbl[0] >> 4;
	q->ttl = ip.hop_limit;
	f->orig.proto = IPPROTO_ICMPV6;
	f->part = SPK_WHOLE;
	f->l4 = q->ip - ICMP_HEAD;
	f->l4_len = q->end - f->l4;
	return readable;
}

/* The ports of the answers; of ICMP only echo has some. */
static __always_inline bool read_quoted_ports(spk_ctx *ctx, struct spk_flow *f,
					      const struct spk_quote *q, const __u8 family)
{
	__u8 reply = family == SPK_AF_INET ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY;
	__u8 request = family == SPK_AF_INET ? ICMP4_ECHO : ICMP6_ECHO;
	__u8 head[QUOTED_LEAST];
	__be16 id;

	if (q->l4 + sizeof(head) > q->end || ctx_load(ctx, q->l4, head, sizeof(head)))
		return false;
	if (q->proto == (family == SPK_AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		__builtin_memcpy(&id, head + ICMP_ID_OFFSET, sizeof(id));
		f->rev.sport = head[0] == reply ? id : 0;
		f->rev.dport = head[0] == request ? id : 0;
		return head[0] == reply || head[0] == request;
	}
	__builtin_memcpy(&f->rev.dport, head, sizeof(f->rev.dport));
	__builtin_memcpy(&f->rev.sport, head + 2, sizeof(f->rev.sport));
	return q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP || q->proto == IPPROTO_SCTP_;
}

/* Fills in f->rev with the key of answers to the packet that the error is about. An error goes to
 * who sent that packet, or it is not honest. */
static __always_inline bool read_quote(spk_ctx *ctx, struct spk_flow *f, struct spk_quote *q,
				       const __u8 family)
{
	q->ip = f->l4 + ICMP_HEAD;
	q->end = f->l4 + f->l4_len;
	if (f->part != SPK_WHOLE ||
	    !(family == SPK_AF_INET ? read_quote4(ctx, f, q) : read_quote6(ctx, f, q)) ||
	    !read_quoted_ports(ctx, f, q, family))
		return false;
	f->rev.proto = q->proto;
	f->rev.family = family;
	f->rev.side = f->orig.side;
	f->rev.zone = f->orig.zone;
	return same_addr(f->rev.daddr, f->orig.daddr);
}

/* Writes the addresses of the quoted packet; answers what the sum over it gains. */
static __always_inline __u32 write_quoted_addrs(spk_ctx *ctx, const struct spk_flow *f,
						const struct spk_quote *q, __u16 addr_delta,
						const __u8 family)
{
	__be32 addrs[8];
	__sum16 sum;

	if (family == SPK_AF_INET) {
		addrs[0] = f->xlat.daddr[0];
		addrs[1] = f->xlat.saddr[0];
		ctx_store(ctx, q->ip + offsetof(struct iphdr, saddr), addrs, 8);
		ctx_load(ctx, q->ip + offsetof(struct iphdr, check), &sum, sizeof(sum));
		sum = csum_apply(sum, addr_delta);
		ctx_store(ctx, q->ip + offsetof(struct iphdr, check), &sum, sizeof(sum));
		return 0;
	}
	copy_addr(addrs, f->xlat.daddr);
	copy_addr(addrs + 4, f->xlat.saddr);
	ctx_store(ctx, q->ip + offsetof(struct ipv6hdr, saddr), addrs, sizeof(addrs));
	return addr_delta;
}

/* Corrects the sum of the quoted transport at off, if that much is quoted; answers what the sum over
 * the packet gains. */
static __always_inline __u32 fix_quoted_sum(spk_ctx *ctx, const struct spk_quote *q, __u32 off,
					    __u32 delta)
{
	__sum16 was, is;

	if (q->l4 + off + sizeof(was) > q->end ||
	    ctx_load(ctx, q->l4 + off, &was, sizeof(was)) ||
	    (q->proto == IPPROTO_UDP && !was))
		return 0;
	is = csum_apply(was, delta);
	if (q->proto == IPPROTO_UDP && !is)
		is = 0xffff;
	ctx_store(ctx, q->l4 + off, &is, sizeof(is));
	return csum_diff16(was, is);
}

/* As fix_quoted_sum, for SCTP: the length that the CRC covers is known, and that is all it takes. */
static __always_inline __u32 fix_quoted_crc(spk_ctx *ctx, const struct spk_quote *q, __u32 diff)
{
	__u32 at = q->l4 + offsetof(struct spk_sctp, check), was, is;

	if (at + sizeof(was) > q->end || ctx_load(ctx, at, &was, sizeof(was)))
		return 0;
	is = was ^ crc32c_delta(diff, q->l4_len);
	ctx_store(ctx, at, &is, sizeof(is));
	return csum_diff32(was, is);
}

/* Writes the ports of the quoted packet and its sums; answers what the sum over it gains. */
static __always_inline __u32 write_quoted_ports(spk_ctx *ctx, const struct spk_flow *f,
						const struct spk_quote *q, const struct spk_ct *ct)
{
	struct spk_ports_head ports = {.source = f->xlat.dport, .dest = f->xlat.sport};
	__u32 delta = (__u32)ct->addr_delta + ct->port_delta, gain = ct->port_delta;
	__be16 id = f->rev.sport ? f->xlat.sport : f->xlat.dport;

	if (is_icmp(q->proto)) {
		ctx_store(ctx, q->l4 + ICMP_ID_OFFSET, &id, sizeof(id));
		return gain + fix_quoted_sum(ctx, q, ICMP_CHECK_OFFSET,
					     q->proto == IPPROTO_ICMP ? ct->port_delta : delta);
	}
	ctx_store(ctx, q->l4, &ports, sizeof(ports));
	if (q->proto == IPPROTO_TCP)
		return gain + fix_quoted_sum(ctx, q, offsetof(struct tcphdr, check), delta);
	if (q->proto == IPPROTO_UDP)
		return gain + fix_quoted_sum(ctx, q, offsetof(struct udphdr, check), delta);
	return gain + fix_quoted_crc(ctx, q,
				     (__u32)(ports.dest ^ f->rev.sport) << 16 |
					     (ports.source ^ f->rev.dport));
}

/* Corrects the error's own sum for what it covers. */
static __always_inline long fix_error_sum(spk_ctx *ctx, const struct spk_flow *f, __u32 gain)
{
	__sum16 sum;

	if (ctx_load(ctx, f->l4 + ICMP_CHECK_OFFSET, &sum, sizeof(sum)))
		return -1;
	sum = csum_apply(sum, csum_fold(gain));
	return ctx_store(ctx, f->l4 + ICMP_CHECK_OFFSET, &sum, sizeof(sum));
}

/* Writes the error's own header. The end of the flow is known by the address that the flow has for
 * it; a router on the way keeps its own. */
static __always_inline long write_error4(spk_ctx *ctx, const struct spk_flow *f, __u32 gain)
{
	struct iphdr ip;
	__u32 delta;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	if (ip.saddr == f->rev.saddr[0])
		ip.saddr = f->xlat.saddr[0];
	ip.daddr = f->xlat.daddr[0];
	delta = csum_diff32(f->orig.saddr[0], ip.saddr) + csum_diff32(f->orig.daddr[0], ip.daddr);
	ip.ttl--;
	ip.check = csum_apply(ip.check, (__u32)csum_fold(delta) + TTL_STEP);
	if (ctx_store(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	return fix_error_sum(ctx, f, gain);
}

static __always_inline long write_error6(spk_ctx *ctx, const struct spk_flow *f, __u32 gain)
{
	bool from_end = same_addr(f->orig.saddr, f->rev.saddr);
	struct ipv6hdr ip;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	if (from_end) {
		__builtin_memcpy(&ip.saddr, f->xlat.saddr, sizeof(ip.saddr));
		gain += csum_diff_addr(f->orig.saddr, f->xlat.saddr);
	}
	__builtin_memcpy(&ip.daddr, f->xlat.daddr, sizeof(ip.daddr));
	gain += csum_diff_addr(f->orig.daddr, f->xlat.daddr);
	ip.hop_limit--;
	if (ctx_store(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	fix_device_sum(ctx, HOP_LIMIT_STEP);
	return fix_error_sum(ctx, f, gain);
}

/* The way of answers: that of the entry, or when it is not current that of now. The entry itself is
 * left to packets of the flow. */
static __always_inline enum spk_counter error_way(spk_ctx *ctx, struct spk_flow *f,
						  struct spk_ct *way)
{
	enum spk_counter fault = SPK_OK;

	if (is_current(way)) {
		way_of(f, way);
	} else {
		fault = find_hop(ctx, &f->xlat, &f->hop);
		if (!fault)
			store_hop(way, &f->hop, 1);
	}
	return !fault && f->l3_len > f->hop.mtu ? SPK_DROP_TOO_BIG : fault;
}

/* An error about no flow: the kernel has it when it may be about a packet of the TMM's own. */
static __always_inline int not_of_a_flow(spk_ctx *ctx, const struct spk_flow *f,
					 const __u8 family)
{
	if (local_kinds(&f->orig, family) & SPK_LOCAL_SELF)
		return to_kernel();
	return drop(ctx, SPK_DROP_ICMP_ERROR);
}

static __always_inline int pass_error(spk_ctx *ctx, const __u8 family)
{
	struct spk_flow *f = the_flow();
	struct spk_found e = {};
	struct spk_quote q = {};
	enum spk_counter fault;
	struct spk_ct way;
	__u32 gain;
	long err;

	if (!f)
		return SPK_ACT_DROP;
	if (read_quote(ctx, f, &q, family))
		e = find_entry(&f->rev, family);
	if (!e.ct)
		return not_of_a_flow(ctx, f, family);
	if (e.ct->flags & SPK_CT_FAMILY)
		return go_on(ctx, family == SPK_AF_INET ? SPK_PROG_ICMP46 : SPK_PROG_ICMP64);
	if (f->ttl < 2)
		return drop(ctx, SPK_DROP_TTL_EXPIRED);
	ct_target(e.ct, &f->rev, &f->xlat, family);
	way = *e.ct;
	fault = error_way(ctx, f, &way);
	if (fault)
		return drop(ctx, fault);
	gain = write_quoted_addrs(ctx, f, &q, way.addr_delta, family);
	gain += write_quoted_ports(ctx, f, &q, &way);
	err = family == SPK_AF_INET ? write_error4(ctx, f, gain) : write_error6(ctx, f, gain);
	if (err || ctx_store(ctx, 0, way.dmac, ETH_ADDRS))
		return drop(ctx, SPK_DROP_REWRITE);
	count(SPK_ICMP_TRANSLATED);
	return f->hop.resolved ? leave(ctx, &way) : send_unresolved(&f->hop);
}
