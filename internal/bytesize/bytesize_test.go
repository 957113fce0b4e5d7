package bytesize

import "testing"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want Size
		ok   bool
	}{
		{"0", 0, true}, {"4096", 4096, true}, {"10MiB", 10 * MiB, true}, {"1.5 GB", 1500000000, true},
		{"2kib", 2 * KiB, true}, {"7 B", 7, true}, {"8TiB", 8 * TiB, true},
		{"", 0, false}, {"MiB", 0, false}, {"-1", 0, false}, {"1e300TB", 0, false}, {"NaN", 0, false}, {"10 Mb!", 0, false},
		{"9223372036854775807", 9223372036854775807, true}, {"9223372036854775808", 0, false},
	} {
		got, err := Parse(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("Parse(%q) = %d, %v; want %d, ok %v", c.text, got, err, c.want, c.ok)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(int64(0))
	f.Add(int64(3 << 30))
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			return
		}
		if got, err := Parse(Size(n).String()); err != nil || got != Size(n) {
			t.Fatalf("Parse(%q) = %d, %v; want %d", Size(n), got, err, n)
		}
	})
}
