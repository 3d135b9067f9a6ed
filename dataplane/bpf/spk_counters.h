// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Every counter by name; Go's names are generated from this list. A new one goes to the end of
 * its part and raises SPK_LAYOUT. */
#pragma once

enum spk_counter {
	SPK_OK = 0, /* not counted: no fault */

	/* Drops, each with its reason. */
	SPK_DROP_MALFORMED,         /* shorter than its headers say, or headers that cannot be */
	SPK_DROP_FRAGMENT,          /* a later fragment of a packet whose first one was not seen */
	SPK_DROP_IP_OPTIONS,        /* source routing (RFC 7126, RFC 5095), or too many headers */
	SPK_DROP_ICMP,              /* neither echo nor an error */
	SPK_DROP_ICMP_ERROR,        /* an error about no packet of a known connection */
	SPK_DROP_PROTOCOL,          /* neither TCP nor UDP nor SCTP nor ICMP */
	SPK_DROP_TTL_EXPIRED,       /* would leave with TTL 0 */
	SPK_DROP_NO_FLOW,           /* TCP or SCTP without a connection, and not its start */
	SPK_DROP_NO_VIRTUAL_SERVER, /* the address of a virtual server, another port */
	SPK_DROP_NO_MEMBER,         /* the virtual server has no member */
	SPK_DROP_MEMBER_DOWN,       /* the member was removed, and its connections with it */
	SPK_DROP_NOT_PERMITTED,     /* neither virtual server nor egress nor self-IP */
	SPK_DROP_NOT_ALLOWED,       /* a service of the TMM that is not allowed here */
	SPK_DROP_NO_ROUTE,          /* the kernel has no way to the far side */
	SPK_DROP_BAD_INTERFACE,     /* the way leads out of an interface that is not served */
	SPK_DROP_TOO_BIG,           /* longer than the MTU of the way */
	SPK_DROP_NO_SELF_IP,        /* automap, and no self-IP on the interface */
	SPK_DROP_NO_SNAT_POOL,      /* no address of the family in the SNAT pool */
	SPK_DROP_PORTS_EXHAUSTED,   /* no port left for the translated source */
	SPK_DROP_CONFLICT,          /* the reply would be taken for that of another flow */
	SPK_DROP_TABLE_FULL,        /* no room in conntrack */
	SPK_DROP_REWRITE,           /* the packet could not be written to */
	SPK_DROP_NAT64,             /* cannot be said in the other family (RFC 7915) */
	SPK_DROP_TAIL_CALL,         /* a program is not loaded */

	/* The rest. */
	SPK_FLOWS_STARTED,      /* by a first packet; half-open until the sender has proved itself */
	SPK_FLOWS_ESTABLISHED,  /* moved from the half-open table to conntrack */
	SPK_FLOWS_REPLACED,     /* a new SYN on a connection that was over */
	SPK_FLOWS_RESELECTED,   /* sent to another member, theirs being down */
	SPK_FLOWS_VALIDATED,    /* looked at again because something had changed */
	SPK_HOPS_RESOLVED,      /* next hops read from the kernel's tables */
	SPK_HOPS_UNRESOLVED,    /* packets handed to the kernel's neighbour discovery */
	SPK_TO_KERNEL,          /* IP packets for the TMM itself */
	SPK_TO_TC,              /* packets that XDP left to traffic control */
	SPK_ECHO_REPLIES,       /* pings of a virtual server's address, answered */
	SPK_RESETS_SENT,        /* TCP resets and ICMP unreachables, by DownAction */
	SPK_ICMP_SENT,          /* ICMP errors of the TMM itself */
	SPK_ICMP_TRANSLATED,    /* ICMP errors about packets of connections, passed on */
	SPK_NEIGHBOURS_ANSWERED, /* ARP and neighbour discovery for virtual servers */
	SPK_EVENTS_LOST,        /* no room in the ring buffer */

	SPK_COUNTERS,
};
