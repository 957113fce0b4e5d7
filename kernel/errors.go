package kernel

import "errors"

var (
	// ErrUnable is wrapped by errors of a sensor that was asked for what this machine, or its privileges, cannot do.
	ErrUnable = errors.New("not possible here")
	// ErrGone is wrapped by errors of a sensor that was asked to act on what has ended.
	ErrGone = errors.New("it has ended")
)
