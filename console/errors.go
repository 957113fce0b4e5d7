package console

import (
	"errors"
	"time"
)

// Errors that a source returns, wrapped or plain, so that the caller gets the right
// status. The text of ErrNotFound, ErrConflict, ErrUnavailable and of an InputError
// is shown to people: put in it what they can do. Any other error is a fault of
// ours: its text goes to the log alone.
var (
	ErrNotFound    = errors.New("not found")                  // 404
	ErrConflict    = errors.New("in conflict with the state") // 409: exists already, or over already
	ErrRefused     = errors.New("sign-in refused")            // 401: wrong name, password, link or token; says not which
	ErrUnavailable = errors.New("not available on this node") // 503
)

// InputError says that what the caller sent cannot be used: status 422.
type InputError struct {
	Field  string // which field, in the API's words; may be empty
	Reason string // what is wrong and what to do
}

func (e *InputError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// LimitedError says that there were too many attempts: status 429.
type LimitedError struct {
	RetryAfter time.Duration // when to try again
}

func (e *LimitedError) Error() string {
	return "too many attempts: wait " + e.RetryAfter.Round(time.Second).String()
}
