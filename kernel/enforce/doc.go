// Package enforce refuses what rules forbid at the hooks that cannot wait for an answer: a program that starts, a file that is opened, a
// socket that is connected. [Enforcer.Guard] compiles rules into maps of the kernel, and programs there decide by them: with BPF LSM
// the call fails; without it a program is killed before its first instruction, and connect is refused by a cgroup hook. What cannot
// be decided here is named ([Enforcer.Residue]) and left to a gate that can wait (kernel/enforce/gate).
//
// A rule is a bit in a bitmap of [MaxRules]; each predicate is looked up once, whatever the number of rules (docs/decisions/0026).
// Two generations of the maps stand side by side and one word says which holds: a change of rules is whole, and at no moment unguarded.
//
// What is to stay in force when testudo dies (kernel.Guard.Closed) is pinned in bpffs. The next start replaces it when its own rules
// stand, not before; [Release] takes it away.
package enforce

//go:generate go tool bpf2go -go-package enforce -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types -type table -type decision -type bits -type path_key -type prefix_key -type number_key -type network_key -type state guard guard.c
