package sigma

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

type documentKind uint8

const (
	ruleDocument documentKind = iota
	correlationDocument
	filterDocument
)

// document is one document of a file.
type document struct {
	kind  documentKind
	s     *source
	rule  *policy.Rule
	bad   bool // something is wrong with it, and noted
	title string
	body  *yaml.Node // of a correlation or a filter: its own part

	source  logfields.Source // as it is written, of rules and filters
	fit     *fitted          // of rules
	where   match.Expr       // of rules: the log source, and what pipelines add
	when    match.Expr       // of rules: the detection
	clause  string           // of filters: their text, for people
	visited bool             // while a chain of correlations is followed

	compiled map[string]match.Expr // of filters: what they add to rules, by how those are fitted
	texts    int                   // of filters: that their values stand for so far
}

// readFile returns the documents of a file, and what is wrong with them.
func (l *load) readFile(f policy.File) ([]*document, policy.Problems) {
	s := &source{name: f.Name, text: string(f.Text)}
	bodies := s.parse()
	if len(bodies) == 0 && len(s.problems) == 0 {
		s.problem(nil, "write a rule, or remove the file", "the file holds no rule")
	}
	var all []*document
	for i, body := range bodies {
		s.rule = ""
		end := 1 << 30
		if i+1 < len(bodies) {
			end = bodies[i+1].Line
		}
		before := len(s.problems)
		if doc := l.readDocument(s, body, end); doc != nil {
			doc.bad = doc.bad || len(s.problems[before:].Errors()) > 0
			all = append(all, doc)
		}
	}
	problems := s.problems
	s.problems = nil
	if !slices.ContainsFunc(all, func(d *document) bool { return d.kind != ruleDocument }) {
		s.text, s.lines = "", nil // it is not read any more
	}
	return all, problems
}

// readDocument reads one document, which ends before a line of the file.
func (l *load) readDocument(s *source, body *yaml.Node, end int) *document {
	pairs, ok := s.pairs(body, "a rule")
	if !ok {
		return nil
	}
	doc := &document{s: s, kind: ruleDocument}
	own := ""
	for _, p := range pairs {
		switch p.key {
		case "detection", "correlation", "filter":
			if own != "" {
				s.problem(p.at, "write a document of its own, behind ---", "%s stands beside %s", p.key, own)
				return nil
			}
			own, doc.body = p.key, p.value
		case "action":
			s.problem(p.at, "write the keys out in each document", "collections by action are not part of Sigma any more")
			return nil
		}
	}
	switch own {
	case "":
		hint := "a detection rule has detection, a correlation rule correlation, a filter filter"
		for _, p := range pairs {
			if near := spell.Nearest(p.key, topKeys[:3]); near != "" {
				hint = fmt.Sprintf("did you mean %q in the place of %q?", near, shown(p.key))
			}
		}
		s.problem(body, hint, "the document has no detection")
		return nil
	case "correlation":
		doc.kind = correlationDocument
	case "filter":
		doc.kind = filterDocument
	}
	if !s.header(doc, pairs, body) {
		return nil
	}
	doc.rule.When = s.parts(body, end, "logsource", own)
	if doc.kind != correlationDocument {
		n := find(pairs, "logsource")
		if n == nil {
			s.problem(body, "name its product, service or category", "the rule has no logsource")
			return nil
		}
		if doc.source, ok = s.logsource(n, "logsource"); !ok {
			return nil
		}
	}
	if doc.kind == ruleDocument {
		l.detect(doc)
		doc.body = nil
	}
	return doc
}

