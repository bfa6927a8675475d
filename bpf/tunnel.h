/* Decapsulates the packets that L4 load balancers send through tunnels: IPIP (RFC 2003, RFC 2473,
 * RFC 4213), GRE (RFC 2784, RFC 2890) and GUE (draft-ietf-intarea-gue, variants 0 and 1).
 *
 * A packet is decapsulated if it goes to the end of a tunnel and the packet in it to an address
 * with claims. The outer headers are removed in the frame, which is then steered by the packet that
 * was in it. The kernel gets all others unchanged.
 *
 * Not verified: the checksums of GRE (RFC 2784 section 2.1 would have them processed) and of GUE's
 * UDP. The packet inside has its own, over all that reaches the stack: with this reason RFC 6935
 * lets a tunnel over UDP go without. A kernel of the same machine leaves both sums to
 * whoever cuts a long packet (TX checksum offload, SKB_GSO_GRE_CSUM, SKB_GSO_UDP_TUNNEL_CSUM), and
 * the program cannot see that: on virtual interfaces it would refuse packets that are good. */
#ifndef SIMOOM_TUNNEL_H
#define SIMOOM_TUNNEL_H

/* The addresses at which tunnels end. Empty unless tunnels are asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, struct tunnel_end);
	__uint(max_entries, CLAIM_ADDRESSES);
} tunnel_ends SEC(".maps");

/* Not an action of XDP: the packet may be in a tunnel. */
#define TUNNELLED 64

/* RFC 2784 section 2, with the key and sequence number of RFC 2890. All other bits of the first
 * word must be 0, the version too. */
struct gre {
	__be16 flags, protocol;
};
#define GRE_CHECKSUM be16(0x8000)
#define GRE_KEY be16(0x2000)
#define GRE_SEQUENCE be16(0x1000)

struct gue {
	/* Version in the high 2 bits, control, length of the extensions in 4-byte words. */
	__u8 version_len, protocol;
	__be16 flags;
};
#define GUE_VERSION 0xc0
#define GUE_CONTROL 0x20
#define GUE_LEN 0x1f

/* 16-bit words of the longest header. */
#define IPV4_MAX_WORDS 30

struct udp {
	__be16 source, destination, len, checksum;
};

struct encapsulation_limit {
	__u8 next_header, len, option, option_len, limit, pad[3];
};

/* RFC 8200 section 3: the low bits of the traffic class, in the second byte. */
static __always_inline __u8 ecn_of_ipv6(const struct ipv6 *ip)
{
	return ((const __u8 *)ip)[1] >> 4 & 3;
}

/* RFC 2473 section 4.1: the option in a destination header of 8 bytes, as Linux adds it. */
#define TUNNEL_ENCAPSULATION_LIMIT 4

/* RFC 3168 section 5: not ECN-capable, and congestion experienced, which is also the mask. */
#define ECN_NONE 0
#define ECN_CE 3

/* The place of a packet in a frame. */
struct place {
	/* Bytes of the frame before the outer packet, and before the inner one. */
	__u32 outer, inner;
	/* Bytes of the outer packet, by its header, up to the end of its UDP datagram if it has one. */
	__u32 outer_len;
	__be16 ethertype;
	/* The outer packet has met congestion. */
	__u8 is_marked;
};

static __always_inline __be16 ethertype_of(__u8 protocol)
{
	return protocol == PROTOCOL_IPIP ? ETHERTYPE_IPV4 : protocol == PROTOCOL_IPV6 ? ETHERTYPE_IPV6 : 0;
}

/* Whether a protocol of IP may be a tunnel's. */
static __always_inline int is_tunnel(__u8 protocol)
{
	return protocol == PROTOCOL_IPIP || protocol == PROTOCOL_IPV6 || protocol == PROTOCOL_GRE ||
	       protocol == PROTOCOL_UDP;
}

/* Moves `place` behind a GRE header. Returns whether it is well-formed and has IP behind it. */
static __always_inline int skip_gre(void *data, void *end, struct place *place)
{
	struct gre *gre = data + place->inner;

	if ((void *)(gre + 1) > end || gre->flags & ~(GRE_CHECKSUM | GRE_KEY | GRE_SEQUENCE))
		return 0;
	place->inner += sizeof(*gre);
	place->inner += gre->flags & GRE_CHECKSUM ? 4 : 0;
	place->inner += gre->flags & GRE_KEY ? 4 : 0;
	place->inner += gre->flags & GRE_SEQUENCE ? 4 : 0;
	place->ethertype = gre->protocol;
	return place->ethertype == ETHERTYPE_IPV4 || place->ethertype == ETHERTYPE_IPV6;
}

