//go:build !race

package require

// Race tells whether the tests run under the race detector, which makes them slower by ten and allocates for itself.
const Race = false
