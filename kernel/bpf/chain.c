//go:build ignore
// Requests, from the connection that they come by to the thread that serves them and to what it starts and asks. What is followed are
// accepted TCP connections to some ports: those that the host names (served), and those at which somebody took a connection of a process of
// this host that serves requests (learned). docs/decisions/0025-causal-chain.md says why it is done so.
//
// The kernel tells of each read and write of a socket by a tracepoint of its own (6.3 and later), in the thread that reads: so that
// descriptors, dup, fork and io_uring need not be understood, and calls that are not about sockets cost nothing.
#include "socket.h"

#ifndef barrier_var
#define barrier_var(v) asm volatile("" : "+r"(v))
#endif
#define MSG_PEEK 2
#define HEAD 1024 /* bytes of a request that user space looks for identifiers in */

/* What one end calls a connection. */
struct chain_link {
	__u64 began;
	__u32 netns;
	__u16 local_port, remote_port;
	__u8 family, set, reserved[6];
	__u8 local[16], remote[16];
};

/* A followed connection. Offsets count the bytes of one direction from the first. */
struct chain_conn {
	__u64 token;	/* inbound: of the request that is being read or served; outbound: that the last write was for */
	__u64 read_to;	/* what was read */
	__u64 write_to; /* what was written */
	struct serving_key reader;
	__u32 read_base, write_base; /* sequence numbers of offset 0 */
	__u32 ports;		     /* that it is still the same connection */
	__u8 inbound;
	__u8 answered; /* something was written since the last read */
	__u8 reserved[2];
	struct chain_link link; /* as this end calls it; `began` names it among the connections between the same ports */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct chain_conn);
} chain_conns SEC(".maps");

/* A bit for each port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} chain_served SEC(".maps"), chain_learned SEC(".maps");

/* Processes whose executable user space has to look at. */
struct chain_unknown {
	__u64 start;
	__u32 pid;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} chain_unknowns SEC(".maps");

/* Tokens are unique until the next boot: microseconds since the boot when the first was given, counted on from there, and the processor. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} chain_tokens SEC(".maps");

/* What a connection that was opened on this machine is called where it was opened. Its two first sequence numbers name it, as both ends
 * know them and no address translation changes them: whoever took it finds here by which addresses, ports and namespace it was opened. */
struct chain_link_key {
	__u32 opener, taker; /* sequence numbers of the first byte that who opened it writes, and who took it */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct chain_link_key);
	__type(value, struct chain_link);
} chain_links SEC(".maps");

enum { LOST_PROCESS, LOST_END };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOST_END);
	__type(key, __u32);
	__type(value, __u64);
} chain_lost SEC(".maps");

static __always_inline void lost(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&chain_lost, &what);
	if (n)
		(*n)++;
}

static __always_inline __u64 new_token(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&chain_tokens, &zero);
	if (!n)
		return 0;
	if (!*n)
		*n = bpf_ktime_get_boot_ns() / 1000;
	(*n)++;
	return *n << 10 | (bpf_get_smp_processor_id() & 1023);
}

static __always_inline bool followed(__u16 port)
{
	__u32 word = port >> 6;
	__u64 bit = 1ull << (port & 63);
	__u64 *served = bpf_map_lookup_elem(&chain_served, &word), *learned = bpf_map_lookup_elem(&chain_learned, &word);
	return (served && *served & bit) || (learned && *learned & bit);
}

static __always_inline void learn(__u16 port)
{
	__u32 word = port >> 6;
	__u64 bit = 1ull << (port & 63);
	__u64 *learned = bpf_map_lookup_elem(&chain_learned, &word);
	if (learned && !(*learned & bit))
		__sync_fetch_and_or(learned, bit);
}

static __always_inline __u32 ports_of(struct sock *sk)
{
	return (__u32)BPF_CORE_READ(sk, __sk_common.skc_dport) << 16 | BPF_CORE_READ(sk, __sk_common.skc_num);
}

