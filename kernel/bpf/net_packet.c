//go:build ignore
// Packets, as the sockets of a cgroup and all below it send and receive them: DNS messages, and what flows of UDP carry.
//
// A packet is seen here however the program asked for it (send, write, io_uring), in every network namespace, and by the socket that it is
// for: the owner is found by that. Not seen are packets that have no socket of their own: of packet sockets, AF_XDP, and forwarded ones.
#include "kernel.h"

#if defined(__TARGET_ARCH_arm64)
/* A program of this kind does not reach the registers of the task, where Go keeps its goroutine: messages of a Go program are not joined
 * to requests there. */
#define bpf_task_pt_regs(task) ((void *)0)
#endif

/* A program of this kind has no helper for it before 6.10. */
static __always_inline __u64 current_pid_tgid(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	return (__u64)BPF_CORE_READ(task, tgid) << 32 | (__u32)BPF_CORE_READ(task, pid);
}
#define bpf_get_current_pid_tgid current_pid_tgid

#include "net.h"

#define DNS_MAX 1500 /* bytes of a message that are carried */
#define DNS_HEADER 12

#define ETH_IP 0x0800
#define ETH_IP6 0x86dd

/* What a packet says of its ends. */
struct packet {
	__u16 family;
	__u8 protocol;
	__u16 local_port, remote_port;
	__u32 payload;  /* where it begins */
	__u8 local[16], remote[16];
};

/* parse reads the headers. Fragments behind the first, and IPv6 with headers before that of UDP or TCP, are not looked at. */
static __always_inline bool parse(struct __sk_buff *skb, struct packet *p, bool out)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *from, *to;
	__u32 at;

	if (skb->protocol == __builtin_bswap16(ETH_IP)) {
		if (data + 20 > end)
			return false;
		p->protocol = data[9];
		if (p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_TCP)
			return false;
		if (data[6] & 0x1f || data[7])
			return false;
		at = (data[0] & 15) * 4;
		from = data + 12;
		to = data + 16;
		p->family = AF_INET;
	} else if (skb->protocol == __builtin_bswap16(ETH_IP6)) {
		if (data + 40 > end)
			return false;
		p->protocol = data[6];
		if (p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_TCP)
			return false;
		at = 40;
		from = data + 8;
		to = data + 24;
		p->family = AF_INET6;
	} else {
		return false;
	}
	__u8 *ports = data + at;
	if (ports + 14 > end && (p->protocol == IPPROTO_TCP || ports + 8 > end))
		return false;
	__u16 source = ports[0] << 8 | ports[1], dest = ports[2] << 8 | ports[3];
	p->local_port = out ? source : dest;
	p->remote_port = out ? dest : source;
	p->payload = at + 8;
	if (p->protocol == IPPROTO_TCP) {
		if (p->remote_port != PORT_DNS)
			return true; /* nothing else is asked of TCP */
		if (ports + 14 > end)
			return false;
		p->payload = at + (ports[12] >> 4) * 4;
	}
	if (p->family == AF_INET) {
		__builtin_memcpy(p->local, out ? from : to, 4);
		__builtin_memcpy(p->remote, out ? to : from, 4);
	} else {
		__builtin_memcpy(p->local, out ? from : to, 16);
		__builtin_memcpy(p->remote, out ? to : from, 16);
	}
	return true;
}

static __always_inline void packet_net(struct part_net *n, const struct packet *p, struct __sk_buff *skb, __u64 cookie)
{
	__builtin_memset(n, 0, sizeof(*n));
	n->family = p->family;
	n->protocol = p->protocol;
	n->set = NET_LOCAL | NET_REMOTE;
	n->fd = -1;
	n->cookie = cookie;
	__builtin_memcpy(n->local, p->local, 16);
	__builtin_memcpy(n->remote, p->remote, 16);
	n->local_port = p->local_port;
	n->remote_port = p->remote_port;
}

/* count_datagram adds a datagram to its flow. */
static __always_inline void count_datagram(struct __sk_buff *skb, const struct packet *p, __u64 cookie, bool out)
{
	struct flow_key key = {.cookie = cookie};
	__u64 bytes = skb->len > p->payload ? skb->len - p->payload : 0;

	__builtin_memcpy(key.peer.remote, p->remote, 16);
	key.peer.port = p->remote_port;
	struct udp_flow *flow = bpf_map_lookup_elem(&udp_flows, &key);
	if (!flow) {
		struct udp_flow fresh = {};
		packet_net(&fresh.net, p, skb, cookie);
		struct owner *o = bpf_map_lookup_elem(&owners, &cookie);
		if (o) {
			o->last = key.peer;
			fresh.net.netns = o->netns;
		}
		fresh.told = fresh.net.began = bpf_ktime_get_boot_ns();
		if (bpf_map_update_elem(&udp_flows, &key, &fresh, BPF_NOEXIST) == 0)
			net_count(COUNT_FLOWS_ADDED);
		flow = bpf_map_lookup_elem(&udp_flows, &key);
		if (!flow)
			return;
	}
	if (out) {
		__sync_fetch_and_add(&flow->net.bytes_out, bytes);
		__sync_fetch_and_add(&flow->net.packets_out, 1);
	} else {
		__sync_fetch_and_add(&flow->net.bytes_in, bytes);
		__sync_fetch_and_add(&flow->net.packets_in, 1);
	}
}

/* Where a message is put together: one for what goes out and one for what comes in, which may interrupt the other. */
struct dns_message {
	__u32 busy;
	__u32 reserved;
	struct record head;
	struct part net_head;
	struct part_net net;
	struct part data_head;
	__u8 data[DNS_MAX + 548];
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct dns_message);
} dns_messages SEC(".maps");

