//go:build ignore
// Calls on sockets: connect, accept, bind, listen, datagrams with an address, sockets that see or forge packets.
#include "net.h"

/* An address of the internet as a program passes it. */
struct address {
	__u16 family;
	__u16 port;
	union {
		__u8 four[4];
		struct {
			__u32 flow;
			__u8 six[16];
		};
	};
	__u32 scope;
	__u32 room;
};

/* read_address reads an address of at most len bytes in user memory, and returns how many it looked at. */
static __always_inline __u32 read_address(struct address *a, const void *from, __u32 len)
{
	__builtin_memset(a, 0, sizeof(*a));
	if (!from || len < 2)
		return 0;
	if (len > 28)
		len = 28;
	if (bpf_probe_read_user(a, masked(len, 31), from))
		return 0;
	return len;
}

/* address_port: the port, in the byte order of the machine. */
static __always_inline __u16 address_port(const struct address *a)
{
	return __builtin_bswap16(a->port);
}

/* set_end writes an address of a program as one end. A socket of IPv6 may be given one of IPv4, and the other way round for none. */
static __always_inline void set_end(struct part_net *n, __u8 *end, __u16 *port, __u8 bit, const struct address *a)
{
	if (!is_inet(a->family))
		return;
	__builtin_memset(end, 0, 16);
	if (a->family == AF_INET6) {
		n->family = AF_INET6;
		__builtin_memcpy(end, a->six, 16);
	} else if (n->family == AF_INET6) {
		end[10] = end[11] = 0xff;
		__builtin_memcpy(end + 12, a->four, 4);
	} else {
		n->family = AF_INET;
		__builtin_memcpy(end, a->four, 4);
	}
	*port = address_port(a);
	n->set |= bit;
}

static __always_inline bool is_net(__u16 family)
{
	return is_inet(family) || family == AF_UNIX || family == AF_VSOCK;
}

#define EAGAIN 11
#define EALREADY 114
#define EINPROGRESS 115
#define EISCONN 106
#define ERESTARTSYS 512 /* and what follows: the call is made again, or fails with EINTR */

CALL_PROGRAM(connect)
{
	struct net_config *c = net_configured();
	struct sock *sk = socket_of(current_task(), ARG(0));
	struct address a;

	if (!c || !(c->want & NET_CONNECT) || !sk || ret == -EALREADY || ret == -EISCONN || ret <= -ERESTARTSYS)
		return 0;
	__u16 family = family_of(sk), port = 0;
	if (!is_net(family))
		return 0;
	__u32 len = read_address(&a, (void *)ARG(1), ARG(2));
	if (!ret && len && a.family == 0) /* AF_UNSPEC: forgets the peer */
		return 0;
	bool settled = ret == 0 || ret == -EINPROGRESS;
	if (is_inet(family)) {
		/* Where the socket has a peer that counts: a program may have changed its memory since. */
		port = BPF_CORE_READ(sk, __sk_common.skc_dport);
		port = settled && port ? __builtin_bswap16(port) : address_port(&a);
		if (!port_matters(c->want, port))
			return 0;
	}
	struct scratch *s = begin(KIND_CONNECT, CALL_connect);
	if (!s)
		return 0;
	record_of(s)->ret = ret;
	struct part_net *n = append_net(s, sk, ARG(0));
	if (n && is_inet(family) && !(settled && n->set & NET_REMOTE))
		set_end(n, n->remote, &n->remote_port, NET_REMOTE, &a);
	if (family == AF_UNIX) {
		if (!ret)
			append_unix_peer(s, sk);
		else
			append_asked(s, (void *)ARG(1), ARG(2));
	}
	send(s);
	return 0;
}

static __always_inline int accepted(__u16 call, long ret)
{
	struct net_config *c = net_configured();
	struct task_struct *task = current_task();

	if (!c || ret < 0)
		return 0;
	struct sock *sk = socket_of(task, ret);
	if (!sk || !is_net(family_of(sk)))
		return 0;
	if (c->want & NET_FLOWS && is_tcp(sk))
		own(cookie_of(sk), task, FLAG_INBOUND);
	if (!(c->want & NET_ACCEPT))
		return 0;
	struct scratch *s = begin(KIND_ACCEPT, call);
	if (!s)
		return 0;
	record_of(s)->ret = ret;
	record_of(s)->flags |= FLAG_INBOUND;
	append_net(s, sk, ret);
	if (family_of(sk) == AF_UNIX)
		append_unix(s, sk); /* it has the name of the socket that listens */
	send(s);
	return 0;
}

CALL_PROGRAM(accept)
{
	return accepted(CALL_accept, ret);
}

CALL_PROGRAM(accept4)
{
	return accepted(CALL_accept4, ret);
}

CALL_PROGRAM(bind)
{
	struct sock *sk = socket_of(current_task(), ARG(0));
	struct address a;

	if (!sk)
		return 0;
	__u16 family = family_of(sk);
	if (!is_net(family) && family != AF_PACKET && family != AF_XDP)
		return 0;
	struct scratch *s = begin(KIND_BIND, CALL_bind);
	if (!s)
		return 0;
	record_of(s)->ret = ret;
	struct part_net *n = append_net(s, sk, ARG(0));
	if (ret) {
		__u32 len = read_address(&a, (void *)ARG(1), ARG(2));
		if (n && is_inet(family) && len)
			set_end(n, n->local, &n->local_port, NET_LOCAL, &a);
		if (family == AF_UNIX)
			append_asked(s, (void *)ARG(1), ARG(2));
	} else if (family == AF_UNIX) {
		append_unix(s, sk);
	}
	send(s);
	return 0;
}

