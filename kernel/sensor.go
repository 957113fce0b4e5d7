package kernel

import (
	"context"
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/kernel/record"
)

// A Sensor is the privileged side: what can see and touch the kernel. It is in this process, or behind
// a socket pair (kernel/wire). Its methods are safe for concurrent use. A Sensor that cannot do something says so in
// [Status], and returns an error that wraps [ErrUnable] when it is asked to.
type Sensor interface {
	// Run delivers what is seen to the receiver until ctx ends, and undoes all that it did to the kernel
	// before it returns, but for what the guard says is to stay.
	Run(ctx context.Context, to Receiver) error
	// Watch sets what is to be seen, in the place of what was to be seen before.
	Watch(ctx context.Context, want Interest) error
	// Guard sets what is enforced, in the place of what was enforced before: all of it or, with an error, none.
	Guard(ctx context.Context, g Guard) error
	// Container says what a cgroup is the container of; ok is false where it is none.
	Container(ctx context.Context, cgroup uint64, pid uint32) (c Container, ok bool, err error)
	// Executable says of a file that ran what reading it tells. It may take as long as reading the file takes.
	Executable(ctx context.Context, r FileRef) (Executable, error)
	// Do carries out an action, or undoes one.
	Do(ctx context.Context, o Order) (Done, error)
	// Status says what works, what does not and why, and counts.
	Status(ctx context.Context) (Status, error)
}

// A Receiver takes what a sensor sees. Its methods are called by one goroutine of the sensor for Records, and by any for Ask.
type Receiver interface {
	// Records takes whole records, one behind the other, in the order in which they were seen. It must not keep
	// the slice. It returns quickly: while it does not, records are dropped and counted in the kernel.
	Records(batch []byte)
	// Ask is asked by a gate that can wait: may this happen? It answers before ctx ends.
	Ask(ctx context.Context, rec []byte, gate record.Gate) Answer
}

// Answer is a gate's.
type Answer struct {
	Deny bool
	Rule string // that decided, "" for none
}

// Interest is what the rules need to see, so that nothing else is collected. The zero Interest asks for what the plane itself
// needs: processes that start, fork and end.
type Interest struct {
	// Calls are the system calls that matter; a call that a kind of its own stands for (connect, accept, ...) counts too.
	Calls map[record.Call]bool
	// Reads, Writes and Changes are the paths of files that matter when they are opened for reading alone, opened for
	// writing or created, and changed by another call (rename, chmod, ...), whose second path counts too.
	Reads, Writes, Changes Paths
	// AnyPath are the calls of Calls for which Changes does not count: all of them matter.
	AnyPath map[record.Call]bool
	// Readers and Writers are names of threads (as the kernel has them, at most 15 bytes) of which every open for reading, or for
	// writing, matters whatever the path.
	Readers, Writers []string
	// Connects are the ports of the remote end that matter; nil for all.
	Connects []uint16
	// Flows asks for summaries of connections.
	Flows bool
	// DNS asks for questions and answers.
	DNS bool
	// Served are the ports of this host whose requests are followed into the processes that serve them.
	Served []uint16
}

// Paths is a set of absolute paths. A path is in it where one of its lists says so. Name, Part and End hold lower-case texts and
// are compared without regard to the case of ASCII letters. A sensor may see more than the set, never less.
type Paths struct {
	All    bool     `json:"all,omitempty"`
	Exact  []string `json:"exact,omitempty"`
	Prefix []string `json:"prefix,omitempty"` // whole texts in front: "/etc/" and "/etc/cron"
	Name   []string `json:"name,omitempty"`   // last parts: "id_rsa"
	Part   []string `json:"part,omitempty"`   // any part between slashes, the last one too: ".ssh"
	End    []string `json:"end,omitempty"`    // ends of last parts: ".php", "_history"
}

// Guard is what is to be enforced without asking anybody, and what happens to it when testudo is gone.
type Guard struct {
	Rules []GuardRule
	// Ask names the gates that hand every open or exec within Scope to the judge.
	Ask []AskScope
	// Closed keeps what is enforced in force when testudo ends or dies, and lets gates that ask refuse then. Else everything
	// is let through.
	Closed bool
}

// Hook is where a rule of the guard stands.
type Hook uint8

// The hooks.
const (
	HookExec    Hook = iota + 1 // a program is about to run
	HookOpen                    // a file is about to be opened
	HookConnect                 // a socket is about to be connected, or a datagram sent
)

