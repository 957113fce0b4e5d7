package lake

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// part is a file being written. It fits store.Part.
type part struct {
	lake  *Lake
	p     store.Partition
	dir   string
	stage *stage
	file  *fileWriter // nil until the first rows leave the stage
	done  bool
}

// Create begins a file of a partition. It touches the disk when rows are written.
func (l *Lake) Create(p store.Partition) (store.Part, error) {
	return &part{lake: l, p: p, dir: filepath.Join(l.dir, p.String()), stage: newStage(l.layout)}, nil
}

// makeDir makes a folder durably unless it is there.
func makeDir(parent, name string) error {
	err := os.Mkdir(filepath.Join(parent, name), 0o700)
	if os.IsExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(parent)
}

func (p *part) Append(e *signal.Event) error {
	p.stage.add(e)
	if p.stage.rows < stageRows {
		return nil
	}
	return p.flush()
}

// flush writes the staged rows.
func (p *part) flush() (err error) {
	if p.stage.rows == 0 {
		return nil
	}
	if p.file == nil {
		err = p.begin()
	} else if !p.file.groups.holds(&p.stage.groups) {
		err = p.widen()
	}
	if err == nil {
		err = p.file.write(p.stage)
	}
	p.stage.reset()
	if err != nil {
		return fmt.Errorf("lake file of %s: %w", p.p, err)
	}
	return nil
}

// begin makes the file with the columns that the staged rows and earlier files of the class have.
func (p *part) begin() (err error) {
	class := filepath.Dir(p.dir)
	if err := makeDir(p.lake.dir, filepath.Base(class)); err != nil {
		return err
	}
	if err := makeDir(class, filepath.Base(p.dir)); err != nil {
		return err
	}
	p.file, err = createFile(p.lake.layout, p.dir, p.lake.learn(p.p.Class, p.stage.groups))
	return err
}

// widen writes what is there again into a file that has the staged rows' groups too.
// The lake learns them, so that this happens a few times in a class's life.
func (p *part) widen() error {
	old := p.file
	defer old.discard()
	if err := old.finish(); err != nil {
		return err
	}
	wider, err := createFile(p.lake.layout, p.dir, p.lake.learn(p.p.Class, union(old.groups, p.stage.groups)))
	if err != nil {
		return err
	}
	p.file = wider
	r, err := openReader(p.lake.layout, old.file.Name(), p.p)
	if err != nil {
		return err
	}
	defer r.close()
	st := newStage(p.lake.layout)
	return r.copyTo(st, func() error { return wider.write(st) })
}

func (p *part) Rows() int {
	if p.file == nil {
		return p.stage.rows
	}
	return p.file.rows + p.stage.rows
}

func (p *part) Size() int64 {
	size := p.stage.bytes / 3
	if p.file != nil {
		size += p.file.writer.Size()
	}
	return size
}

func (p *part) Commit(first, last uint64) error {
	if err := p.flush(); err != nil {
		return err
	}
	if p.file == nil {
		return fmt.Errorf("lake file of %s: nothing to commit", p.p)
	}
	if err := p.file.finish(); err != nil {
		return fmt.Errorf("lake file of %s: %w", p.p, err)
	}
	info, err := p.file.file.Stat()
	if err != nil {
		return err
	}
	name := fileName(first, last)
	if err := p.file.rename(name); err != nil {
		return fmt.Errorf("lake file of %s: %w", p.p, err)
	}
	p.done = true
	p.lake.commit(&file{path: filepath.Join(p.p.String(), name), part: p.p, first: first, last: last, size: info.Size()}, p.file.rows)
	return nil
}

func (p *part) Discard() {
	if p.file != nil && !p.done {
		p.file.discard()
	}
	p.done = true
}
