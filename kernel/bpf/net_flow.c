//go:build ignore
// Summaries of connections: of TCP when its socket says that it is closed, and for all that go on a walk now and then.
#include "net.h"

/* connected_here: this side sent the first SYN. Its bytes_acked counts that as a byte; what has been sent knows no SYN. */
static __always_inline bool connected_here(struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;
	__u32 written = BPF_CORE_READ(tcp, write_seq);
	return BPF_CORE_READ(tcp, bytes_acked) + (__u32)(written - BPF_CORE_READ(tcp, snd_una)) >
	       tcp_sent(tcp) + (__u32)(written - BPF_CORE_READ(tcp, snd_nxt));
}

static __always_inline void tell_tcp(const struct owner *o, struct sock *sk, __u64 cookie, bool ended)
{
	struct tcp_sock *tcp = (void *)sk;
	struct flow_record *f = flow_begin(o ? &o->who : NULL);

	if (!f)
		return;
	struct part_net *n = (void *)&f->net;
	net_of(n, sk, -1);
	n->cookie = cookie;
	if (o)
		n->began = o->began;
	f->nums[0] = ended;
	f->nums[1] = BPF_CORE_READ(sk, sk_err);
	f->nums[2] = BPF_CORE_READ(tcp, total_retrans);
	f->nums[3] = BPF_CORE_READ(tcp, srtt_us) >> 3;
	f->nums[4] = stream_read_end(sk);
	f->nums[5] = stream_write_end(sk);
	flow_send(f);
}

SEC("tp_btf/inet_sock_set_state")
int net_state(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int before = ctx[1], now = ctx[2];

	struct net_config *c = net_configured();

	if (!c || !(c->want & (NET_FLOWS | NET_DNS)) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	switch (now) {
	case TCP_SYN_SENT: /* in the thread that connects, whichever way it asked for it */
		own(bpf_get_socket_cookie(sk), current_task(), 0);
		return 0;
	case TCP_ESTABLISHED:
		if (before == TCP_SYN_RECV)
			bpf_get_socket_cookie(sk); /* so that accept finds one */
		return 0;
	case TCP_CLOSE:
		break;
	default:
		return 0;
	}
	if (before == TCP_LISTEN || before == TCP_CLOSE || before == TCP_SYN_RECV || before == TCP_NEW_SYN_RECV)
		return 0;
	__u64 cookie = bpf_get_socket_cookie(sk);
	struct owner *o = bpf_map_lookup_elem(&owners, &cookie);
	if (c->want & NET_FLOWS && (!o || !excluded(o->who.pid)))
		tell_tcp(o, sk, cookie, true);
	if (o)
		disown(cookie);
	return 0;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};
#pragma clang attribute pop

/* Goes over the open files of all processes. Connections that were there before are given to whoever has them open, and those that have
 * carried something since they were told of last are told of. */
SEC("iter/task_file")
int net_walk_tcp(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct net_config *c = net_configured();

	if (!task || !file || !c || !(c->want & NET_FLOWS))
		return 0;
	struct socket *socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	struct sock *sk = socket->sk;
	if (!sk || !is_tcp(sk))
		return 0;
	switch (BPF_CORE_READ(sk, __sk_common.skc_state)) {
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSE_WAIT:
		break;
	default:
		return 0;
	}
	__u64 cookie = bpf_get_socket_cookie(sk), now = bpf_ktime_get_boot_ns();
	struct owner *o = bpf_map_lookup_elem(&owners, &cookie);
	if (!o) {
		own(cookie, task, FLAG_SEEDED | (connected_here(sk) ? 0 : FLAG_INBOUND));
		return 0;
	}
	__u64 bytes = BPF_CORE_READ((struct tcp_sock *)sk, bytes_received) + BPF_CORE_READ((struct tcp_sock *)sk, bytes_sent);
	if (now - o->told < c->interval || bytes == o->bytes || excluded(o->who.pid))
		return 0;
	o->told = now;
	o->bytes = bytes;
	tell_tcp(o, sk, cookie, false);
	return 0;
}

/* How many flows the walk found. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} net_walked SEC(".maps");

enum { WALKED_FLOWS, WALKED_OWNERS };

static __always_inline void walked(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&net_walked, &which);
	if (n)
		(*n)++;
}

SEC("iter/bpf_map_elem")
int net_walk_udp(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_key *key = ctx->key;
	struct udp_flow *flow = ctx->value;
	struct net_config *c = net_configured();

	if (!key || !flow || !c)
		return 0;
	walked(WALKED_FLOWS);
	__u64 bytes = flow->net.bytes_in + flow->net.bytes_out, now = bpf_ktime_get_boot_ns(), cookie = key->cookie;
	if (now - flow->told < c->interval || bytes == flow->bytes)
		return 0;
	flow->told = now;
	flow->bytes = bytes;
	tell_udp(flow, bpf_map_lookup_elem(&owners, &cookie), false);
	return 0;
}

SEC("iter/bpf_map_elem")
int net_walk_owners(struct bpf_iter__bpf_map_elem *ctx)
{
	if (ctx->key && ctx->value)
		walked(WALKED_OWNERS);
	return 0;
}
