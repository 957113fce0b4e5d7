package lake

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// part is a file being written. It fits store.Part. One stage is filled while another is
// written, so that the archiver uses two cores when there is much to do.
type part struct {
	lake  *Lake
	p     store.Partition
	dir   string
	stage *stage // being filled
	spare *stage // empty; nil until a stage was written

	writing chan error  // gives what became of the stage being written; nil where none is
	inWrite *stage      // that stage; like file, it belongs to its writer until then
	file    *fileWriter // nil until the first rows leave a stage
	written int         // rows that left the stages, the ones being written included
	size    int64       // of the file without the stage being written
	failure error       // of a write; there is no going on after it
	done    bool
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
	if !p.stage.full() {
		return nil
	}
	return p.flush()
}

// flush begins to write the staged rows, after those before them.
func (p *part) flush() error {
	if err := p.wait(); err != nil {
		return err
	}
	full := p.stage
	if p.stage, p.spare = p.spare, nil; p.stage == nil {
		p.stage = newStage(p.lake.layout)
	}
	p.written += full.rows
	p.inWrite, p.writing = full, make(chan error, 1)
	go func() { p.writing <- p.write(full) }()
	return nil
}

// wait returns when no stage is being written, and what went wrong with one so far.
func (p *part) wait() error {
	if p.writing == nil {
		return p.failure
	}
	p.failure = <-p.writing
	p.spare, p.inWrite, p.writing = p.inWrite, nil, nil
	if p.file != nil {
		p.size = p.file.writer.Size()
	}
	return p.failure
}

// write writes the stage's rows and empties it.
func (p *part) write(s *stage) (err error) {
	defer s.reset()
	if p.file == nil {
		err = p.begin(s)
	} else if !p.file.groups.holds(&s.groups) {
		err = p.widen(s)
	}
	if err == nil {
		err = p.file.write(s)
	}
	if err != nil {
		return fmt.Errorf("lake file of %s: %w", p.p, err)
	}
	return nil
}

// begin makes the file with the columns that the staged rows and earlier files of the class have.
func (p *part) begin(s *stage) (err error) {
	class := filepath.Dir(p.dir)
	if err := makeDir(p.lake.dir, filepath.Base(class)); err != nil {
		return err
	}
	if err := makeDir(class, filepath.Base(p.dir)); err != nil {
		return err
	}
	p.file, err = createFile(p.lake.layout, p.dir, p.lake.learn(p.p.Class, s.groups))
	return err
}

// widen writes what is there again into a file that has the staged rows' groups too.
// The lake learns them, so that this happens a few times in a class's life.
func (p *part) widen(s *stage) error {
	old := p.file
	defer old.discard()
	if err := old.finish(); err != nil {
		return err
	}
	wider, err := createFile(p.lake.layout, p.dir, p.lake.learn(p.p.Class, union(old.groups, s.groups)))
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
	return p.written + p.stage.rows
}

// Size leaves out the rows being written: they are few, and in the next answer.
func (p *part) Size() int64 { return p.size + p.stage.bytes/3 }

func (p *part) Commit(first, last uint64) error {
	if err := p.wait(); err != nil {
		return err
	}
	if p.stage.rows > 0 {
		p.written += p.stage.rows
		if p.failure = p.write(p.stage); p.failure != nil {
			return p.failure
		}
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
	_ = p.wait()
	if p.file != nil && !p.done {
		p.file.discard()
	}
	p.done = true
}
