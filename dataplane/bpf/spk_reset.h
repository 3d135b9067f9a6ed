// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Ending a connection in the name of the address that the packet was sent to. */
#pragma once

#include "spk_answer.h"
#include "spk_crc32c.h"

#define SCTP_TAG_REFLECTED 1 /* RFC 9260 section 3.3.7: the T bit */

/* A packet of one chunk without data. */
struct spk_abort {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 check;
	__u8 chunk;
	__u8 flags;
	__be16 len;
};

/* Makes the packet one of len bytes behind an IP header without options. */
static __always_inline long reshape(spk_ctx *ctx, const struct spk_flow *f, __u32 len,
				    const __u8 family)
{
	__u32 head = family == SPK_AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u32 extra = f->l4 - ETH_HLEN - head;
	long err = bpf_skb_change_tail(ctx, f->l4 + len, 0);

	if (!err && extra)
		err = bpf_skb_adjust_room(ctx, -(__s32)extra, BPF_ADJ_ROOM_NET,
					  BPF_F_ADJ_ROOM_FIXED_GSO);
	return err;
}

/* Writes what ends the connection and sends it back. */
static __always_inline int send_reset(spk_ctx *ctx, const struct spk_flow *f, const void *l4,
				      __u32 len, const __u8 family)
{
	__u32 head = family == SPK_AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	if (reshape(ctx, f, len, family) ||
	    write_ip(ctx, f->orig.daddr, f->orig.saddr, f->orig.proto, len, 0, family) ||
	    store_summed(ctx, ETH_HLEN + head, l4, len))
		return drop(ctx, SPK_DROP_REWRITE);
	count(SPK_RESETS_SENT);
	return send_back(ctx);
}

/* RFC 9293 section 3.5.2, group 1: in the receiver's window when that is known, else the
 * acknowledgement of everything that came. */
static __always_inline void answer_sequence(const struct spk_flow *f, const struct tcphdr *in,
					    struct tcphdr *out)
{
	__u32 len = f->l4_len - f->l4_head + in->syn + in->fin;

	if (in->ack) {
		out->seq = in->ack_seq;
		return;
	}
	out->ack = 1;
	out->ack_seq = bpf_htonl(bpf_ntohl(in->seq) + len);
}

static __always_inline int reset_tcp(spk_ctx *ctx, const struct spk_flow *f, const __u8 family)
{
	struct tcphdr in, out = {.doff = sizeof(out) / 4, .rst = 1};
	bool partial = is_partial(ctx, sum_offset(f));
	__u64 sum = csum_pseudo(f->orig.saddr, f->orig.daddr, IPPROTO_TCP, sizeof(out));

	if (ctx_load(ctx, f->l4, &in, sizeof(in)) || in.rst)
		return drop(ctx, SPK_DROP_MEMBER_DOWN);
	out.source = in.dest;
	out.dest = in.source;
	answer_sequence(f, &in, &out);
	if (partial) {
		out.check = fold_sum(sum); /* the device does the rest */
	} else {
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&out, sizeof(out), fold_sum(sum));
		out.check = ~fold_sum(sum);
	}
	return send_reset(ctx, f, &out, sizeof(out), family);
}

/* RFC 9260 sections 3.3.7 and 8.4: with the tag that the other end has given, else its own. */
static __always_inline int abort_sctp(spk_ctx *ctx, const struct spk_flow *f, const __u8 family)
{
	struct spk_abort in, out = {.chunk = SCTP_ABORT, .flags = SCTP_TAG_REFLECTED};
	bool partial = is_partial(ctx, f->l4 + offsetof(struct spk_sctp, check));
	__be32 tag;

	if (f->l4_len < sizeof(in) || ctx_load(ctx, f->l4, &in, sizeof(in)) ||
	    in.chunk == SCTP_ABORT || in.chunk == SCTP_SHUTDOWN_COMPLETE)
		return drop(ctx, SPK_DROP_MEMBER_DOWN);
	out.source = in.dest;
	out.dest = in.source;
	out.tag = in.tag;
	out.len = bpf_htons(sizeof(out) - offsetof(struct spk_abort, chunk));
	if (in.chunk == SCTP_INIT) {
		if (f->l4_len < sizeof(in) + sizeof(tag) ||
		    ctx_load(ctx, f->l4 + sizeof(in), &tag, sizeof(tag)))
			return drop(ctx, SPK_DROP_MEMBER_DOWN);
		out.tag = tag;
		out.flags = 0;
	}
	if (!partial)
		out.check = crc32c_of_words((const __u32 *)&out, sizeof(out) / 4);
	return send_reset(ctx, f, &out, sizeof(out), family);
}
