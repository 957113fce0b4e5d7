package assembly

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/testudo-sec/testudo/config"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/gate"
	"github.com/testudo-sec/testudo/scan/history"
	"github.com/testudo-sec/testudo/scan/license"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/signal"
)

// CIPolicyName is the policy file that `testudo ci` looks for at the top of what it scans.
const CIPolicyName = ".testudo.yaml"

// maxCIPolicy bounds a policy file.
const maxCIPolicy = 1 << 20

// CIPolicy is the file .testudo.yaml of a project: what stops a change, and what the project's people decided.
type CIPolicy struct {
	gate.Policy `yaml:",inline"`
	// Exclude leaves out paths, with patterns as in .gitignore.
	Exclude []string `yaml:"exclude"`
	// Vulnerabilities says how known flaws of packages are judged, and which do not matter here.
	Vulnerabilities vuln.Config `yaml:"vulnerabilities"`
	// Licenses says which licences may be used.
	Licenses license.Config `yaml:"licenses"`
}

// Validate checks the policy.
func (p *CIPolicy) Validate() error { return p.Policy.Validate() }

// ciPolicy is what is in force before a file says something else.
func (s *Settings) ciPolicy() CIPolicy {
	return CIPolicy{Policy: s.Scan.Gate, Exclude: s.Scan.Exclude, Vulnerabilities: s.Scan.Vulnerabilities, Licenses: s.Scan.Licenses}
}

// ReadCIPolicy returns the policy of a file; of the one at the top of the folder where none is named, and of the
// settings where that is not there. Where the change has a base, the base's file counts: a change does not decide about
// itself. The text says where it came from.
func (s *Settings) ReadCIPolicy(ctx context.Context, named, root, base string) (p CIPolicy, from string, err error) {
	p = s.ciPolicy()
	var data []byte
	switch {
	case named != "":
		from = named
		data, err = readLimited(named, maxCIPolicy)
	case base != "":
		from = CIPolicyName + " of " + base
		fork := &history.Fork{Root: root, Base: base, Config: s.Scan.History, Scan: s.Scan.Config}
		data, err = fork.ReadFile(ctx, CIPolicyName, maxCIPolicy)
	default:
		from = CIPolicyName
		data, err = readLimited(filepath.Join(root, CIPolicyName), maxCIPolicy)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	switch {
	case err != nil:
		return p, from, err
	case data == nil:
		return p, "the defaults", nil
	}
	if err := config.Decode(from, data, &p); err != nil {
		return p, from, err
	}
	return p, from, nil
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	if data == nil {
		data = bytes.TrimSpace([]byte{})
	}
	return data, err
}

// BaseIgnoreFiles returns the ignore files of the base: a change does not decide what of it is looked at.
func (s *Settings) BaseIgnoreFiles(ctx context.Context, root, base string) (map[string][]byte, error) {
	fork := &history.Fork{Root: root, Base: base, Config: s.Scan.History, Scan: s.Scan.Config}
	return fork.Ignores(ctx)
}

// BaseBaseline returns the baseline that a file of the base holds, for a file below root; ok is false for any other file.
func (s *Settings) BaseBaseline(ctx context.Context, root, base, name string) (b scan.Baseline, ok bool, err error) {
	rel, ok := below(root, name)
	if !ok {
		return nil, false, nil
	}
	fork := &history.Fork{Root: root, Base: base, Config: s.Scan.History, Scan: s.Scan.Config}
	data, err := fork.ReadFile(ctx, rel, maxBaseline)
	if err != nil {
		return nil, true, err
	}
	b, err = scan.ReadBaseline(bytes.NewReader(data))
	return b, true, err
}

const maxBaseline = 256 << 20

// below returns the path of a file from root on, with slashes, if it is below.
func below(root, name string) (string, bool) {
	absRoot, err := filepath.Abs(root)
	if err != nil {
		return "", false
	}
	absName, err := filepath.Abs(name)
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(absRoot, absName)
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}

// BaseFindings scans the state that a change began at, and returns the ids of what is wrong with it.
func (s *Settings) BaseFindings(ctx context.Context, r ScanRequest, base string) (map[string]bool, error) {
	r.Kind, r.Range, r.Baseline, r.Child = ScanFork, base, nil, nil
	p, err := s.PlanScan(ctx, r)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	ids := map[string]bool{}
	if _, err := scan.Run(ctx, p.Options, func(f signal.Finding) { ids[f.ID] = true }); err != nil {
		return nil, err
	}
	return ids, nil
}
