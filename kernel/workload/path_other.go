//go:build !linux

package workload

import "github.com/testudo-sec/testudo/kernel/process"

func (r *Resolver) pathOf(uint64, []process.CgroupLine) (string, bool) { return "", false }
