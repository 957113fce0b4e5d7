//go:build !linux

package hand

import (
	"context"
	"fmt"

	"github.com/testudo-sec/testudo/kernel"
)

// Hand can do nothing here.
type Hand struct{}

// New returns a hand.
func New() *Hand { return &Hand{} }

// Do implements the method of kernel.Sensor.
func (*Hand) Do(_ context.Context, o kernel.Order) (kernel.Done, error) {
	return kernel.Done{}, fmt.Errorf("%s: only Linux lets testudo: %w", o.Verb, kernel.ErrUnable)
}

// Features says why.
func (*Hand) Features() []kernel.Feature {
	return []kernel.Feature{{Name: "kill", Detail: "this is not Linux", Cost: "nothing can be killed, frozen or isolated"}}
}
