package coverage_test

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/internal/require"
)

// A site takes texts of some kinds in queries, forms and JSON: /prose?q=, /prose with text=, /api/prose with {"body":}.
type page struct {
	kind, carrier string
}

func (p page) String() string { return p.kind + " in " + p.carrier }

// visit is a harmless request.
type visit struct {
	page
	method, target, media, body string
	values                      map[string]string // what rules see, by target
}

// send makes the request in which a text is sent to a page.
func (p page) send(text string) visit {
	v := visit{page: p, method: "POST", target: "/" + p.kind}
	switch p.carrier {
	case "queries":
		v.method, v.target, v.values = "GET", v.target+"?q="+url.QueryEscape(text), map[string]string{"ARGS:q": text}
	case "forms":
		v.media, v.body, v.values = "application/x-www-form-urlencoded", "text="+url.QueryEscape(text), map[string]string{"ARGS:text": text}
	default:
		body, _ := json.Marshal(map[string]string{"body": text})
		v.target, v.media, v.body, v.values = "/api/"+p.kind, "application/json", string(body), map[string]string{"ARGS:json.body": text}
	}
	return v
}

// document makes the request in which a whole JSON document is the body.
func document(text string) visit {
	v := visit{page: page{"json", "bodies"}, method: "POST", target: "/api/json", media: "application/json", body: text, values: map[string]string{}}
	var tree any
	if json.Unmarshal([]byte(text), &tree) == nil {
		flatten(v.values, "ARGS:json", tree)
	}
	return v
}

func flatten(out map[string]string, name string, tree any) {
	switch t := tree.(type) {
	case map[string]any:
		for k, e := range t {
			flatten(out, name+"."+k, e)
		}
	case []any:
		for i, e := range t {
			flatten(out, fmt.Sprint(name, ".", i), e)
		}
	case string:
		out[name] = t
	}
}

func (v *visit) request() *http.Request {
	r := httptest.NewRequest(v.method, "http://shop.example"+v.target, strings.NewReader(v.body))
	r.RequestURI = v.target
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36")
	r.Header.Set("Accept", "text/html,application/json")
	if v.body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", v.media)
		r.Header.Set("Content-Length", fmt.Sprint(len(v.body)))
	}
	return r
}

func inspect(w *waf.WAF, r *http.Request, body string, level int) edge.Result {
	client := netip.MustParseAddrPort("192.0.2.1:4711")
	i := w.Begin(context.Background(), edge.Exchange{Request: r, Client: client, Server: client, ID: "id", Paranoia: level})
	defer i.Close()
	res, limit := i.Headers()
	if limit > 0 {
		res = i.Body([]byte(body)[:min(int64(len(body)), limit)], int64(len(body)) > limit)
	}
	return res
}

// pages are those that take texts.
func pages() []page {
	var out []page
	for _, kind := range []string{"prose", "markdown", "code", "sql"} {
		for _, carrier := range []string{"queries", "forms", "json"} {
			out = append(out, page{kind, carrier})
		}
	}
	return out
}

// library is harmless texts of this machine by kind.
type library map[string][]string

// shelves are where texts are found: folders, and which files there.
func shelves() map[string][]struct{ dir, names string } {
	type shelf = struct{ dir, names string }
	mod := os.Getenv("GOMODCACHE")
	if mod == "" {
		if home, err := os.UserHomeDir(); err == nil {
			mod = filepath.Join(home, "go", "pkg", "mod")
		}
	}
	return map[string][]shelf{
		"prose":    {{"/usr/share/doc", " README copyright changelog NEWS .txt .gz "}, {"/usr/share/common-licenses", "  "}},
		"markdown": {{mod, " .md "}},
		"code":     {{mod, " .go .c .js .proto "}, {"/usr/lib/python3", " .py "}, {"/usr/share/perl", " .pl .pm "}},
		"sql":      {{"/usr/share/postgresql", " .7.gz .sql .txt "}, {"/usr/share/man/man7", " .7.gz "}},
		"json":     {{mod, " .json "}, {"/usr/share", " .json "}},
	}
}

