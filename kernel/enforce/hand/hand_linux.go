package hand

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// longest is how long one order may take; what is not done then is undone, or the error says what is left.
const longest = 10 * time.Second

// Hand carries out orders. It is safe for concurrent use.
type Hand struct {
	self   uint32
	v2, v1 string // where cgroup v2, and the freezer of v1, are mounted; "" for not
	// line are the ancestors, and when each began, read once: to look for them costs as much as a kill. It only becomes shorter, as who loses its
	// parent is given to another of them.
	line map[uint32]uint64

	change sync.Mutex // freezes and isolations: they read, then write
}

// New returns a hand that protects this process and its ancestors.
func New() *Hand {
	h := &Hand{self: uint32(os.Getpid())}
	h.v2, h.v1 = mounted("/proc/self/mountinfo")
	if line, whole := h.lineage(); whole {
		h.line = line
	}
	return h
}

// Do implements the method of kernel.Sensor. Its error says what was not done; where a part was done that could not be undone, it
// says that too.
func (h *Hand) Do(ctx context.Context, o kernel.Order) (kernel.Done, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := check(&o); err != nil {
		return kernel.Done{}, err
	}
	switch o.Verb {
	case kernel.VerbKill:
		return h.kill(ctx, &o)
	case kernel.VerbFreeze, kernel.VerbThaw:
		h.change.Lock()
		defer h.change.Unlock()
		if o.Verb == kernel.VerbThaw {
			return h.thaw(ctx, &o)
		}
		return h.freeze(ctx, &o)
	case kernel.VerbIsolate, kernel.VerbJoin:
		h.change.Lock()
		defer h.change.Unlock()
		if o.Verb == kernel.VerbJoin {
			return h.join(ctx, &o)
		}
		return h.isolate(ctx, &o)
	}
	return h.radius(&o)
}

func check(o *kernel.Order) error {
	wrong := func(what string) error { return fmt.Errorf("order to %s: %s", o.Verb, what) }
	process, group := o.PID != 0, o.Cgroup != 0 || o.Container != ""
	switch o.Verb {
	case kernel.VerbKill, kernel.VerbRadius:
	case kernel.VerbFreeze, kernel.VerbThaw, kernel.VerbIsolate, kernel.VerbJoin:
		if o.ID == "" || len(o.ID) > 64 || strings.Trim(o.ID, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
			return wrong("it needs the id of the action: letters and digits, at most 64")
		}
	default:
		return fmt.Errorf("order to %.20q: there is no such verb", o.Verb)
	}
	switch {
	case o.Verb == kernel.VerbThaw || o.Verb == kernel.VerbJoin: // the id says what
	case process == group:
		return wrong("it names a process and a container, or neither")
	case process && o.Start == 0 && o.Verb != kernel.VerbRadius:
		return wrong(fmt.Sprintf("process %d may be another one by now: say when it began", o.PID))
	case len(o.Container) > 256 || strings.ContainsAny(o.Container, "/\x00"):
		return wrong("its container's id is none")
	case len(o.Keep) > maxKeep:
		return wrong(fmt.Sprintf("it keeps %d addresses reachable, at most %d can be", len(o.Keep), maxKeep))
	}
	return nil
}

// Features says what this machine lets the hand do.
func (h *Hand) Features() []kernel.Feature {
	kill := kernel.Feature{Name: "kill", OK: true, Detail: "a process and what it started, by pidfd"}
	if err := probePidfd(h.self); err != nil {
		kill = kernel.Feature{Name: "kill", Detail: "the kernel has no pidfd: " + err.Error(), Cost: "no process can be killed without the danger of hitting another",
			Mend: "Linux 5.3 or later"}
	}
	groups := kernel.Feature{Name: "freeze", OK: true, Detail: "freezes and kills whole containers: cgroup version 2"}
	switch {
	case h.v2 == "" && h.v1 == "":
		groups = kernel.Feature{Name: "freeze", Detail: "neither cgroup version 2 nor the freezer of version 1 is mounted",
			Cost: "containers cannot be frozen, or killed as a whole", Mend: "mount -t cgroup2 cgroup2 /sys/fs/cgroup"}
	case h.v2 == "":
		groups.Detail = "freezes and kills whole containers: the freezer of cgroup version 1"
	case h.v1 != "":
		groups.Detail += ", or the freezer of version 1 where a container is in no cgroup of version 2"
	}
	net := kernel.Feature{Name: "isolate", OK: true, Detail: "cuts a container's network by nftables in its namespace"}
	if err := probeTables(); err != nil {
		net = kernel.Feature{Name: "isolate", Detail: "nftables does not answer: " + err.Error(), Cost: "containers cannot be isolated from the network",
			Mend: "the kernel module nf_tables, and CAP_NET_ADMIN"}
	}
	return []kernel.Feature{kill, groups, net}
}
