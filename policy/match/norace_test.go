//go:build !race

package match

// raceEnabled tells whether the tests run under the race detector, which allocates for itself.
const raceEnabled = false