/* process returns what is known of the process that runs, and asks user space to look at its executable where nobody did. */
static __always_inline struct serving_process *process(struct task_struct *task, bool insert)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct serving_process *p = bpf_map_lookup_elem(&serving_pids, &pid);
	__u64 start = serving_start(task);

	if (p && !p->start)
		p->start = start;
	if (p && p->start == start && (p->mode != SERVING_UNKNOWN || !insert || p->asked))
		return p;
	if (!insert)
		return NULL;
	struct serving_process fresh = {.start = start, .asked = 1};
	if (p && p->start == start)
		fresh.token = p->token;
	if (bpf_map_update_elem(&serving_pids, &pid, &fresh, BPF_ANY)) {
		lost(LOST_PROCESS);
		return NULL;
	}
	struct chain_unknown ask = {.start = start, .pid = pid};
	bpf_ringbuf_output(&chain_unknowns, &ask, sizeof(ask), 0);
	return bpf_map_lookup_elem(&serving_pids, &pid);
}

/* link_of says what this end calls a connection, once for all requests that come by it: it costs some twenty looks into the kernel's memory. */
static __always_inline void link_of(struct chain_link *link, struct sock *sk)
{
	struct part_net n = {};

	net_ends(&n, sk, -1);
	link->began = bpf_ktime_get_boot_ns();
	link->netns = n.netns;
	link->family = n.family;
	link->set = n.set;
	link->local_port = n.local_port;
	link->remote_port = n.remote_port;
	__builtin_memcpy(link->local, n.local, 16);
	__builtin_memcpy(link->remote, n.remote, 16);
}

/* note_opener notes how this end, which opened a connection, calls it. */
static __always_inline void note_opener(struct chain_conn *c)
{
	struct chain_link_key key = {.opener = c->write_base, .taker = c->read_base};
	bpf_map_update_elem(&chain_links, &key, &c->link, BPF_ANY);
}

static __always_inline struct chain_link *find_link(struct chain_conn *c)
{
	struct chain_link_key key = {.opener = c->read_base, .taker = c->write_base};
	return bpf_map_lookup_elem(&chain_links, &key);
}

/* append_link: a connection as one end calls it. What it has carried is in the range that was read or written. */
static __always_inline void append_link(struct scratch *s, __u16 tag, const struct chain_link *link)
{
	struct part_net *n = append_fixed(s, tag, sizeof(*n));

	if (!n)
		return;
	n->family = link->family;
	n->protocol = IPPROTO_TCP;
	n->set = link->set;
	n->fd = -1;
	n->netns = link->netns;
	n->began = link->began;
	n->local_port = link->local_port;
	n->remote_port = link->remote_port;
	__builtin_memcpy(n->local, link->local, 16);
	__builtin_memcpy(n->remote, link->remote, 16);
}

/* begin_conn notes a connection as it is established, or as it is to be. */
static __always_inline void begin_conn(struct sock *sk, bool inbound, bool established)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	struct chain_conn c = {.inbound = inbound, .ports = ports_of(sk)};
	link_of(&c.link, sk);
	c.read_base = BPF_CORE_READ(tp, rcv_nxt);
	c.write_base = BPF_CORE_READ(tp, write_seq);
	bpf_map_update_elem(&chain_conns, &key, &c, BPF_ANY);
	if (!inbound && established)
		note_opener(&c);
}

/* was_opened_here: did somebody whose connections are followed open the connection that was just taken? Whatever port it has come to. */
static __always_inline bool was_opened_here(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;
	struct chain_link_key key = {.opener = BPF_CORE_READ(tp, rcv_nxt), .taker = BPF_CORE_READ(tp, write_seq)};
	return bpf_map_lookup_elem(&chain_links, &key) != NULL;
}

