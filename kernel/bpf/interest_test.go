//go:build linux

package bpf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Every kind of filter lets through what it is to let through, and holds back the rest.
func TestFilters(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("l", 200)
	l, s := start(t, Options{}, kernel.Interest{})
	for _, c := range []struct {
		name   string
		paths  kernel.Paths
		yes    string
		no     string
		reader bool
	}{
		{name: "exact", paths: kernel.Paths{Exact: []string{in(dir, "exact")}}, yes: "exact", no: "exactly"},
		{name: "prefix", paths: kernel.Paths{Prefix: []string{in(dir, "pre")}}, yes: "prefix", no: "other"},
		{name: "name", paths: kernel.Paths{Name: []string{"id_rsa"}}, yes: "ID_rsa", no: "id_rsa.pub"},
		{name: "end", paths: kernel.Paths{End: []string{".php"}}, yes: "shell.PHP", no: "shell.php5"},
		{name: "part", paths: kernel.Paths{Part: []string{".ssh"}}, yes: ".SSH/config", no: ".sshd/config"},
		{name: "last part", paths: kernel.Paths{Part: []string{".netrc"}}, yes: ".netrc", no: "netrc"},
		{name: "long exact", paths: kernel.Paths{Exact: []string{in(dir, long, "file")}}, yes: long + "/file", no: "short"},
		{name: "none", paths: kernel.Paths{}, no: "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range []string{c.yes, c.no} {
				if p == "" {
					continue
				}
				if err := os.MkdirAll(filepath.Dir(in(dir, p)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(in(dir, p), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			read := func(p string) {
				if _, err := os.ReadFile(p); err != nil {
					t.Fatal(err)
				}
			}
			paths := c.paths
			paths.Exact = append(paths.Exact, in(dir, "last"))
			if err := l.Watch(t.Context(), kernel.Interest{Reads: paths}); err != nil {
				t.Fatal(err)
			}
			read(in(dir, c.no))
			if c.yes != "" {
				read(in(dir, c.yes))
			}
			if err := os.WriteFile(in(dir, "last"), nil, 0o600); err != nil { // a write, of which nobody wants to know
				t.Fatal(err)
			}
			read(in(dir, "last"))
			got := map[string]int{}
			s.wait(t, "the last", func(r *record.Record) bool {
				return r.Call == record.CallOpenat && string(r.Path) == in(dir, "last") && r.Nums[2]&3 == 0
			})
			s.mu.Lock()
			defer s.mu.Unlock()
			for i := range s.all {
				if r := &s.all[i]; r.Kind == record.KindCall && r.PID == uint32(os.Getpid()) && strings.HasPrefix(string(r.Path), dir) {
					got[strings.TrimPrefix(string(r.Path), dir+"/")]++
				}
			}
			if got[c.yes] == 0 && c.yes != "" || got[c.no] != 0 || got["last"] != 1 {
				t.Errorf("told of %v, want %q and not %q", got, c.yes, c.no)
			}
			s.all = nil
		})
	}
}

func TestReadersByName(t *testing.T) {
	dir := t.TempDir()
	_, s := start(t, Options{}, kernel.Interest{Readers: []string{"bpf.test"}})
	if err := os.WriteFile(in(dir, "any"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _ = os.ReadFile(in(dir, "any"))
	r := s.wait(t, "a read by name", of(uint32(os.Getpid()), record.CallOpenat, at(in(dir, "any"))))
	if r.Nums[2]&3 != 0 {
		t.Error("a write is told of, only reads were asked for")
	}
}

// What was wanted before and is wanted after a change is not missed during it.
func TestInterestChangesLive(t *testing.T) {
	dir := t.TempDir()
	path := in(dir, "always")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	interest := func(i int) kernel.Interest {
		p := kernel.Paths{Exact: []string{path}}
		for k := range i % 7 {
			p.Prefix = append(p.Prefix, fmt.Sprintf("/nowhere/%d/%d", i, k))
		}
		return kernel.Interest{Reads: p, Calls: map[record.Call]bool{record.CallPtrace: i%2 == 0}}
	}
	l, s := start(t, Options{}, interest(0))
	var stop atomic.Bool
	var opened atomic.Int64
	done := make(chan error, 1)
	go func() {
		for !stop.Load() {
			if _, err := os.ReadFile(path); err != nil {
				done <- err
				return
			}
			opened.Add(1)
		}
		done <- nil
	}()
	for i := range 30 {
		if err := l.Watch(t.Context(), interest(i)); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in(dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Watch(t.Context(), kernel.Interest{Reads: kernel.Paths{Exact: []string{in(dir, "end")}}}); err != nil {
		t.Fatal(err)
	}
	_, _ = os.ReadFile(in(dir, "end"))
	s.wait(t, "the end", at(in(dir, "end")))
	lost, err := l.Lost()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	told := int64(0)
	for i := range s.all {
		if string(s.all[i].Path) == path {
			told++
		}
	}
	if told+int64(lost[record.KindCall]) < opened.Load() || opened.Load() == 0 {
		t.Errorf("%d of %d opens are told of, %v lost", told, opened.Load(), lost)
	}
}

func TestNamesOfChangedFiles(t *testing.T) {
	dir := t.TempDir()
	want := kernel.Interest{Calls: map[record.Call]bool{record.CallUnlinkat: true, record.CallMkdirat: true}, AnyPath: map[record.Call]bool{record.CallMkdirat: true},
		Changes: kernel.Paths{Prefix: []string{in(dir, "kept/")}}}
	_, s := start(t, Options{}, want)
	pid := uint32(os.Getpid())
	for _, d := range []string{"kept", "other"} {
		if err := os.Mkdir(in(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(in(dir, d, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(in(dir, "other", "file")); err != nil {
		t.Fatal(err)
	}
	// A way around the front that is asked for.
	if err := os.Remove(dir + "/other/..//kept/file"); err != nil {
		t.Fatal(err)
	}
	r := s.wait(t, "unlink", of(pid, record.CallUnlinkat, at(in(dir, "kept", "file"))))
	if string(r.Name) != dir+"/other/..//kept/file" {
		t.Errorf("name %q", r.Name)
	}
	s.wait(t, "mkdir of any path", of(pid, record.CallMkdirat, at(in(dir, "other"))))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if string(s.all[i].Path) == in(dir, "other", "file") {
			t.Error("a change outside of what is watched is told of")
		}
	}
}