/* tell_dns sends the message that the packet holds. Over TCP it begins with its length, and the rest of it may follow in other segments:
 * what does not begin like a message is one of those. */
static __always_inline void tell_dns(struct __sk_buff *skb, const struct packet *p, __u64 cookie, bool out)
{
	__u32 slot = out, at = p->payload, total = skb->len, len;
	struct task_struct *task = current_task();
	struct owner *o = NULL;

	if (total <= at)
		return;
	len = total - at;
	__u32 whole = len;
	if (p->protocol == IPPROTO_TCP) {
		__u8 first[2 + DNS_HEADER];
		if (len < sizeof(first) || bpf_skb_load_bytes(skb, at, first, sizeof(first)))
			return;
		whole = first[0] << 8 | first[1];
		/* An ordinary question or its answer: one question, no reserved bit. */
		if (whole < DNS_HEADER || first[4] & 0x78 || first[5] & 0x40 || first[6] || first[7] != 1)
			return;
		at += 2;
		len -= 2;
		if (len > whole)
			len = whole;
	}
	if (len < DNS_HEADER)
		return;
	bool own_packet = out && p->protocol == IPPROTO_UDP; /* TCP may send while another process is interrupted */
	if (!own_packet) {
		o = bpf_map_lookup_elem(&owners, &cookie);
		if (!o && !out)
			return;
	}
	if (excluded(o ? o->who.pid : bpf_get_current_pid_tgid() >> 32))
		return;
	struct dns_message *m = bpf_map_lookup_elem(&dns_messages, &slot);
	if (!m)
		return;
	if (m->busy) {
		count_lost(KIND_DNS);
		return;
	}
	m->busy = 1;
	struct record *r = (void *)&m->head;
	if (o)
		*r = o->who;
	else {
		r->ret = r->flags = 0;
		fill(r, task, false);
	}
	r->kind = KIND_DNS;
	r->call = CALL_NONE;
	r->time = bpf_ktime_get_boot_ns();
	m->net_head.tag = TAG_NET;
	m->net_head.len = sizeof(m->net);
	struct part_net *n = (void *)&m->net;
	packet_net(n, p, skb, cookie);
	o = o ? o : bpf_map_lookup_elem(&owners, &cookie);
	if (o)
		n->netns = o->netns;
	if (out) {
		n->bytes_out = whole;
		n->packets_out = 1;
	} else {
		n->bytes_in = whole;
		n->packets_in = 1;
	}
	if (len > DNS_MAX)
		len = DNS_MAX;
	if (len < whole)
		r->flags |= FLAG_TRUNCATED;
	__u64 carried = masked(len - 1, 2047) + 1; /* as the verifier sees that it is not 0 */
	if (!bpf_skb_load_bytes(skb, at, m->data, carried)) {
		m->data_head.tag = TAG_DATA;
		m->data_head.len = carried;
		__u64 size = offsetof(struct dns_message, data) - offsetof(struct dns_message, head) + carried;
		r->size = size;
		if (bpf_ringbuf_output(&records, r, size, wake_flags(KIND_DNS)))
			count_lost(KIND_DNS);
		else
			count_sent(KIND_DNS, size);
	}
	m->busy = 0;
}

static __always_inline int packet(struct __sk_buff *skb, bool out)
{
	struct net_config *c = net_configured();
	struct packet p = {};

	if (!c || !(c->want & (NET_FLOWS | NET_DNS)) || !parse(skb, &p, out))
		return 1;
	bool dns = c->want & NET_DNS && p.remote_port == PORT_DNS;
	bool flow = c->want & NET_FLOWS && p.protocol == IPPROTO_UDP;
	if (!dns && !flow)
		return 1;
	__u64 cookie = bpf_get_socket_cookie(skb);
	if (!cookie)
		return 1;
	if (out && p.protocol == IPPROTO_UDP && !bpf_map_lookup_elem(&owners, &cookie))
		own(cookie, current_task(), 0); /* who sends the first datagram, on a socket that was not bound */
	if (flow)
		count_datagram(skb, &p, cookie, out);
	if (dns)
		tell_dns(skb, &p, cookie, out);
	return 1;
}

SEC("cgroup_skb/egress")
int net_egress(struct __sk_buff *skb)
{
	return packet(skb, true);
}

SEC("cgroup_skb/ingress")
int net_ingress(struct __sk_buff *skb)
{
	return packet(skb, false);
}

static __always_inline int bound(struct bpf_sock *ctx)
{
	if (ctx->type == SOCK_DGRAM && net_wants(NET_FLOWS | NET_DNS))
		own(bpf_get_socket_cookie(ctx), current_task(), 0);
	return 1;
}

SEC("cgroup/post_bind4")
int net_bound4(struct bpf_sock *ctx)
{
	return bound(ctx);
}

SEC("cgroup/post_bind6")
int net_bound6(struct bpf_sock *ctx)
{
	return bound(ctx);
}

/* A socket is given up: what it exchanged with its last peer is told. Of a socket with many the walk tells the rest. */
SEC("cgroup/sock_release")
int net_released(struct bpf_sock *ctx)
{
	if (ctx->type != SOCK_DGRAM || !net_wants(NET_FLOWS | NET_DNS))
		return 1;
	struct flow_key key = {.cookie = bpf_get_socket_cookie(ctx)};
	struct owner *o = bpf_map_lookup_elem(&owners, &key.cookie);
	if (!o)
		return 1;
	key.peer = o->last;
	struct udp_flow *flow = bpf_map_lookup_elem(&udp_flows, &key);
	if (flow) {
		tell_udp(flow, o, true);
		if (!bpf_map_delete_elem(&udp_flows, &key))
			net_count(COUNT_FLOWS_REMOVED);
	}
	disown(key.cookie);
	return 1;
}
