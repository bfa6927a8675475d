/* Redirects claimed frames to the AF_XDP socket of their receive queue, and passes all other
 * frames to the kernel. guard.h has the program behind it, at tc ingress.
 *
 * The program runs on every frame of the interface and returns a verdict. A claimed segment costs
 * one lookup of its destination address, which yields the claimed ports, and one redirect. A
 * segment to the address in `plain_claims` costs the redirect. No frame is changed, except by the
 * removal of a tunnel's headers: tunnel.h. */
#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, struct claim);
	__uint(max_entries, CLAIM_ADDRESSES);
} claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct plain_claim);
	__uint(max_entries, 1);
} plain_claims SEC(".maps");

/* The loader sets the size to the number of receive queues. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, COUNTERS);
} counters SEC(".maps");

/* Set by the first frame after the loader has cleared it: whether the driver shows frames to the
 * program. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} seen SEC(".maps");

/* Ethernet, IEEE 802.1Q */
#define ETHERTYPE_IPV4 be16(0x0800)
#define ETHERTYPE_ARP be16(0x0806)
#define ETHERTYPE_VLAN be16(0x8100)
#define ETHERTYPE_IPV6 be16(0x86dd)

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__be16 ethertype;
} __attribute__((packed));

struct vlan {
	__be16 tag;
	__be16 ethertype;
};

/* RFC 826, for IPv4 over Ethernet */
struct arp {
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender_ip;
	__u8 target_mac[6];
	__be32 target_ip;
} __attribute__((packed));

/* RFC 791 §3.1 */
struct ipv4 {
	__u8 version_ihl, tos;
	__be16 total_len, id, fragment;
	__u8 ttl, protocol;
	__be16 checksum;
	__be32 source, destination;
};
#define IPV4_MORE_FRAGMENTS be16(0x2000)
#define IPV4_OFFSET be16(0x1fff)

/* RFC 8200 §3 */
struct ipv6 {
	__be32 version_class_flow;
	__be16 payload_len;
	__u8 next_header, hop_limit;
	struct address source, destination;
};

/* RFC 8200 §4: the start of every extension header that is parsed, and all of a fragment
 * header. */
struct extension {
	__u8 next_header, len;
	union {
		/* §4.5; the low bit is "more fragments", the high 13 the offset. */
		__be16 fragment;
		/* §4.4, a routing header's. */
		struct {
			__u8 type, segments_left;
		};
	};
	__be32 rest;
};
#define IPV6_FRAGMENT be16(0xfff9)
/* Hop-by-hop, destination (twice), routing: no valid chain is longer; one more for a fragment
 * header. */
#define MAX_EXTENSIONS 5

struct tcp_ports {
	__be16 source, destination;
};

/* RFC 9293 section 3.1 */
struct tcp {
	struct tcp_ports ports;
	__be32 seq, ack;
	__u8 offset, flags;
	__be16 window, checksum, urgent;
};
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* RFC 792, RFC 1191 §4: fragmentation needed and DF set. */
struct icmp {
	__u8 type, code;
	__be16 checksum;
	__be32 rest;
};
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4

struct icmpv6 {
	__u8 type, code;
	__be16 checksum;
	__be32 reserved;
	/* RFC 4861 §4.3 and §4.4: the target. */
	struct address target;
};
/* RFC 4443 §3.2 */
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_NEIGHBOUR_SOLICITATION 135
#define ICMPV6_NEIGHBOUR_ADVERTISEMENT 136

/* A router's report that a packet was too big. The quoted packet is one of the stack's, so it has
 * no options and no extension headers. */
struct too_big_ipv4 {
	struct icmp icmp;
	struct ipv4 ip;
	struct tcp_ports tcp;
};
struct too_big_ipv6 {
	struct icmp icmp;
	struct ipv6 ip;
	struct tcp_ports tcp;
};

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_IPIP 4
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_IPV6 41
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_GRE 47
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION 60

static __always_inline void count(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &index);

	if (value)
		*value += 1;
}

/* Writes only once: the cache line stays shared by all processors. */
static __always_inline void note_frame(void)
{
	__u32 index = 0;
	__u32 *flag = bpf_map_lookup_elem(&seen, &index);

	if (flag && unlikely(!*flag))
		*flag = 1;
}

static __always_inline int to_socket(struct xdp_md *ctx)
{
	int action = bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);

	if (unlikely(action != XDP_REDIRECT))
		count(COUNTER_NO_SOCKET);
	return action;
}

