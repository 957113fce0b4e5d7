package privilege

// Capability is one of Linux's, by its number (capabilities(7)).
type Capability struct {
	Number uint
	Name   string
	Why    string
}

// Capabilities lists what the sensor may keep of root's capabilities, and what it needs each for. Where the kernel or a container has
// fewer of them, the sensor has fewer features and says which.
func Capabilities() []Capability {
	return []Capability{
		{2, "CAP_DAC_READ_SEARCH", "read executables and package databases that root's own permissions do not open; open files by handle"},
		{5, "CAP_KILL", "kill a process that a rule or a person says is to end"},
		{12, "CAP_NET_ADMIN", "attach to cgroup hooks, process events, isolate a container's network"},
		{19, "CAP_SYS_PTRACE", "read /proc/PID/exe, fd and environ of processes of others, and the namespaces they are in"},
		{21, "CAP_SYS_ADMIN", "fanotify permission events, entering a network namespace, eBPF before Linux 5.8, ids of eBPF objects"},
		{24, "CAP_SYS_RESOURCE", "locked memory for eBPF maps before Linux 5.11"},
		{38, "CAP_PERFMON", "tracing programs"},
		{39, "CAP_BPF", "eBPF programs and maps"},
	}
}

// capNetBindService is what the node keeps until it listens.
const capNetBindService = 10

// lastCapability is the highest number that this program knows of; the kernel says where its own end.
const lastCapability = 63

func sensorMask() uint64 {
	var mask uint64
	for _, c := range Capabilities() {
		mask |= 1 << c.Number
	}
	return mask
}
