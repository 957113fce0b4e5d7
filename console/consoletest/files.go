package consoletest

import (
	"context"

	"github.com/testudo-sec/testudo/console"
)

// Files knows of two files that are not what they were, one of them with a name that somebody chose with care.
func (n node) Files(context.Context, bool) (console.FileReport, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.FileReport{}, err
	}
	at := n.w.Now()
	before := &console.FileState{Mode: "100755", Owner: "0:0", Size: 140_000, Modified: at, SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
	after := &console.FileState{Mode: "104755", Owner: "0:0", Size: 151_552, Modified: at, SHA256: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"}
	odd := "/etc/cron.d/%1B[2J<script>"
	return console.FileReport{Baseline: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", Taken: at, Roots: []string{"/etc", "/usr/bin"}, Files: 4210,
		Hashed: 3980, Scanned: at, TookMS: 412, Differ: 2, Altered: 1, Changes: []console.FileChange{
			{Path: odd, What: []string{"created"}, After: &console.FileState{Mode: "100644", Owner: "33:33", Size: 61, Modified: at}},
			{Path: "/usr/bin/ssh", What: []string{"content", "mode"}, Before: before, After: after, Package: "openssh-client 1:9.2p1-2", Altered: true}},
		NotAsPackaged: []console.PackagedFile{{Path: "/usr/bin/ssh", Package: "openssh-client 1:9.2p1-2", SHA256: after.SHA256}}}, nil
}

// TakeFiles changes nothing.
func (n node) TakeFiles(ctx context.Context, _ console.Identity) (console.FileReport, error) {
	r, err := n.Files(ctx, true)
	r.Differ, r.Changes = 0, nil
	return r, err
}

// AcceptFiles accepts what it is asked to.
func (n node) AcceptFiles(ctx context.Context, o console.FileOrder, _ console.Identity) ([]console.FileChange, error) {
	r, err := n.Files(ctx, false)
	if err != nil || !o.Packaged && len(o.Paths) == 0 {
		return nil, err
	}
	return r.Changes[:1], nil
}