/* The same for a GUE header behind a UDP header. What is behind the datagram is none of it. */
static __always_inline int skip_gue(void *data, void *end, struct place *place)
{
	struct udp *udp = data + place->inner;
	struct gue *gue = (void *)(udp + 1);
	__u32 datagram_end;

	if ((void *)(gue + 1) > end)
		return 0;
	datagram_end = place->inner - place->outer + be16(udp->len);
	if (datagram_end > place->outer_len)
		return 0;
	place->outer_len = datagram_end;
	place->inner += sizeof(struct udp);
	if ((gue->version_len & GUE_VERSION) == 0x40) {
		/* Variant 1: no header, the version of IP begins with the same bits. */
		place->ethertype = gue->version_len >> 4 == 4   ? ETHERTYPE_IPV4
				   : gue->version_len >> 4 == 6 ? ETHERTYPE_IPV6
								: 0;
		return place->ethertype != 0;
	}
	if (gue->version_len & (GUE_VERSION | GUE_CONTROL))
		return 0;
	place->inner += sizeof(*gue) + (gue->version_len & GUE_LEN) * 4;
	place->ethertype = ethertype_of(gue->protocol);
	return place->ethertype != 0;
}

/* Moves `place` from the end of the outer IP header to the inner packet. Returns 1 for a tunnel
 * that ends here, 0 for another packet, and -1 for a malformed one. */
static __always_inline int enter(void *data, void *end, const struct address *destination, __u8 protocol,
				 struct place *place)
{
	struct tunnel_end *tunnel = bpf_map_lookup_elem(&tunnel_ends, destination);
	struct udp *udp = data + place->inner;

	if (!tunnel)
		return 0;
	switch (protocol) {
	case PROTOCOL_IPIP:
	case PROTOCOL_IPV6:
		place->ethertype = ethertype_of(protocol);
		return tunnel->kinds & TUNNEL_IPIP ? 1 : 0;
	case PROTOCOL_GRE:
		if (!(tunnel->kinds & TUNNEL_GRE))
			return 0;
		return skip_gre(data, end, place) ? 1 : -1;
	case PROTOCOL_UDP:
		if (!(tunnel->kinds & TUNNEL_GUE) || (void *)(udp + 1) > end ||
		    udp->destination != tunnel->gue_port)
			return 0;
		return skip_gue(data, end, place) ? 1 : -1;
	default:
		return 0;
	}
}

/* RFC 1122 section 3.2.1.2. Each word has its own check: clang turns that of a common pointer into
 * one that the verifier refuses. */
static __always_inline int is_intact(void *header, void *end, __u32 header_len)
{
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < IPV4_MAX_WORDS; i++) {
		__be16 *word = (__be16 *)header + i;

		if (i * sizeof(*word) < header_len) {
			if ((void *)(word + 1) > end)
				return 0;
			sum += *word;
		}
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16) == 0xffff;
}

/* Finds a tunnel in an outer packet at `place->outer`. Returns what enter() returns. */
static __always_inline int enter_ipv4(void *data, void *end, struct place *place)
{
	struct ipv4 *ip = data + place->outer;
	struct address destination = { { 0, 0, be32(0xffff), 0 } };
	__u32 header_len;
	int found;

	if ((void *)(ip + 1) > end)
		return 0;
	header_len = (ip->version_ihl & 0x0f) * 4;
	/* The tunnel's fragments are the kernel's. */
	if (ip->version_ihl >> 4 != 4 || header_len < sizeof(*ip) ||
	    ip->fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET))
		return 0;
	destination.words[3] = ip->destination;
	place->inner = place->outer + header_len;
	place->outer_len = be16(ip->total_len);
	place->is_marked = (ip->tos & ECN_CE) == ECN_CE;
	found = enter(data, end, &destination, ip->protocol, place);
	return found > 0 && !is_intact(ip, end, header_len) ? -1 : found;
}

static __always_inline int enter_ipv6(void *data, void *end, struct place *place)
{
	struct ipv6 *ip = data + place->outer;
	struct encapsulation_limit *limit = (void *)(ip + 1);
	struct address destination;
	__u8 protocol;

	if ((void *)(ip + 1) > end)
		return 0;
	destination = ip->destination;
	protocol = ip->next_header;
	place->inner = place->outer + sizeof(*ip);
	place->outer_len = sizeof(*ip) + be16(ip->payload_len);
	place->is_marked = ecn_of_ipv6(ip) == ECN_CE;
	if (protocol == PROTOCOL_DESTINATION) {
		if ((void *)(limit + 1) > end || limit->len || limit->option != TUNNEL_ENCAPSULATION_LIMIT)
			return 0;
		protocol = limit->next_header;
		place->inner += sizeof(*limit);
	}
	return enter(data, end, &destination, protocol, place);
}

/* Whether the packet at `place->inner` goes to an address with claims: 1 if so, 0 if not, and -1 if
 * its header is malformed, or longer than the outer packet says. */