/* find_conn returns a connection, and notes one that was there before us. */
static __always_inline struct chain_conn *find_conn(struct sock *sk, bool inbound)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	__u32 ports = ports_of(sk);
	struct chain_conn *known = bpf_map_lookup_elem(&chain_conns, &key);

	if (known && known->ports == ports)
		return known;
	struct chain_conn c = {.inbound = inbound, .ports = ports, .read_to = stream_read_end(sk), .write_to = stream_write_end(sk)};
	link_of(&c.link, sk);
	c.read_base = BPF_CORE_READ(tp, copied_seq) - (__u32)c.read_to;
	c.write_base = BPF_CORE_READ(tp, write_seq) - (__u32)c.write_to;
	bpf_map_update_elem(&chain_conns, &key, &c, BPF_ANY);
	if (!inbound)
		note_opener(&c);
	return bpf_map_lookup_elem(&chain_conns, &key);
}

static __always_inline void append_range(struct scratch *s, __u64 from, __u64 to)
{
	struct part_range *p = append_fixed(s, TAG_RANGE, sizeof(*p));
	if (!p)
		return;
	p->from = from;
	p->to = to;
}

/* As programs have them in their memory. */
struct iovec {
	void *iov_base;
	__u64 iov_len;
};

struct user_msghdr {
	void *msg_name;
	int msg_namelen;
	struct iovec *msg_iov;
	__u64 msg_iovlen;
};

/* The numbers of the calls that matter here. */
#if defined(__TARGET_ARCH_x86)
enum {
	NR_READ = 0, NR_READV = 19, NR_RECVFROM = 45, NR_RECVMSG = 47,
};
#define CALL_NUMBER(regs) BPF_CORE_READ(regs, orig_ax)
#define CALL_SECOND(regs) BPF_CORE_READ(regs, si)
#else
enum {
	NR_READ = 63, NR_READV = 65, NR_RECVFROM = 207, NR_RECVMSG = 212,
};
#define CALL_NUMBER(regs) BPF_CORE_READ(regs, syscallno)
#define CALL_SECOND(regs) BPF_CORE_READ(regs, regs[1])
#endif

/* append_head: the first bytes of what was read, from where the call has put them. */
static __always_inline void append_head(struct scratch *s, __u32 len)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
	void *from = (void *)CALL_SECOND(regs);
	struct iovec first = {};

	switch ((int)CALL_NUMBER(regs)) {
	case NR_READ:
	case NR_RECVFROM:
		break;
	case NR_RECVMSG: {
		struct user_msghdr m = {};
		if (bpf_probe_read_user(&m, sizeof(m), from))
			return;
		from = m.msg_iov;
	}
	/* fall through */
	case NR_READV:
		if (bpf_probe_read_user(&first, sizeof(first), from))
			return;
		from = first.iov_base;
		if (first.iov_len < len)
			len = first.iov_len;
		break;
	default:
		return; /* io_uring: the buffer is not in the registers */
	}
	__u32 pos = s->pos;
	if (pos > RECORD_MAX - 2 * HEAD)
		return;
	pos &= RECORD_MAX - 1;
	struct part *p = (void *)&s->data[pos];
	if (len > HEAD)
		len = HEAD;
	barrier_var(len); /* or the compiler takes the mask away, which the verifier needs to see */
	len &= 2 * HEAD - 1;
	if (bpf_probe_read_user(p + 1, len, from))
		return;
	p->tag = TAG_DATA;
	p->len = len;
	s->pos = pos + sizeof(*p) + len;
}

/* begin_request starts a record that tables of requests alone read: of the process it says what names it. There is one for each request: what fill reads
 * besides costs more than all else here. */
