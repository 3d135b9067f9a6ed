// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

//go:build ignore

/* What the kernel drops in chosen network namespaces: the tracepoint skb:kfree_skb (Linux 5.17) with the
 * reason, and the start of the packet. Structs name only the fields that are read; the loader finds
 * their places in the running kernel's BTF (CO-RE). */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum { DROP_SNAP = 128 };

#define KERNEL __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} KERNEL;

struct net {
	struct ns_common ns;
} KERNEL;

typedef struct {
	struct net *net;
} KERNEL possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} KERNEL;

struct sock_common {
	possible_net_t skc_net;
} KERNEL;

struct sock {
	struct sock_common __sk_common;
} KERNEL;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned char *head;
	unsigned int len;
	__u16 protocol;
	__u16 network_header;
	__u8 pkt_type;
} KERNEL;

/* One drop. */
struct drop {
	__u64 at; /* CLOCK_MONOTONIC, ns */
	__u32 netns;
	__u32 ifindex; /* 0: no device */
	__u32 reason;  /* enum skb_drop_reason */
	__u32 len;     /* octets, from the network header on or before it */
	__be16 protocol; /* EtherType */
	__u8 pad[6];
	__u8 packet[DROP_SNAP]; /* from the network header on */
};

const struct drop *unused __attribute__((unused)); /* keeps the type in the object's BTF */

/* The namespaces that count: inode number of the namespace, anything. Filled by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u8);
	__uint(max_entries, 1024);
} drop_netns SEC(".maps");

/* struct drop, for the one reader. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} drop_events SEC(".maps");

/* Drops for which the ring had no room. */
__u64 drop_lost;

static __always_inline struct net *netns_of(struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);

	if (dev)
		return BPF_CORE_READ(dev, nd_net.net);
	struct sock *sk = BPF_CORE_READ(skb, sk);

	return sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net) : 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(drop_seen, struct sk_buff *skb, void *location, unsigned int reason)
{
	struct net *net = netns_of(skb);
	__u32 inum = net ? BPF_CORE_READ(net, ns.inum) : 0;

	if (!inum || !bpf_map_lookup_elem(&drop_netns, &inum))
		return 0;
	struct drop *d = bpf_ringbuf_reserve(&drop_events, sizeof(*d), 0);

	if (!d) {
		__sync_fetch_and_add(&drop_lost, 1);
		return 0;
	}
	struct net_device *dev = BPF_CORE_READ(skb, dev);

	d->at = bpf_ktime_get_ns();
	d->netns = inum;
	d->ifindex = dev ? BPF_CORE_READ(dev, ifindex) : 0;
	d->reason = reason;
	d->len = BPF_CORE_READ(skb, len);
	d->protocol = BPF_CORE_READ(skb, protocol);
	__builtin_memset(d->pad, 0, sizeof(d->pad));
	if (bpf_probe_read_kernel(d->packet, DROP_SNAP, BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header)))
		__builtin_memset(d->packet, 0, DROP_SNAP);
	bpf_ringbuf_submit(d, 0);
	return 0;
}
