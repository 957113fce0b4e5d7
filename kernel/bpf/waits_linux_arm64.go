package bpf

import "golang.org/x/sys/unix"

// waitNumbers are the numbers of calls that wait for events of many connections, behind callsOffset those of ARM EABI: whether only event
// loops make them.
func waitNumbers() map[uint32]bool {
	return map[uint32]bool{
		unix.SYS_PSELECT6: false, unix.SYS_PPOLL: false,
		unix.SYS_EPOLL_PWAIT: true, unix.SYS_EPOLL_PWAIT2: true, unix.SYS_IO_URING_ENTER: true,
		callsOffset + 142: false, // _newselect
		callsOffset + 168: false, // poll
		callsOffset + 335: false, // pselect6
		callsOffset + 336: false, // ppoll
		callsOffset + 413: false, // pselect6_time64
		callsOffset + 414: false, // ppoll_time64
		callsOffset + 252: true,  // epoll_wait
		callsOffset + 346: true,  // epoll_pwait
		callsOffset + 426: true,  // io_uring_enter
		callsOffset + 441: true,  // epoll_pwait2
	}
}
