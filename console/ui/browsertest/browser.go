// Package browsertest drives Debian's chromium in tests of the console: the pages over a
// node that is not there, and the whole system. It watches what a person would not
// see: errors in the browser's console, violations of the Content-Security-Policy, and
// requests to any other place than the console.
package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/testudo-sec/testudo/internal/require"
)

// Patience bounds how long a page may take to become what a test waits for. It is far over
// what is usual: tests wait for a state, they do not measure.
const Patience = 60 * time.Second

// Browser is one chromium with a profile of its own, for one test.
type Browser struct {
	t    testing.TB
	base context.Context
	shot string
}

// Start starts chromium, which ends with the test. Without chromium the test is skipped,
// see internal/require. Screenshots go to the folder named by TESTUDO_SCREENSHOTS, or to
// one that is thrown away.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := require.Program(t, "chromium", "chromium")
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("headless", "new"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("ignore-certificate-errors", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en-US"),
	)
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	base, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		_ = chromedp.Cancel(base) // waits for the browser's end, so that its folder can go
		cancel()
		cancelAlloc()
	})
	if err := chromedp.Do(base, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	shot := os.Getenv("TESTUDO_SCREENSHOTS")
	if shot == "" {
		shot = t.TempDir()
	} else if err := os.MkdirAll(shot, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Browser{t: t, base: base, shot: shot}
}

// Page is a tab that knows one console.
type Page struct {
	t    testing.TB
	ctx  context.Context
	base string // https://host:port
	shot string

	mu       sync.Mutex
	problems []string
	requests []string
	expected []string
}

// Open opens a tab, with cookies of its own, for the console at base.
func (b *Browser) Open(base string, width, height int) *Page {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.base, chromedp.WithNewBrowserContext())
	b.t.Cleanup(cancel)
	p := &Page{t: b.t, ctx: ctx, base: strings.TrimSuffix(base, "/"), shot: b.shot}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		b.t.Fatalf("open a tab: %v", err)
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	p.Size(width, height)
	return p
}

func (p *Page) listen(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add := func(format string, args ...any) { p.problems = append(p.problems, fmt.Sprintf(format, args...)) }
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, ev.Request.Method+" "+ev.Request.URL)
		if !p.own(ev.Request.URL) {
			add("outside request: %s", ev.Request.URL)
		}
	case *runtime.EventExceptionThrown:
		add("exception: %s", exception(ev.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if ev.Type != runtime.ConsoleAPICalledTypeError && ev.Type != runtime.ConsoleAPICalledTypeWarning {
			return
		}
		var parts []string
		for _, a := range ev.Args {
			parts = append(parts, strings.Trim(string(a.Value), `"`)+a.Description)
		}
		add("console %s: %s", ev.Type, strings.Join(parts, " "))
	case *page.EventJavascriptDialogOpening:
		add("dialog: %s", ev.Message)
	case *log.EventEntryAdded: // violations of the policy come here too
		if ev.Entry.Level == log.EntryLevelError || ev.Entry.Level == log.EntryLevelWarning {
			add("log %s: %s (%s)", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL)
		}
	}
}

// own reports whether an address is the console's.
func (p *Page) own(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	if u.Scheme == "about" || u.Scheme == "chrome" || u.Scheme == "chrome-error" {
		return true
	}
	return u.Scheme+"://"+u.Host == p.base
}

// Expect says that problems which contain text are part of the test.
func (p *Page) Expect(text string) { p.expected = append(p.expected, text) }

// Problems returns what went wrong so far that nobody expected.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.problems), func(s string) bool {
		return slices.ContainsFunc(p.expected, func(e string) bool { return strings.Contains(s, e) })
	})
}

// Requests returns the requests of the page so far, as "METHOD URL".
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Clean fails the test where anything went wrong in the browser.
func (p *Page) Clean() {
	p.t.Helper()
	for _, s := range p.Problems() {
		p.t.Errorf("in the browser: %s", s)
	}
}

func exception(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return d.Exception.Description
	}
	return d.Text
}

// Do runs actions and ends the test where one does not succeed in time.
func (p *Page) Do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	p.must(chromedp.Do(ctx, actions...))
}

func (p *Page) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("browser: %v; problems so far: %q", err, p.Problems())
	}
}

// run runs an action that has a result.
func run[T any](p *Page, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	p.must(err)
	return v
}

