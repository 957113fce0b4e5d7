//go:build !linux

package goruntime

func servedByProgram(string) bool { return false }
