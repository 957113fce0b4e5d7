// Package narrow says what a condition can be about before there is an event: what remains of it once some fields are
// known ([Assume]), which values of a field it can hold for at all ([Reach]), and which simple alternatives it
// consists of ([Alternatives]). So a sensor collects only what rules ask for, and a hook that cannot wait for a judge is given
// beforehand what it has to refuse.
//
// Assume and Alternatives are exact. Reach is never too small: where a condition asks more than it can follow, all
// values are in reach.
package narrow
