//go:build ignore
// What the programs of the network share: what is wanted, who owns a socket, records that are sent from where no process is current.
#ifndef TESTUDO_NET_H
#define TESTUDO_NET_H

#include "socket.h"

/* What is wanted. */
#define NET_CONNECT (1 << 0)
#define NET_ACCEPT (1 << 1)
#define NET_SEND (1 << 2)
#define NET_FLOWS (1 << 3)
#define NET_DNS (1 << 4)
#define NET_PORTS (1 << 5) /* only those in `ports` */

#define PORT_DNS 53

struct net_config {
	__u32 want;
	__u32 reserved;
	__u64 interval; /* nanoseconds between two summaries of a flow that goes on */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct net_config);
} net_config SEC(".maps");

/* A bit for each port of a remote end that matters. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

struct peer {
	__u8 remote[16];
	__u16 port; /* in the byte order of the machine */
	__u8 reserved[6];
};

/* Who owns a socket: who connected, accepted or bound it, or sent the first datagram. */
struct owner {
	struct record who; /* as the header of a record; its flags are FLAG_INBOUND and those of the process */
	__u64 began;
	__u64 told;	 /* when a summary was sent last */
	__u64 bytes;	 /* that it told of */
	__u32 netns;	 /* that the process was in */
	__u32 reserved;
	struct peer last; /* of UDP: whom the last datagram was exchanged with */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64); /* the socket's cookie */
	__type(value, struct owner);
} owners SEC(".maps");

/* Changes of the bounded maps, so that what they forgot can be counted: forgotten = added - removed - there. */
enum { COUNT_OWNERS_ADDED, COUNT_OWNERS_REMOVED, COUNT_FLOWS_ADDED, COUNT_FLOWS_REMOVED, NET_COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NET_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} net_counts SEC(".maps");

static __always_inline void net_count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&net_counts, &which);
	if (n)
		(*n)++;
}

static __always_inline struct net_config *net_configured(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&net_config, &zero);
}

static __always_inline bool net_wants(__u32 what)
{
	struct net_config *c = net_configured();
	return c && c->want & what;
}

/* port_matters: is it among the remote ports that rules ask for? */
static __always_inline bool port_matters(__u32 want, __u16 port)
{
	__u32 word = port >> 6;
	if (!(want & NET_PORTS))
		return true;
	__u64 *bits = bpf_map_lookup_elem(&ports, &word);
	return !bits || *bits >> (port & 63) & 1;
}

/* own remembers the task as the owner of a socket. */
static __always_inline void own(__u64 cookie, struct task_struct *task, __u32 flags)
{
	struct owner o = {};

	if (!cookie)
		return;
	fill(&o.who, task, false);
	o.who.flags |= flags;
	o.began = o.told = o.who.time;
	o.netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	if (!bpf_map_update_elem(&owners, &cookie, &o, BPF_NOEXIST))
		net_count(COUNT_OWNERS_ADDED);
	else
		bpf_map_update_elem(&owners, &cookie, &o, BPF_EXIST);
}

static __always_inline void disown(__u64 cookie)
{
	if (!bpf_map_delete_elem(&owners, &cookie))
		net_count(COUNT_OWNERS_REMOVED);
}

static __always_inline void count_sent(__u32 kind, __u32 size)
{
	__u32 k = kind & (KINDS - 1);
	struct count *c = bpf_map_lookup_elem(&counts, &k);
	if (c) {
		c->sent++;
		c->bytes += size;
	}
}

/* A summary of a connection. It has a size of its own, so that it is written where the reader finds it: programs in softirq have no
 * scratch that nobody interrupts. */
struct flow_record {
	struct record head;
	struct part net_head;
	struct part_net net;
	struct part nums_head;
	__u64 nums[6]; /* 1 when the connection has ended; what the socket's error was; segments sent again; round trip in microseconds; how
			* many bytes the program has read and written: the others are in the kernel's buffers */
} __attribute__((packed));

static __always_inline struct flow_record *flow_begin(const struct record *who)
{
	struct flow_record *f = bpf_ringbuf_reserve(&records, sizeof(*f), 0);
	if (!f) {
		count_lost(KIND_FLOW);
		return NULL;
	}
	__builtin_memset(f, 0, sizeof(*f));
	if (who)
		f->head = *who;
	else
		f->head.loginuid = ~0u;
	f->head.size = sizeof(*f);
	f->head.kind = KIND_FLOW;
	f->head.call = CALL_NONE;
	f->head.time = bpf_ktime_get_boot_ns();
	f->net_head.tag = TAG_NET;
	f->net_head.len = sizeof(f->net);
	f->nums_head.tag = TAG_NUMS;
	f->nums_head.len = sizeof(f->nums);
	return f;
}

static __always_inline void flow_send(struct flow_record *f)
{
	count_sent(KIND_FLOW, sizeof(*f));
	bpf_ringbuf_submit(f, wake_flags(KIND_FLOW));
}

/* Datagrams between a socket and one peer. */
struct flow_key {
	__u64 cookie;
	struct peer peer;
};

struct udp_flow {
	struct part_net net; /* with the counters */
	__u64 told;	     /* when a summary was sent last */
	__u64 bytes;	     /* that it told of */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct udp_flow);
} udp_flows SEC(".maps");

static __always_inline void tell_udp(const struct udp_flow *flow, const struct owner *o, bool ended)
{
	if (o && excluded(o->who.pid))
		return;
	struct flow_record *f = flow_begin(o ? &o->who : NULL);
	if (!f)
		return;
	f->net = flow->net;
	f->nums[0] = ended;
	flow_send(f);
}

#endif
