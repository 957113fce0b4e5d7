package jsonlines

import (
	"flag"
	"testing"

	"github.com/testudo-sec/testudo/logs/logstest"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func TestGolden(t *testing.T) { logstest.Golden(t, "testdata", Format) }

func FuzzParse(f *testing.F) { logstest.Fuzz(f, "testdata", Format) }

func BenchmarkParse(b *testing.B) { logstest.Bench(b, Format, "testdata/app.ndjson") }
