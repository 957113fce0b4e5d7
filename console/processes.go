package console

import (
	"context"
	"net/http"
	"time"
)

// HostSource says what runs on the host, and how it is watched.
type HostSource interface {
	// Processes returns the processes that the query chooses, by container, the host's first.
	Processes(ctx context.Context, q ProcessQuery) (ProcessList, error)
	// Process returns one process by its key, living or ended: ErrNotFound where it is remembered no more.
	Process(ctx context.Context, uid string) (ProcessDetail, error)
	// Host says how the host is watched.
	Host(ctx context.Context) (Host, error)
}

// ProcessQuery chooses processes. Zero fields choose all that live.
type ProcessQuery struct {
	Container string // id of a container, or the first digits of it; "host" for what is in none
	Text      string // in command line, executable, user, container, image or pod, any case; or a process id
	All       bool   // also those that have ended, as far as they are remembered
	Limit     int    // processes of one container
}

// ProcessList is what runs, by container.
type ProcessList struct {
	Groups []ProcessGroup `json:"groups"` // the host first
	Living int            `json:"living"` // of the whole host, threads of the kernel left out
	Ended  int            `json:"ended"`  // that are remembered
	Hidden int            `json:"hidden"` // containers that are not shown, because there are too many
	At     time.Time      `json:"at"`
}

// ProcessGroup is the processes of one container, as trees: each stands behind the one that started it, with its depth.
type ProcessGroup struct {
	Container *ContainerView `json:"container,omitempty"` // nil: the host
	Living    int            `json:"living"`              // that the query chooses
	Ended     int            `json:"ended"`
	More      int            `json:"more"` // of both, that are not in the list
	Processes []ProcessLine  `json:"processes"`
}

// ContainerView is a container as people know it.
type ContainerView struct {
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"`
	Image      string `json:"image,omitempty"` // with its tag
	Pod        string `json:"pod,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Runtime    string `json:"runtime,omitempty"`
	Privileged bool   `json:"privileged,omitempty"`
}

// ProcessLine is one process of a list. Its texts are of strangers' making, in their recorded form.
type ProcessLine struct {
	UID     string    `json:"uid,omitempty"` // key, as process.uid; "" where only its number is known
	PID     int       `json:"pid"`
	Parent  int       `json:"ppid"`
	Depth   int       `json:"depth"`
	Name    string    `json:"name"` // of the executable
	Exe     string    `json:"exe,omitempty"`
	CmdLine string    `json:"cmd_line,omitempty"`
	User    string    `json:"user,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"` // zero while it lives
	Code    int       `json:"exit_code"`      // of one that has ended
	Signal  int       `json:"signal"`         // that ended it, 0 for none
	Unseen  bool      `json:"unseen"`         // what is known of it is only what its own events say
	Other   bool      `json:"other"`          // shown because another that the query chooses came from it
}

// ProcessDetail is all that is known of a process.
type ProcessDetail struct {
	ProcessLine
	Cwd       string         `json:"cwd,omitempty"`
	Given     string         `json:"given,omitempty"` // what its caller named, where that is not the executable: a script, a link
	SHA256    string         `json:"sha256,omitempty"`
	Package   string         `json:"package,omitempty"`
	Changed   bool           `json:"changed"` // the package that owns the executable says another digest
	Upper     bool           `json:"upper"`   // the executable was written after its container was started
	Memory    bool           `json:"memory"`  // it runs from memory, from no file of a disk
	Login     string         `json:"login,omitempty"`
	Container *ContainerView `json:"container,omitempty"`
	Lineage   []ProcessLine  `json:"lineage"` // what it came from, nearest first
	Tree      []ProcessLine  `json:"tree"`    // itself and what came from it, living and ended
	More      int            `json:"more"`    // of the tree, that are not in it
}

// Host says how the host is watched, and what enforces rules on it.
type Host struct {
	Problem   string        `json:"problem,omitempty"` // why it is not watched, or not wholly
	Kernel    string        `json:"kernel,omitempty"`  // release
	By        string        `json:"by,omitempty"`      // ebpf, procwatch
	SensorPID int           `json:"sensor_pid,omitempty"`
	Starts    uint64        `json:"sensor_starts"`
	Records   uint64        `json:"records"`            // since the sensor started
	Rate      float64       `json:"records_per_second"` // lately
	Bytes     uint64        `json:"bytes"`
	Lost      []Count       `json:"lost"`     // records by kind, most first, since the sensor started
	MaxLost   int           `json:"max_lost"` // in a minute, beyond which the node is degraded
	Living    int           `json:"processes"`
	Ended     int           `json:"processes_ended"` // that are remembered
	Features  []HostFeature `json:"features"`
	Gates     []string      `json:"gates"` // that work on this kernel, the earliest first
	Mode      string        `json:"mode"`  // monitor or enforce, of rules for which nothing else is said
	Fail      string        `json:"fail"`  // open or closed
	Rules     []HostRule    `json:"rules"` // that refuse something of the host
}

// HostFeature is one thing that this kernel can do, or cannot.
type HostFeature struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Cost   string `json:"cost,omitempty"`
	Mend   string `json:"mend,omitempty"`
}

// HostRule is what enforces a rule at one hook.
type HostRule struct {
	Rule     string   `json:"rule"`
	Hook     string   `json:"hook"`          // exec, open, connect
	Enforced bool     `json:"enforced"`      // else it is only told of
	By       []string `json:"by"`            // what refuses it, or would, the earliest first
	Why      []string `json:"why,omitempty"` // what of it the kernel cannot tell by itself
}

type processesIn struct {
	Container string `query:"container" doc:"id of a container, or the first digits of it; host for what is in none"`
	Text      string `query:"text" doc:"in command line, executable, user, container, image or pod, any case; or a process id"`
	All       bool   `query:"all" doc:"also those that have ended, as far as they are remembered"`
	Limit     int    `query:"limit" default:"200" min:"1" max:"500" doc:"processes of one container"`
}

type processIn struct {
	UID string `path:"uid" doc:"key of the process, as process.uid has it"`
}

func (s *Server) hostRoutes() []Route {
	return []Route{
		call(get, v1+"/processes", RoleViewer, says{id: "listProcesses", summary: "What runs on the host, by container, as trees", tag: "host"},
			func(r *http.Request, _ http.ResponseWriter, in processesIn) (ProcessList, error) {
				if s.sources.Host == nil {
					return ProcessList{}, unavailable("a view of the host")
				}
				return s.sources.Host.Processes(r.Context(), ProcessQuery(in))
			}),
		call(get, v1+"/processes/{uid}", RoleViewer, says{id: "getProcess", summary: "One process, living or ended: what it runs, what it came from and what came from it", tag: "host"},
			func(r *http.Request, _ http.ResponseWriter, in processIn) (ProcessDetail, error) {
				if s.sources.Host == nil {
					return ProcessDetail{}, unavailable("a view of the host")
				}
				return s.sources.Host.Process(r.Context(), in.UID)
			}),
		call(get, v1+"/host", RoleViewer, says{id: "getHost", summary: "How the host is watched: what its kernel can do, what was lost, what enforces which rule", tag: "host"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Host, error) {
				if s.sources.Host == nil {
					return Host{}, unavailable("a view of the host")
				}
				return s.sources.Host.Host(r.Context())
			}),
	}
}
