package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
)

// deadLetters is a folder of batches that could not be read, NNN.batch by their sequence.
type deadLetters struct {
	dir   string
	limit int64
	lost  atomic.Uint64 // not kept because the folder was full
}

// keep writes the batch durably, unless the folder is full: then it is only counted.
func (d *deadLetters) keep(seq uint64, payload []byte) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	used, err := d.size()
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	if used+int64(len(payload)) > d.limit {
		d.lost.Add(1)
		return nil
	}
	f, err := os.OpenFile(filepath.Join(d.dir, fmt.Sprintf("%012d.batch", seq)), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	_, err = f.Write(payload)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = syncDir(d.dir) // the bus forgets the batch next
	}
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (d *deadLetters) size() (int64, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total, nil
}