// GuardRule is a piece of a rule that the kernel enforces by itself: all of what is set must hold. Its paths are exact: Name is
// compared as it is, Part and End are not taken.
type GuardRule struct {
	Rule    string // id of the rule that it is a piece of
	Hook    Hook
	Enforce bool // else it is only told of
	Force   bool // also where it refuses so much that nobody could take it back
	// Cgroups are the workloads it holds for; nil for all, Host for what is in no container.
	Cgroups []uint64
	Host    bool
	// UIDs are the users it holds for, nil for all.
	UIDs []uint32
	// Exe is the executable of the process that acts: of exec the one that starts.
	Exe Paths
	// Parent is what the parent of exec's caller runs.
	Parent Paths
	// File is the file of open.
	File Paths
	// Write holds of an open for writing only.
	Write bool
	// Upper, Memory hold of an executable on the upper layer of an overlay, and of one in memory only.
	Upper, Memory bool
	// Remote and Ports are where connect goes; nil for anywhere.
	Remote []netip.Prefix
	Ports  []uint16
}

// AskScope is a part of the host whose opens or execs are judged before they happen.
type AskScope struct {
	Hook  Hook
	Mount string // a path: its file system, and those that are or will be mounted below it
	Files Paths  // that matter
}

// FileRef names a file that ran, such that a rename meanwhile changes nothing.
type FileRef struct {
	PID    uint32 // a process that runs it, to be found in /proc while it lives
	Start  uint64 // of that process
	Cgroup uint64
	Path   string
	Inode  record.Inode
}

// Executable is what reading an executable tells.
type Executable struct {
	SHA256  string // lower-case hexadecimal; "" where it could not be read
	Package string // that owns the file, with its version: "bash 5.2.15-2"; "" for none
	Manager string // dpkg, apk, rpm
	Changed bool   // the package owns the file, and says another digest
}

// Container is what runs in a cgroup.
type Container struct {
	ID         string // as the runtime names it
	Name       string
	Runtime    string // docker, containerd, cri-o, podman, runc, ...
	Image      string // repository: "docker.io/library/nginx"
	Tag        string
	Digest     string // of the image
	Labels     map[string]string
	Pod        string
	PodUID     string
	Namespace  string
	Started    time.Time
	Known      bool // the runtime was asked and knew; else only the id is known
	Privileged bool
	Mounts     []Mount
}

// Mount is a piece of the host that a container sees.
type Mount struct{ Source, Dest, Mode string }

// Verb is what an order asks for.
type Verb string

// The verbs.
const (
	VerbKill    Verb = "kill"   // a process and what it started, or a whole cgroup
	VerbFreeze  Verb = "freeze" // a cgroup: nothing in it runs until it is thawed
	VerbThaw    Verb = "thaw"
	VerbIsolate Verb = "isolate" // a container's network: nothing in or out but what Keep names
	VerbJoin    Verb = "join"    // undoes isolate
	VerbRadius  Verb = "radius"  // changes nothing: what would an order touch?
)

// Order asks for an action. One of Process and Container says on what.
type Order struct {
	Verb      Verb
	ID        string // of the action, for its undo
	For       Verb   // of VerbRadius: of which verb
	PID       uint32
	Start     uint64 // of that process: a reused pid is not killed
	Cgroup    uint64
	Container string
	Keep      []netip.AddrPort // reachable all the same
}

// Done is what an action did, or VerbRadius would do.
type Done struct {
	Processes   []Touched // at most [MaxTouched]
	Count       int       // of processes in all
	Cgroup      string    // its path below the root of its hierarchy; "" for a process alone
	CgroupID    uint64    // its id, of version 2; 0 for none
	Gone        bool      // of VerbRadius: what the order names has ended
	Connections int       // established ones of these processes
	Sharing     []Touched // others in the same network namespace, which isolating touches too; at most [MaxTouched]
	Refusal     string    // of VerbRadius: why the order would not be carried out
	Detail      string    // a sentence for people
}

// MaxTouched bounds the processes that a [Done] lists.
const MaxTouched = 256

// Touched is a process that an action is about.
type Touched struct {
	PID   uint32
	Start uint64 // when it began, cut to the hundredths of a second that /proc has
	Name  string
	Exe   string
}

// Feature is one thing that a kernel, or its configuration, allows or not.
type Feature struct {
	Name   string // "ring buffer", "exec", "bpf-lsm"
	OK     bool
	Detail string // what it is used for, or why it is not there
	Cost   string // where it is not: what that costs, a sentence
	Mend   string // and what would change it
}

// Status is what a sensor says of itself.
type Status struct {
	Kernel   string // release
	Mode     string // "ebpf", "procwatch"
	Features []Feature
	Records  uint64                 // delivered
	Lost     map[record.Kind]uint64 // dropped in the kernel or on the way
	Bytes    uint64
	Gates    []record.Gate // that work here, the earliest first
}