static __always_inline struct claim *claim_of(const struct address *address)
{
	return bpf_map_lookup_elem(&claims, address);
}

static __always_inline struct claim *claim_of_ipv4(__be32 ip)
{
	struct address address = { { 0, 0, be32(0xffff), ip } };

	return claim_of(&address);
}

static __always_inline int is_dedicated(const struct claim *claim)
{
	return claim && claim->flags & CLAIM_DEDICATED;
}

static __always_inline int has_port(const struct claim *claim, __be16 port)
{
	if (claim->flags & CLAIM_DEDICATED)
		return 1;
	if (!port)
		return 0;
#pragma unroll
	for (int i = 0; i < CLAIM_PORTS; i++)
		if (claim->ports[i] == port)
			return 1;
	return 0;
}

static __always_inline int drop_martian(void)
{
	count(COUNTER_MARTIAN);
	return XDP_DROP;
}

/* RFC 1122 section 3.2.1.3: not "this network", loopback, multicast, reserved or broadcast. */
static __always_inline int is_host_ipv4(__be32 ip)
{
	__u8 first = *(const __u8 *)&ip;

	return first && first != 127 && first < 224;
}

/* RFC 4291 section 2.5.5.2. No IPv6 packet has such an address; in the map of claims it is an
 * IPv4 address. */
static __always_inline int is_mapped(const struct address *address)
{
	return !(address->words[0] | address->words[1]) && address->words[2] == be32(0xffff);
}

static __always_inline int is_unspecified(const struct address *address)
{
	return !(address->words[0] | address->words[1] | address->words[2] | address->words[3]);
}

/* RFC 4291 section 2.5: not multicast, unspecified, loopback or IPv4-mapped. */
static __always_inline int is_host_ipv6(const struct address *address)
{
	if (*(const __u8 *)address == 0xff || is_mapped(address))
		return 0;
	return (address->words[0] | address->words[1] | address->words[2] | (address->words[3] & ~be32(1))) != 0;
}

#include "tunnel.h"
#include "syn.h"

/* RFC 1122 section 3.3.6: a unicast packet does not come in a multicast frame. */
static __always_inline int is_to_group(struct xdp_md *ctx)
{
	struct ethernet *ethernet = (void *)(unsigned long)ctx->data;

	return (void *)(ethernet + 1) > (void *)(unsigned long)ctx->data_end || ethernet->destination[0] & 1;
}

/* Whether the guard must know what becomes of a segment. */
static __always_inline int is_learned(const struct claim *claim, const struct tcp *tcp, void *end)
{
	return claim->flags & CLAIM_LEARNS && (void *)(tcp + 1) <= end && is_new_syn(tcp);
}

/* Notes for the guard where a new SYN goes. */
static __always_inline void learn(const struct claim *claim, const struct address *from, const struct tcp *tcp,
				  int action)
{
	struct origin origin = { *from, tcp->ports };
	__be32 seq = tcp->seq;

	if (action == XDP_REDIRECT)
		note_steered(&origin, seq);
	else if (action == XDP_PASS && has_port(claim, origin.ports.destination))
		bpf_map_update_elem(&passed, &origin, &seq, BPF_ANY);
}

/* Steers a segment to an address with claims. `from_host`: a host can have the source address.
 * Segments to unclaimed ports go to the kernel. */
static __always_inline int steer_tcp(struct xdp_md *ctx, const struct claim *claim, const struct tcp_ports *tcp,
				     int from_host, void *end)
{
	if ((void *)(tcp + 1) > end) {
		count(COUNTER_TRUNCATED);
		return XDP_PASS;
	}
	if (!has_port(claim, tcp->destination))
		return XDP_PASS;
	if (unlikely(!from_host || is_to_group(ctx)))
		return drop_martian();
	return to_socket(ctx);
}

/* Whether the kernel has this connection: it has those at a claimed port whose clients did not
 * come through this interface. The kernel gets a router's report about them. */
static __always_inline int is_kernels(struct xdp_md *ctx, struct bpf_sock_tuple *ends, __u32 size)
{
	struct bpf_sock *sock = bpf_skc_lookup_tcp(ctx, ends, size, BPF_F_CURRENT_NETNS, 0);
	int is_connection;

	if (!sock)
		return 0;
	is_connection = sock->state != BPF_TCP_LISTEN;
	bpf_sk_release(sock);
	return is_connection;
}

/* The kernel has the connection since before the claim. In TIME-WAIT, too: the state hides a
 * connection without a process that waits for the client's FIN, and a new SYN is the kernel's to
 * judge (RFC 9293 section 3.6.1). */