CALL_PROGRAM(listen)
{
	struct sock *sk = socket_of(current_task(), ARG(0));

	if (!sk || !is_net(family_of(sk)))
		return 0;
	struct scratch *s = begin(KIND_LISTEN, CALL_listen);
	if (!s)
		return 0;
	record_of(s)->ret = ret;
	append_net(s, sk, ARG(0));
	__u64 nums[6] = {(__u32)ARG(1)};
	append_nums(s, 1, nums);
	if (family_of(sk) == AF_UNIX)
		append_unix(s, sk);
	send(s);
	return 0;
}

/* Only sockets that see or forge packets, and those of virtual machines: all others are told of when they are connected or bound. */
CALL_PROGRAM(socket)
{
	__u32 domain = ARG(0), type = ARG(1) & 15;

	if (domain == AF_NETLINK ||
	    (domain != AF_PACKET && domain != AF_XDP && domain != AF_VSOCK && type != SOCK_RAW && type != SOCK_PACKET))
		return 0;
	struct scratch *s = begin(KIND_CALL, CALL_socket);
	if (!s)
		return 0;
	record_of(s)->ret = ret;
	__u64 nums[6] = {domain, (__u32)ARG(1), (__u32)ARG(2)};
	append_nums(s, 3, nums);
	send(s);
	return 0;
}

#define SENT_AGAIN 60000000000ull /* nanoseconds after which the same address is told of again */

struct sent {
	__u64 inode; /* the socket's */
	__u32 pid;
	__u16 family;
	__u16 port;
	__u8 remote[16];
};

/* Addresses that sockets have sent to lately: a sender of many datagrams is told of once a minute. What was forgotten is told again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct sent);
	__type(value, __u64);
} sent SEC(".maps");

static __always_inline void sent_to(__u16 call, long ret, __u32 fd, const void *name, __u32 len)
{
	struct net_config *c = net_configured();
	struct address a;

	if (!name || !c || !(c->want & NET_SEND) || ret == -EAGAIN || ret <= -ERESTARTSYS)
		return;
	if (read_address(&a, name, len) < 8 || !is_inet(a.family) || !port_matters(c->want, address_port(&a)))
		return;
	struct file *f = file_at(current_task(), fd);
	struct sock *sk = socket_of_file(f);
	if (!sk)
		return;
	if (!is_inet(family_of(sk)))
		return;
	struct sent key = {.inode = BPF_CORE_READ(f, f_inode, i_ino), .pid = bpf_get_current_pid_tgid() >> 32, .family = a.family, .port = a.port};
	if (a.family == AF_INET6)
		__builtin_memcpy(key.remote, a.six, 16);
	else
		__builtin_memcpy(key.remote, a.four, 4);
	__u64 now = bpf_ktime_get_boot_ns(), *last = bpf_map_lookup_elem(&sent, &key);
	if (last && now - *last < SENT_AGAIN)
		return;
	bpf_map_update_elem(&sent, &key, &now, BPF_ANY);
	struct scratch *s = begin(KIND_CALL, call);
	if (!s)
		return;
	record_of(s)->ret = ret;
	struct part_net *n = append_net(s, sk, fd);
	if (n)
		set_end(n, n->remote, &n->remote_port, NET_REMOTE, &a);
	send(s);
}

CALL_PROGRAM(sendto)
{
	sent_to(CALL_sendto, ret, ARG(0), (void *)ARG(4), ARG(5));
	return 0;
}

/* read_message reads the address of a struct msghdr in user memory. */
static __always_inline bool read_message(__u64 *name, __u32 *len, const void *from, bool compat)
{
	__u32 narrow[2];
	struct {
		__u64 name;
		__u32 len;
		__u32 pad;
	} wide;

	if (compat) {
		if (bpf_probe_read_user(narrow, sizeof(narrow), from))
			return false;
		*name = narrow[0];
		*len = narrow[1];
		return true;
	}
	if (bpf_probe_read_user(&wide, sizeof(wide), from))
		return false;
	*name = wide.name;
	*len = wide.len;
	return true;
}

CALL_PROGRAM(sendmsg)
{
	__u64 name;
	__u32 len;

	if (read_message(&name, &len, (void *)ARG(1), compat))
		sent_to(CALL_sendmsg, ret, ARG(0), (void *)name, len);
	return 0;
}

#define MESSAGES 4 /* of sendmmsg that are looked at */

CALL_PROGRAM(sendmmsg)
{
	__u32 size = compat ? 32 : 64; /* of struct mmsghdr */
	__u64 name;
	__u32 len;

	for (int i = 0; i < MESSAGES; i++) {
		if (ret > 0 && i >= ret)
			break;
		if (!read_message(&name, &len, (void *)ARG(1) + i * size, compat))
			break;
		sent_to(CALL_sendmmsg, ret, ARG(0), (void *)name, len);
		if (ret <= 0)
			break;
	}
	return 0;
}
