// Package process is the table of a host's processes, made from the records of the sensor: who a process is, what it runs, what it came
// from. Entries outlive their processes, so that an incident's tree can be drawn when all of it is gone.
//
// A [Table] is fed with [Table.Apply], in the order in which things were seen, and gives for each record the process that acts.
// A [Process] never changes once it was given out: whoever holds one may keep it and read it at any time. When something
// becomes otherwise the table puts a changed copy in its place, which is why the usual event costs no allocation and readers
// never wait for the writer.
//
// The parent of a process is the one that started it, as it was then, and stays so when that one has ended and the
// kernel gives the process to init: what an analyst asks is where it came from.
//
// What is promised of memory: at most [Config.Live] entries of living processes, [Config.Exited] of ended ones and about [Config.Texts] bytes of their
// names, paths and arguments. What does not fit is counted in [Stats].
package process
