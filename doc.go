// Package testudo is the design's sentence as code: a Node wires planes, policy,
// responders, trust, store and console of one machine.
package testudo
