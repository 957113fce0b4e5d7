//go:build ignore
// Sockets: the socket behind a descriptor, its two ends, what it has carried, and how far its streams have been read and written.
#ifndef TESTUDO_SOCKET_H
#define TESTUDO_SOCKET_H

#include "common.h"

#define AF_NETLINK 16
#define AF_PACKET 17
#define AF_VSOCK 40
#define AF_XDP 44

#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_PACKET 10

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define NET_LOCAL 1 /* bits of part_net.set */
#define NET_REMOTE 2

#define SOCK_FLAG_DONE (1 << 1) /* the peer's FIN has come */

#define SUN_PATH 108

/* masked: v & mask, which the compiler must not leave out though it knows that v is no more: the verifier has forgotten. */
#define masked(v, mask)                       \
	({                                    \
		__u64 masked_v = (v);         \
		asm volatile("" : "+r"(masked_v)); \
		masked_v & (mask);            \
	})

/* States of a TCP socket. */
enum {
	TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE, TCP_CLOSE_WAIT,
	TCP_LAST_ACK, TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV,
};

/* socket_of_file returns the socket that an open file is, NULL where it is none. A descriptor opened with O_PATH on the name of a unix
 * socket has an inode of the same type, but no socket. */
static __always_inline struct sock *socket_of_file(struct file *f)
{
	if (!f || (BPF_CORE_READ(f, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(f, private_data);
	if (!socket || BPF_CORE_READ(socket, file) != f)
		return NULL;
	return BPF_CORE_READ(socket, sk);
}

/* socket_of returns the socket of a descriptor of the task, NULL where it is none. */
static __always_inline struct sock *socket_of(struct task_struct *task, __u32 fd)
{
	return socket_of_file(file_at(task, fd));
}

static __always_inline __u16 family_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_family);
}

static __always_inline bool is_inet(__u16 family)
{
	return family == AF_INET || family == AF_INET6;
}

/* cookie_of returns the kernel's number of the socket; 0: nobody has asked for one yet. */
static __always_inline __u64 cookie_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/* is_tcp: sk is a struct tcp_sock. Multipath TCP is of another protocol to the kernel, and another structure. */
static __always_inline bool is_tcp(struct sock *sk)
{
	return is_inet(family_of(sk)) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* tcp_sent returns how many bytes of the stream have been sent at least once. */
static __always_inline __u64 tcp_sent(struct tcp_sock *tcp)
{
	return BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
}

/* stream_read_end returns how many bytes the program has read of a TCP stream: the end of what the call that just returned read.
 *
 * bytes_received counts all that came in order, copied_seq says how much of it was read. A SYN is in neither. The peer's FIN counts as a
 * byte in bytes_received and rcv_nxt as it comes, and in copied_seq as the program reads the end; then it is taken off here, so that the
 * last byte and the end of the stream have the same number. */
static __always_inline __u64 stream_read_end(struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;
	__u32 unread = BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);
	__u64 end = BPF_CORE_READ(tcp, bytes_received) - unread;

	if (!unread && BPF_CORE_READ(sk, __sk_common.skc_flags) & SOCK_FLAG_DONE && end)
		end--;
	return end;
}

/* stream_write_end returns how many bytes the program has written to a TCP stream: the end of what the call that just returned wrote.
 *
 * bytes_acked + (write_seq - snd_una) is that, and one more at the side that connected, whose SYN counts as a byte, and one more from the
 * moment that our FIN is queued (shutdown, close: nothing is written any more then). Both are taken off here. Which side
 * connected is found by comparing with what has been sent, which knows no SYN. */
static __always_inline __u64 stream_write_end(struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;
	__u32 written = BPF_CORE_READ(tcp, write_seq), unacked = written - BPF_CORE_READ(tcp, snd_una);
	__u32 unsent = written - BPF_CORE_READ(tcp, snd_nxt);
	__u64 end = BPF_CORE_READ(tcp, bytes_acked) + unacked;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	if ((state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_LAST_ACK || state == TCP_CLOSING) && end) {
		end--;
		if (unsent)
			unsent--;
	}
	if (end > tcp_sent(tcp) + unsent)
		end--;
	return end;
}

/* net_counters: what a TCP connection has carried, without its SYN and FIN. */
static __always_inline void net_counters(struct part_net *n, struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;

	n->bytes_in = BPF_CORE_READ(tcp, bytes_received);
	if (n->bytes_in && BPF_CORE_READ(sk, __sk_common.skc_flags) & SOCK_FLAG_DONE)
		n->bytes_in--;
	n->bytes_out = tcp_sent(tcp);
	n->packets_in = BPF_CORE_READ(tcp, segs_in);
	n->packets_out = BPF_CORE_READ(tcp, segs_out);
}

/* net_ends says of a socket what the kernel knows, but for what it has carried: nothing of it is from the memory of a program. n is zero before. */
static __always_inline void net_ends(struct part_net *n, struct sock *sk, __s32 fd)
{
	struct inet_sock *inet = (void *)sk;
	__u16 family = family_of(sk), port;
	__u32 four;

	n->family = family;
	n->protocol = BPF_CORE_READ(sk, sk_protocol);
	n->fd = fd;
	n->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	n->cookie = cookie_of(sk);
	if (!is_inet(family))
		return;
	/* The port in sock_common is gone when a connection is closed, and is the protocol of a raw socket. */
	if (BPF_CORE_READ(sk, sk_type) != SOCK_RAW) {
		port = BPF_CORE_READ(inet, inet_sport);
		n->local_port = __builtin_bswap16(port);
		port = BPF_CORE_READ(sk, __sk_common.skc_dport);
		n->remote_port = __builtin_bswap16(port);
	}
	if (family == AF_INET) {
		four = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		if (!four)
			four = BPF_CORE_READ(inet, inet_saddr);
		__builtin_memcpy(n->local, &four, 4);
		if (four)
			n->set |= NET_LOCAL;
		four = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		__builtin_memcpy(n->remote, &four, 4);
		if (four)
			n->set |= NET_REMOTE;
	} else {
		__u64 *local = (void *)n->local, *remote = (void *)n->remote;
		bpf_core_read(n->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(n->remote, 16, &sk->__sk_common.skc_v6_daddr);
		if (local[0] | local[1])
			n->set |= NET_LOCAL;
		if (remote[0] | remote[1])
			n->set |= NET_REMOTE;
	}
	if (n->local_port)
		n->set |= NET_LOCAL;
	if (n->remote_port)
		n->set |= NET_REMOTE;
}

/* net_of says of a socket what the kernel knows, and what it has carried. n is zero before. */
static __always_inline void net_of(struct part_net *n, struct sock *sk, __s32 fd)
{
	net_ends(n, sk, fd);
	if (is_inet(n->family) && n->protocol == IPPROTO_TCP && is_tcp(sk) && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		net_counters(n, sk);
}

/* append_net: the socket. Returns the part, for what the caller knows besides. */
static __always_inline struct part_net *append_net(struct scratch *s, struct sock *sk, __s32 fd)
{
	struct part_net *n = append_fixed(s, TAG_NET, sizeof(*n));
	if (n)
		net_of(n, sk, fd);
	return n;
}

/* append_sun: the name of a unix socket, len bytes of sun_path; of the abstract ones the first byte is written as @. */
static __always_inline void append_sun(struct scratch *s, const void *path, __u32 len, bool user)
{
	__u32 pos = s->pos;

	if (!len || pos > RECORD_MAX - PATH_LEN - 4)
		return;
	if (len > SUN_PATH)
		len = SUN_PATH;
	pos = masked(pos, RECORD_MAX - 1); /* before 6.7 the verifier forgets what it knew of a value that was put on the stack */
	struct part *p = (void *)&s->data[pos];
	char *to = (void *)(p + 1);
	if (user ? bpf_probe_read_user(to, masked(len, 127), path) : bpf_probe_read_kernel(to, masked(len, 127), path))
		return;
	if (!to[0]) {
		if (len == 1)
			return;
		to[0] = '@';
	}
	to[masked(len, 127)] = 0;
	p->tag = TAG_NAME;
	p->len = len + 1;
	s->pos = pos + sizeof(*p) + len + 1;
}

/* append_asked: the name in an address of len bytes that a program passed. */
static __always_inline void append_asked(struct scratch *s, const void *from, __u32 len)
{
	if (len > 2)
		append_sun(s, from + 2, len - 2, true);
}

/* append_unix: what a unix socket is bound to: its name as the binder wrote it, and where the file is. */
static __always_inline void append_unix(struct scratch *s, struct sock *sk)
{
	struct unix_sock *u = (void *)sk;
	struct unix_address *a = BPF_CORE_READ(u, addr);

	if (!a)
		return;
	int len = BPF_CORE_READ(a, len);
	if (len > 2)
		append_sun(s, (void *)a + bpf_core_field_offset(struct unix_address, name) + 2, len - 2, false);
	if (BPF_CORE_READ(u, path.dentry))
		append_path(s, TAG_PATH, &u->path);
}

/* append_unix_peer: what the other end of a connected unix socket is bound to. */
static __always_inline void append_unix_peer(struct scratch *s, struct sock *sk)
{
	struct sock *peer = BPF_CORE_READ((struct unix_sock *)sk, peer);

	if (peer)
		append_unix(s, peer);
}

#endif
