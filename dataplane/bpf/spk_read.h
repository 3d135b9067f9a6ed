// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* The slow readers: whole packets and fragments, options and extension headers, every transport.
 * They fill in spk_flow as far as the packet goes. The addresses are valid unless the answer is
 * SPK_DROP_MALFORMED. */
#pragma once

#include "spk_conntrack.h"

/* RFC 791 section 3.1: options that route at the sender's will. RFC 7126 has them dropped. */
#define IP4_MF 0x2000
#define IP4_DF 0x4000
#define IP4_OPTION_END 0
#define IP4_OPTION_NOP 1
#define IP4_OPTION_LSRR 131
#define IP4_OPTION_SSRR 137
#define IP4_MAX_OPTIONS 40

/* RFC 8200 section 4; more headers than these a packet has no honest use for. */
#define IP6_MAX_EXTENSIONS 8
#define IP6_FRAGMENT_OFFSET_MASK 0xfff8
#define IP6_FRAGMENT_MORE 1

#define IPPROTO_SCTP_ 132

/* RFC 792 and RFC 4443. */
#define ICMP4_ECHO_REPLY 0
#define ICMP4_UNREACHABLE 3
#define ICMP4_ECHO 8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER 12
#define ICMP6_PARAMETER 4 /* the last of the errors, from 1 on */
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_SOLICITATION 135 /* RFC 4861 */
#define ICMP6_ADVERTISEMENT 136

struct spk_icmp {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be16 id;
	__be16 sequence;
};

/* RFC 9260 section 3.1, with the head of the first chunk. */
struct spk_sctp {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 check;
	__u8 chunk;
};

enum spk_sctp_chunk {
	SCTP_INIT = 1,
	SCTP_INIT_ACK = 2,
	SCTP_ABORT = 6,
	SCTP_SHUTDOWN = 7,
	SCTP_SHUTDOWN_ACK = 8,
	SCTP_SHUTDOWN_COMPLETE = 14,
};

/* SCTP's life in TCP's terms (RFC 9260 section 4). */
static __always_inline __u8 flags_of_chunk(__u8 chunk)
{
	switch (chunk) {
	case SCTP_INIT:
		return TCP_SYN;
	case SCTP_INIT_ACK:
		return TCP_SYN | TCP_ACK;
	case SCTP_ABORT:
		return TCP_RST;
	case SCTP_SHUTDOWN:
	case SCTP_SHUTDOWN_ACK:
	case SCTP_SHUTDOWN_COMPLETE:
		return TCP_FIN | TCP_ACK;
	}
	return TCP_ACK;
}

