// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* SCTP's ports (RFC 9260). Its CRC32c covers no addresses. */
#pragma once

#include "spk_read.h"

static __always_inline long rewrite_sctp(spk_ctx *ctx, const struct spk_flow *f,
					 const struct spk_ct *ct)
{
	struct spk_ports_head ports = {.source = ct->sport, .dest = ct->dport};

	if (!ct->port_delta && ports.source == f->orig.sport && ports.dest == f->orig.dport)
		return 0;
	return -1;
}
