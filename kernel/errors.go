package kernel

import "errors"

// ErrUnable is wrapped by errors of a sensor that was asked for what this machine, or its privileges, cannot do.
var ErrUnable = errors.New("not possible here")
