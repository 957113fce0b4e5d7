package sigma

import (
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/testudo-sec/testudo/policy"
)

// Dialect compiles Sigma rules. It is safe for concurrent use.
type Dialect struct{ cfg Config }

// New returns the dialect. The pipelines of the configuration are read by every [Dialect.Compile].
func New(cfg Config) *Dialect { return &Dialect{cfg} }

// Name returns "sigma".
func (d *Dialect) Name() string { return "sigma" }

// topKeys are the keys that make a document Sigma's: no other dialect has them.
var topKeys = []string{"detection", "correlation", "filter", "logsource"}

// Detect reports whether a document of the YAML file has one of the keys detection, correlation, filter and logsource.
// It looks at the beginnings of lines and parses nothing.
func (d *Dialect) Detect(f policy.File) bool {
	if ext := strings.ToLower(path.Ext(f.Name)); ext != ".yaml" && ext != ".yml" {
		return false
	}
	flow := false
	for line := range strings.Lines(strings.TrimPrefix(string(f.Text), "\ufeff")) {
		flow = flow || line[0] == '{'
		rest := strings.TrimLeft(line, `"'`)
		if flow {
			rest = strings.TrimLeft(line, "{ \t\"'")
		}
		for _, key := range topKeys {
			if after, ok := strings.CutPrefix(rest, key); ok && strings.HasPrefix(strings.TrimLeft(after, "\"' \t"), ":") {
				return true
			}
			if flow && (strings.Contains(line, `"`+key+`":`) || strings.Contains(line, " "+key+":")) {
				return true
			}
		}
	}
	return false
}

// Compile returns the rules of the files, those of one load: correlation rules and filters refer to rules of any of
// them, by id or name.
//
// A filter leaves out events of the rules that it names. Public filters state their condition in two ways: the
// specification's own by what is left out (condition: selection), others by what is kept (condition: not selection).
// Which of them it is shows in an event that none of the filter's selections holds for: it is never left out.
//
// A rule that a correlation refers to is silent, unless a correlation that refers to it says generate: true.
func (d *Dialect) Compile(files []policy.File) ([]*policy.Rule, policy.Problems) {
	pipes, problems := readPipelines(d.cfg.Pipelines)
	l := &load{pipes: pipes, byID: make(map[string][]*document), byName: make(map[string][]*document)}
	read := make([][]*document, len(files))
	found := make([]policy.Problems, len(files))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
				read[i], found[i] = l.readFile(files[i])
			}
		})
	}
	workers.Wait()
	if l.weight.Load() > maxLoadWeight {
		return nil, append(problems, tooHeavy)
	}
	for i := range files {
		problems = append(problems, found[i]...)
		for _, doc := range read[i] {
			l.add(doc)
		}
	}
	l.filter()
	if l.weight.Load() > maxLoadWeight {
		return nil, append(problems, tooHeavy)
	}
	l.correlate()
	var rules []*policy.Rule
	for _, doc := range l.documents {
		problems = append(problems, doc.s.problems...)
		doc.s.problems = nil
		if doc.rule != nil && !doc.bad {
			rules = append(rules, doc.rule)
		}
	}
	return rules, problems
}

// load is one run of Compile.
type load struct {
	pipes     *pipelines
	documents []*document // in the order of the files
	byID      map[string][]*document
	byName    map[string][]*document

	weight  atomic.Int64 // of all conditions so far
	guesses int          // at what misspelt references were meant to be
}

// maxLoadWeight bounds what the conditions of all rules together stand for, as maxWeight does of one. The public rules
// stand for 110,000.
const maxLoadWeight = 2_000_000

// tooHeavy is all that is said of such a load: which rules were read when it became too much is a matter of chance.
var tooHeavy = policy.Problem{Message: fmt.Sprintf("the Sigma rules together stand for more than %d values", maxLoadWeight), Hint: "load fewer, or write fewer forms by windash, base64offset, placeholders and filters"}

// spend counts the weight of a condition, and reports whether there was room for it.
func (l *load) spend(weight int) bool { return l.weight.Add(int64(weight)) <= maxLoadWeight }

func (l *load) add(doc *document) {
	l.documents = append(l.documents, doc)
	if doc.kind == filterDocument {
		return
	}
	l.byID[doc.rule.ID] = append(l.byID[doc.rule.ID], doc)
	if doc.rule.Name != "" {
		l.byName[doc.rule.Name] = append(l.byName[doc.rule.Name], doc)
	}
}

// find returns the documents of the rule with that id, or of those with that name.
func (l *load) find(ref string) []*document {
	if docs := l.byID[ref]; len(docs) > 0 {
		return docs
	}
	if docs := l.byID[strings.ToLower(ref)]; len(docs) > 0 {
		return docs
	}
	return l.byName[ref]
}