// detect compiles a detection rule.
func (l *load) detect(doc *document) {
	doc.fit = l.pipes.fit(doc.source, doc.rule.ID, doc.rule.Name)
	c := &compiler{s: doc.s, pipes: l.pipes, fit: doc.fit, load: l}
	if !l.spend(0) {
		doc.bad = true
		return
	}
	before := len(doc.s.problems)
	d, ok := c.detection(doc.body, "detection")
	if !ok && doc.rule.Disabled && len(doc.s.problems) > before {
		// It never fires, whatever it says: repositories keep such rules for what they once were.
		doc.s.problems = doc.s.problems[:before+1]
		doc.s.problems[before].Note = true
		doc.where, doc.when = match.Const(false), match.Const(false)
		doc.rule.Condition = match.Const(false)
		return
	}
	if !ok {
		doc.bad = true
		return
	}
	doc.where = match.And{sourceExpr(doc.fit.source), doc.fit.added(l.pipes)}
	doc.when = match.Simplify(d.when)
	doc.rule.Condition = match.Simplify(match.And{doc.where, doc.when})
	doc.note("logsource", sourceText(doc.fit.source))
	if unknown := sourceUnknown(doc.fit.source); len(unknown) > 0 {
		doc.note(NoteUnknownSource, strings.Join(unknown, ", "))
	}
	if len(doc.fit.steps) > 0 || strings.Contains(doc.rule.When, "expand") {
		doc.rule.When += l.pipes.stamp()
	}
	if len(c.missing) > 0 {
		doc.disable("no pipeline gives values to %" + strings.Join(c.missing, "%, %") + "%")
	}
}

// maxComment bounds what a rule's text repeats of a filter.
const maxComment = 2_000

