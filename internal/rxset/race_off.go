//go:build !race

package rxset

// sampleStep is one: all samples are measured.
const sampleStep = 1
