//go:build !linux

package wire

import "syscall"

func inodeOf(string) (fileKey, bool) { return fileKey{}, false }

func peerOf(syscall.Conn) int { return 0 }

func bootTime() uint64 { return 0 }
