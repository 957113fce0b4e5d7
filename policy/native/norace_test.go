//go:build !race

package native

// RaceDetector tells whether the tests run under the race detector.
const RaceDetector = false
