/* Redirects every frame to the AF_XDP socket of the queue it came in on. The kernel's stack gets
 * the frames of a queue without a socket.
 *
 * The declarations are those of <linux/bpf.h>, so that clang alone is needed: see `build` beside
 * this file. */
typedef unsigned int __u32;
typedef unsigned long long __u64;

struct xdp_md {
	__u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

#define XDP_PASS 2
#define BPF_MAP_TYPE_XSKMAP 17

static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;

#define SEC(name) __attribute__((section(name), used))

/* The loader sets the size to the number of receive queues. */
struct {
	int (*type)[BPF_MAP_TYPE_XSKMAP];
	__u32 *key;
	__u32 *value;
	int (*max_entries)[1];
} sockets SEC(".maps");

SEC("xdp.frags")
int redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

/* For generic mode on devices that pass packets in one buffer: see `Program::linear`. */
SEC("xdp")
int redirect_linear(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
