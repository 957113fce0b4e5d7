// Package workload says which container a process is in, and what that container is: from the path of its cgroup, and from the runtime that
// made it. It answers kernel.Sensor.Container.
//
// Runtimes are asked over their sockets: Docker and Podman in HTTP, containerd and the container runtime interface (cri-o) in gRPC, of which only
// the few messages that are needed are read, by hand: see wire.go. Where no runtime answers, the state that runc leaves and the bundle's config.json
// tell what they can. Answers are bounded in time and size, and what a runtime says is not believed further than that: labels are
// cut, numbers are limited.
package workload
