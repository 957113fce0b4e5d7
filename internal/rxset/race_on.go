//go:build race

package rxset

// sampleStep leaves out samples: under the race detector measuring takes twelve times as long, and each test that starts a firewall pays for it. It changes how
// expressions are spread over automata, never what is found.
const sampleStep = 6