static __attribute__((noinline)) int is_earlier_ipv4(struct xdp_md *ctx, const struct ipv4 *ip,
						     const struct tcp_ports *tcp)
{
	struct bpf_sock_tuple ends = { .ipv4 = {
		.saddr = ip->source,
		.daddr = ip->destination,
		.sport = tcp->source,
		.dport = tcp->destination,
	} };

	return is_kernels(ctx, &ends, sizeof(ends.ipv4));
}

static __attribute__((noinline)) int is_earlier_ipv6(struct xdp_md *ctx, const struct ipv6 *ip,
						     const struct tcp_ports *tcp)
{
	struct bpf_sock_tuple ends = { .ipv6 = { .sport = tcp->source, .dport = tcp->destination } };

#pragma unroll
	for (int i = 0; i < 4; i++) {
		ends.ipv6.saddr[i] = ip->source.words[i];
		ends.ipv6.daddr[i] = ip->destination.words[i];
	}
	return is_kernels(ctx, &ends, sizeof(ends.ipv6));
}

/* Whether the kernel must be asked for the connection of a segment. */
static __always_inline int may_be_earlier(const struct claim *claim, const struct tcp_ports *tcp, void *end)
{
	return claim->flags & CLAIM_EARLIER && (void *)(tcp + 1) <= end;
}

/* The kernel gets ICMP to a shared address, except reports that a packet of the stack was too
 * big. */
static __always_inline int steer_too_big_ipv4(struct xdp_md *ctx, const struct claim *claim, const struct ipv4 *ip,
					      const struct too_big_ipv4 *said, void *end)
{
	if ((void *)(said + 1) > end || said->icmp.type != ICMP_UNREACHABLE ||
	    said->icmp.code != ICMP_FRAGMENTATION_NEEDED)
		return XDP_PASS;
	if (said->ip.version_ihl != 0x45 || said->ip.protocol != PROTOCOL_TCP ||
	    said->ip.source != ip->destination || !has_port(claim, said->tcp.source))
		return XDP_PASS;

	struct bpf_sock_tuple ends = { .ipv4 = {
		.saddr = said->ip.destination,
		.daddr = said->ip.source,
		.sport = said->tcp.destination,
		.dport = said->tcp.source,
	} };

	return is_kernels(ctx, &ends, sizeof(ends.ipv4)) ? XDP_PASS : to_socket(ctx);
}

static __always_inline int steer_too_big_ipv6(struct xdp_md *ctx, const struct claim *claim, const struct ipv6 *ip,
					      const struct too_big_ipv6 *said, void *end)
{
	if ((void *)(said + 1) > end || said->icmp.type != ICMPV6_PACKET_TOO_BIG || said->icmp.code)
		return XDP_PASS;
	if (said->ip.next_header != PROTOCOL_TCP || !has_port(claim, said->tcp.source))
		return XDP_PASS;

	struct bpf_sock_tuple ends = { .ipv6 = { .sport = said->tcp.destination, .dport = said->tcp.source } };

#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (said->ip.source.words[i] != ip->destination.words[i])
			return XDP_PASS;
		ends.ipv6.saddr[i] = said->ip.destination.words[i];
		ends.ipv6.daddr[i] = said->ip.source.words[i];
	}
	return is_kernels(ctx, &ends, sizeof(ends.ipv6)) ? XDP_PASS : to_socket(ctx);
}

static __always_inline int steer_arp(struct xdp_md *ctx, const struct arp *arp, void *end)
{
	if ((void *)(arp + 1) > end || arp->hardware != be16(1) || arp->protocol != ETHERTYPE_IPV4)
		return XDP_PASS;
	/* From a dedicated address: another host uses it too. The stack must detect the conflict
	 * (RFC 5227 section 2.4). */
	if (is_dedicated(claim_of_ipv4(arp->target_ip)) || is_dedicated(claim_of_ipv4(arp->sender_ip)))
		return to_socket(ctx);
	return XDP_PASS;
}

