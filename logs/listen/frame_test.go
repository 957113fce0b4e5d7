package listen

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// frames reads a stream to its end; what was passed over stands as "!".
func frames(r io.Reader, longest int) (all []string, err error) {
	f := newFramer(r, longest)
	for {
		m, err := f.next()
		switch {
		case err == nil:
			all = append(all, string(m))
		case errors.Is(err, errOversize):
			all = append(all, "!")
		default:
			return all, err
		}
	}
}

func TestFraming(t *testing.T) {
	long := strings.Repeat("x", 40_000) // longer than what is read at once
	for _, tc := range []struct {
		name, stream string
		want         []string
		err          error
	}{
		{"counted (RFC 6587 3.4.1)", "5 <13>a7 <13>b\nc", []string{"<13>a", "<13>b\nc"}, io.EOF},
		{"ended by line feeds (3.4.2)", "<13>a\n<14>b\r\n\n<15>c", []string{"<13>a", "<14>b", "<15>c"}, io.EOF},
		{"ended by zeros", "<13>a\x00<14>b\x00", []string{"<13>a", "<14>b"}, io.EOF},
		{"mixed", "<13>a\n5 <13>b<14>c\n6 <13>d\n", []string{"<13>a", "<13>b", "<14>c", "<13>d"}, io.EOF},
		{"a count and a line feed after it", "5 <13>a\n5 <13>b\n", []string{"<13>a", "<13>b"}, io.EOF},
		{"no priority", "hello there\n2026-01-01 hello\n", []string{"hello there", "2026-01-01 hello"}, io.EOF},
		{"counted, too long", "50000 " + long + long[:10_000] + "5 <13>b", []string{"!", "<13>b"}, io.EOF},
		{"ended, too long", "<13>" + long + "\n<13>b\n", []string{"!", "<13>b"}, io.EOF},
		{"ended by the connection, too long", "<13>" + long, []string{"!"}, io.EOF},
		{"counted and cut off", "9 <13>a", nil, io.ErrUnexpectedEOF},
		{"too long, and cut off", "99999999 <13>a", nil, io.ErrUnexpectedEOF},
		{"a count of nine digits is none", "123456789 <13>a\n<13>b\n", []string{"123456789 <13>a", "<13>b"}, io.EOF},
		{"a count that begins with zero is none", "05 <13>a\n", []string{"05 <13>a"}, io.EOF},
		{"counted nothing", "3 \n\n\n", nil, errFraming},
		{"a number is no count", "42\n", []string{"42"}, io.EOF},
		{"nothing", "\n\n", nil, io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tc.stream), iotest.OneByteReader(strings.NewReader(tc.stream)), iotest.DataErrReader(strings.NewReader(tc.stream))} {
				got, err := frames(r, 20_000)
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Error(d)
				}
				if !errors.Is(err, tc.err) {
					t.Errorf("ends with %v, want %v", err, tc.err)
				}
			}
		})
	}
}

// FuzzFraming holds that how a stream arrives changes nothing, that no message is longer than the bound, and that
// what was counted comes out as it went in.
func FuzzFraming(f *testing.F) {
	for _, s := range []string{"5 <13>a<14>b\n", "<13>a\x00\r\n 7 <13>b\nc", "99 <", "12345678 x", "1 \n", strings.Repeat("9", 20)} {
		f.Add(s, "<13>m")
	}
	f.Fuzz(func(t *testing.T, stream, message string) {
		const longest = 64
		at, err := frames(strings.NewReader(stream), longest)
		slow, slowErr := frames(iotest.OneByteReader(strings.NewReader(stream)), longest)
		if d := cmp.Diff(at, slow); d != "" || fmt.Sprint(err) != fmt.Sprint(slowErr) {
			t.Fatalf("byte by byte: %s %v %v", d, err, slowErr)
		}
		for _, m := range at {
			if len(m) > longest || m == "" {
				t.Fatalf("a message of %d bytes", len(m))
			}
		}
		clean := strings.TrimRight(message, "\r\n\x00")
		if clean == "" || len(message) > longest {
			return
		}
		counted := fmt.Sprintf("%d %s", len(message), message)
		got, err := frames(strings.NewReader(counted+counted), longest)
		if d := cmp.Diff([]string{clean, clean}, got); d != "" || !errors.Is(err, io.EOF) {
			t.Fatalf("%q: %s %v", counted, d, err)
		}
	})
}