static __always_inline struct scratch *begin_request(__u16 kind)
{
	struct scratch *s = acquire(kind, CALL_NONE);
	__u64 id = bpf_get_current_pid_tgid(), user = bpf_get_current_uid_gid();

	if (!s)
		return NULL;
	struct record *r = record_of(s);
	r->time = bpf_ktime_get_boot_ns();
	r->start = start_of(current_task());
	r->cgroup = bpf_get_current_cgroup_id();
	r->pid = id >> 32;
	r->tid = id;
	r->uid = user;
	r->gid = user >> 32;
	r->loginuid = ~0u;
	r->ppid = r->mntns = r->pidns = r->reserved = 0;
	bpf_get_current_comm(&r->comm, sizeof(r->comm));
	return s;
}

static __always_inline void tell(__u16 kind, struct chain_conn *c, __u64 from, __u64 to, struct serving_key *self, bool unsure)
{
	struct scratch *s = begin_request(kind);
	if (!s)
		return;
	struct record *r = record_of(s);
	r->token = c->token & ~SERVING_UNSURE;
	if (kind == KIND_SERVE)
		r->flags |= FLAG_INBOUND;
	if (unsure)
		r->flags |= FLAG_AMBIGUOUS;
	append_link(s, TAG_NET, &c->link);
	append_range(s, from, to);
	if (self) {
		struct chain_link *opener = find_link(c);
		if (opener)
			append_link(s, TAG_PEER, opener);
		__u64 goroutine[6] = {self->mode == SERVING_GO ? self->id : 0};
		append_nums(s, 1, goroutine);
		append_head(s, to - from);
	}
	send(s);
}

static __always_inline bool same_key(struct serving_key *a, struct serving_key *b)
{
	return a->pid == b->pid && a->id == b->id && a->mode == b->mode;
}

static __always_inline void closed_one(struct serving_key *reader)
{
	struct serving_thread *t = bpf_map_lookup_elem(&serving_threads, reader);
	if (t && t->open > 0)
		t->open--;
}

/* A socket was read: the tracepoint tells of all of them. */
SEC("tp_btf/sock_recv_length")
int chain_read(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int ret = (int)ctx[1], flags = (int)ctx[2];

	if (ret <= 0 || flags & MSG_PEEK || !is_tcp(sk) || !followed(BPF_CORE_READ(sk, __sk_common.skc_num)))
		return 0;
	struct chain_conn *c = find_conn(sk, true);
	if (!c || !c->inbound)
		return 0;
	struct tcp_sock *tp = (void *)sk;
	c->read_to += (__u32)(BPF_CORE_READ(tp, copied_seq) - c->read_base - (__u32)c->read_to);
	__u64 to = c->read_to, from = to - ret;
	struct task_struct *task = current_task();
	struct serving_process *p = excluded(bpf_get_current_pid_tgid() >> 32) ? NULL : process(task, true);
	struct serving_key self = {};
	bool known = p && serving_self(task, p, &self), fresh = c->answered || !c->token;

	if (!fresh && same_key(&self, &c->reader)) { /* more of the same */
		struct serving_thread *t = bpf_map_lookup_elem(&serving_threads, &self);
		if (t && t->token == c->token)
			return 0;
	}
	if (fresh) {
		c->token = new_token();
		c->answered = 0;
	} else {
		closed_one(&c->reader); /* another thread goes on */
	}
	c->reader = self;
	if (known) {
		struct serving_thread *t = bpf_map_lookup_elem(&serving_threads, &self);
		if (!t) {
			struct serving_thread none = {};
			bpf_map_update_elem(&serving_threads, &self, &none, BPF_ANY);
			t = bpf_map_lookup_elem(&serving_threads, &self);
		}
		if (t) {
			t->open++;
			if (t->open > 1)
				t->loop = 1; /* who reads a request while another is open does not serve them one by one */
			t->token = c->token;
			t->sock = (__u64)sk;
			t->waited = t->answered = 0;
		}
		p->token = p->forked = 0; /* it does not do what its parent was asked for any more */
		p->served = 1;
	}
	tell(KIND_SERVE, c, from, to, &self, false); /* that it was read is sure; what comes of it may not be */
	return 0;
}