// texts reads up to n texts of each kind, from all over the shelves.
var texts = sync.OnceValue(func() library {
	lib := library{}
	for kind, list := range shelves() {
		for _, s := range list {
			var paths []string
			_ = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
				// Attacks are what tests of firewalls are made of.
				if err != nil || d.IsDir() && (d.Name() == "corazawaf" || d.Name() == "coreruleset" || d.Name() == "testudo") {
					return filepath.SkipDir
				}
				if !d.IsDir() && fits(s.names, d.Name()) && len(paths) < 40_000 {
					paths = append(paths, path)
				}
				return nil
			})
			for i := 0; i < len(paths); i += max(1, len(paths)/700) {
				lib[kind] = append(lib[kind], pieces(kind, paths[i])...)
			}
		}
		lib[kind] = spread(lib[kind], 1200)
	}
	return lib
})

func fits(names, name string) bool {
	if names == "  " {
		return true
	}
	for n := range strings.FieldsSeq(names) {
		if strings.HasSuffix(name, n) || strings.HasPrefix(name, n) && n[0] != '.' {
			return true
		}
	}
	return false
}

// spread takes n of a list, from all over it.
func spread(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	out := make([]string, 0, n)
	for i := range n {
		out = append(out, list[i*len(list)/n])
	}
	return out
}

// pieces returns some paragraphs of a file, or the whole of a JSON document.
func pieces(kind, path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return nil
		}
	}
	data, err := io.ReadAll(io.LimitReader(in, 200_000))
	if err != nil && err != io.ErrUnexpectedEOF || !utf8.Valid(data) {
		return nil
	}
	text := string(data)
	if kind == "json" {
		if len(text) > 4000 || !json.Valid(data) {
			return nil
		}
		return []string{text}
	}
	if strings.HasSuffix(path, ".7.gz") {
		if kind == "sql" && !strings.Contains(text, "SELECT") && !strings.Contains(text, "SQL") {
			return nil
		}
		text = untroff(text)
	}
	var out []string
	all := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n")
	for i := range all {
		p := strings.TrimSpace(all[i])
		if len(p) < 20 || len(p) > 1500 || strings.ContainsFunc(p, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
			continue
		}
		if kind == "prose" {
			p = strings.Join(strings.Fields(p), " ")
		}
		out = append(out, p)
	}
	return spread(out, 4)
}

