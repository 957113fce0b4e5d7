package kernel

import (
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// A Chain knows which request a thread served: kernel/chain is one. Its methods are called by one goroutine at a time for Apply; Request is
// safe for concurrent use with it.
type Chain interface {
	// Apply sees every record in the order in which things happened, but those about requests (serve, send) of a batch first: they become no
	// event, and what a request caused must not come before them. It keeps nothing of the record, and returns quickly.
	Apply(r *record.Record)
	// Request returns the request that a token of a record stands for; ok is false where it is not known (yet).
	Request(token uint64) (r Request, ok bool)
}

// Request is one that the edge passed on.
type Request struct {
	UID       string    // http_request.uid of its events
	Event     signal.ID // of its first event; zero where it is not known
	Trace     string    // trace.uid, "" for none
	Ambiguous bool      // it is one of several that the token may stand for
}