/* A socket was written. */
SEC("tp_btf/sock_send_length")
int chain_write(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int ret = (int)ctx[1];
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (ret <= 0)
		return 0;
	struct serving_process *p = bpf_map_lookup_elem(&serving_pids, &pid);
	if (!p || !is_tcp(sk))
		return 0;
	struct task_struct *task = current_task();
	__u64 key = (__u64)sk;
	struct chain_conn *c = bpf_map_lookup_elem(&chain_conns, &key);
	if (c && c->ports != ports_of(sk))
		c = NULL;
	if (c ? c->inbound : followed(BPF_CORE_READ(sk, __sk_common.skc_num))) {
		if (!c || c->answered)
			return 0;
		c->answered = 1;
		closed_one(&c->reader);
		struct serving_key self = {};
		if (p->mode != SERVING_GO && serving_self(task, p, &self)) {
			struct serving_thread *t = bpf_map_lookup_elem(&serving_threads, &self);
			if (t && t->token == c->token)
				t->answered = 1;
		}
		return 0;
	}
	__u64 token = serving_token(task);
	if (!token && (!c || !c->token)) {
		if (!c && followed(__builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport))))
			find_conn(sk, false); /* it was there before us: who takes it finds it from the next request on */
		return 0;
	}
	if (!c) { /* opened before us: who took it was not told of */
		c = find_conn(sk, false);
		learn(__builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport)));
	}
	if (!c)
		return 0;
	struct tcp_sock *tp = (void *)sk;
	c->write_to += (__u32)(BPF_CORE_READ(tp, write_seq) - c->write_base - (__u32)c->write_to);
	if (c->token == token)
		return 0; /* it goes on */
	c->token = token;
	if (!token)
		return 0;
	tell(KIND_SEND, c, c->write_to - ret, c->write_to, NULL, token & SERVING_UNSURE);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int chain_state(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int old = (int)ctx[1], new = (int)ctx[2];
	__u64 key = (__u64)sk;
	struct chain_conn *c;
	struct serving_process *p;
	__u16 port;

	switch (new) {
	case TCP_LISTEN:
		if (is_tcp(sk) && !excluded(bpf_get_current_pid_tgid() >> 32) &&
		    (p = process(current_task(), true))) /* so that it is known before the first request */
			p->port = BPF_CORE_READ(sk, __sk_common.skc_num);
		return 0;
	case TCP_SYN_SENT: /* in the thread that connects */
		if (!is_tcp(sk))
			return 0;
		port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
		p = process(current_task(), false);
		/* A proxy that has the kernel move the bytes reads nothing, but takes connections. */
		if ((p && (p->served || (p->port && followed(p->port)))) || followed(port) /* as the edge's */)
			begin_conn(sk, false, false);
		return 0;
	case TCP_ESTABLISHED:
		if (!is_tcp(sk))
			return 0;
		if (old == TCP_SYN_RECV) {
			port = BPF_CORE_READ(sk, __sk_common.skc_num);
			if (followed(port)) {
				begin_conn(sk, true, true);
			} else if (was_opened_here(sk)) {
				learn(port);
				begin_conn(sk, true, true);
			}
		} else if (old == TCP_SYN_SENT && bpf_map_lookup_elem(&chain_conns, &key)) {
			begin_conn(sk, false, true); /* now that its port is known */
		}
		return 0;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
	case TCP_CLOSE:
		c = bpf_map_lookup_elem(&chain_conns, &key);
		if (!c)
			return 0;
		if (c->inbound && c->token) {
			struct serving_thread *t = bpf_map_lookup_elem(&serving_threads, &c->reader);
			if (t && !c->answered && t->open > 0)
				t->open--;
			c->answered = 1;
			if (t && t->sock == key && t->token == c->token) {
				if (c->reader.mode == SERVING_GO && new == TCP_CLOSE)
					bpf_map_delete_elem(&serving_threads, &c->reader);
				else if (c->reader.mode != SERVING_GO)
					t->answered = 1;
			}
		}
		if (new == TCP_CLOSE)
			bpf_map_delete_elem(&chain_conns, &key);
		return 0;
	}
	return 0;
}

