/* What the program and its loader share: the keys and values of the maps. src/steer/claims.rs
 * mirrors it, and a test there holds the two to the same sizes and offsets. */
#ifndef SIMOOM_LAYOUT_H
#define SIMOOM_LAYOUT_H

#include "bpf.h"

/* An IPv6 address, or an IPv4 address mapped into one (::ffff:a.b.c.d). */
struct address {
	__be32 words[4];
};

/* Ports of one address that can be claimed. */
#define CLAIM_PORTS 16
/* The address is the stack's alone: all TCP ports, ICMP, ARP and neighbour discovery for it are
 * claimed. */
#define CLAIM_DEDICATED 1
/* Addresses that can be claimed. */
#define CLAIM_ADDRESSES 256

/* What is claimed of one address. A slot without a port holds 0. */
struct claim {
	__u32 flags;
	__be16 ports[CLAIM_PORTS];
};

/* Indices into the map of counters. Frames that are claimed and delivered are not counted here:
 * the receive ring counts them, and the way of a good frame stays short. */
enum counter {
	/* Claimed, but the receive queue has no socket: left to the kernel. */
	COUNTER_NO_SOCKET,
	/* IP fragments aimed at a claimed address: dropped. */
	COUNTER_FRAGMENT,
	/* To a claimed address, but the frame ends before the ports: left to the kernel. */
	COUNTER_TRUNCATED,
	/* To a claimed address, behind more IPv6 extension headers than are walked: left to the
	 * kernel. */
	COUNTER_EXTENSIONS,
	/* To a claimed port or address, from an address that no host has, or to everybody on the
	 * link: dropped. */
	COUNTER_MARTIAN,
	COUNTERS,
};

#endif
