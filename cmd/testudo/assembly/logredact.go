package assembly

import (
	"sync"

	"github.com/testudo-sec/testudo/detect"
)

// redactor returns what masks secrets in a text that testudo keeps, the same for all: its rules take megabytes.
var redactor = sync.OnceValue(func() func(string) string {
	set, err := detect.Builtin()
	if err != nil {
		return func(string) string { return "" } // rather nothing than a secret
	}
	return set.Redact
})
