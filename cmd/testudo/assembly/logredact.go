package assembly

import "github.com/testudo-sec/testudo/detect"

// redactor returns what masks secrets in a text that testudo keeps.
func redactor() func(string) string {
	set, err := detect.Builtin()
	if err != nil {
		return func(string) string { return "" } // rather nothing than a secret
	}
	return set.Redact
}
