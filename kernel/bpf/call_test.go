//go:build linux

package bpf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	l, s := start(t, Options{}, kernel.Interest{Reads: kernel.Paths{Name: []string{"id_rsa"}}, Writes: kernel.Paths{Prefix: []string{dir}}})
	for _, f := range l.Features() {
		t.Logf("%+v", f)
	}
	path := filepath.Join(dir, "id_RSA")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _ = os.ReadFile(path)
	s.wait(t, "write", func(r *record.Record) bool { return r.Call == record.CallOpenat && string(r.Path) == path && r.Nums[2]&1 != 0 })
	r := s.wait(t, "read", func(r *record.Record) bool { return r.Call == record.CallOpenat && string(r.Path) == path && r.Nums[2]&3 == 0 })
	t.Logf("%+v", r)
}