// comment returns what changes a rule from outside as lines of its text, which a rule's identity is made of: a long
// text is cut, and named by its digest.
func comment(text string) string {
	text = strings.TrimRight(text, "\n")
	if len(text) > maxComment {
		text = strings.ToValidUTF8(text[:maxComment], "") + "\n… sha256:" + digest(text)
	}
	return "# " + strings.ReplaceAll(text, "\n", "\n# ")
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// disable switches a rule off, and says why.
func (doc *document) disable(why string) {
	doc.rule.Disabled = true
	doc.note(NoteDisabled, why)
}

func (doc *document) note(key, text string) {
	if text = strings.TrimSpace(text); text != "" {
		doc.rule.Notes = append(doc.rule.Notes, policy.Note{Key: key, Text: text})
	}
}

// The keys of notes that others ask for.
const (
	NoteDisabled      = "disabled"           // why a rule that loads never fires
	NoteUnknownSource = "unknown log source" // parts of the log source that are matched by their names alone
)

// parts returns the lines of these keys as they are written.
func (s *source) parts(body *yaml.Node, end int, keys ...string) string {
	var all []string
	for i := 0; i+1 < len(body.Content); i += 2 {
		key := body.Content[i]
		if !slices.Contains(keys, key.Value) {
			continue
		}
		to := end
		if i+2 < len(body.Content) {
			to = body.Content[i+2].Line
		} else if s.line(1); to > len(s.lines)+1 {
			to = len(s.lines) + 1
		}
		if to > key.Line {
			all = append(all, s.block(key.Line, to))
		} else {
			all = append(all, strings.TrimSpace(s.line(key.Line)))
		}
	}
	return strings.Clone(strings.Join(all, "\n"))
}

var (
	uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	idForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	tagForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]{0,99}$`)
)

// header reads what all documents have.
func (s *source) header(doc *document, pairs []pair, body *yaml.Node) bool {
	r := &policy.Rule{Dialect: "sigma", File: s.name, Line: body.Line, Column: body.Column, Severity: signal.SeverityMedium,
		Then: signal.Alert}
	doc.rule = r
	if n := find(pairs, "name"); n != nil {
		name, at, ok := s.scalarText(n, "name")
		if name = strings.TrimSpace(name); ok && !idForm.MatchString(name) {
			s.problem(at, "up to 100 of letters, digits . _ -", "%q is no rule's name", shown(name))
		}
		r.Name = name
	}
	if n := find(pairs, "title"); n != nil {
		title, at, ok := s.scalarText(n, "title")
		title = strings.Join(strings.Fields(title), " ")
		switch {
		case !ok:
		case title == "" || len([]rune(title)) > 256:
			s.problem(at, "up to 256 characters", "the title is empty or too long")
		case strings.ContainsFunc(title, unicode.IsControl):
			s.problem(at, "write one line", "the title holds a control character")
		}
		r.Title = title
	} else if r.Title = r.Name; r.Name == "" {
		s.problem(body, "say in a few words what it detects", "the rule has no title")
		return false
	}
	doc.title = r.Title
	s.id(r, find(pairs, "id"))
	s.rule = r.ID
	if n := find(pairs, "level"); n != nil {
		s.level(r, n)
	}
	for _, p := range pairs {
		switch p.key {
		case "status":
			s.status(doc, p.value)
		case "description":
			if text, _, ok := s.scalarText(p.value, "description"); ok {
				r.Why = cut(strings.Join(strings.Fields(text), " "), 2000)
			}
		case "references":
			s.references(doc, p.value)
		case "tags":
			s.tags(doc, p.value)
		case "falsepositives":
			texts, _ := s.texts(p.value, "falsepositives")
			doc.note("false positives", cut(strings.Join(texts, "; "), 2000))
		case "author", "date", "modified", "license", "taxonomy":
			if value, _ := s.resolved(p.value); !isNull(value) && value.Kind == yaml.ScalarNode {
				doc.note(p.key, cut(value.Value, 500))
			}
		case "fields":
			texts, _ := s.texts(p.value, "fields")
			doc.note("fields", cut(strings.Join(texts, ", "), 2000))
		}
	}
	return true
}

// cut shortens a text at a word's end.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	text = strings.ToValidUTF8(text[:limit], "")
	if i := strings.LastIndexByte(text, ' '); i > limit/2 {
		text = text[:i]
	}
	return text + " …"
}

// id reads a rule's id. One that has none is known by its name, or by what its title makes.
func (s *source) id(r *policy.Rule, n *yaml.Node) {
	if n == nil {
		if r.ID = r.Name; r.ID == "" {
			r.ID = slug(r.Title)
		}
		return
	}
	id, at, ok := s.scalarText(n, "id")
	if !ok {
		return
	}
	switch {
	case uuidForm.MatchString(id):
		id = strings.ToLower(id)
	case !idForm.MatchString(id):
		s.problem(at, "a UUID as in 929a690e-bef0-4204-a928-ef5e620d6fcc, or up to 100 of letters, digits . _ -", "%q is no id", shown(id))
		id = slug(r.Title)
	}
	r.ID = id
}

// slug makes an id of a title.
func slug(title string) string {
	var b strings.Builder
	b.WriteString("sigma")
	dash := true
	for _, c := range strings.ToLower(title) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			if dash {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(c)
		} else {
			dash = true
		}
		if b.Len() > 90 {
			break
		}
	}
	return b.String()
}

var levels = []string{"informational", "low", "medium", "high", "critical"}

func (s *source) level(r *policy.Rule, n *yaml.Node) {
	text, at, ok := s.scalarText(n, "level")
	if !ok {
		return
	}
	switch text {
	case "informational":
		r.Severity = signal.SeverityInfo
	case "low":
		r.Severity = signal.SeverityLow
	case "medium":
		r.Severity = signal.SeverityMedium
	case "high":
		r.Severity = signal.SeverityHigh
	case "critical":
		r.Severity = signal.SeverityCritical
	default:
		s.problem(at, oneOf(text, levels), "unknown level %q", shown(text))
	}
}

// oneOf helps with a value that is none of names.
func oneOf(got string, names []string) string {
	if near := spell.Nearest(got, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "one of " + strings.Join(names, ", ")
}

var statuses = []string{"stable", "test", "experimental", "deprecated", "unsupported"}

func (s *source) status(doc *document, n *yaml.Node) {
	text, at, ok := s.scalarText(n, "status")
	switch {
	case !ok:
	case !slices.Contains(statuses, text):
		s.problem(at, oneOf(text, statuses), "unknown status %q", shown(text))
	case text == "deprecated" || text == "unsupported":
		doc.disable("its status is " + text)
	default:
		doc.note("status", text)
	}
}

// references keeps what people can follow; what is no address of the web becomes a note.
func (s *source) references(doc *document, n *yaml.Node) {
	texts, _ := s.texts(n, "references")
	for _, text := range texts {
		if strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://") {
			if len(text) <= 1000 && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || !unicode.IsPrint(c) }) {
				doc.rule.References = append(doc.rule.References, text)
				continue
			}
		}
		doc.note("reference", cut(text, 1000))
	}
}

func (s *source) tags(doc *document, n *yaml.Node) {
	texts, at := s.texts(n, "tags")
	for i, text := range texts {
		tag := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(text)), " ", "-")
		if !tagForm.MatchString(tag) {
			s.problem(at[i], "as in attack.t1059.001", "%q is no tag", shown(text))
			continue
		}
		doc.rule.Tags = append(doc.rule.Tags, tag)
	}
}
