// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/* Entry points. spk_internal and spk_external sit at tcx ingress of the interfaces of a TMM;
 * the rest is tail-called. What is not for the TMM itself never reaches its kernel. */
#include <linux/bpf.h>
#include <linux/if_packet.h>

#include "spk_fast.h"
#include "spk_slow.h"

/* Frames with a VLAN tag come round again on their VLAN's own interface, and what was not sent
 * to this interface's MAC address the kernel does not forward. */
static __always_inline int ingress(struct __sk_buff *skb, enum spk_side side)
{
	if (skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return fast4(skb, side);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return fast6(skb, side);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int spk_internal(struct __sk_buff *skb)
{
	return ingress(skb, SPK_INTERNAL);
}

SEC("tc")
int spk_external(struct __sk_buff *skb)
{
	return ingress(skb, SPK_EXTERNAL);
}

SEC("tc")
int spk_slow4(struct __sk_buff *skb)
{
	struct spk_flow f = {};
	int verdict = decide(skb, &f, SPK_AF_INET);

	return verdict == FORWARD ? deliver4(skb, &f) : verdict;
}

SEC("tc")
int spk_slow6(struct __sk_buff *skb)
{
	struct spk_flow f = {};
	int verdict = decide(skb, &f, SPK_AF_INET6);

	return verdict == FORWARD ? deliver6(skb, &f) : verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
