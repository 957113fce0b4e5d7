package main

import (
	"slices"

	"github.com/testudo-sec/testudo/bench/api"
	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/edge"
	"github.com/testudo-sec/testudo/bench/intel"
	"github.com/testudo-sec/testudo/bench/inventory"
	"github.com/testudo-sec/testudo/bench/kernel"
	"github.com/testudo-sec/testudo/bench/policy"
	"github.com/testudo-sec/testudo/bench/proc"
	"github.com/testudo-sec/testudo/bench/replay"
	"github.com/testudo-sec/testudo/bench/scan"
	"github.com/testudo-sec/testudo/bench/spine"
	"github.com/testudo-sec/testudo/bench/waf"
)

// bars lists every bar, in the order in which they are measured and stand in the table.
func bars() []bar.Bar {
	return slices.Concat(
		spine.Bars(),
		scan.Bars(),
		inventory.Bars(),
		intel.Bars(),
		waf.Bars(),
		edge.Bars(),
		api.Bars(),
		kernel.Bars(),
		policy.Bars(),
		replay.Bars(),
	)
}

// roles lists what this program does as a process of a measurement.
func roles() []proc.Role {
	return slices.Concat(
		spine.Roles(),
		intel.Roles(),
		edge.Roles(),
		inventory.Roles(),
		kernel.Roles(),
		scan.Roles(),
		waf.Roles(),
	)
}
