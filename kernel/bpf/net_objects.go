//go:build linux

package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types net net.c
//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types netFlow net_flow.c
//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types netPacket net_packet.c

// What the network's programs cost where they are missing.
const (
	costSend    = "where datagrams go is seen in flows only"
	costFlows   = "connections are not summed up when they end"
	costWalk    = "connections that last are summed up only when they end"
	costPackets = "DNS messages and what UDP carries are not seen"
	costOwner   = "servers of UDP are known only once they answer"
)

func callsOfNet() object {
	return object{name: "net", spec: loadNet, programs: []program{
		{name: "on_connect", feature: "connect", cost: "connections that are made are seen when they end only", calls: []record.Call{record.CallConnect}},
		{name: "on_accept", feature: "accept", cost: "connections that are taken are seen when they end only", calls: []record.Call{record.CallAccept}},
		{name: "on_accept4", feature: "accept4", cost: "connections that are taken are seen when they end only", calls: []record.Call{record.CallAccept4}},
		{name: "on_bind", feature: "bind", cost: "addresses that programs take are not seen", calls: []record.Call{record.CallBind}},
		{name: "on_listen", feature: "listen", cost: "new servers are not seen", calls: []record.Call{record.CallListen}},
		{name: "on_socket", feature: "raw sockets", cost: "programs that see or forge packets are not seen", calls: []record.Call{record.CallSocket}},
		{name: "on_sendto", feature: "sendto", cost: costSend, calls: []record.Call{record.CallSendto}},
		{name: "on_sendmsg", feature: "sendmsg", cost: costSend, calls: []record.Call{record.CallSendmsg}},
		{name: "on_sendmmsg", feature: "sendmmsg", cost: costSend, calls: []record.Call{record.CallSendmmsg}},
	}}
}

func flowsOfNet() object {
	return object{name: "net_flow", spec: loadNetFlow, programs: []program{
		{name: "net_state", feature: "flows", cost: costFlows, lazy: true},
		{name: "net_walk_tcp", feature: "flows that last", cost: costWalk, lazy: true},
		{name: "net_walk_udp", feature: "flows of datagrams that last", cost: costWalk, lazy: true},
		{name: "net_walk_owners", feature: "count of forgotten flows", cost: "flows that the kernel had to forget are not counted", lazy: true},
	}}
}

func packetsOfNet() object {
	at := func(t ebpf.AttachType) func(*ebpf.Program) (link.Link, error) {
		return func(p *ebpf.Program) (link.Link, error) { return attachToAll(p, t) }
	}
	return object{name: "net_packet", spec: loadNetPacket, programs: []program{
		{name: "net_egress", feature: "packets sent", cost: costPackets, lazy: true, attach: at(ebpf.AttachCGroupInetEgress)},
		{name: "net_ingress", feature: "packets received", cost: costPackets, lazy: true, attach: at(ebpf.AttachCGroupInetIngress)},
		{name: "net_bound4", feature: "owners of IPv4 sockets", cost: costOwner, lazy: true, attach: at(ebpf.AttachCGroupInet4PostBind)},
		{name: "net_bound6", feature: "owners of IPv6 sockets", cost: costOwner, lazy: true, attach: at(ebpf.AttachCGroupInet6PostBind)},
		{name: "net_released", feature: "end of datagram sockets", cost: costWalk, lazy: true, attach: at(ebpf.AttachCgroupInetSockRelease)},
	}}
}

// attachToAll attaches a program to all cgroups. The tree is mounted for us alone, and nowhere: hosts have it at different places, and some
// at none.
func attachToAll(p *ebpf.Program, at ebpf.AttachType) (link.Link, error) {
	root, err := cgroups()
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	return link.AttachRawLink(link.RawLinkOptions{Target: root, Program: p, Attach: at})
}

// cgroups returns a descriptor of the root of the cgroup v2 tree.
func cgroups() (int, error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err == nil {
		defer unix.Close(fs)
		if err = unix.FsconfigCreate(fs); err == nil {
			var root int
			if root, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0); err == nil {
				return root, nil
			}
		}
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var s unix.Statfs_t
		if unix.Statfs(dir, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC {
			return unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_RDONLY, 0)
		}
	}
	return -1, fmt.Errorf("the tree of cgroups: %w", err)
}