static __always_inline int steer_ipv4(struct xdp_md *ctx, const struct ipv4 *ip, void *end)
{
	if ((void *)(ip + 1) > end)
		return XDP_PASS;

	__u32 header_len = (ip->version_ihl & 0x0f) * 4;

	if (ip->version_ihl >> 4 != 4 || header_len < sizeof(*ip))
		return XDP_PASS;
	if (ip->protocol != PROTOCOL_TCP && ip->protocol != PROTOCOL_ICMP)
		return is_tunnel(ip->protocol) ? TUNNELLED : XDP_PASS;

	const struct claim *claim = claim_of_ipv4(ip->destination);

	int is_fragment = ip->fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET);

	if (!claim)
		return XDP_PASS;
	if (ip->protocol == PROTOCOL_ICMP && !is_dedicated(claim))
		return is_fragment ? XDP_PASS
				   : steer_too_big_ipv4(ctx, claim, ip, (void *)ip + header_len, end);
	if (unlikely(is_fragment)) {
		/* The kernel would reassemble the packet and answer with a reset. */
		count(COUNTER_FRAGMENT);
		return XDP_DROP;
	}
	int from_host = is_host_ipv4(ip->source);

	if (ip->protocol == PROTOCOL_ICMP)
		return from_host ? to_socket(ctx) : drop_martian();

	void *tcp = (void *)ip + header_len;

	int action = XDP_PASS;

	if (!unlikely(may_be_earlier(claim, tcp, end)) || !is_earlier_ipv4(ctx, ip, tcp))
		action = steer_tcp(ctx, claim, tcp, from_host, end);

	if (unlikely(is_learned(claim, tcp, end))) {
		struct address from = { { 0, 0, be32(0xffff), ip->source } };

		learn(claim, &from, tcp, action);
	}
	return action;
}

static __always_inline int steer_icmpv6(struct xdp_md *ctx, const struct ipv6 *ip, const struct icmpv6 *icmp,
					void *end)
{
	if (*(const __u8 *)&ip->destination != 0xff) {
		const struct claim *claim = claim_of(&ip->destination);

		if (!claim)
			return XDP_PASS;
		/* A host without an address may send neighbour solicitations (RFC 4861 section
		 * 4.3). */
		if (is_mapped(&ip->destination) ||
		    (is_dedicated(claim) && !is_host_ipv6(&ip->source) && !is_unspecified(&ip->source)))
			return drop_martian();
		return is_dedicated(claim) ? to_socket(ctx)
					   : steer_too_big_ipv6(ctx, claim, ip, (const void *)icmp, end);
	}
	/* The kernel gets multicast, except solicitations for a dedicated address and
	 * advertisements of one. */
	if ((void *)(icmp + 1) > end || (icmp->type != ICMPV6_NEIGHBOUR_SOLICITATION &&
					 icmp->type != ICMPV6_NEIGHBOUR_ADVERTISEMENT))
		return XDP_PASS;
	return is_dedicated(claim_of(&icmp->target)) ? to_socket(ctx) : XDP_PASS;
}

static __always_inline int is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_DESTINATION;
}

/* Whether what begins with this header may be a TCP segment. */
static __always_inline int may_hold_tcp(__u8 protocol)
{
	return protocol == PROTOCOL_TCP || is_extension(protocol);
}

/* A fragment whose first header is `protocol`. A later fragment does not show what follows an
 * extension header: it may be TCP. */
static __always_inline int steer_ipv6_fragment(const struct ipv6 *ip, __u8 protocol)
{
	const struct claim *claim = claim_of(&ip->destination);
	int ours;

	if (may_hold_tcp(protocol))
		ours = !!claim;
	else
		ours = protocol == PROTOCOL_ICMPV6 && is_dedicated(claim);
	if (!ours)
		return XDP_PASS;
	count(COUNTER_FRAGMENT);
	return XDP_DROP;
}

static __always_inline int steer_ipv6(struct xdp_md *ctx, const struct ipv6 *ip, void *end)
{
	const struct extension *extension = (void *)(ip + 1);
	__u8 protocol;

	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	protocol = ip->next_header;
#pragma unroll
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		if (protocol == PROTOCOL_TCP) {
			const struct claim *claim = claim_of(&ip->destination);

			int are_hosts = is_host_ipv6(&ip->source) && !is_mapped(&ip->destination);
			int action = XDP_PASS;

			if (claim) {
				if (!unlikely(may_be_earlier(claim, (void *)extension, end)) ||
				    !is_earlier_ipv6(ctx, ip, (void *)extension))
					action = steer_tcp(ctx, claim, (void *)extension, are_hosts, end);
				if (unlikely(is_learned(claim, (void *)extension, end)))
					learn(claim, &ip->source, (void *)extension, action);
			}
			return action;
		}
		if (protocol == PROTOCOL_ICMPV6)
			return steer_icmpv6(ctx, ip, (void *)extension, end);
		if (!is_extension(protocol))
			return is_tunnel(protocol) ? TUNNELLED : XDP_PASS;
		if ((void *)(extension + 1) > end) {
			if (claim_of(&ip->destination))
				count(COUNTER_TRUNCATED);
			return XDP_PASS;
		}
		/* RFC 8200 §4.4: the destination is not the final one yet. */
		if (protocol == PROTOCOL_ROUTING && extension->segments_left)
			return XDP_PASS;

		__u8 next_header = extension->next_header;

		if (protocol == PROTOCOL_FRAGMENT) {
			/* RFC 6946: a fragment that is the whole packet is treated as one. */
			if (extension->fragment & IPV6_FRAGMENT)
				return steer_ipv6_fragment(ip, next_header);
			extension += 1;
		} else {
			extension = (void *)extension + (extension->len + 1) * 8;
		}
		protocol = next_header;
	}
	if (claim_of(&ip->destination))
		count(COUNTER_EXTENSIONS);
	return XDP_PASS;
}

