// Package replay asks the past: it runs conditions over recorded events. A search is a rule
// that has not been saved yet, so a condition here is what policy compiles from a rule's when.
//
// What is recorded is not always what was judged: some values are masked, some records may
// be missing. An answer says so ([Stats.Inexact]) where that could have changed it.
package replay
