// Package livetest holds the tests that really do on this kernel what rules are about, in containers and on the
// host, and wait for the rule to fire: Falco's and those that ship. It has no code of its own.
package livetest
