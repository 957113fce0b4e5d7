// Package fim watches that files stay what they are.
//
// Three pieces work together. The [Reader] is the privileged one: it says what is at the watched paths, and for nothing else. A
// [Baseline] is what was there when somebody said that it was right; it is a text file whose digest stands in the ledger, so that an edited one is
// found out. The [Monitor] stands between the plane and the judge: a file event on a watched path has it look at the file, and where
// that is another than before it makes an event of its own that says what changed and who changed it. A walk over all files from time to
// time finds what nobody was seen to change.
//
// What is promised: a difference that is there at a walk is told, once. What is not: that a file which was changed and changed back between two looks is told of
// by this package; the kernel's own event of it is there all the same.
package fim