/* A call has returned that waits for events of many connections: the program of all system calls hands on here, for calls of which no
 * record tells. `args` says that only loops use it; HTTP clients and who waits for a child use poll and select within a request, too. */
CALL_PROGRAM(wait)
{
	__u32 i = index_of(number_of(regs), compat);
	struct wanted *w = bpf_map_lookup_elem(&numbers, &i);
	bool loop = w && w->args;
	struct task_struct *task = current_task();
	struct serving_process *p = process(task, false);
	struct serving_key self = {};
	if (!p || !serving_self(task, p, &self))
		return 0;
	struct serving_thread *t = bpf_map_lookup_elem(&serving_threads, &self);
	if (!t) {
		struct serving_thread fresh = {.loop = 1};
		if (loop)
			bpf_map_update_elem(&serving_threads, &self, &fresh, BPF_ANY);
		return 0;
	}
	if (loop)
		t->loop = 1;
	if (t->loop)
		t->waited = 1;
	return 0;
}

/* A new process goes on with what the thread that made it serves. Whether it is there for that alone is only known once it has run a
 * program; until then it may be a worker that the server has made while it happened to serve this request. */
SEC("tp_btf/sched_process_fork")
int chain_fork(__u64 *ctx)
{
	struct task_struct *child = (void *)ctx[1];
	__u32 pid = BPF_CORE_READ(child, tgid), own = bpf_get_current_pid_tgid() >> 32;
	struct serving_process *p;

	if (pid == own || !(p = bpf_map_lookup_elem(&serving_pids, &own)))
		return 0;
	struct serving_process fresh = *p;
	fresh.start = serving_start(child);
	fresh.token = serving_token(current_task());
	if (!p->token || (fresh.token & ~SERVING_UNSURE) != (p->token & ~SERVING_UNSURE))
		fresh.forked = 1; /* by who serves the request itself */
	else if (p->forked)
		fresh.forked = 0; /* a copy of a copy: its token says already that it is unsure, for ever */
	if (fresh.mode == SERVING_UNKNOWN)
		fresh.asked = 0;
	if (bpf_map_update_elem(&serving_pids, &pid, &fresh, BPF_ANY))
		lost(LOST_PROCESS);
	return 0;
}

/* Another program: what was known of the executable no longer holds. */
SEC("tp_btf/sched_process_exec")
int chain_exec(__u64 *ctx)
{
	struct task_struct *task = current_task();
	struct serving_process *p = process(task, false);
	if (!p)
		return 0;
	__u64 id = bpf_get_current_pid_tgid();
	struct serving_key self = {.pid = id >> 32, .mode = SERVING_THREAD, .id = (__u32)id};
	p->token = serving_runs(task, serving_token(task));
	p->forked = 0;
	p->mode = SERVING_UNKNOWN;
	p->asked = 0;
	bpf_map_delete_elem(&serving_threads, &self);
	return 0;
}

/* A task is gone for good. */
SEC("tp_btf/sched_process_free")
int chain_free(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	__u32 tgid = BPF_CORE_READ(task, tgid), pid = BPF_CORE_READ(task, pid);
	struct serving_process *p = bpf_map_lookup_elem(&serving_pids, &tgid);

	if (!p)
		return 0;
	struct serving_key thread = {.pid = tgid, .mode = SERVING_THREAD, .id = pid};
	if (p->mode == SERVING_THREAD)
		bpf_map_delete_elem(&serving_threads, &thread);
	if (pid == tgid && (!p->start || p->start == serving_start(task)))
		bpf_map_delete_elem(&serving_pids, &tgid);
	return 0;
}
