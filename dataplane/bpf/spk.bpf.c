// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/* The programs. spk_internal and spk_external sit where packets come in on the interfaces of a
 * TMM; the rest is tail-called. What is not for the TMM itself never reaches its kernel. Compiled
 * twice, see spk_ctx.h. */
#include <linux/if_packet.h>

#include "spk_fast.h"
#include "spk_slow.h"
#ifndef SPK_XDP
#include "spk_icmp.h"
#include "spk_icmp64.h"
#include "spk_nat64.h"
#include "spk_neigh.h"
#include "spk_reply.h"
#endif

#ifdef SPK_XDP

static __always_inline long claim_other(struct spk_flow *f)
{
	return -EINVAL; /* families change at traffic control */
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(const __u16 *)a == *(const __u16 *)b &&
	       *(const __u16 *)(a + 2) == *(const __u16 *)(b + 2) &&
	       *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

/* Was the frame sent to the interface's MAC address? */
static __always_inline bool is_for_us(spk_ctx *ctx, const struct ethhdr *eth, enum spk_side side)
{
	const struct spk_config *cfg = config();
	__u32 ifindex = ctx_ifindex(ctx);
	struct spk_port *port;

	if (cfg && same_mac(eth->h_dest, cfg->mac[side & 1]))
		return true;
	port = bpf_map_lookup_elem(&spk_ports, &ifindex);
	return port && same_mac(eth->h_dest, port->mac);
}

static __always_inline int ingress(spk_ctx *ctx, enum spk_side side, __u16 zone)
{
	struct ethhdr *eth = ctx_data(ctx);

	if ((void *)(eth + 1) > ctx_end(ctx) || !is_for_us(ctx, eth, side))
		return SPK_ACT_NEXT;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return fast4(ctx, side, zone);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return fast6(ctx, side, zone);
	return SPK_ACT_NEXT;
}

#else

/* Does the program of neighbours have to look at the frame? */
static __always_inline bool may_ask(spk_ctx *ctx)
{
	const struct spk_config *cfg = config();

	return cfg && cfg->flags & SPK_HAS_ARP &&
	       (ctx->protocol == bpf_htons(ETH_P_ARP) || ctx->protocol == bpf_htons(ETH_P_IPV6));
}

/* Hands the frame to the program of neighbours; where that is not loaded the kernel answers. */
static __always_inline int neighbours(spk_ctx *ctx)
{
	if (may_ask(ctx))
		bpf_tail_call(ctx, &spk_progs, SPK_PROG_NEIGH);
	return SPK_ACT_NEXT;
}

/* What was not sent to this interface's MAC address the kernel does not forward. */
static __always_inline int ingress(spk_ctx *ctx, enum spk_side side, __u16 zone)
{
	if (ctx->vlan_present)
		return SPK_ACT_NEXT;
	if (ctx->pkt_type != PACKET_HOST)
		return neighbours(ctx);
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		return fast4(ctx, side, zone);
	if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		return fast6(ctx, side, zone);
	return neighbours(ctx);
}

#endif

SEC(SPK_SEC)
int spk_internal(spk_ctx *ctx)
{
	return ingress(ctx, SPK_INTERNAL, 0);
}

SEC(SPK_SEC)
int spk_external(spk_ctx *ctx)
{
	return ingress(ctx, SPK_EXTERNAL, 0);
}

/* For interfaces in a zone. */
SEC(SPK_SEC)
int spk_zoned(spk_ctx *ctx)
{
	struct spk_port *port = port_of(ctx_ifindex(ctx));

	return port ? ingress(ctx, port->side, port->zone) : SPK_ACT_NEXT;
}

SEC(SPK_SEC)
int spk_slow4(spk_ctx *ctx)
{
	return slow_path(ctx, SPK_AF_INET);
}

SEC(SPK_SEC)
int spk_slow6(spk_ctx *ctx)
{
	return slow_path(ctx, SPK_AF_INET6);
}

#ifndef SPK_XDP

SEC(SPK_SEC)
int spk_6to4(spk_ctx *ctx)
{
	return other_family(ctx, SPK_AF_INET6);
}

SEC(SPK_SEC)
int spk_4to6(spk_ctx *ctx)
{
	return other_family(ctx, SPK_AF_INET);
}

SEC(SPK_SEC)
int spk_icmp4(spk_ctx *ctx)
{
	return pass_error(ctx, SPK_AF_INET);
}

SEC(SPK_SEC)
int spk_icmp6(spk_ctx *ctx)
{
	return pass_error(ctx, SPK_AF_INET6);
}

SEC(SPK_SEC)
int spk_icmp4to6(spk_ctx *ctx)
{
	return translate_error(ctx, SPK_AF_INET);
}

SEC(SPK_SEC)
int spk_icmp6to4(spk_ctx *ctx)
{
	return translate_error(ctx, SPK_AF_INET6);
}

SEC(SPK_SEC)
int spk_reply4(spk_ctx *ctx)
{
	return reply(ctx, SPK_AF_INET);
}

SEC(SPK_SEC)
int spk_reply6(spk_ctx *ctx)
{
	return reply(ctx, SPK_AF_INET6);
}

SEC(SPK_SEC)
int spk_neigh(spk_ctx *ctx)
{
	if (ctx->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(ctx);
	return answer_solicitation(ctx);
}

#endif

#ifndef SPK_XDP

#include "spk_vlan.h"

/* On the interfaces that carry VLANs, beside their own program. */
SEC("tc")
int spk_tagged(spk_ctx *ctx)
{
	return tagged(ctx);
}

/* Where the devices of those VLANs send. */
SEC("tc")
int spk_tag(spk_ctx *ctx)
{
	return tag(ctx);
}

#endif

/* For the types that Go has besides those of the maps. */
const struct spk_event *spk_event_type __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
