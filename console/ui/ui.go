// Package ui is the pages of the console: templates that the server renders, one
// style sheet, and a few scripts that make lists live and draw charts.
//
// Everything can be read and done without scripts: links, forms and tables
// are the page; htmx, its extension for server-sent events and uPlot come on top.
// They come from npm by the lock file and are bundled into dist by
//
//	npm ci --ignore-scripts && go generate -run esbuild .
//
// which `make console` does. Neither is in the repository. A build without them works
// and says on each page how to get the rest.
//
// Whatever comes from traffic, code or names is hostile. Templates escape it; besides, it
// is shown through vis, which makes control characters and those that change the
// direction of writing visible. No script makes markup of data, and the server's
// Content-Security-Policy, without any exception for inline script or style, holds.
package ui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"

	"github.com/testudo-sec/testudo/console"
)

//go:generate go tool esbuild src/app.js --bundle --minify --format=iife --target=es2022 --legal-comments=none --log-level=warning --outfile=dist/app.js
//go:generate sh -c "for m in htmx.org htmx-ext-sse uplot; do echo == $DOLLAR{m} ==; cat node_modules/$DOLLAR{m}/LICENSE; echo; done > dist/licenses.txt # of what esbuild bundled"

// Folders of the binary. dist always holds a placeholder, so that it can be embedded
// before anything was built.
var (
	//go:embed templates/*.html
	templateFiles embed.FS
	//go:embed static/* src/style.css all:dist
	assetFiles embed.FS
)

const staticPrefix = "/static/"

// Pages is the console's pages; it is a console.UI for one server.
type Pages struct {
	static *console.Static
	pages  map[string]func() (*template.Template, error)
	built  bool
	srv    *console.Server
}

// New reads the embedded pages. Hand what it returns to one console.New.
func New() (*Pages, error) { return build(assetFiles) }

func build(assets fs.FS) (*Pages, error) {
	p := &Pages{}
	merged := folders{}
	for _, dir := range []string{"static", "src", "dist"} {
		sub, err := fs.Sub(assets, dir)
		if err != nil {
			return nil, fmt.Errorf("console pages: %w", err)
		}
		merged = append(merged, sub)
	}
	var err error
	if p.static, err = console.NewStatic(staticPrefix, merged); err != nil {
		return nil, fmt.Errorf("console pages: %w", err)
	}
	p.built = p.static.URL("app.js") != ""
	if err := p.parse(templateFiles); err != nil {
		return nil, fmt.Errorf("console pages: %w", err)
	}
	return p, nil
}

// Built reports whether the scripts are in this build.
func (p *Pages) Built() bool { return p.built }

