// Package bpf is the sensor's eBPF programs and their loader.
//
// The programs are C, one subject a file, compiled by bpf2go into objects that are committed: nobody who builds testudo needs
// clang. kernel.h declares the kernel's structures, record.h the binary form of records, common.h what every program does alike. The loader
// loads program by program, so that what one kernel refuses costs nothing else; each is a [kernel.Feature].
//
// docs/decisions/0021-kernel-tracepoints.md says why tracepoints, and what of a path they can know.
package bpf