// untroff takes the requests and escapes of a manual page away.
func untroff(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			if strings.HasPrefix(line, ".PP") || strings.HasPrefix(line, ".SH") || strings.HasPrefix(line, ".nf") || strings.HasPrefix(line, ".fi") {
				b.WriteString("\n")
			}
			continue
		}
		b.WriteString(line)
	}
	return strings.NewReplacer(`\fB`, "", `\fR`, "", `\fI`, "", `\fP`, "", `\-`, "-", `\(aq`, "'", `\(cq`, "’", `\(oq`, "‘", `\(lq`, "“", `\(rq`, "”", `\&`, "", `\e`, `\`, `\m[blue]`, "", `\m[]`, "").Replace(b.String())
}

// visits makes harmless requests, n of each page.
func (lib library) visits(n int) []visit {
	var out []visit
	for _, p := range pages() {
		for _, text := range spread(lib[p.kind], n) {
			if p.carrier == "queries" { // what people search for is a line
				line, _, _ := strings.Cut(text, "\n")
				if text = strings.TrimSpace(line); len(text) > 120 {
					text = text[:strings.LastIndexByte(text[:120], ' ')+1]
				}
				if text = strings.TrimSpace(strings.ToValidUTF8(text, "")); text == "" {
					continue
				}
			}
			out = append(out, p.send(text))
		}
	}
	for _, text := range spread(lib["json"], n) {
		out = append(out, document(text))
	}
	return out
}

// judged inspects requests on all processors.
func judged(w *waf.WAF, list []visit, level int) []edge.Result {
	out := make([]edge.Result, len(list))
	var wg sync.WaitGroup
	const workers = 2
	for k := range workers {
		wg.Go(func() {
			for i := k; i < len(list); i += workers {
				out[i] = inspect(w, list[i].request(), list[i].body, level)
			}
		})
	}
	wg.Wait()
	return out
}

func names(list library) []string {
	var out []string
	for kind, texts := range list {
		out = append(out, fmt.Sprintf("%s %d", kind, len(texts)))
	}
	slices.Sort(out)
	return out
}

// place is where exclusions are collected: a rule in a parameter of a page.
type place struct {
	path, target string
	rule         int
}

// learn takes the narrowest proposals for the alarms among harmless requests, and tries the requests again until none is left or
// nothing helps. What values of one parameter some rule takes for attacks is joined into one shape, or left open where not shaped.
func learn(t *testing.T, program *seclang.Program, list []visit, level int, shaped bool) (directives string, exclusions int) {
	t.Helper()
	seen := map[place][]string{}
	for range 4 {
		cfg := waf.DefaultConfig()
		cfg.Before = directives
		w, err := waf.New(cfg, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if u := w.Uncovered(); len(u) > 0 {
			t.Fatal(u)
		}
		fresh := false
		for i, res := range judged(w, list, level) {
			v := &list[i]
			if res.Score < 5 {
				continue
			}
			path, query, _ := strings.Cut(v.target, "?")
			a := coverage.Alarm{Method: v.method, Path: path, Query: query, ContentType: v.media, Rules: res.Rules, Targets: res.Targets, Paranoia: level, Threshold: 5, Score: res.Score, Shapes: map[string]coverage.Shape{}}
			for target, value := range v.values {
				if s, ok := coverage.ShapeOf(value); ok {
					a.Shapes[target] = s
				}
			}
			proposals, err := coverage.Propose(program, &a)
			if err != nil {
				continue
			}
			for _, x := range proposals[0].Exclusions {
				for _, rule := range x.Rules {
					k := place{x.Path, x.Target, rule}
					if x.Shape.Pattern == "" || !shaped {
						if seen[k] == nil || len(seen[k]) > 0 {
							seen[k], fresh = []string{}, true
						}
					} else if value := v.values[x.Target]; (seen[k] == nil || len(seen[k]) > 0) && !slices.Contains(seen[k], value) {
						seen[k], fresh = append(seen[k], value), true
					}
				}
			}
		}
		if !fresh {
			break
		}
		directives, exclusions = write(program, seen)
	}
	return directives, exclusions
}

// write makes directives: of rules that leave out values of the same shape one.
func write(program *seclang.Program, seen map[place][]string) (string, int) {
	all := coverage.Proposal{}
	for _, k := range slices.SortedFunc(maps.Keys(seen), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.target, b.target), cmp.Compare(a.rule, b.rule))
	}) {
		shape, _ := coverage.ShapeOf(seen[k]...)
		at := slices.IndexFunc(all.Exclusions, func(x coverage.Exclusion) bool { return x.Path == k.path && x.Target == k.target && x.Shape == shape })
		if at < 0 {
			at = len(all.Exclusions)
			all.Exclusions = append(all.Exclusions, coverage.Exclusion{Target: k.target, Path: k.path, Shape: shape})
		}
		all.Exclusions[at].Rules = append(all.Exclusions[at].Rules, k.rule)
	}
	before, _ := all.Directives(program)
	return before, len(all.Exclusions)
}

// Of the test of false alarms: harmless requests of each page that rates are counted over, those that exceptions are learned from, and
// which of the attacks' values are sent in each parameter.
type extent struct{ levels, counted, learned, step int }

// TestFalseAlarms counts how many harmless requests the firewall takes for attacks, at each paranoia level, takes the proposals for what it
// did, and holds that at least nine of ten are gone then, and at most one of a hundred attacks is lost, as it is sent, and up to level
// 3 also in the very parameters that exceptions are about. The long form is what docs/waf.md has in its table.
func TestFalseAlarms(t *testing.T) {
	size := extent{levels: 1, counted: 12, learned: 12, step: 40}
	if os.Getenv("TESTUDO_LONG") != "" {
		size = extent{levels: 4, counted: 200, learned: 30, step: 8}
	}
	if require.Race {
		return // thousands of requests, one after the other
	}
	lib := texts()
	require.Part(t, "harmless-texts", len(lib["markdown"]) > 10 && len(lib["code"]) > 10 && len(lib["json"]) > 10, "keep Go's modules in their cache, with their documentation")
	t.Log(names(lib))
	p, c := program(t), loaded(t).Every(size.step)
	plain, err := waf.New(waf.DefaultConfig(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	all := lib.visits(size.counted)
	for level := 1; level <= size.levels; level++ {
		list := lib.visits(size.learned)
		if level == 1 && size.levels > 1 {
			list = lib.visits(5 * size.learned) // of which few are alarms
		}
		directives, n := learn(t, p, list, level, true)
		cfg := waf.DefaultConfig()
		cfg.Before = directives
		excepted, err := waf.New(cfg, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		rates := counts(plain, all, level)
		before, after := counts(plain, list, level), counts(excepted, list, level)
		others := slices.DeleteFunc(slices.Clone(all), func(v visit) bool {
			return slices.ContainsFunc(list, func(o visit) bool { return o.target == v.target && o.body == v.body })
		})
		unseen, left := counts(plain, others, level), counts(excepted, others, level)
		d, err := coverage.Compare(t.Context(), c, coverage.Setting{WAF: waf.DefaultConfig(), Paranoia: level, Threshold: 5}, coverage.Setting{WAF: cfg, Paranoia: level, Threshold: 5})
		if err != nil {
			t.Fatal(err)
		}
		placed, lost := placedAttacks(plain, excepted, c, level)
		var line strings.Builder
		for _, kind := range []string{"prose", "markdown", "code", "sql", "json"} {
			fmt.Fprintf(&line, " %s %s,", kind, rates[kind])
		}
		t.Logf("level %d: of harmless requests are alarms:%s all %s", level, &line, rates["all"])
		t.Logf("level %d: %d exclusions for %d alarms leave %d; of %d alarms for other texts %d; lost are %d of %d attacks as they are, %d of %d in the parameters",
			level, n, before["all"].alarms, after["all"].alarms, unseen["all"].alarms, left["all"].alarms, len(d.Lost), d.Detected, lost, placed)
		if size.levels > 1 {
			wide, n := learn(t, p, list, level, false)
			cfg := waf.DefaultConfig()
			cfg.Before = wide
			widely, err := waf.New(cfg, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			placed, lost := placedAttacks(plain, widely, c, level)
			t.Logf("level %d, whatever the values: %d exclusions leave %d; of %d alarms for other texts %d; lost are %d of %d in the parameters",
				level, n, counts(widely, list, level)["all"].alarms, unseen["all"].alarms, counts(widely, others, level)["all"].alarms, lost, placed)
		}
		if before["all"].alarms < 5 || placed < 20 {
			t.Errorf("level %d: %d alarms and %d attacks show nothing", level, before["all"].alarms, placed)
		}
		if after["all"].alarms*10 > before["all"].alarms {
			t.Errorf("level %d: %d of %d alarms are left", level, after["all"].alarms, before["all"].alarms)
		}
		most := 100 // one of so many in the parameters
		if level == 4 {
			most = 50 // where every text is an alarm, each parameter has exclusions for all that it takes
		}
		if len(d.Lost)*100 > d.Detected || lost*most > placed {
			t.Errorf("level %d: lost %d of %d attacks, %d of %d in the parameters", level, len(d.Lost), d.Detected, lost, placed)
		}
	}
}

type rate struct{ alarms, requests int }

func (r rate) String() string {
	return fmt.Sprintf("%.1f%% (%d of %d)", 100*float64(r.alarms)/float64(max(1, r.requests)), r.alarms, r.requests)
}

// counts counts alarms by the kind of text.
func counts(w *waf.WAF, list []visit, level int) map[string]rate {
	out := map[string]rate{}
	for i, res := range judged(w, list, level) {
		for _, kind := range []string{list[i].kind, "all"} {
			r := out[kind]
			r.requests++
			if res.Score >= 5 {
				r.alarms++
			}
			out[kind] = r
		}
	}
	return out
}

// placedAttacks sends the values of attacks in each parameter of each page.
func placedAttacks(plain, excepted *waf.WAF, c *coverage.Corpus, level int) (detected, lost int) {
	var attacks []visit
	for _, p := range append(pages(), page{"json", "json"}) {
		for i := range c.Payloads {
			attacks = append(attacks, p.send(c.Payloads[i].Text))
		}
	}
	was, is := judged(plain, attacks, level), judged(excepted, attacks, level)
	for i := range was {
		if was[i].Score >= 5 {
			detected++
			if is[i].Score < 5 {
				lost++
			}
		}
	}
	return detected, lost
}
