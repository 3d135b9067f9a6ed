// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Every counter by name; Go's names are generated from this list. A new one goes to the end of
 * its part and raises SPK_LAYOUT. */
#pragma once

enum spk_counter {
	SPK_OK = 0, /* not counted: no fault */

	/* Drops, each with its reason. */
	SPK_DROP_MALFORMED,         /* shorter than its headers say */
	SPK_DROP_FRAGMENT,          /* a fragment of an IP packet */
	SPK_DROP_IP_OPTIONS,        /* IPv4 options or IPv6 extension headers */
	SPK_DROP_ICMP,              /* ICMP that is not for the TMM itself */
	SPK_DROP_PROTOCOL,          /* neither TCP nor UDP nor ICMP */
	SPK_DROP_TTL_EXPIRED,       /* would leave with TTL 0 */
	SPK_DROP_NO_FLOW,           /* TCP without a connection, and no SYN */
	SPK_DROP_NO_VIRTUAL_SERVER, /* the address of a virtual server, another port */
	SPK_DROP_NO_MEMBER,         /* the virtual server has no member */
	SPK_DROP_NOT_PERMITTED,     /* neither virtual server nor egress nor self-IP */
	SPK_DROP_NO_ROUTE,          /* the kernel has no way to the far side */
	SPK_DROP_BAD_INTERFACE,     /* the way leads out of an interface that is not served */
	SPK_DROP_TOO_BIG,           /* longer than the MTU of the way */
	SPK_DROP_NO_SELF_IP,        /* automap, and no self-IP on the interface */
	SPK_DROP_PORTS_EXHAUSTED,   /* no port left for the translated source */
	SPK_DROP_CONFLICT,          /* the reply would be taken for that of another flow */
	SPK_DROP_TABLE_FULL,        /* no room in conntrack */
	SPK_DROP_REWRITE,           /* the packet could not be written to */
	SPK_DROP_TAIL_CALL,         /* the slow path is not loaded */

	/* The rest. */
	SPK_FLOWS_STARTED,
	SPK_FLOWS_REPLACED,  /* a new SYN on a connection that was over */
	SPK_HOPS_RESOLVED,   /* next hops read from the kernel's tables */
	SPK_HOPS_UNRESOLVED, /* packets handed to the kernel's neighbour discovery */
	SPK_TO_KERNEL,       /* IP packets for the TMM itself */

	SPK_COUNTERS,
};
