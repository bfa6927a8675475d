/* The few declarations of the kernel's BPF interface that the program uses, so that building it needs clang alone.
 * Names and numbers are those of <linux/bpf.h>. */
#ifndef SIMOOM_BPF_H
#define SIMOOM_BPF_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
/* Values in network byte order. */
typedef __u16 __be16;
typedef __u32 __be32;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define be16(x) ((__be16)__builtin_bswap16(x))
#define be32(x) ((__be32)__builtin_bswap32(x))
#else
#define be16(x) ((__be16)(x))
#define be32(x) ((__be32)(x))
#endif

enum xdp_action { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

/* The first members of a packet at tc. */
struct __sk_buff {
	__u32 len, pkt_type, mark, queue_mapping;
	/* The network protocol, in network byte order. */
	__u32 protocol;
};

/* The next program at the hook decides, and without one the kernel goes on. */
#define TCX_NEXT (-1)
#define TCX_DROP 2

/* The ends of a connection, named as in a packet that comes in. */
struct bpf_sock_tuple {
	union {
		struct {
			__be32 saddr, daddr;
			__be16 sport, dport;
		} ipv4;
		struct {
			__be32 saddr[4], daddr[4];
			__be16 sport, dport;
		} ipv6;
	};
};

struct bpf_sock {
	__u32 bound_dev_if, family, type, protocol, mark, priority;
	__be32 src_ip4, src_ip6[4];
	__u32 src_port;
	__be16 dst_port, unused;
	__be32 dst_ip4, dst_ip6[4];
	__u32 state;
	__u32 rx_queue_mapping;
};
#define BPF_TCP_TIME_WAIT 6
#define BPF_TCP_LISTEN 10
#define BPF_F_CURRENT_NETNS (-1)

#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_XSKMAP 17

#define BPF_HDR_START_NET 1

#define BPF_ANY 0
#define BPF_NOEXIST 1

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)26;
static long (*bpf_xdp_adjust_head)(void *ctx, int by) = (void *)44;
static long (*bpf_skb_load_bytes_relative)(const void *skb, __u32 offset, void *to, __u32 len, __u32 start) = (void *)68;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;
static long (*bpf_sk_release)(void *sock) = (void *)86;
static struct bpf_sock *(*bpf_skc_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
					      __u64 flags) = (void *)99;
static long (*bpf_tcp_check_syncookie)(void *sock, void *ip, __u32 ip_len, void *tcp, __u32 tcp_len) = (void *)100;

static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160;

/* How a map's properties are written down in BTF. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
