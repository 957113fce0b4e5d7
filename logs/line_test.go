package logs_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/testudo-sec/testudo/logs"
)

// TestLine numbers records by the line on which they begin, whatever stands between them.
func TestLine(t *testing.T) {
	key := func(line []byte) ([]byte, logs.Part) {
		k, _, _ := bytes.Cut(line, []byte{' '})
		if bytes.HasSuffix(line, []byte("end")) {
			return k, logs.Last
		}
		return k, logs.More
	}
	far := strings.Repeat("x\n", 150_000) // more than is read at once
	for _, tc := range []struct {
		name, text string
		format     logs.Format
		want       string
	}{
		{"lines", "a\n\n\r\nb\r\nc", logs.Format{}, "1:a 4:b 5:c "},
		{"far", far + "z\n", logs.Format{}, "150001:z "},
		{"documents", "{\"a\":1}\n\n{\"b\":\n2}\n  {\"c\":3}{\"d\":4}\n", logs.Format{Framing: logs.Documents},
			`1:{"a":1} 3:{"b":` + "\n" + `2} 5:{"c":3} 5:{"d":4} `},
		{"groups", "k1 a\nk2 a\nk1 end\nk2 end\nk3 a\n", logs.Format{Group: key}, "1:k1 a\nk1 end 2:k2 a\nk2 end 5:k3 a "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, one := range []bool{false, tc.name != "far"} {
				src := bytes.NewReader([]byte(tc.text))
				r := logs.NewReader(src, tc.format, logs.Options{})
				if one {
					r = logs.NewReader(iotest.OneByteReader(src), tc.format, logs.Options{})
				}
				r.Finish()
				got := ""
				for {
					record, err := r.Next()
					if err != nil {
						break
					}
					if string(record) != "x" {
						got += fmt.Sprintf("%d:%s ", r.Line(), record)
					}
					if n := int64(strings.Count(tc.text[:r.Offset()], "\n")); n != r.Lines() {
						t.Fatalf("%d lines before offset %d, want %d", r.Lines(), r.Offset(), n)
					}
				}
				if got != tc.want {
					t.Errorf("byte by byte %v: got %q, want %q", one, got, tc.want)
				}
			}
		})
	}
}