// call sends a command of the protocol.
func call[P, R any](p *Page, cmd cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	v, err := chromedp.Call(ctx, cmd, params)
	p.must(err)
	return v
}

// Go loads a page, by its path or its whole address.
func (p *Page) Go(to string) {
	p.t.Helper()
	if strings.HasPrefix(to, "/") {
		to = p.base + to
	}
	p.Do(chromedp.Navigate(to), chromedp.WaitReady(chromedp.CSS("main")))
}

// Size sets the size of the window, as on a phone below 600 pixels.
func (p *Page) Size(width, height int) {
	p.t.Helper()
	p.Do(chromedp.EmulateViewport(int64(width), int64(height)))
}

// Dark sets what the system says about light and dark.
func (p *Page) Dark(dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// Click clicks what the selector finds. A live list may put another in its place meanwhile: then that one.
func (p *Page) Click(selector string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "Could not find node with given id") {
			p.must(err)
			return
		}
	}
}

// Fill types into a field, in place of what it holds.
func (p *Page) Fill(selector, text string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("document.querySelector(%q)", selector))
	p.Eval(fmt.Sprintf("document.querySelector(%q).value = ''", selector))
	p.Do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Keys presses keys one after the other, wherever the focus is. kb has names for those
// that write nothing.
func (p *Page) Keys(keys ...string) {
	p.t.Helper()
	for _, k := range keys {
		p.Do(chromedp.KeyEvent(k))
	}
}

// Escape and Enter are keys for Keys.
const (
	Escape = kb.Escape
	Enter  = kb.Enter
)

// Wait waits until the expression of JavaScript is true.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	// Asked again and again, each time in the page that is there then: what is waited
	// for may lie behind a navigation.
	end := time.Now().Add(Patience)
	for time.Now().Before(end) {
		ctx, cancel := context.WithTimeout(p.ctx, Patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		cancel()
		if err == nil && ok {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	p.Shot("failed")
	p.t.Fatalf("waited in vain for %s; problems so far: %q; the page says:\n%s", expression, p.Problems(), p.Text("body"))
}

// WaitText waits until what the selector finds contains the text.
func (p *Page) WaitText(selector, text string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("[...document.querySelectorAll(%q)].some(e => e.textContent.includes(%q))", selector, text))
}

// WaitGone waits until nothing that the selector finds contains the text.
func (p *Page) WaitGone(selector, text string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("document.readyState === 'complete' && ![...document.querySelectorAll(%q)].some(e => e.textContent.includes(%q))", selector, text))
}

// Text returns the visible text of what the selector finds first.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return p.Eval(fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// Eval returns the value of an expression of JavaScript as text.
func (p *Page) Eval(expression string) string {
	p.t.Helper()
	return run(p, chromedp.Evaluate[string]("String("+expression+")"))
}

// Wide returns by how many pixels the page is wider than the window: 0 is right.
func (p *Page) Wide() string {
	p.t.Helper()
	return p.Eval("Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)")
}

// Widest names the elements that reach beyond the window, innermost last.
func (p *Page) Widest() string {
	p.t.Helper()
	return p.Eval(`[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className).slice(0, 12).join(" ")`)
}

// SignIn uses a one-time link up: sets the password and waits for the first page.
func (p *Page) SignIn(link, password string) {
	p.t.Helper()
	p.Go(link)
	p.Fill("input[name=password]", password)
	p.Fill("input[name=again]", password)
	p.Click("form button")
	p.Wait("document.body.classList.contains('app') && location.pathname === '/'")
}

// SetCookie sets a cookie of the console, as sign-in would.
func (p *Page) SetCookie(name, value string) {
	p.t.Helper()
	yes := true
	call(p, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: p.base, Path: "/", Secure: &yes, HTTPOnly: &yes})
}

// Shot takes a picture of the window as name.png.
func (p *Page) Shot(name string) string {
	p.t.Helper()
	return p.write(name, run(p, chromedp.CaptureScreenshot()))
}

// ShotAll takes a picture of the whole page, however long.
func (p *Page) ShotAll(name string) string {
	p.t.Helper()
	return p.write(name, run(p, chromedp.FullScreenshot(100)))
}

func (p *Page) write(name string, png []byte) string {
	p.t.Helper()
	file := filepath.Join(p.shot, name+".png")
	if err := os.WriteFile(file, png, 0o644); err != nil {
		p.t.Fatal(err)
	}
	return file
}
