// Package rerun asks a changed firewall about recorded requests: other directives, another paranoia level, another threshold.
//
//	r, err := rerun.New(live, rerun.Change{After: "SecRuleRemoveById 942100"})
//	defer r.Close()
//	r.Find(event) // its fields of the firewall are those of the changed one
//
// Records have scores and the rules that matched, and values only where a route records them. So what a change takes away is taken out of
// what was found; what it adds is looked for in a request made of the record, once with the firewall as it is and once changed, of which
// the difference alone counts. Each finding says whether that is certain: it is where no value that the change depends on was masked, and it
// is where the request itself was kept.
package rerun