static __always_inline int is_inner_claimed(void *data, void *end, const struct place *place)
{
	__u32 before = place->inner - place->outer;

	if (place->ethertype == ETHERTYPE_IPV4) {
		struct ipv4 *ip = data + place->inner;

		if ((void *)(ip + 1) > end || ip->version_ihl >> 4 != 4 ||
		    before + be16(ip->total_len) > place->outer_len)
			return -1;
		return claim_of_ipv4(ip->destination) ? 1 : 0;
	}

	struct ipv6 *ip = data + place->inner;
	struct address destination;

	if ((void *)(ip + 1) > end || *(__u8 *)ip >> 4 != 6 ||
	    before + sizeof(*ip) + be16(ip->payload_len) > place->outer_len)
		return -1;
	destination = ip->destination;
	return !is_mapped(&destination) && claim_of(&destination) ? 1 : 0;
}

/* Removes the outer headers: the Ethernet header, with a tag if there is one, moves to the inner
 * packet. */
static __always_inline int strip(struct xdp_md *ctx, const struct place *place)
{
	void *data = (void *)(unsigned long)ctx->data;
	void *end = (void *)(unsigned long)ctx->data_end;
	int is_tagged = place->outer != sizeof(struct ethernet);
	__be16 ethertype = place->ethertype;
	struct ethernet link;
	struct vlan vlan = {};

	if (data + sizeof(link) + sizeof(vlan) > end)
		return 0;
	link = *(struct ethernet *)data;
	if (is_tagged)
		vlan = *(struct vlan *)(data + sizeof(link));
	if (bpf_xdp_adjust_head(ctx, place->inner - place->outer))
		return 0;
	data = (void *)(unsigned long)ctx->data;
	end = (void *)(unsigned long)ctx->data_end;
	if (data + sizeof(link) + sizeof(vlan) > end)
		return 0;
	if (is_tagged) {
		vlan.ethertype = ethertype;
		*(struct vlan *)(data + sizeof(link)) = vlan;
	} else {
		link.ethertype = ethertype;
	}
	*(struct ethernet *)data = link;
	return 1;
}

/* RFC 6040 section 4.2: returns 1, or -1 for an inner packet that the network should have dropped
 * instead of marking the outer one. */
static __always_inline int may_be_marked(void *data, void *end, const struct place *place)
{
	if (!place->is_marked)
		return 1;
	if (place->ethertype == ETHERTYPE_IPV4) {
		struct ipv4 *ip = data + place->inner;

		return (void *)(ip + 1) > end || (ip->tos & ECN_CE) == ECN_NONE ? -1 : 1;
	}

	struct ipv6 *ip = data + place->inner;

	return (void *)(ip + 1) > end || ecn_of_ipv6(ip) == ECN_NONE ? -1 : 1;
}

/* What the outer packet has met is told to the inner one, which is alone in the frame. The outer
 * one keeps its bytes until then: the kernel gets them if its headers cannot be removed. */
static __always_inline void mark_inner(struct xdp_md *ctx, const struct place *place)
{
	void *data = (void *)(unsigned long)ctx->data + place->outer;
	void *end = (void *)(unsigned long)ctx->data_end;

	if (!place->is_marked)
		return;
	if (place->ethertype == ETHERTYPE_IPV4) {
		struct ipv4 *ip = data;
		__u32 sum;

		if ((void *)(ip + 1) > end)
			return;
		/* RFC 1624: the sum grows by what the second byte does. */
		sum = (__be16)~ip->checksum + be16(ECN_CE - (ip->tos & ECN_CE));
		ip->tos |= ECN_CE;
		ip->checksum = ~((sum & 0xffff) + (sum >> 16));
		return;
	}

	struct ipv6 *ip = data;

	if ((void *)(ip + 1) <= end)
		((__u8 *)ip)[1] |= ECN_CE << 4;
}

/* Takes the inner packet out of a tunnel. Returns whether the frame was changed. */
static __attribute__((noinline)) int decapsulate(struct xdp_md *ctx)
{
	void *data = (void *)(unsigned long)ctx->data;
	void *end = (void *)(unsigned long)ctx->data_end;
	struct place place = { .outer = sizeof(struct ethernet) };
	struct ethernet *ethernet = data;
	__be16 ethertype;
	int found;

	if (data + sizeof(struct ethernet) + sizeof(struct vlan) > end)
		return 0;
	ethertype = ethernet->ethertype;
	if (ethertype == ETHERTYPE_VLAN) {
		ethertype = ((struct vlan *)(ethernet + 1))->ethertype;
		place.outer += sizeof(struct vlan);
	}
	found = ethertype == ETHERTYPE_IPV4 ? enter_ipv4(data, end, &place) : enter_ipv6(data, end, &place);
	if (found > 0)
		found = is_inner_claimed(data, end, &place);
	if (found > 0)
		found = may_be_marked(data, end, &place);
	if (found < 0)
		count(COUNTER_TUNNEL_MALFORMED);
	if (found <= 0 || !strip(ctx, &place))
		return 0;
	mark_inner(ctx, &place);
	count(COUNTER_DECAPSULATED);
	return 1;
}

#endif
