package reach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/vuln/scan"
)

const (
	// maxRounds is how often the packages that do not load are left out: leaving some out can show that others do not either.
	maxRounds = 4
	maxListed = 256 << 20
	// maxPatterns bounds the packages that are named one by one.
	maxPatterns = 20_000
	// leftOutMark begins the line by which the child tells what it left out.
	leftOutMark = "testudo-reach: not loaded: "
)

// Main is the child: it analyses the module in dir for what the files in db describe and writes govulncheck's messages
// to out. Its arguments are the last two of the command line. Packages that do not load are left out, and said on errOut.
func Main(ctx context.Context, args []string, out, errOut io.Writer) error {
	if len(args) != 2 {
		return errors.New("want two arguments: the module's folder and the one of what to look for")
	}
	dir, db := args[0], args[1]
	location := url.URL{Scheme: "file", Path: filepath.ToSlash(db)}
	if !strings.HasPrefix(location.Path, "/") {
		location.Path = "/" + location.Path
	}
	patterns, broken := []string{"./..."}, map[string]bool{}
	for range maxRounds {
		err := analyse(ctx, dir, location.String(), patterns, out, errOut)
		if err == nil || !strings.Contains(err.Error(), "loading packages") {
			return err
		}
		for _, at := range brokenFolders(dir, err.Error()) {
			broken[at] = true
		}
		rest, imported, left, listErr := loadable(ctx, dir, broken)
		if listErr != nil || len(rest) == 0 || left == 0 || len(rest) > maxPatterns || slices.Equal(rest, patterns) {
			return err // as a whole
		}
		fmt.Fprintf(errOut, "%s%d of %d packages: %s\n", leftOutMark, left, left+len(rest), firstReason(err.Error()))
		// Types that do not fit hide calls, not imports.
		if err := json.NewEncoder(out).Encode(message{Imported: imported}); err != nil {
			return err
		}
		patterns = rest
	}
	return errors.New("the packages do not load")
}

// analyse runs govulncheck once.
func analyse(ctx context.Context, dir, db string, patterns []string, out, errOut io.Writer) error {
	cmd := scan.Command(ctx, append([]string{"-json", "-test=false", "-C", dir, "-db", db}, patterns...)...)
	cmd.Stdout, cmd.Stderr, cmd.Stdin = out, errOut, strings.NewReader("")
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Wait()
}

// position is a place in a Go file at the beginning of a line, as in "/src/a/b.go:3:8: undefined: x".
var position = regexp.MustCompile(`(?m)^(.+\.go):\d+(?::\d+)?: (.*)$`)

// brokenFolders are the folders of the files that the errors name.
func brokenFolders(dir, text string) []string {
	var out []string
	for _, m := range position.FindAllStringSubmatch(text, -1) {
		at := m[1]
		if !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		if folder := filepath.Dir(filepath.Clean(at)); !slices.Contains(out, folder) {
			out = append(out, folder)
		}
	}
	return out
}

// firstReason is the first thing that does not load, in one line.
func firstReason(text string) string {
	if m := position.FindStringSubmatch(text); m != nil {
		return filepath.Base(m[1]) + ": " + m[2]
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ":") {
			return line
		}
	}
	return "unknown"
}

// listed is what the toolchain says of a package.
type listed struct {
	ImportPath string
	Dir        string
	DepOnly    bool
	Deps       []string
	Error      *struct{ Err string }
}

// loadable returns the module's packages that load, and need nothing that does not, and how many the others are. Imported is every package
// that the module comes to; nil where a file or a package is missing, so that it is not known.
func loadable(ctx context.Context, dir string, broken map[string]bool) (paths, imported []string, left int, err error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-deps", "-json=ImportPath,Dir,DepOnly,Deps,Error", "./...")
	cmd.Dir = dir
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, 0, err
	}
	stderr := &limited{limit: maxStderr}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, 0, err
	}
	var own []listed
	bad, whole := map[string]bool{}, true
	d := json.NewDecoder(io.LimitReader(stdout, maxListed))
	for {
		var p listed
		if err = d.Decode(&p); err != nil {
			break
		}
		imported = append(imported, p.ImportPath)
		whole = whole && p.Error == nil
		bad[p.ImportPath] = p.Error != nil || broken[filepath.Clean(p.Dir)]
		if !p.DepOnly {
			own = append(own, p)
		}
	}
	if !errors.Is(err, io.EOF) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, nil, 0, fmt.Errorf("go list: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, nil, 0, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	for _, p := range own {
		if bad[p.ImportPath] || slices.ContainsFunc(p.Deps, func(dep string) bool { return bad[dep] }) {
			left++
			continue
		}
		paths = append(paths, p.ImportPath)
	}
	if !whole {
		imported = nil
	}
	return paths, imported, left, nil
}
