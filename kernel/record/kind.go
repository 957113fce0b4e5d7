package record

import "fmt"

// Kind is what a record tells of.
type Kind uint16

// The kinds. Numbers are shared with kernel/bpf/record.h.
const (
	KindNone     Kind = iota
	KindExec          // a process runs another program; with FlagSeeded one that ran before the sensor
	KindFork          // a process has a child: PID, TID and Start are the child's, PPID the parent's
	KindExit          // a process has ended; Ret is its exit status as wait(2) gives it
	KindCall          // a system call that files, credentials, namespaces or other processes are about; Call says which
	KindConnect       // a socket was connected, or could not be
	KindAccept        // a connection was accepted
	KindBind          // a socket got an address
	KindListen        // a socket takes connections
	KindFlow          // a summary of a connection, when it ends and from time to time
	KindDNS           // a DNS message went out or came in; Data holds it
	KindServe         // a thread has begun to serve a request: Token is new, Net and Range say what it read, Peer by which connection it was written
	KindSend          // a thread that serves a request wrote to another connection: Token, Net, Range
	KindLost          // records were dropped: Nums[0] how many, Nums[1] of which kind, 0 for all
	KindEnforced      // the kernel refused or killed by itself: Nums[0] is the number of the guard's rule, Nums[1] the Gate, Nums[2] the hook, Nums[3] the flags of an open
	KindChange        // a watched file changed, as inotify tells it: without who did it
	KindMark          // a place among the records: all that was seen before Time stands before it. Whoever hands records on makes it, no program of the kernel
	kindEnd
)

var kindNames = [...]string{"none", "exec", "fork", "exit", "call", "connect", "accept", "bind", "listen", "flow", "dns",
	"serve", "send", "lost", "enforced", "change", "mark"}

// String returns the lower-case name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind_%d", uint16(k))
}

// Flags of a record.
type Flags uint32

// The flags. Numbers are shared with kernel/bpf/record.h.
const (
	FlagSeeded    Flags = 1 << iota // found in /proc, not seen to happen
	FlagTruncated                   // a text was longer than what is carried
	FlagThread                      // of a thread that is not its process's first: a fork or exit of a thread
	FlagKernel                      // of a kernel thread
	FlagUpper                       // the file is on the upper layer of an overlay
	FlagMemory                      // the file is in memory only: memfd, or a deleted file of a tmpfs
	FlagDeleted                     // the file has no name any more
	FlagSetuid                      // the executable changes the user
	FlagSetgid                      // the executable changes the group
	FlagIPC32                       // of a program of the machine's 32-bit form
	FlagAmbiguous                   // Token is one of several requests that the thread serves at once
	FlagInbound                     // the socket was accepted, the peer is the client
	FlagSocket                      // standard input, output or error is a socket
	FlagWritable                    // the process may write the executable that it runs
	FlagTTY                         // the process has a controlling terminal
	FlagUnsure                      // where the name that was passed led is not certain: what it leads through has changed, or cannot be looked at
	FlagMarked                      // of a gate's question: a mark of this Time or a later one comes among the records; of a decision: it comes once more, behind what was seen before it. No program of the kernel sets it
	FlagPartial                     // of a gate's question: of what was seen before it something is late or was lost. No program of the kernel sets it
)

// Gate is what carried out, or would carry out, a verdict.
type Gate uint8

// The gates, the earliest first.
const (
	GateNone     Gate = iota // nothing: it was watched only
	GateLSM                  // BPF LSM: the call fails
	GateCgroup               // cgroup hook: connect fails
	GateFanotify             // fanotify permission event: open or exec fails
	GateSeccomp              // seccomp notification: the call fails
	GateExecKill             // killed at exec before the program's first instruction
	GateKill                 // killed after the fact
)

var gateNames = [...]string{"none", "bpf-lsm", "cgroup-connect", "fanotify", "seccomp", "exec-kill", "kill"}

// String returns the name that verdicts carry.
func (g Gate) String() string {
	if int(g) < len(gateNames) {
		return gateNames[g]
	}
	return fmt.Sprintf("gate_%d", uint8(g))
}
