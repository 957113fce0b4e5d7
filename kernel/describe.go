package kernel

import (
	"path"

	"github.com/testudo-sec/testudo/kernel/process"
)

// Told is a process as people are told of it. Its texts are in their recorded form: what is a secret by its looks, or the value of an option that takes one,
// is masked.
type Told struct {
	Exe     string
	CmdLine string
	Cwd     string
	Given   string      // what the caller named, where that is not the executable: a script, a link
	Name    string      // of the executable; the kernel's name where that is not known
	User    string      // name, or number in a container
	Facts   *Executable // what is known of the file that it runs; nil where nothing is
}

// Describe tells of a process. It may be called at any time, and holds up what is judged for one command line at most.
func (p *Plane) Describe(proc *process.Process, contained bool) Told {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := Told{Exe: p.b.paths.of([]byte(proc.Exe)).recorded, CmdLine: p.b.commandLine(proc).recorded, Cwd: p.b.paths.of([]byte(proc.Cwd)).recorded, Given: p.b.paths.of([]byte(proc.Given)).recorded,
		Name: proc.Name, User: p.b.userName(proc.UID, contained)}
	if t.Exe != "" {
		t.Name = path.Base(t.Exe)
	}
	if proc.HasInode && proc.Inode.Number != 0 {
		if x, ok := p.exes.get(exeKey{proc.Inode.Device, proc.Inode.Number, proc.Inode.Changed}); ok && x.facts != nil {
			facts := *x.facts
			t.Facts = &facts
		}
	}
	return t
}

// DescribeAncestor tells of what a process came from.
func (p *Plane) DescribeAncestor(a *process.Ancestor, contained bool) Told {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := Told{Exe: p.b.paths.of([]byte(a.Exe)).recorded, CmdLine: p.b.ancestorLine(a).recorded, Name: a.Name}
	if a.Key != "" {
		t.User = p.b.userName(a.UID, contained)
	}
	return t
}
