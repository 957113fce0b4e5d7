package token

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Config says which tokens a route takes.
type Config struct {
	// Issuers are those whose tokens are taken. No two have the same name.
	Issuers []Issuer `yaml:"issuers"`
	// Header is where the token stands, after the word Bearer. In any header but Authorization the word may be missing.
	Header string `yaml:"header"`
	// Cookie is the name of a cookie that may hold the token instead. Empty: none.
	Cookie string `yaml:"cookie"`
	// Optional takes requests without a token too. One that brings a token is held to it all the same.
	Optional bool `yaml:"optional"`
	// Scopes are those that every token of the route must have.
	Scopes []string `yaml:"scopes"`
	// ScopeClaims are the claims that hold scopes: text with blanks between them, or a list.
	ScopeClaims []string `yaml:"scope_claims"`
	// Require are claims that must be there. exp and iss always must.
	Require []string `yaml:"require"`
	// Types are the values of the header typ that are taken, as JWT or at+jwt; in any case, with application/ or without.
	// Empty: all, and none at all.
	Types []string `yaml:"types"`
	// Leeway is how far the clocks of issuers may be from ours.
	Leeway time.Duration `yaml:"leeway"`
	// Refresh is how often key sets are read anew.
	Refresh time.Duration `yaml:"refresh"`
	// Stale is how long a key set stays in use that could not be read anew.
	Stale time.Duration `yaml:"stale"`
}

// Issuer makes tokens.
type Issuer struct {
	// Name is the claim iss, to the letter.
	Name string `yaml:"issuer"`
	// Keys is the issuer's key set (RFC 7517): a file, or an https address.
	Keys string `yaml:"keys"`
	// Audiences are those for whom tokens are made: one of them must be in the claim.
	Audiences []string `yaml:"audiences"`
	// AudienceClaim is the claim that holds them, where it is not aud: client_id with Cognito.
	AudienceClaim string `yaml:"audience_claim"`
	// Algorithms are those that the issuer signs with: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA.
	Algorithms []string `yaml:"algorithms"`
	// Private lets the key set's address be one of a private network.
	Private bool `yaml:"private"`
	// CA is a file of certificates that the key set's server is trusted by. Empty: those of the system.
	CA string `yaml:"ca"`
}

// Default returns a Config without issuers.
func Default() Config {
	return Config{
		Header: "Authorization", ScopeClaims: []string{"scope", "scp"}, Require: []string{"sub"},
		Leeway: time.Minute, Refresh: 15 * time.Minute, Stale: 24 * time.Hour,
	}
}

const (
	maxIssuers = 16
	maxLeeway  = 10 * time.Minute
)

// Validate reports what is wrong with a Config, all of it. It may be without issuers; New takes none such.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if n := len(c.Issuers); n > maxIssuers {
		bad("issuers has %d entries: want at most %d", n, maxIssuers)
	}
	seen := map[string]bool{}
	for i := range c.Issuers {
		is := &c.Issuers[i]
		if is.Name == "" || seen[is.Name] {
			bad("issuers[%d].issuer is %q: want the claim iss of its tokens, each once", i, is.Name)
		}
		seen[is.Name] = true
		if err := is.validate(); err != nil {
			bad("issuers[%d]: %w", i, err)
		}
	}
	if !httpguts.ValidHeaderFieldName(c.Header) && (c.Header != "" || c.Cookie == "") {
		bad("header is %q: want the name of a header, such as Authorization", c.Header)
	}
	if c.Cookie != "" && !httpguts.ValidHeaderFieldName(c.Cookie) {
		bad("cookie is %q: want the name of a cookie", c.Cookie)
	}
	for _, s := range c.Scopes {
		if s == "" || strings.ContainsAny(s, " \t") {
			bad("scopes has %q: want one scope in each entry", s)
		}
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		bad("leeway is %v: want 0 to %v", c.Leeway, maxLeeway)
	}
	if c.Refresh < time.Minute {
		bad("refresh is %v: want a minute or more", c.Refresh)
	}
	if c.Stale < c.Refresh {
		bad("stale is %v: want refresh (%v) or more", c.Stale, c.Refresh)
	}
	return errors.Join(errs...)
}

func (is *Issuer) validate() error {
	var errs []error
	if len(is.Audiences) == 0 || slices.Contains(is.Audiences, "") {
		errs = append(errs, errors.New("audiences is empty: name whom its tokens are for, else tokens for any other service are taken too"))
	}
	if len(is.Algorithms) == 0 {
		errs = append(errs, errors.New("algorithms is empty: name those that it signs with, such as RS256"))
	}
	for _, name := range is.Algorithms {
		if _, ok := algorithms[name]; !ok {
			errs = append(errs, fmt.Errorf("algorithms has %q: want RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA", name))
		}
	}
	switch u, err := url.Parse(is.Keys); {
	case is.Keys == "":
		errs = append(errs, errors.New("keys is empty: want a file or an https address"))
	case strings.Contains(is.Keys, "://") && (err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil):
		errs = append(errs, errors.New("keys is no https address with a host and without a password"))
	}
	return errors.Join(errs...)
}

// remote reports whether the keys are fetched.
func (is *Issuer) remote() bool { return strings.HasPrefix(is.Keys, "https://") }
