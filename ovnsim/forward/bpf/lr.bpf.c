// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/* A sim of what OVN's logical routers do on one node: ovn_cluster_router and GR_<node>. Between a
 * pod and an external gateway a packet passes both, so its hop limit goes down by two; between
 * pods of two nodes it passes the first alone, and travels without Geneve. */
#include "lr_flow.h"
#include "lr_maps.h"
#include "lr_parse.h"
#include "lr_rewrite.h"

/* tcx verdicts (Linux 6.6), not yet in the headers of older systems. */
#define LR_NEXT -1
#define LR_DROP 2

#define LR_ROUTERS_OUTSIDE 2
#define LR_ROUTERS_INSIDE 1

static __always_inline int drop(enum lr_counter why)
{
	count(why);
	return LR_DROP;
}

static __always_inline int to_kernel(void)
{
	count(LR_TO_KERNEL);
	return LR_NEXT;
}

/* Drops a packet whose hop limit is used up, and has the router where that is so answer. Nobody is told
 * of an ICMP error or of a later fragment (RFC 1812 section 4.3.2.7), and when user space is behind. */
static __always_inline int expire(struct __sk_buff *skb, const struct lr_packet *p, bool uplink)
{
	__u32 len = skb->len < LR_QUOTE ? skb->len : LR_QUOTE;
	struct lr_packet_in *in;

	if (p->error || p->part == LR_LATER || len < ETH_HLEN)
		return drop(LR_DROP_TTL);
	in = bpf_ringbuf_reserve(&lr_packets_in, sizeof(*in), 0);
	if (!in)
		return drop(LR_DROP_TTL);
	in->len = len;
	in->uplink = uplink;
	in->router = p->ttl <= 1 ? 1 : 2;
	if (bpf_skb_load_bytes(skb, 0, in->data, len))
		bpf_ringbuf_discard(in, 0);
	else
		bpf_ringbuf_submit(in, 0);
	return drop(LR_DROP_TTL);
}

static __always_inline struct lr_subnet *find_subnet(const struct lr_addr *a)
{
	struct lr_subnet_key k = { .bits = 128, .addr = *a };

	return bpf_map_lookup_elem(&lr_subnets, &k);
}

/* Into the bridge, to a pod of this node; counted as what it was. */
static __always_inline int deliver(struct __sk_buff *skb, const struct lr_packet *p, __u8 routers, enum lr_counter what)
{
	struct lr_pod *pod = bpf_map_lookup_elem(&lr_pods, &p->dst);

	if (!pod)
		return drop(LR_DROP_NO_POD);
	if (p->ttl <= routers)
		return expire(skb, p, what == LR_INGRESS);
	if ((routers && !age(skb, p, routers)) || !set_macs(skb, pod->mac, lr_bridge_mac))
		return drop(LR_DROP_REWRITE);
	count(what);
	return bpf_redirect(lr_bridge, 0);
}

/* From a pod to another node's pod. */
static __always_inline int east_west(struct __sk_buff *skb, const struct lr_packet *p, const struct lr_subnet *s)
{
	struct lr_addr node = s->node;

	if (p->ttl <= LR_ROUTERS_INSIDE)
		return expire(skb, p, false);
	if (!age(skb, p, LR_ROUTERS_INSIDE))
		return drop(LR_DROP_REWRITE);
	count(LR_EAST_WEST);
	return to_neighbour(p, &node);
}

/* From a pod to the outside, by a gateway of its own. A host route by source beats the connected
 * routes of the gateway router, as OVN's priorities have it: so replies to an address of a TMM
 * obey conntrack as well. */
static __always_inline int egress(struct __sk_buff *skb, const struct lr_packet *p)
{
	struct lr_group *g = bpf_map_lookup_elem(&lr_groups, &p->src);
	struct lr_addr hop = {};
	enum lr_counter why;
	struct lr_flow *f;
	struct lr_key k;
	__u8 mac[6];

	if (!bpf_map_lookup_elem(&lr_pods, &p->src))
		return drop(LR_DROP_SPOOFED);
	if (p->ttl <= LR_ROUTERS_OUTSIDE)
		return expire(skb, p, false);
	flow_key(&k, p, true);
	f = find_flow(&k, p);
	if (f && !p->error)
		touch(f, p, true);
	if (goes_back(f, g, p)) {
		__builtin_memcpy(mac, f->mac, sizeof(mac));
		if (!age(skb, p, LR_ROUTERS_OUTSIDE) || !set_macs(skb, mac, lr_uplink_mac))
			return drop(LR_DROP_REWRITE);
		count(LR_EGRESS);
		return bpf_redirect(lr_uplink, 0);
	}
	if (!g || !g->hops)
		return drop(LR_DROP_NO_ROUTE);
	why = route(f, &k, g, p, &hop);
	if (why != LR_OK)
		return drop(why);
	if (!age(skb, p, LR_ROUTERS_OUTSIDE))
		return drop(LR_DROP_REWRITE);
	count(LR_EGRESS);
	return to_neighbour(p, &hop);
}

/* On the integration bridge: what pods send to their gateway. */
SEC("tcx/ingress")
int lr_from_pod(struct __sk_buff *skb)
{
	struct lr_packet p = {};
	enum lr_counter why = parse(skb, &p);
	struct lr_subnet *s;

	if (why == LR_TO_KERNEL || kernels_own(&p))
		return to_kernel();
	s = find_subnet(&p.dst);
	if (s && s->kind == LR_KERNEL)
		return to_kernel();
	if (why != LR_OK)
		return drop(why);
	if (!s)
		return egress(skb, &p);
	if (s->kind == LR_REMOTE)
		return east_west(skb, &p, s);
	if (s->kind == LR_LOCAL)
		return deliver(skb, &p, LR_ROUTERS_INSIDE, LR_LOCAL_POD);
	return drop(LR_DROP_NO_POD);
}

/* On the uplink: what comes for the pods of this node. */
SEC("tcx/ingress")
int lr_from_uplink(struct __sk_buff *skb)
{
	struct lr_packet p = {};
	enum lr_counter why = parse(skb, &p);
	struct lr_subnet *s;

	if (why == LR_TO_KERNEL || kernels_own(&p))
		return to_kernel();
	s = find_subnet(&p.dst);
	if (!s || s->kind != LR_LOCAL)
		return to_kernel();
	if (why != LR_OK)
		return drop(why);
	s = find_subnet(&p.src);
	if (s && s->kind == LR_REMOTE)
		return deliver(skb, &p, 0, LR_EAST_WEST); /* the other node's router has aged it */
	why = track(bpf_map_lookup_elem(&lr_groups, &p.dst), &p);
	if (why != LR_OK)
		return drop(why);
	return deliver(skb, &p, LR_ROUTERS_OUTSIDE, LR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
