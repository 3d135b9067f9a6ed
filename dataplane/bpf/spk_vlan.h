// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* VLANs whose tags the programs take off and put on, where the kernel has no 802.1Q. The kernel
 * knows such a VLAN by a device that nothing is connected to: what comes in with the tag comes in
 * there, and what the kernel sends there leaves with the tag. Traffic control only: an interface
 * may take a tag off before XDP sees the frame. */
#pragma once

#include "spk_fast.h"

/* IEEE 802.1Q: the VLAN ID in the tag control information; 0 is a priority without a VLAN. */
#define VLAN_ID_MASK 0x0fff

/* The VLAN ID of a frame, 0 when it has none. The kernel keeps the tag beside the frame; in the
 * frame it stands where nothing has taken it off. */
static __always_inline __u32 vlan_id(spk_ctx *ctx)
{
	__be16 tci;

	if (ctx->vlan_present)
		return ctx->vlan_proto == bpf_htons(ETH_P_8021Q) ? ctx->vlan_tci & VLAN_ID_MASK : 0;
	if (ctx->protocol != bpf_htons(ETH_P_8021Q) || ctx_load(ctx, ETH_HLEN, &tci, sizeof(tci)))
		return 0;
	return bpf_ntohs(tci) & VLAN_ID_MASK;
}

/* A frame with the tag of one of the interface's VLANs. Packets of known connections go on from
 * here; the rest, and what is for the kernel, comes in on the VLAN's device. */
static __always_inline int tagged(spk_ctx *ctx)
{
	struct spk_vlan_key k = {.ifindex = ctx->ifindex, .tag = vlan_id(ctx)};
	struct spk_vlan *vlan;
	int verdict = SPK_ACT_SLOW;

	vlan = k.tag ? bpf_map_lookup_elem(&spk_vlans, &k) : NULL;
	if (!vlan)
		return SPK_ACT_NEXT;
	if (bpf_skb_vlan_pop(ctx))
		return drop(ctx, SPK_DROP_REWRITE);
	if (ctx->pkt_type == PACKET_HOST && !ctx->vlan_present) {
		if (ctx->protocol == bpf_htons(ETH_P_IP))
			verdict = known4(ctx, vlan->side, vlan->zone);
		else if (ctx->protocol == bpf_htons(ETH_P_IPV6))
			verdict = known6(ctx, vlan->side, vlan->zone);
	}
	return verdict == SPK_ACT_SLOW ? bpf_redirect(vlan->device, BPF_F_INGRESS) : verdict;
}

/* What the kernel sends on a VLAN's device. */
static __always_inline int tag(spk_ctx *ctx)
{
	__u32 ifindex = ctx->ifindex;
	struct spk_vlan_device *vlan = bpf_map_lookup_elem(&spk_vlan_devices, &ifindex);

	if (!vlan || bpf_skb_vlan_push(ctx, bpf_htons(ETH_P_8021Q), vlan->tag))
		return drop(ctx, SPK_DROP_REWRITE);
	return bpf_redirect(vlan->ifindex, 0);
}
