// Package bpf is the sensor's eBPF programs and their loader.
//
// The programs are C, one subject a file, compiled by bpf2go into objects that are committed: nobody who builds testudo needs
// clang. kernel.h declares the kernel's structures, record.h the binary form of records, common.h what every program does alike. The loader
// loads program by program, so that what one kernel refuses costs nothing else; each is a [kernel.Feature].
//
// docs/decisions/0021-kernel-tracepoints.md says why tracepoints, and what of a path they can know.
package bpf

//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types process process.c