// Routes returns the pages: see console.UI.
func (p *Pages) Routes(s *console.Server) []console.Route {
	p.srv = s
	get := func(role console.Role, path string, h console.Handler) console.Route {
		return console.Route{Method: http.MethodGet, Path: path, Role: role, Handler: h}
	}
	post := func(role console.Role, path string, h console.Handler) console.Route {
		return console.Route{Method: http.MethodPost, Path: path, Role: role, Handler: h}
	}
	live := func(path string, h console.Handler) console.Route {
		return console.Route{Method: http.MethodGet, Path: path, Role: console.RoleViewer, Handler: h, Stream: true}
	}
	const nobody, viewer, operator, admin = console.RoleNone, console.RoleViewer, console.RoleOperator, console.RoleAdmin
	return []console.Route{
		p.static.Route(),
		get(nobody, console.SignInPath, p.signInPage),
		post(nobody, console.SignInPath, p.signIn),
		get(nobody, console.LinkPath, p.linkPage),
		post(nobody, console.LinkPath, p.redeem),
		post(viewer, "/sign-out", p.signOut),
		get(nobody, "/about/build", p.buildPage),

		get(viewer, "/{$}", p.overview),
		live("/live/overview", p.overviewLive),
		live("/live/lists", p.listsLive),

		get(viewer, "/traffic", p.traffic),
		live("/live/traffic", p.trafficLive),
		get(viewer, "/traffic/{id}", p.event),
		get(viewer, "/traffic/{id}/explain", p.explain),
		get(operator, "/traffic/{id}/exceptions", p.exceptionPage),
		post(operator, "/traffic/{id}/exceptions", p.findExceptions),
		post(operator, "/traffic/{id}/exceptions/decision", p.decideException),

		get(viewer, "/chain/{id}", p.chain),

		get(viewer, "/processes", p.processes),
		get(viewer, "/processes/{uid}", p.process),

		get(viewer, "/findings", p.findings),
		get(viewer, "/findings/{id}", p.finding),
		post(operator, "/findings/{id}/state", p.setFinding),
		get(viewer, "/packages", p.packages),

		get(viewer, "/apis", p.apis),
		get(viewer, "/apis/endpoint", p.api),

		get(viewer, "/actions", p.actions),
		get(operator, "/actions/new", p.previewOrder),
		post(operator, "/actions", p.order),
		get(viewer, "/actions/{id}", p.action),
		post(operator, "/actions/{id}/undo", p.undo),

		get(viewer, "/rules", p.rules),
		get(operator, "/rules/-/check", p.checkPage),
		post(operator, "/rules/-/check", p.check),
		get(operator, "/rules/-/firewall", p.firewallPage),
		post(operator, "/rules/-/firewall", p.firewallTry),
		get(viewer, "/rules/-/exceptions", p.exceptions),
		get(viewer, "/rules/-/budgets", p.budgets),
		post(operator, "/rules/-/budgets", p.restoreBudget),
		post(operator, "/rules/-/test", p.testRules),
		post(admin, "/rules/-/reload", p.reloadRules),
		get(viewer, "/rules/{id}", p.rule),
		post(operator, "/rules/{id}/test", p.testRule),

		get(viewer, "/system", p.system),
		post(operator, "/system/doctor", p.doctor),
		get(viewer, "/system/host", p.host),
		get(viewer, "/system/files", p.files),
		post(admin, "/system/files/accept", p.acceptFile),
		get(viewer, "/system/ledger", p.ledger),
		post(operator, "/system/ledger/verify", p.verifyLedger),
		get(viewer, "/system/people", p.people),
		post(admin, "/system/people", p.invite),
		post(admin, "/system/people/{name}/role", p.setRole),
		post(admin, "/system/people/{name}/remove", p.removePerson),
		post(viewer, "/system/password", p.changePassword),
		post(viewer, "/system/sessions/{id}/end", p.endSession),
		post(admin, "/system/tokens", p.issueToken),
		post(admin, "/system/tokens/{id}/revoke", p.revokeToken),
	}
}

// Problem writes the page of an error: see console.UI.
func (p *Pages) Problem(w http.ResponseWriter, r *http.Request, pr console.Problem) {
	v := p.view(w, r, pr.Title, "")
	name := "problem"
	if fragment(r) {
		name = "problem-part"
	}
	v.Main = pr
	var buf bytes.Buffer
	if err := p.execute(&buf, "problem", entry(name, "problem"), v); err != nil {
		http.Error(w, pr.Title+"\n"+pr.Detail, pr.Status)
		return
	}
	send(w, pr.Status, buf.Bytes())
}

// folders reads several folders as one; the last that has a file wins.
type folders []fs.FS

func (f folders) Open(name string) (fs.File, error) {
	err := error(&fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist})
	for i := len(f) - 1; i >= 0; i-- {
		file, oerr := f[i].Open(name)
		if oerr == nil {
			return file, nil
		}
		err = oerr
	}
	return nil, err
}

// ReadDir lists what is served: files with a known type.
func (f folders) ReadDir(name string) ([]fs.DirEntry, error) {
	var all []fs.DirEntry
	seen := map[string]bool{}
	for _, sub := range f {
		entries, err := fs.ReadDir(sub, name)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && !seen[e.Name()] && e.Name()[0] != '.' {
				seen[e.Name()] = true
				all = append(all, e)
			}
		}
	}
	return all, nil
}
