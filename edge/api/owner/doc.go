// Package owner finds requests that reach what is not theirs: objects of other people, fields that nobody
// should set, endpoints that need credentials, more data than an endpoint gives.
//
// A Tracker remembers which ids each subject was given (in answers it got) and who else has an object. It
// learns what is usual for an endpoint: how many objects one subject opens in an hour that it was never
// given, how many of them are refused, how many records and bytes it takes. What is far above the usual,
// and above a floor, is a Violation. It learns before it speaks: an endpoint where ids are not usually
// given says nothing of who opens one that was not.
//
// Tricks looks at the head of one request for overrides of method and address, and for paths that a
// laxer server reads as another endpoint.
//
// All memory is bounded by the Config, evictions are counted, and nothing of a request is kept but hashes
// and numbers. Subjects are hashes made by the one who calls. The same accesses in the same order give the
// same violations: time is that of the accesses. Nothing is saved: after a restart it learns anew, and is
// silent about foreign objects until Config.Warm has passed.
//
// The package knows nothing of package edge: edge/api hands it Accesses.
package owner
