// Package hand is what touches processes and containers: it kills, freezes and isolates, and says before what it would touch. It
// is the privileged end of the responders of those names, and of verdicts that no gate before the act enforces.
//
//   - A process is named by its pid and when it began. Both are checked against one pidfd, so that a pid that was given to
//     another process meanwhile is never signalled.
//   - Killing a process takes along what it started: each one is stopped before its children are looked for, so that none
//     is started meanwhile. What cut itself loose before (its parent ended) is found by its container only.
//   - A container is a cgroup: version 2 where the machine has it, else the freezer of version 1.
//   - What freezes a cgroup is written down at the cgroup itself, so that two actions on one do not undo each other, what
//     was frozen by somebody else stays so, and a restart knows.
//   - Isolating is an nftables table of its own in the container's network namespace, by the name of the action. Packets are
//     dropped in both directions before connections are tracked: what is established falls silent too. Undoing takes the table
//     out of every namespace that has it.
//
// Never touched, whoever asks: process 1, kernel threads, testudo and whoever started it, the root
// of a hierarchy, a cgroup that holds one of those, and the network of the host.
package hand
