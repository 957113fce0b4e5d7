// Package linuxabi names the numbers of the interface between programs and the Linux kernel: errors, flags, modes, signals,
// capabilities, as Falco writes them ("O_WRONLY|O_CREAT"). Numbers are those of amd64 and arm64; where the two differ, the
// functions say so. Sources: the kernel's include/uapi.
package linuxabi
