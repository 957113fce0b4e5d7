//go:build !race

package policy

// raceDetector tells whether the tests run under the race detector.
const raceDetector = false
