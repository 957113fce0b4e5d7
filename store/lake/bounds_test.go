package lake

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// TestManyDamagedFiles holds that a compaction comes to an end, whatever the number of files it cannot read.
func TestManyDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	p := hourOf(signal.ClassHTTPActivity)
	folder := filepath.Join(dir, p.String())
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	const files = maxComplaints + 2
	for i := range uint64(files) {
		if err := os.WriteFile(filepath.Join(folder, fileName(i+1, i+1)), []byte("PAR1 not parquet PAR1"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, dir, DefaultConfig())
	patient, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Maintain(patient, p.End().Add(time.Hour), files); err != nil || patient.Err() != nil {
		t.Fatalf("the compaction goes round and round: %v, %v", err, patient.Err())
	}
	if s := l.Stats(); s.Damaged != files || s.Files != files {
		t.Errorf("stats %+v: want every damaged file counted, and kept", s)
	}
	if err := l.Health(); err == nil || !strings.Contains(err.Error(), fmt.Sprint(files)) {
		t.Errorf("health %v: want their number", err)
	}
}

// TestGapsAreBounded holds that files of gaps which are no longer remembered go, and that what was
// recorded last does not.
func TestGapsAreBounded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	batch := func(from int) []store.Gap {
		gaps := make([]store.Gap, maxGaps/2)
		for i := range gaps {
			gaps[i] = store.Gap{Count: 1, FirstTime: int64(from + i), LastTime: int64(from + i)}
		}
		return gaps
	}
	for i := range 4 {
		if err := l.RecordGaps(uint64(i+1), batch(i*maxGaps)); err != nil {
			t.Fatal(err)
		}
	}
	// Gaps of long ago that are told of late are forgotten at once; their batch must still count as told of.
	if err := l.RecordGaps(9, []store.Gap{{Count: 1, FirstTime: -5, LastTime: -5}}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, gapFolder, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%d files, error %v: want those of the gaps that are remembered, and the last", len(files), err)
	}
	if l = open(t, dir, DefaultConfig()); l.GapsHeld() != 9 || len(l.gaps) != maxGaps {
		t.Errorf("held %d, %d gaps", l.GapsHeld(), len(l.gaps))
	}
}

// TestFootersLie holds that a file's own word for the length of its footer costs no memory.
func TestFootersLie(t *testing.T) {
	p := hourOf(signal.ClassHTTPActivity)
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("PAR1 not parquet\xff\xff\xff\x3fPAR1"), 0o600); err != nil {
		t.Fatal(err)
	}
	layout := newLayout()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := openReader(layout, path, p)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "footer") {
		t.Errorf("error %v: want one about the footer", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("%d bytes were allocated for a file of 24", took)
	}
}
