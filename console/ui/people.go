package ui

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/console"
)

type peopleView struct {
	Sessions []console.SessionView
	People   []console.Person
	Tokens   []console.Token
	Roles    []console.Role
	// TokenRoles has the one too that no person has.
	TokenRoles []console.Role
	Spans      any
	Invited    *console.Invitation // just made; its address is shown once
	Issued     *console.Token      // just made
	Secret     string              // of it, shown once
	Problem    string              // of the form that was sent
	Field      string
	Own        bool // may change a password here
}

func (p *Pages) people(w http.ResponseWriter, r *http.Request) error {
	return p.peoplePage(w, r, http.StatusOK, &peopleView{})
}

func (p *Pages) peoplePage(w http.ResponseWriter, r *http.Request, status int, m *peopleView) error {
	s, err := p.srv.Desk().Sessions(r.Context())
	if err != nil {
		return err
	}
	v := p.view(w, r, "People", "system")
	v.Here = "/system/people"
	m.Sessions, m.Spans = s, tokenSpans
	m.Roles = []console.Role{console.RoleViewer, console.RoleOperator, console.RoleAdmin}
	m.TokenRoles = append(slices.Clone(m.Roles), console.RoleScanner)
	m.Own = v.Caller.Kind == console.KindPerson && p.srv.Sources().Passwords != nil
	if v.Caller.May(console.RoleAdmin) {
		if m.People, err = p.srv.Sources().People.People(r.Context()); err != nil {
			return err
		}
		if src := p.srv.Sources().Tokens; src != nil {
			if m.Tokens, err = src.Tokens(r.Context()); err != nil {
				return err
			}
		}
	}
	v.Main = m
	return p.status(w, status, "people", "base", v)
}

// wrong shows the page again with what was wrong in a form.
func (p *Pages) wrong(w http.ResponseWriter, r *http.Request, err error) error {
	var input *console.InputError
	switch {
	case errors.As(err, &input):
		return p.peoplePage(w, r, http.StatusUnprocessableEntity, &peopleView{Problem: input.Reason, Field: input.Field})
	case errors.Is(err, console.ErrConflict):
		return p.peoplePage(w, r, http.StatusConflict, &peopleView{Problem: err.Error()})
	}
	return err
}

func (p *Pages) invite(w http.ResponseWriter, r *http.Request) error {
	role, err := console.ParseRole(r.PostFormValue("role"))
	if err != nil {
		return p.wrong(w, r, &console.InputError{Field: "role", Reason: err.Error()})
	}
	inv, err := p.srv.Desk().Invite(r.Context(), strings.TrimSpace(r.PostFormValue("name")), role)
	if err != nil {
		return p.wrong(w, r, err)
	}
	return p.peoplePage(w, r, http.StatusOK, &peopleView{Invited: &inv})
}

func (p *Pages) setRole(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	role, err := console.ParseRole(r.PostFormValue("role"))
	if err == nil {
		err = p.srv.Desk().SetRole(r.Context(), name, role)
	} else {
		err = &console.InputError{Field: "role", Reason: err.Error()}
	}
	if err != nil {
		return p.wrong(w, r, err)
	}
	return p.done(w, r, "/system/people", name+" is "+role.String()+" now.")
}

func (p *Pages) removePerson(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := p.srv.Desk().RemovePerson(r.Context(), name); err != nil {
		return p.wrong(w, r, err)
	}
	return p.done(w, r, "/system/people", name+" may no longer sign in.")
}

func (p *Pages) endSession(w http.ResponseWriter, r *http.Request) error {
	if err := p.srv.Desk().EndSession(r.Context(), r.PathValue("id")); err != nil {
		return p.wrong(w, r, err)
	}
	return p.done(w, r, "/system/people", "The session has ended.")
}

func (p *Pages) issueToken(w http.ResponseWriter, r *http.Request) error {
	role, err := console.ParseRole(r.PostFormValue("role"))
	if err != nil {
		return p.wrong(w, r, &console.InputError{Field: "role", Reason: err.Error()})
	}
	tok, secret, err := p.srv.Desk().IssueToken(r.Context(), strings.TrimSpace(r.PostFormValue("name")), role, tokenLife(r.PostFormValue("life")))
	if err != nil {
		return p.wrong(w, r, err)
	}
	return p.peoplePage(w, r, http.StatusOK, &peopleView{Issued: &tok, Secret: secret})
}

func (p *Pages) revokeToken(w http.ResponseWriter, r *http.Request) error {
	if err := p.srv.Desk().RevokeToken(r.Context(), r.PathValue("id")); err != nil {
		return p.wrong(w, r, err)
	}
	return p.done(w, r, "/system/people", "The token no longer works.")
}
