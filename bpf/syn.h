/* Tells SYNs that the kernel may answer from duplicates of SYNs that the XDP program steers.
 *
 * The kernel serves clients all of whose segments pass the XDP program by. If it also answered the
 * duplicate of a SYN that was steered, the client would take one of two connections and lose it. So
 * the guard drops a SYN until its retransmissions prove that the XDP program does not see it. From
 * then on it passes SYNs of that source at once, until the XDP program steers one. */
#ifndef SIMOOM_SYN_H
#define SIMOOM_SYN_H

/* Two transmissions of one SYN. RFC 6298 section 2.1 has 1 s between them. */
#define SYN_PROOF_NS 500000000ULL
/* Three transmissions, 1 s, and 1 or 2 s apart: for a source whose SYNs were steered just before.
 * Its segments may come either way in turn, and two in a row past the XDP program by chance. */
#define SYN_STRICT_PROOF_NS 1500000000ULL
/* How long a SYN that was steered makes others of its connection duplicates, and other SYNs of its
 * source need the strict proof. */
#define SYN_STEERED_NS 10000000000ULL

/* The source of a segment and its ports. */
struct origin {
	struct address source;
	struct tcp_ports ports;
};

/* Times are of the kernel's coarse clock, 0 is never. */
struct syn_source {
	/* When the XDP program last steered a SYN. */
	__u64 steered_ns;
	/* When the guard last passed one. */
	__u64 passed_ns;
	/* Whether the guard has seen one. The XDP program then notes each that it steers. */
	__u64 is_sighted;
};

struct syn {
	/* When the guard saw the SYN first. */
	__u64 sighted_ns;
	/* When the XDP program last steered it. */
	__u64 steered_ns;
	/* Another sequence number is another connection's. */
	__be32 seq, unused;
};

/* Each map forgets the least recently used entry. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct address);
	__type(value, struct syn_source);
	__uint(max_entries, SOURCES);
} sources SEC(".maps");

/* SYNs that the guard saw, and those of the same sources that were steered. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct origin);
	__type(value, struct syn);
	__uint(max_entries, SOURCES);
} syns SEC(".maps");

/* New SYNs that the XDP program passed: their queue has no socket, or the kernel has a connection
 * in TIME-WAIT. The kernel serves them, and they are no duplicates, wherever other SYNs of their
 * source go. The value is the sequence number. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct origin);
	__type(value, __be32);
	__uint(max_entries, SOURCES);
} passed SEC(".maps");

static __always_inline int is_new_syn(const struct tcp *tcp)
{
	return (tcp->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* The entry of a source, which is added if it is missing. The guard and the XDP program may add it
 * at once on two processors. */
static __always_inline struct syn_source *source_of(const struct address *address)
{
	struct syn_source *source = bpf_map_lookup_elem(&sources, address), none = {};

	if (source)
		return source;
	bpf_map_update_elem(&sources, address, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&sources, address);
}

/* The entry of a SYN. Null if it has none, or that of another connection. */
static __always_inline struct syn *syn_of(const struct origin *origin, __be32 seq)
{
	struct syn *syn = bpf_map_lookup_elem(&syns, origin);

	return syn && syn->seq == seq ? syn : 0;
}

/* The XDP program steers a SYN. */
static __always_inline void note_steered(const struct origin *origin, __be32 seq)
{
	struct syn_source *source = source_of(&origin->source);
	struct syn *syn, new = { .seq = seq };

	if (!source)
		return;
	new.steered_ns = bpf_ktime_get_coarse_ns();
	source->steered_ns = new.steered_ns;
	if (!source->is_sighted)
		return;
	syn = syn_of(origin, seq);
	if (syn)
		syn->steered_ns = new.steered_ns;
	else
		bpf_map_update_elem(&syns, origin, &new, BPF_ANY);
}

static __always_inline int is_within(__u64 now_ns, __u64 since_ns, __u64 span_ns)
{
	return since_ns && now_ns - since_ns < span_ns;
}

/* Whether a SYN of a source came past the XDP program last, or one was steered. */
static __always_inline int comes_past(const struct syn_source *source)
{
	return source->passed_ns > source->steered_ns;
}

/* Whether a SYN that the guard sees may be the duplicate of one that is steered. */
static __always_inline int may_be_duplicate(const struct syn_source *source, const struct origin *origin, __be32 seq,
					    __u64 now_ns)
{
	struct syn *syn = syn_of(origin, seq), new = { .sighted_ns = now_ns, .seq = seq };
	__u64 proof_ns;

	if (!syn) {
		bpf_map_update_elem(&syns, origin, &new, BPF_ANY);
		return !comes_past(source);
	}
	if (!syn->sighted_ns)
		syn->sighted_ns = now_ns;
	if (is_within(now_ns, syn->steered_ns, SYN_STEERED_NS))
		return 1;
	if (comes_past(source))
		return 0;
	proof_ns = is_within(now_ns, source->steered_ns, SYN_STEERED_NS) ? SYN_STRICT_PROOF_NS : SYN_PROOF_NS;
	return is_within(now_ns, syn->sighted_ns, proof_ns);
}

#endif
