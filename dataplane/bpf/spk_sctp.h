// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* SCTP's ports (RFC 9260). Its CRC32c covers no addresses. */
#pragma once

#include "spk_crc32c.h"
#include "spk_device.h"
#include "spk_read.h"

/* Writes the ports and corrects the CRC for them; a fragment has not all that the CRC covers. The
 * device's sum follows both. */
static __always_inline long rewrite_sctp(spk_ctx *ctx, const struct spk_flow *f,
					 const struct spk_ct *ct)
{
	struct spk_ports_head ports = {.source = ct->sport, .dest = ct->dport};
	__u32 at = f->l4 + offsetof(struct spk_sctp, check), diff, was, is;

	if (ports.source == f->orig.sport && ports.dest == f->orig.dport)
		return 0;
	if (f->part != SPK_WHOLE)
		return -1;
	diff = (__u32)(ports.dest ^ f->orig.dport) << 16 | (ports.source ^ f->orig.sport);
	if (ctx_store(ctx, f->l4, &ports, sizeof(ports)))
		return -1;
	fix_device_sum(ctx, ct->port_delta);
	if (is_partial(ctx, at))
		return 0;
	if (ctx_load(ctx, at, &was, sizeof(was)))
		return -1;
	is = was ^ crc32c_delta(diff, f->l4_len);
	fix_device_sum(ctx, csum_fold(csum_diff32(was, is)));
	return ctx_store(ctx, at, &is, sizeof(is));
}
