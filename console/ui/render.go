package ui

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// view is what every page gets.
type view struct {
	Title  string
	Nav    string // which entry of the navigation is this page's
	Caller console.Caller
	Theme  string // "light", "dark" or "" for what the system says
	Flash  string
	Health console.Health
	Now    time.Time
	Here   string // path and query: where forms come back to
	Part   bool   // parts of the page alone, to put in place of earlier ones
	Main   any
}

// May reports whether the caller has a role, by its name.
func (v *view) May(role string) bool {
	r, err := console.ParseRole(role)
	return err == nil && v.Caller.May(r)
}

// on hands a template both the page and one item of it.
type on struct {
	V  *view
	It any
}

func (p *Pages) view(w http.ResponseWriter, r *http.Request, title, nav string) *view {
	v := &view{Title: title, Nav: nav, Caller: console.CallerFrom(r.Context()), Now: p.srv.Now()}
	if r.Method == http.MethodGet {
		v.Here = console.LocalPath(r.URL.RequestURI())
		if u, err := url.Parse(r.Header.Get("HX-Current-URL")); err == nil && fragment(r) {
			v.Here = console.LocalPath(u.RequestURI()) // the page around the part
		}
	} else {
		v.Here = console.LocalPath(r.PostFormValue("back"))
	}
	if c, err := r.Cookie("theme"); err == nil && (c.Value == "dark" || c.Value == "light") {
		v.Theme = c.Value
	}
	if !fragment(r) {
		v.Flash = p.srv.TakeFlash(w, r)
	}
	if h := p.srv.Sources().Health; h != nil && v.Caller.Role != console.RoleNone {
		v.Health = h.Health()
	}
	return v
}

// fragment reports whether htmx asks for a part of a page.
func fragment(r *http.Request) bool { return r.Header.Get("HX-Request") == "true" }

// parse reads the templates: base.html and the files whose names begin with
// an underscore are in each page; every other file is one page, and is read when it is first shown: each holds all of the base.
func (p *Pages) parse(files fs.FS) error {
	base, err := template.New("").Funcs(p.funcs()).ParseFS(files, "templates/_*.html")
	if err != nil {
		return err
	}
	names, err := fs.Glob(files, "templates/[a-z]*.html")
	if err != nil {
		return err
	}
	p.pages = make(map[string]func() (*template.Template, error), len(names))
	for _, name := range names {
		p.pages[strings.TrimSuffix(path.Base(name), ".html")] = sync.OnceValues(func() (*template.Template, error) {
			t, err := base.Clone()
			if err != nil {
				return nil, err
			}
			return t.ParseFS(files, name)
		})
	}
	return nil
}

func (p *Pages) funcs() template.FuncMap {
	return template.FuncMap{
		"asset": p.static.URL, "built": func() bool { return p.built },
		"csrfField": func() string { return console.CSRFField }, "csrfHeader": func() string { return console.CSRFHeader },
		"on":  func(v *view, it any) on { return on{v, it} },
		"vis": vis, "text": visText, "clip": clip, "lines": visLines, "prose": prose,
		"clock": clock, "moment": moment, "ago": ago, "left": left, "span": span, "iso": iso,
		"num": num, "size": byteSize, "rate": rate, "plural": plural,
		"verdict": verdictWord, "barOf": barOf, "queueBar": queueBar, "scoreBar": scoreBar,
		"tops": tops, "failing": failing, "rulesAs": rulesAs, "whatIfSpans": func() any { return whatIfSpans }, "spanOf": tokenLife, "apiBar": apiBar, "apiWord": apiWord, "apiClass": apiClass, "apiAt": apiAt, "hasAPIs": func() bool { return p.srv != nil && p.srv.Sources().APIs != nil },
		"budgetBar": budgetBar, "budgetWord": budgetWord, "permille": permille, "budgets": func() bool { return p.srv != nil && p.srv.Sources().Budgets != nil },
		"shareBar": shareBar, "shareOf": shareOf,
		"command": commandOf, "exit": endOf, "indent": func(depth int) int { return min(depth, 12) }, "groupKey": groupKey, "sub1": func(a, b int) int { return a - b },
		"priority": priorityOf, "reasons": reasonsOf, "fix": fixOf,
		"q": newQuery, "join": strings.Join, "link": webLink, "ref": ref,
	}
}

// entry names the template to begin with: the whole page, or a part of it.
func entry(part, page string) string {
	if part == page {
		return "base"
	}
	return part
}

// page answers with a whole page.
func (p *Pages) page(w http.ResponseWriter, name string, v *view) error {
	return p.status(w, http.StatusOK, name, "base", v)
}

// part answers with one template of a page.
func (p *Pages) part(w http.ResponseWriter, name, part string, v *view) error {
	return p.status(w, http.StatusOK, name, part, v)
}

func (p *Pages) status(w http.ResponseWriter, status int, name, start string, v *view) error {
	var buf bytes.Buffer
	if err := p.execute(&buf, name, start, v); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	send(w, status, buf.Bytes())
	return nil
}

// execute writes one template of a page.
func (p *Pages) execute(w io.Writer, name, start string, v any) error {
	t, err := p.pages[name]()
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(w, start, v)
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// done tells what was done on the page that the form came from. Without a page there it
// is fallback.
func (p *Pages) done(w http.ResponseWriter, r *http.Request, fallback, text string) error {
	if text != "" {
		p.srv.SetFlash(w, visText(text))
	}
	to := fallback
	if back := r.PostFormValue("back"); back != "" {
		to = console.LocalPath(back)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// missing is the error of a source that this node does not have.
func missing(what string) error {
	return fmt.Errorf("%w: it runs without %s", console.ErrUnavailable, what)
}
