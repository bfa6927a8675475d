/* Guards the connections of the stack against resets by the kernel.
 *
 * The program runs at tc ingress, on frames that go to the kernel. Claimed segments come here
 * although the XDP program is attached: tc and other programs may redirect or clone frames behind
 * it, in generic mode the kernel does not show it such frames, and a receive queue may have no
 * socket. The kernel does not know their connection, and would reset it. The guard drops such
 * segments. It passes segments of the kernel's own connections at a claimed port, and SYNs of
 * clients that the XDP program does not see (syn.h). It understands more than the XDP program,
 * whose answer to what it does not parse is to pass it: what may be a claimed segment and cannot
 * be read to its end is dropped. No frame is changed. */
#ifndef SIMOOM_GUARD_H
#define SIMOOM_GUARD_H

/* The claims, and those that were removed at the end of a drain: until the program is detached,
 * segments of the last connections may come. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, struct claim);
	__uint(max_entries, CLAIM_ADDRESSES);
} guarded SEC(".maps");

/* VLAN tags that are skipped. The kernel removes any number of tags with VLAN 0, and those of its
 * VLAN interfaces. */
#define GUARD_TAGS 8
/* IPv6 extension headers that are skipped. The kernel has no limit. */
#define GUARD_EXTENSIONS 32
#define ETHERTYPE_SERVICE_VLAN be16(0x88a8)

/* Reads a part of a packet, behind its Ethernet header and the tag that the kernel has removed. The
 * packet may begin at the start of what the program is shown, not behind an Ethernet header: the
 * kernel rebuilds frames that an XDP program for fragments passes in generic mode, and forgets the
 * length of that header (Linux 6.18). */
static __always_inline int load(struct __sk_buff *skb, __u32 at, void *to, __u32 len)
{
	/* Only of the first buffer. A frame whose headers are elsewhere is not a rebuilt one. */
	if (!bpf_skb_load_bytes_relative(skb, at, to, len, BPF_HDR_START_NET))
		return 0;
	return bpf_skb_load_bytes(skb, sizeof(struct ethernet) + at, to, len);
}

static __always_inline int is_tag(__be16 ethertype)
{
	return ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN;
}

static __always_inline int guard_drop(void)
{
	count(COUNTER_GUARDED);
	return TCX_DROP;
}

/* Whether the kernel has the connection of a segment, or has sent it a SYN cookie. */
static __always_inline int kernel_knows(struct __sk_buff *skb, struct bpf_sock_tuple *ends, __u32 size, void *ip,
					__u32 ip_len, struct tcp *tcp)
{
	struct bpf_sock *sock = bpf_skc_lookup_tcp(skb, ends, size, BPF_F_CURRENT_NETNS, 0);
	int knows;

	if (!sock)
		return 0;
	/* A SYN that finds a connection in TIME-WAIT is a new one's. */
	knows = sock->state == BPF_TCP_LISTEN    ? !bpf_tcp_check_syncookie(sock, ip, ip_len, tcp, sizeof(*tcp))
		: sock->state == BPF_TCP_TIME_WAIT ? !is_new_syn(tcp)
						   : 1;
	bpf_sk_release(sock);
	return knows;
}

static __always_inline int guard_syn(const struct claim *claim, const struct address *from, const struct tcp *tcp)
{
	struct origin origin = { *from, tcp->ports };
	struct syn_source *source;
	__be32 *seq;
	__u64 now_ns;

	if (!(claim->flags & CLAIM_LEARNS))
		return TCX_NEXT;
	seq = bpf_map_lookup_elem(&passed, &origin);
	if (seq && *seq == tcp->seq)
		return TCX_NEXT;
	source = source_of(from);
	if (!source)
		return guard_drop();
	source->is_sighted = 1;
	now_ns = bpf_ktime_get_coarse_ns();
	if (may_be_duplicate(source, &origin, tcp->seq, now_ns))
		return guard_drop();
	source->passed_ns = now_ns;
	return TCX_NEXT;
}

