package lake

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// FuzzFile reads whatever bytes stand in a lake file: it may be marked as damaged, and nothing worse.
func FuzzFile(f *testing.F) {
	p := hourOf(signal.ClassHTTPActivity)
	l := open(f, f.TempDir(), DefaultConfig())
	write(f, l, p, 1, 1, requests(0, 3)...)
	good, err := os.ReadFile(filepath.Join(l.dir, p.String(), fileName(1, 1)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(good[len(good)/2:])
	f.Add([]byte("PAR1PAR1"))
	for i := 50; i < len(good); i += len(good) / 20 {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0xff
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		folder := filepath.Join(dir, p.String())
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, fileName(1, 1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, DefaultConfig(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		view := l.View()
		defer view.Release()
		var stats store.ScanStats
		events := 0
		err = view.Scan(context.Background(), &store.Query{}, &stats, func(e *signal.Event) bool {
			events++
			return events < 1000
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(stats.Damaged) == 0 && events == 0 && stats.Files == 0 {
			t.Error("the file was neither read nor marked as damaged")
		}
	})
}
