// Package kernel is the plane that sees a host: processes, files, sockets, through eBPF where the kernel
// allows it, and the request that each was caused by. This package declares what its parts share and turns what they saw into
// events; the parts know the kernel:
//
//   - kernel/record: the binary form of what was seen
//   - kernel/bpf: the eBPF programs and their loader
//   - kernel/process: the table of processes, which outlives them
//   - kernel/workload: containers, pods; kernel/software: packages and hashes of executables
//   - kernel/chain: which request a process was serving
//   - kernel/enforce: refusing, killing, freezing, isolating
//   - kernel/fim: files that must not change
//   - kernel/wire: the socket pair between the privileged child and the plane; kernel/privilege: how the one gets less than
//     root, and the other none
//   - kernel/procwatch, kernel/confine: what is possible without eBPF, and without privileges
//
// Only a small child process is root. It is a [Sensor]: it loads programs, hands on records and does what
// it is told. The [Plane] runs as an ordinary user in the process that judges; where both may be one
// process, they are joined without a socket.
package kernel
