package lake

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/store"
)

const (
	gapFolder = "gaps"
	maxGaps   = 10_000 // gaps that are remembered; of more, the newest
)

// storedGap is a gap and the file that holds it: gaps/LAST.json, where LAST is the
// last batch whose gaps are in it.
type storedGap struct {
	store.Gap
	path string
}

func (l *Lake) openGaps() error {
	dir := filepath.Join(l.dir, gapFolder)
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		base, ok := strings.CutSuffix(e.Name(), ".json")
		last, err := strconv.ParseUint(base, 10, 64)
		if !ok || err != nil {
			if strings.HasPrefix(e.Name(), tempPrefix) {
				_ = os.Remove(path)
			}
			continue
		}
		l.gapsTo = max(l.gapsTo, last)
		raw, err := os.ReadFile(path)
		var gaps []store.Gap
		if err == nil {
			err = json.Unmarshal(raw, &gaps)
		}
		if err != nil {
			l.damaged[filepath.Join(gapFolder, e.Name())] = err.Error()
			continue
		}
		for _, g := range gaps {
			l.gaps = append(l.gaps, storedGap{g, path})
		}
	}
	l.trimGaps()
	return nil
}

func (l *Lake) trimGaps() {
	slices.SortStableFunc(l.gaps, func(a, b storedGap) int { return cmp.Compare(a.FirstTime, b.FirstTime) })
	if over := len(l.gaps) - maxGaps; over > 0 {
		l.forgetGaps(l.gaps[:over], slices.Clone(l.gaps[over:]))
	}
}

// forgetGaps leaves the kept gaps, and removes the files that hold only dead ones. The file that names
// the last batch stays, empty or not: what that batch said is not to be told twice.
func (l *Lake) forgetGaps(dead, kept []storedGap) {
	live := map[string]bool{filepath.Join(l.dir, gapFolder, gapName(l.gapsTo)): true}
	for _, g := range kept {
		live[g.path] = true
	}
	for _, g := range dead {
		if !live[g.path] {
			_ = os.Remove(g.path)
		}
	}
	l.gaps = kept
}

func gapName(last uint64) string { return fmt.Sprintf("%012d.json", last) }

// GapsHeld returns the last batch whose gaps are kept.
func (l *Lake) GapsHeld() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gapsTo
}

// RecordGaps keeps, durably, that records are missing; last is the last batch that said so.
func (l *Lake) RecordGaps(last uint64, gaps []store.Gap) error {
	if len(gaps) == 0 {
		return nil
	}
	raw, err := json.Marshal(gaps)
	if err != nil {
		return err
	}
	if err := makeDir(l.dir, gapFolder); err != nil {
		return fmt.Errorf("lake: %w", err)
	}
	dir := filepath.Join(l.dir, gapFolder)
	name := gapName(last)
	if err := writeDurably(dir, name, raw); err != nil {
		return fmt.Errorf("lake: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gapsTo = max(l.gapsTo, last)
	l.gaps = slices.Clone(l.gaps) // views share the old one
	for _, g := range gaps {
		l.gaps = append(l.gaps, storedGap{g, filepath.Join(dir, name)})
	}
	l.trimGaps()
	return nil
}

// writeDurably makes a file of that name and content appear at once.
func writeDurably(dir, name string, content []byte) error {
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(dir)
}
