// Package waftest reads the regression tests of the Core Rule Set, and knows where Coraza is no judge.
package waftest

import (
	"os"
	"testing"

	"github.com/testudo-sec/testudo/edge/waf/ftw"
)

// Test is one test with its name, as in "942100-1".
type Test = ftw.Test

// Stage is a request and what is expected of it.
type Stage = ftw.Stage

// Read returns the tests of all files below a folder of corpora.
func Read(t testing.TB, dir string) []Test {
	t.Helper()
	all, err := ftw.Read(os.DirFS(dir), "crs/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return all
}