/* Whether a frame is a segment to a plain claim, and nothing else needs to be asked about it. If
 * not, all other rules apply to it. */
static __always_inline int is_plain(struct xdp_md *ctx)
{
	__u32 index = 0;
	const struct plain_claim *claim = bpf_map_lookup_elem(&plain_claims, &index);
	const __u8 *data = (void *)(unsigned long)ctx->data;
	const struct ipv4 *ip = (void *)(data + sizeof(struct ethernet));
	const struct tcp *tcp = (void *)(ip + 1);

	if (!claim || (void *)(tcp + 1) > (void *)(unsigned long)ctx->data_end)
		return 0;
	if (*(const __be16 *)(data + __builtin_offsetof(struct ethernet, ethertype)) != ETHERTYPE_IPV4 ||
	    *data & 1)
		return 0;
	if (ip->version_ihl != 0x45 || ip->protocol != PROTOCOL_TCP ||
	    ip->fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET) || !is_host_ipv4(ip->source))
		return 0;
	/* The guard may have to know of a SYN. */
	if (!claim->ip || ip->destination != claim->ip || !tcp->ports.destination || tcp->flags & TCP_SYN)
		return 0;
#pragma unroll
	for (int i = 0; i < PLAIN_PORTS; i++)
		if (claim->ports[i] == tcp->ports.destination)
			return 1;
	return 0;
}

/* Returns an action, or TUNNELLED. */
static __always_inline int steer_packet(struct xdp_md *ctx)
{
	void *data = (void *)(unsigned long)ctx->data;
	void *end = (void *)(unsigned long)ctx->data_end;
	struct ethernet *ethernet = data;
	void *next = ethernet + 1;
	__be16 ethertype;

	if (next > end)
		return XDP_PASS;
	ethertype = ethernet->ethertype;
	if (ethertype == ETHERTYPE_VLAN) {
		struct vlan *vlan = next;

		next = vlan + 1;
		if (next > end)
			return XDP_PASS;
		ethertype = vlan->ethertype;
	}
	switch (ethertype) {
	case ETHERTYPE_IPV4:
		return steer_ipv4(ctx, next, end);
	case ETHERTYPE_IPV6:
		return steer_ipv6(ctx, next, end);
	case ETHERTYPE_ARP:
		return steer_arp(ctx, next, end);
	default:
		return XDP_PASS;
	}
}

static __always_inline int steer_frame(struct xdp_md *ctx)
{
	int action = XDP_PASS;

	note_frame();
	if (is_plain(ctx))
		return to_socket(ctx);
	/* What was read of the context is read again: the compiler would keep it over the loop, in
	 * words of 32 bits, which the verifier takes for arithmetic. */
	__asm__ volatile("" : "+r"(ctx));
	/* A packet in a tunnel is steered by what is in it. A tunnel in a tunnel is the kernel's. */
#pragma clang loop unroll(disable)
	for (int i = 0; i < 2; i++) {
		action = steer_packet(ctx);
		if (action != TUNNELLED)
			return action;
		if (i || !decapsulate(ctx))
			return XDP_PASS;
	}
	return action;
}

/* For drivers, and for generic mode on a veth, whose packets come in several buffers. */
SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	return steer_frame(ctx);
}

/* For generic mode on other devices. With a program for fragments the kernel rebuilds each packet
 * that the program passes; Linux 6.3 to 7.1 may misalign what it builds. */
SEC("xdp")
int steer_linear(struct xdp_md *ctx)
{
	return steer_frame(ctx);
}

#include "guard.h"

char _license[] SEC("license") = "Dual MIT/GPL";
