package seclang

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
)

const (
	// maxLine is what Coraza reads of a line: it leaves out a longer one and all that comes after it, without a word.
	maxLine = 64 << 10
	// maxIncludes bounds the files that are read, as Coraza does.
	maxIncludes = 100
)

// reader goes through directives in their order.
type reader struct {
	root     fs.FS
	dir      string // of the file that is read
	file     string
	line     int // counted over all files, as Coraza does
	own      int // line of the text itself
	includes int

	program      Program
	defaults     map[int][]written
	datasets     map[string][]string
	ignoreErrors bool
}

// Error is a directive that is wrong, or means what this package does not model.
type Error struct {
	Place     Place
	Directive string // its name in lower case; "" where it is no directive's
	Err       error
}

func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Directive != "" {
		text = e.Directive + ": " + text
	}
	if e.Place.File == "" {
		return fmt.Sprintf("line %d: %s", e.Place.Own, text)
	}
	return fmt.Sprintf("%s, line %d: %s", e.Place.File, e.Place.Line, text)
}

func (e *Error) Unwrap() error { return e.Err }

// Parse reads directives. What they include is read from root. Errors are of the type *[Error].
func Parse(root fs.FS, text string) (*Program, error) {
	r := &reader{root: root, defaults: map[int][]written{}, datasets: map[string][]string{}, program: Program{Settings: defaultSettings()}}
	if err := r.text(text); err != nil {
		return nil, err
	}
	if s := &r.program.Settings; s.Engine == types.RuleEngineDetectionOnly { // which refuses nothing
		s.RequestBodyReject, s.ResponseBodyReject = false, false
	}
	return &r.program, nil
}

// text joins lines to directives, as Coraza does: comments are left out even between the lines of one directive.
func (r *reader) text(text string) error {
	var whole strings.Builder
	quoted := false // between backticks
	for line := range strings.Lines(text) {
		r.line++
		if r.file == "" {
			r.own++
		}
		if len(line) >= maxLine {
			return r.wrong(fmt.Errorf("the line is longer than %d bytes: Coraza would leave out all that follows", maxLine))
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if !quoted && strings.HasSuffix(line, "`") {
			quoted = true
		} else if quoted && line[0] == '`' {
			quoted = false
		}
		if quoted {
			whole.WriteString(line + "\n")
			continue
		}
		if head, more := strings.CutSuffix(line, `\`); more {
			whole.WriteString(head)
			continue
		}
		whole.WriteString(line)
		if err := r.directive(whole.String()); err != nil {
			return err
		}
		whole.Reset()
	}
	if quoted {
		return r.wrong(errors.New("a backtick is left open"))
	}
	if whole.Len() > 0 {
		return r.wrong(errors.New("the last line is to be continued: Coraza would leave the directive out"))
	}
	return nil
}

func (r *reader) wrong(err error) error { return &Error{Place: r.place(), Err: err} }

func (r *reader) directive(text string) error {
	name, options, _ := strings.Cut(text, " ")
	if len(options) >= 3 && options[0] == '"' && options[len(options)-1] == '"' {
		options = strings.Trim(options, `"`)
	}
	name = strings.ToLower(name)
	if name == "include" {
		return r.include(options)
	}
	if err := r.apply(name, options); err != nil {
		return &Error{Place: r.place(), Directive: name, Err: err}
	}
	return nil
}

// include reads a file, or all that a pattern names.
func (r *reader) include(name string) error {
	if r.includes++; r.includes > maxIncludes {
		return r.wrong(fmt.Errorf("more than %d files are included", maxIncludes))
	}
	files := []string{name}
	pattern := strings.Contains(name, "*")
	if pattern {
		var err error
		if files, err = fs.Glob(r.root, name); err != nil {
			return r.wrong(fmt.Errorf("include %s: %w", name, err))
		}
	}
	dir, file := r.dir, r.file
	for _, name := range files {
		name = strings.TrimSpace(name)
		if !pattern && !strings.HasPrefix(name, "/") {
			name = path.Join(dir, name)
		}
		text, err := fs.ReadFile(r.root, name)
		if err != nil {
			return r.wrong(fmt.Errorf("include: %w", err))
		}
		r.dir, r.file = path.Dir(name), name
		if err := r.text(string(text)); err != nil {
			return err
		}
		r.dir, r.file = dir, file
	}
	return nil
}

// find returns the rules with an id of the range. Markers and the rest of a chain have none.
func (r *reader) find(from, to int) []*Rule {
	var out []*Rule
	for _, rule := range r.program.Rules {
		if rule.ID >= from && rule.ID <= to && rule.ID != 0 {
			out = append(out, rule)
		}
	}
	return out
}

// remove takes out the rules for which which is true.
func (r *reader) remove(which func(*Rule) bool) {
	r.program.Rules = slices.DeleteFunc(r.program.Rules, which)
}
