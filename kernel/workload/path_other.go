//go:build !linux

package workload

import "github.com/testudo-sec/testudo/kernel/process"

const nonblocking = 0

func (r *Resolver) pathOf(uint64, []process.CgroupLine) (string, bool) { return "", false }