static __always_inline bool is_icmp(__u8 proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static __always_inline bool is_echo_request(const struct spk_flow *f)
{
	return f->orig.proto == IPPROTO_ICMP ? f->icmp_type == ICMP4_ECHO
					     : f->icmp_type == ICMP6_ECHO;
}

static __always_inline bool is_echo_reply(const struct spk_flow *f)
{
	return f->orig.proto == IPPROTO_ICMP ? f->icmp_type == ICMP4_ECHO_REPLY
					     : f->icmp_type == ICMP6_ECHO_REPLY;
}

/* Of a neighbour that was known before, with the neighbour as destination (RFC 4861, 7.3.3). */
static __always_inline bool is_solicitation(const struct spk_flow *f)
{
	return f->orig.proto == IPPROTO_ICMPV6 && f->icmp_type == ICMP6_SOLICITATION;
}

static __always_inline bool is_icmp_error(const struct spk_flow *f)
{
	if (f->orig.proto == IPPROTO_ICMPV6)
		return f->icmp_type >= 1 && f->icmp_type <= ICMP6_PARAMETER;
	return f->orig.proto == IPPROTO_ICMP &&
	       (f->icmp_type == ICMP4_UNREACHABLE || f->icmp_type == ICMP4_TIME_EXCEEDED ||
		f->icmp_type == ICMP4_PARAMETER);
}

static __always_inline enum spk_counter read_icmp(spk_ctx *ctx, struct spk_flow *f)
{
	struct spk_icmp icmp;

	if (f->l4_len < sizeof(icmp) || ctx_load(ctx, f->l4, &icmp, sizeof(icmp)))
		return SPK_DROP_MALFORMED;
	f->icmp_type = icmp.type;
	f->icmp_code = icmp.code;
	f->orig.tcp_flags = TCP_ACK;
	if (is_echo_request(f))
		f->orig.sport = icmp.id;
	else if (is_echo_reply(f))
		f->orig.dport = icmp.id;
	else
		return SPK_DROP_ICMP;
	return SPK_OK;
}

static __always_inline enum spk_counter read_sctp(spk_ctx *ctx, struct spk_flow *f)
{
	struct spk_sctp sctp;

	if (f->l4_len < sizeof(sctp) || ctx_load(ctx, f->l4, &sctp, 13))
		return SPK_DROP_MALFORMED;
	f->orig.sport = sctp.source;
	f->orig.dport = sctp.dest;
	f->orig.tcp_flags = flags_of_chunk(sctp.chunk);
	return SPK_OK;
}

static __always_inline enum spk_counter read_tcp(spk_ctx *ctx, struct spk_flow *f)
{
	__u8 tcp[sizeof(struct tcphdr)];

	if (f->l4_len < sizeof(tcp) || ctx_load(ctx, f->l4, tcp, sizeof(tcp)))
		return SPK_DROP_MALFORMED;
	if (tcp[TCP_DOFF_OFFSET] >> 4 < 5 || (tcp[TCP_DOFF_OFFSET] >> 4) * 4 > f->l4_len)
		return SPK_DROP_MALFORMED;
	__builtin_memcpy(&f->orig.sport, tcp, 4);
	f->l4_head = (tcp[TCP_DOFF_OFFSET] >> 4) * 4;
	f->orig.tcp_flags = tcp[TCP_FLAGS_OFFSET];
	return SPK_OK;
}

static __always_inline enum spk_counter read_udp(spk_ctx *ctx, struct spk_flow *f)
{
	struct udphdr udp;

	if (f->l4_len < sizeof(udp) || ctx_load(ctx, f->l4, &udp, sizeof(udp)))
		return SPK_DROP_MALFORMED;
	f->orig.sport = udp.source;
	f->orig.dport = udp.dest;
	f->orig.tcp_flags = TCP_ACK;
	return SPK_OK;
}

/* Key of the fragments of one packet (RFC 791, RFC 8200 section 4.5). */
static __always_inline void frag_key(const struct spk_flow *f, struct spk_frag_key *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	copy_addr(k->saddr, f->orig.saddr);
	copy_addr(k->daddr, f->orig.daddr);
	k->id = f->frag_id;
	k->proto = f->orig.proto;
	k->side = f->orig.side;
	k->zone = f->orig.zone;
}

/* The type of the echo whose later fragment this is: requests have their identifier as source port,
 * replies as destination port. */
static __always_inline __u8 echo_type(const struct spk_flow *f)
{
	if (f->orig.proto == IPPROTO_ICMPV6)
		return f->orig.dport ? ICMP6_ECHO_REPLY : ICMP6_ECHO;
	return f->orig.dport ? ICMP4_ECHO_REPLY : ICMP4_ECHO;
}

static __noinline enum spk_counter read_later_fragment(struct spk_flow *f)
{
	struct spk_frag_key k;
	struct spk_frag *first;

	frag_key(f, &k);
	first = bpf_map_lookup_elem(&spk_frags, &k);
	if (!first)
		return SPK_DROP_FRAGMENT;
	f->orig.sport = first->sport;
	f->orig.dport = first->dport;
	f->orig.tcp_flags = TCP_ACK;
	f->icmp_type = echo_type(f);
	return SPK_OK;
}

static __noinline int remember_fragment(struct spk_flow *f)
{
	struct spk_frag v = {.sport = f->orig.sport, .dport = f->orig.dport};
	struct spk_frag_key k;

	frag_key(f, &k);
	bpf_map_update_elem(&spk_frags, &k, &v, BPF_ANY);
	return 0;
}

/* Reads the transport header at f->l4. */
static __always_inline enum spk_counter read_transport(spk_ctx *ctx, struct spk_flow *f)
{
	enum spk_counter fault = SPK_DROP_PROTOCOL;

	f->orig.sport = 0;
	f->orig.dport = 0;
	if (f->part == SPK_LATER_FRAGMENT)
		return read_later_fragment(f);
	if (f->orig.proto == IPPROTO_TCP)
		fault = read_tcp(ctx, f);
	else if (f->orig.proto == IPPROTO_UDP)
		fault = read_udp(ctx, f);
	else if (f->orig.proto == IPPROTO_SCTP_)
		fault = read_sctp(ctx, f);
	else if (f->orig.proto ==
		 (f->orig.family == SPK_AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		fault = read_icmp(ctx, f);
	if (!fault && f->part == SPK_FIRST_FRAGMENT)
		remember_fragment(f);
	return fault;
}

/* Refuses source routes and options that do not fit. */
__noinline int check_options4(spk_ctx *ctx, __u32 len)
{
	__u32 at = 0;

	for (int i = 0; i < IP4_MAX_OPTIONS && at < len; i++) {
		__u8 option[2] = {};

		/* The last byte of the options may be the last one of the packet. */
		if (ctx_load(ctx, ETH_HLEN + sizeof(struct iphdr) + at, option,
			     at + 1 < len ? 2 : 1))
			return SPK_DROP_MALFORMED;
		if (option[0] == IP4_OPTION_END)
			break;
		if (option[0] == IP4_OPTION_LSRR || option[0] == IP4_OPTION_SSRR)
			return SPK_DROP_IP_OPTIONS;
		if (option[0] == IP4_OPTION_NOP) {
			at++;
			continue;
		}
		if (option[1] < 2 || at + option[1] > len)
			return SPK_DROP_MALFORMED;
		at += option[1];
	}
	return SPK_OK;
}

/* The IP packet's length by its header, no longer than the frame; offloaded segments may be
 * longer than the field can say, which is then 0. */
static __always_inline bool set_length(spk_ctx *ctx, struct spk_flow *f, __u32 said)
{
	__u32 there = ctx_len(ctx) - ETH_HLEN;

	if (said > there)
		return false;
	f->l3_len = said;
	if (!said)
		said = there > 0xffff ? 0xffff : there;
	if (f->l4 > ETH_HLEN + said)
		return false;
	f->l4_len = ETH_HLEN + said - f->l4;
	return true;
}

static __always_inline enum spk_counter read_packet4(spk_ctx *ctx, struct spk_flow *f)
{
	enum spk_counter fault = SPK_OK;
	struct iphdr ip;
	__u32 offset;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return SPK_DROP_MALFORMED;
	__builtin_memset(f->orig.saddr, 0, 2 * sizeof(f->orig.saddr));
	f->orig.family = SPK_AF_INET;
	f->orig.saddr[0] = ip.saddr;
	f->orig.daddr[0] = ip.daddr;
	f->orig.proto = ip.protocol;
	f->ttl = ip.ttl;
	f->frag_id = ip.id;
	f->l4 = ETH_HLEN + ip.ihl * 4;
	if (!set_length(ctx, f, bpf_ntohs(ip.tot_len)))
		return SPK_DROP_MALFORMED;
	offset = bpf_ntohs(ip.frag_off);
	f->frag = (offset & IP4_OFFSET_MASK) | (offset & IP4_MF ? SPK_MORE : 0) |
		  (offset & IP4_DF ? SPK_DF : 0);
	f->part = offset & IP4_OFFSET_MASK ? SPK_LATER_FRAGMENT
		  : offset & IP4_FRAGMENT_MASK ? SPK_FIRST_FRAGMENT
					       : SPK_WHOLE;
	if (ip.ihl > 5)
		fault = check_options4(ctx, (ip.ihl - 5) * 4);
	return fault ? fault : read_transport(ctx, f);
}

/* One extension header at f->l4: SPK_OK when it was one, and f->orig.proto is what follows. */
static __always_inline enum spk_counter read_extension(spk_ctx *ctx, struct spk_flow *f,
						       __u32 *len)
{
	__u8 h[8];

	if (ctx_load(ctx, f->l4, h, sizeof(h)))
		return SPK_DROP_MALFORMED;
	*len = (h[1] + 1) * 8;
	if (f->orig.proto == IPPROTO_FRAGMENT) {
		__u16 offset = (h[2] << 8 | h[3]) & IP6_FRAGMENT_OFFSET_MASK;

		__builtin_memcpy(&f->frag_id, h + 4, 4);
		f->frag = offset / 8 | (h[3] & IP6_FRAGMENT_MORE ? SPK_MORE : 0);
		f->part = offset			   ? SPK_LATER_FRAGMENT
			  : h[3] & IP6_FRAGMENT_MORE ? SPK_FIRST_FRAGMENT
							   : SPK_WHOLE;
		*len = 8;
	} else if (f->orig.proto == IPPROTO_ROUTING && h[3]) {
		return SPK_DROP_IP_OPTIONS; /* RFC 5095: segments left */
	}
	f->orig.proto = h[0];
	return SPK_OK;
}

static __always_inline bool is_extension(__u8 nexthdr)
{
	return nexthdr == IPPROTO_HOPOPTS || nexthdr == IPPROTO_DSTOPTS ||
	       nexthdr == IPPROTO_ROUTING || nexthdr == IPPROTO_FRAGMENT;
}

/* Walks the extension headers up to the transport's. */
__noinline int walk_extensions(spk_ctx *ctx, struct spk_flow *f)
{
	enum spk_counter fault;
	__u32 len;

	if (!f)
		return SPK_DROP_MALFORMED;

	for (int i = 0; i < IP6_MAX_EXTENSIONS; i++) {
		if (!is_extension(f->orig.proto) || f->part == SPK_LATER_FRAGMENT)
			return SPK_OK;
		fault = read_extension(ctx, f, &len);
		if (fault)
			return fault;
		if (len > f->l4_len)
			return SPK_DROP_MALFORMED;
		f->l4 += len;
		f->l4_len -= len;
	}
	return SPK_DROP_IP_OPTIONS;
}

static __always_inline enum spk_counter read_packet6(spk_ctx *ctx, struct spk_flow *f)
{
	enum spk_counter fault;
	struct ipv6hdr ip;
	__u32 payload;

	if (ctx_load(ctx, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 6)
		return SPK_DROP_MALFORMED;
	f->orig.family = SPK_AF_INET6;
	__builtin_memcpy(f->orig.saddr, &ip.saddr, sizeof(f->orig.saddr));
	__builtin_memcpy(f->orig.daddr, &ip.daddr, sizeof(f->orig.daddr));
	f->orig.proto = ip.nexthdr;
	f->ttl = ip.hop_limit;
	f->l4 = ETH_HLEN + sizeof(ip);
	f->part = SPK_WHOLE;
	payload = bpf_ntohs(ip.payload_len);
	if (!set_length(ctx, f, payload ? payload + sizeof(ip) : 0))
		return SPK_DROP_MALFORMED;
	fault = walk_extensions(ctx, f);
	return fault ? fault : read_transport(ctx, f);
}
