package ui

import (
	"errors"
	"net/http"
	"strings"

	"github.com/testudo-sec/testudo/console"
)

type signInView struct {
	Name    string
	Next    string
	Problem string
}

func (p *Pages) signInPage(w http.ResponseWriter, r *http.Request) error {
	next := console.LocalPath(r.URL.Query().Get("next"))
	if console.CallerFrom(r.Context()).Session != "" {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	v := p.view(w, r, "Sign in", "")
	v.Main = &signInView{Next: next}
	return p.page(w, "signin", v)
}

func (p *Pages) signIn(w http.ResponseWriter, r *http.Request) error {
	m := &signInView{Name: strings.TrimSpace(r.PostFormValue("name")), Next: console.LocalPath(r.PostFormValue("next"))}
	_, err := p.srv.SignIn(w, r, m.Name, r.PostFormValue("password"))
	status := http.StatusUnauthorized
	var limited *console.LimitedError
	switch {
	case err == nil:
		http.Redirect(w, r, m.Next, http.StatusSeeOther)
		return nil
	case errors.As(err, &limited):
		status = http.StatusTooManyRequests
		m.Problem = limitedText(limited)
	case errors.Is(err, console.ErrRefused):
		m.Problem = "This name and password do not go together."
	default:
		return err
	}
	v := p.view(w, r, "Sign in", "")
	v.Main = m
	return p.status(w, status, "signin", "base", v)
}

func limitedText(e *console.LimitedError) string {
	return "Too many attempts. Wait " + span(e.RetryAfter) + ", then try again."
}

type linkView struct {
	console.Link
	Secret  string
	Gone    bool // used up, too old or never there
	Problem string
}

// linkPage shows whom a one-time link signs in. Looking does not use it up, so that a
// preview of some other program does not either.
func (p *Pages) linkPage(w http.ResponseWriter, r *http.Request) error {
	return p.showLink(w, r, http.StatusOK, r.URL.Query().Get("link"), "")
}

func (p *Pages) showLink(w http.ResponseWriter, r *http.Request, status int, secret, problem string) error {
	m := &linkView{Secret: secret, Problem: problem}
	link, err := p.srv.Link(r, secret)
	var limited *console.LimitedError
	switch {
	case err == nil:
		m.Link = link
	case errors.As(err, &limited):
		m.Gone, m.Problem, status = true, limitedText(limited), http.StatusTooManyRequests
	case errors.Is(err, console.ErrRefused):
		m.Gone, status = true, http.StatusUnauthorized
	default:
		return err
	}
	v := p.view(w, r, "Welcome", "")
	v.Main = m
	return p.status(w, status, "welcome", "base", v)
}

func (p *Pages) redeem(w http.ResponseWriter, r *http.Request) error {
	secret, password := r.PostFormValue("link"), r.PostFormValue("password")
	if r.PostForm.Has("again") && password != r.PostFormValue("again") {
		return p.showLink(w, r, http.StatusUnprocessableEntity, secret, "The two passwords differ.")
	}
	_, err := p.srv.Redeem(w, r, secret, password)
	var input *console.InputError
	var limited *console.LimitedError
	switch {
	case err == nil:
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	case errors.As(err, &input):
		return p.showLink(w, r, http.StatusUnprocessableEntity, secret, input.Reason)
	case errors.As(err, &limited):
		return p.showLink(w, r, http.StatusTooManyRequests, secret, limitedText(limited))
	case errors.Is(err, console.ErrRefused):
		return p.showLink(w, r, http.StatusUnauthorized, secret, "")
	}
	return err
}

func (p *Pages) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := p.srv.SignOut(w, r); err != nil {
		return err
	}
	http.Redirect(w, r, console.SignInPath, http.StatusSeeOther)
	return nil
}

// changePassword signs all of a person's sessions out but the one it begins.
func (p *Pages) changePassword(w http.ResponseWriter, r *http.Request) error {
	next := r.PostFormValue("password")
	if next != r.PostFormValue("again") {
		return p.wrong(w, r, &console.InputError{Field: "password", Reason: "the two passwords differ"})
	}
	_, err := p.srv.ChangePassword(w, r, r.PostFormValue("current"), next)
	if errors.Is(err, console.ErrRefused) {
		return p.wrong(w, r, &console.InputError{Field: "current", Reason: "this is not your password of now"})
	}
	if err != nil {
		return p.wrong(w, r, err)
	}
	return p.done(w, r, "/system/people", "Your password is changed; all your other sessions have ended.")
}

func (p *Pages) buildPage(w http.ResponseWriter, r *http.Request) error {
	return p.page(w, "build", p.view(w, r, "Scripts of the console", ""))
}
