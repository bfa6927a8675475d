/* Shared by the program and its loader: the keys and values of the maps. src/steer/claims.rs
 * mirrors them, and a test there compares sizes and offsets. */
#ifndef SIMOOM_LAYOUT_H
#define SIMOOM_LAYOUT_H

#include "bpf.h"

/* An IPv6 address, or an IPv4 address mapped into one (::ffff:a.b.c.d). */
struct address {
	__be32 words[4];
};

/* Ports of one address that can be claimed. */
#define CLAIM_PORTS 16
/* A dedicated address: all TCP ports, ICMP, ARP and neighbour discovery for it are claimed. The
 * kernel does not have it. */
#define CLAIM_DEDICATED 1
/* The guard is attached, and frames may pass the XDP program by: it notes for the guard which SYNs
 * it sees. */
#define CLAIM_LEARNS 2
/* The kernel may have connections to these ports that are older than the claim. They stay the
 * kernel's, which costs a lookup for each segment: the loader clears this when they are gone. */
#define CLAIM_EARLIER 4
/* SYNs, and sources of SYNs, that are remembered. */
#define SOURCES 8192
/* Addresses that can be claimed. */
#define CLAIM_ADDRESSES 256

/* Kinds of tunnels. */
#define TUNNEL_IPIP 1
#define TUNNEL_GRE 2
#define TUNNEL_GUE 4

/* The tunnels that end at one address. */
struct tunnel_end {
	__u32 kinds;
	/* The UDP port of GUE. */
	__be16 gue_port, unused;
};

/* The claims of one address. A slot without a port holds 0. */
struct claim {
	__u32 flags;
	__be16 ports[CLAIM_PORTS];
};

/* Ports in `struct plain_claim`. */
#define PLAIN_PORTS 6

/* The claims of one IPv4 address that has no more than these ports and no flag: most interfaces
 * have no other. Such a segment is steered without a lookup of its address. `ip` is 0 if there is
 * none, and while the loader changes the ports. A slot without a port holds 0. */
struct plain_claim {
	__be32 ip;
	__be16 ports[PLAIN_PORTS];
};

/* Indices into the map of counters. Redirected frames are not counted here, to keep their path
 * short: the receive ring counts them. */
enum counter {
	/* Claimed, but the receive queue has no socket: passed to the kernel. */
	COUNTER_NO_SOCKET,
	/* IP fragments to a claimed address: dropped. */
	COUNTER_FRAGMENT,
	/* To a claimed address, but the frame ends before the ports: passed to the kernel. */
	COUNTER_TRUNCATED,
	/* To a claimed address, with more IPv6 extension headers than are parsed: passed to the
	 * guard. */
	COUNTER_EXTENSIONS,
	/* To a claimed port or address, from an address that no host can have, or in a multicast
	 * frame: dropped. */
	COUNTER_MARTIAN,
	/* At tc ingress, to a claimed port, from a connection that the kernel does not have:
	 * dropped. */
	COUNTER_GUARDED,
	/* Packets in a tunnel to a claimed address: steered without the outer headers. */
	COUNTER_DECAPSULATED,
	/* In a tunnel that ends here, with headers that are malformed: passed to the kernel. */
	COUNTER_TUNNEL_MALFORMED,
	COUNTERS,
};

#endif
