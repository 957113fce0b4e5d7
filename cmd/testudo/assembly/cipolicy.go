package assembly

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/testudo-sec/testudo/config"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/gate"
	"github.com/testudo-sec/testudo/scan/history"
	"github.com/testudo-sec/testudo/scan/license"
	"github.com/testudo-sec/testudo/scan/vuln"
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

// ReadCIPolicy returns the policy of a file; of the one at the top of the folder where none is named, else of the one at the top
// of its repository, and of the settings where neither is there. Where the change has a base, the base's file counts: a change does not
// decide about itself. The text says where it came from.
func (s *Settings) ReadCIPolicy(ctx context.Context, named, root string, base *CIBase) (p CIPolicy, from string, err error) {
	p = s.ciPolicy()
	var data []byte
	if named != "" {
		var ours bool
		data, ours, err = base.document(ctx, named, maxCIPolicy)
		from = named
		switch {
		case err == nil && ours && data == nil:
			return p, fmt.Sprintf("the defaults: %s counts once it is in %s", scan.Printable(named), scan.Printable(base.Revision)), nil
		case ours:
			from += " of " + base.Revision
		}
	} else {
		data, from, err = s.policyOf(ctx, root, base)
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

// policyOf looks for the policy file of a folder, then for the one of its repository; data is nil if there is none.
func (s *Settings) policyOf(ctx context.Context, root string, base *CIBase) (data []byte, from string, err error) {
	if base != nil {
		for _, dir := range []string{base.Below, ""} {
			name := path.Join(dir, CIPolicyName)
			if data, err = base.fork(s).ReadFile(ctx, name, maxCIPolicy); err != nil || data != nil {
				return data, name + " of " + base.Revision, err
			}
		}
		return nil, "", nil
	}
	data, err = readLimited(filepath.Join(root, CIPolicyName), maxCIPolicy)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, CIPolicyName, err
	}
	if top, err := history.Repository(root); err == nil {
		name := filepath.Join(top, CIPolicyName)
		if data, err = readLimited(name, maxCIPolicy); !errors.Is(err, fs.ErrNotExist) {
			return data, name, err
		}
	}
	return nil, "", nil
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