static __always_inline int guard_ipv4(struct __sk_buff *skb, __u32 at)
{
	struct bpf_sock_tuple ends = {};
	struct address address = { { 0, 0, be32(0xffff), 0 } };
	const struct claim *claim;
	struct ipv4 ip;
	struct tcp tcp;

	if (load(skb, at, &ip, sizeof(ip)) || ip.protocol != PROTOCOL_TCP ||
	    ip.version_ihl >> 4 != 4)
		return TCX_NEXT;
	address.words[3] = ip.destination;
	claim = bpf_map_lookup_elem(&guarded, &address);
	if (!claim)
		return TCX_NEXT;
	/* The kernel would reassemble the packet. */
	if (ip.fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET))
		return guard_drop();
	if (load(skb, at + (ip.version_ihl & 0x0f) * 4, &tcp, sizeof(tcp)) ||
	    !has_port(claim, tcp.ports.destination))
		return TCX_NEXT;
	ends.ipv4.saddr = ip.source;
	ends.ipv4.daddr = ip.destination;
	ends.ipv4.sport = tcp.ports.source;
	ends.ipv4.dport = tcp.ports.destination;
	if (kernel_knows(skb, &ends, sizeof(ends.ipv4), &ip, sizeof(ip), &tcp))
		return TCX_NEXT;
	address.words[3] = ip.source;
	return is_new_syn(&tcp) ? guard_syn(claim, &address, &tcp) : guard_drop();
}

static __always_inline int guard_ipv6_segment(struct __sk_buff *skb, const struct claim *claim, struct ipv6 *ip,
					      __u32 at)
{
	struct bpf_sock_tuple ends = {};
	struct tcp tcp;

	if (load(skb, at, &tcp, sizeof(tcp)) || !has_port(claim, tcp.ports.destination))
		return TCX_NEXT;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		ends.ipv6.saddr[i] = ip->source.words[i];
		ends.ipv6.daddr[i] = ip->destination.words[i];
	}
	ends.ipv6.sport = tcp.ports.source;
	ends.ipv6.dport = tcp.ports.destination;
	if (kernel_knows(skb, &ends, sizeof(ends.ipv6), ip, sizeof(*ip), &tcp))
		return TCX_NEXT;
	return is_new_syn(&tcp) ? guard_syn(claim, &ip->source, &tcp) : guard_drop();
}

static __always_inline int guard_ipv6(struct __sk_buff *skb, __u32 at)
{
	const struct claim *claim;
	struct extension extension;
	struct ipv6 ip;
	__u8 protocol;

	if (load(skb, at, &ip, sizeof(ip)))
		return TCX_NEXT;
	claim = bpf_map_lookup_elem(&guarded, &ip.destination);
	if (!claim)
		return TCX_NEXT;
	protocol = ip.next_header;
	at += sizeof(ip);
#pragma clang loop unroll(disable)
	for (int i = 0; i < GUARD_EXTENSIONS && protocol != PROTOCOL_TCP; i++) {
		if (!is_extension(protocol))
			return TCX_NEXT;
		/* The kernel refuses a packet that ends here. */
		if (load(skb, at, &extension, sizeof(extension)))
			return TCX_NEXT;
		/* The same fragments as those that the XDP program drops. */
		if (protocol == PROTOCOL_FRAGMENT && extension.fragment & IPV6_FRAGMENT)
			return may_hold_tcp(extension.next_header) ? guard_drop() : TCX_NEXT;
		at += protocol == PROTOCOL_FRAGMENT ? 8 : (extension.len + 1) * 8;
		protocol = extension.next_header;
	}
	if (protocol != PROTOCOL_TCP)
		return may_hold_tcp(protocol) ? guard_drop() : TCX_NEXT;
	return guard_ipv6_segment(skb, claim, &ip, at);
}

SEC("classifier")
int guard(struct __sk_buff *skb)
{
	__be16 ethertype = skb->protocol;
	struct vlan vlan;
	__u32 at = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < GUARD_TAGS && is_tag(ethertype); i++) {
		if (load(skb, at, &vlan, sizeof(vlan)))
			return TCX_NEXT;
		ethertype = vlan.ethertype;
		at += sizeof(vlan);
	}
	if (ethertype == ETHERTYPE_IPV4)
		return guard_ipv4(skb, at);
	if (ethertype == ETHERTYPE_IPV6)
		return guard_ipv6(skb, at);
	return is_tag(ethertype) ? guard_drop() : TCX_NEXT;
}

#endif
