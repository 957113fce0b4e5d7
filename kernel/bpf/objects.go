//go:build linux

package bpf

// handler is the place of a program among those that the program of all system calls hands on to; common.h has the same numbers.
type handler uint32

// objects are all that is loaded, in this order.
func objects() []object {
	return []object{processes()}
}

func processes() object {
	return object{name: "process", spec: loadProcess, programs: []program{
		{name: "on_exec", feature: "exec", cost: "started programs are not seen when they start"},
		{name: "on_fork", feature: "fork", cost: "processes that run no program of their own are not seen"},
		{name: "on_exit", feature: "exit", cost: "that a process ended is seen late, by looking for it"},
	}}
}
