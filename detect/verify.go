package detect

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A Verify says how the provider is asked whether a secret is in use. It is data: package detect asks nobody.
//
// Strings may hold {{secret}} and {{NAME}}, NAME being a part or a companion. In an address they stand in the path
// alone; the one exception is a part of the secret as the first label of the host, as in Mailchimp's data centres.
type Verify struct {
	// URLs are asked one after another, until one knows the secret: a provider's regions. https only.
	URLs   []string `yaml:"urls"`
	Method string   `yaml:"method"` // GET unless said; HEAD; POST with Reads
	// Reads says why a POST changes nothing at the provider.
	Reads   string            `yaml:"reads"`
	Headers map[string]string `yaml:"headers"`
	Basic   string            `yaml:"basic"` // user:password
	// Body is JSON where the header Content-Type says so, else a form; values are escaped for it.
	Body string `yaml:"body"`
	Sign string `yaml:"sign"` // aws: Signature Version 4 by the companions id and token (which may be missing)
	// Parts is an expression that the secret must match to be asked about; its named groups are parts.
	Parts string `yaml:"parts"`
	// With are values that stand near the secret and are needed beside it.
	With []Companion `yaml:"with"`
	// Live and Revoked say what an answer means, the first that fits; any other means that nothing is known.
	Live    []Answer `yaml:"live"`
	Revoked []Answer `yaml:"revoked"`
	// Names are what the answer tells of the secret's owner and reach, by the name to show: a field, as in
	// "data.user.name", or "header NAME".
	Names map[string]string `yaml:"names"`

	parts *regexp.Regexp
}

// A Companion is a value beside a secret, the nearest that matches.
type Companion struct {
	Name string `yaml:"name"`
	// Pattern is an expression; the value is its group "value", or all of it.
	Pattern  string `yaml:"pattern"`
	Optional bool   `yaml:"optional"`

	pattern *regexp.Regexp
}

// An Answer describes what a provider may answer. All that is said must hold.
type Answer struct {
	Status []int `yaml:"status"`
	// Field is one of a JSON answer, with dots and numbers of elements: "errors.0.code". It must be there and not be null or
	// false, or be one of Is, or hold one of Has.
	Field string   `yaml:"field"`
	Is    []string `yaml:"is"`
	Has   []string `yaml:"has"`
}

var (
	hole    = regexp.MustCompile(`\{\{([a-z_]+)\}\}`)
	dnsName = regexp.MustCompile(`^(?:[a-z0-9-]+\.)+[a-z]{2,}$`)
)

// Applies reports whether the provider can be asked about this secret of the rule, and gives the parts by their names.
func (v *Verify) Applies(secret []byte) (parts map[string]string, ok bool) {
	parts = map[string]string{"secret": string(secret)}
	if v.parts == nil {
		return parts, true
	}
	m := v.parts.FindSubmatch(secret)
	for i, name := range v.parts.SubexpNames() {
		if m != nil && name != "" {
			parts[name] = string(m[i])
		}
	}
	return parts, m != nil
}

// Find returns the companion's value in text that is nearest to the place, "" if none is there.
func (c *Companion) Find(text []byte, place int) string {
	best, nearest := "", len(text)+1
	group := max(c.pattern.SubexpIndex("value"), 0)
	for _, m := range c.pattern.FindAllSubmatchIndex(text, 1000) {
		from, to := m[2*group], m[2*group+1]
		if from > 0 && isWord(text[from-1]) && group == 0 || to < len(text) && isWord(text[to]) {
			continue
		}
		if d := max(from-place, place-from); d < nearest {
			best, nearest = string(text[from:to]), d
		}
	}
	return best
}

// Fill replaces what stands in double braces by its escaped value.
func Fill(text string, values map[string]string, escape func(string) string) string {
	return hole.ReplaceAllStringFunc(text, func(h string) string { return escape(values[h[2:len(h)-2]]) })
}

func (v *Verify) validate() error {
	known := []string{"secret"}
	if v.Parts != "" {
		var err error
		if v.parts, err = regexp.Compile(v.Parts); err != nil {
			return fmt.Errorf("parts: %w", err)
		}
		known = append(known, v.parts.SubexpNames()...)
	}
	parts := slices.Clone(known[1:])
	for i := range v.With {
		c := &v.With[i]
		var err error
		if c.pattern, err = regexp.Compile(c.Pattern); err != nil {
			return fmt.Errorf("with %s: %w", c.Name, err)
		}
		known = append(known, c.Name)
	}
	switch {
	case len(v.URLs) == 0 || len(v.URLs) > 8:
		return fmt.Errorf("has %d urls: want 1 to 8", len(v.URLs))
	case v.Method != "" && v.Method != http.MethodGet && v.Method != http.MethodHead && v.Method != http.MethodPost:
		return fmt.Errorf("method %q: want GET, HEAD or POST: nothing may be changed", v.Method)
	case v.Method == http.MethodPost && v.Reads == "":
		return fmt.Errorf("method POST without reads: say why it changes nothing")
	case v.Method != http.MethodPost && v.Body != "":
		return fmt.Errorf("body goes with method POST")
	case v.Basic != "" && !strings.Contains(v.Basic, ":"):
		return fmt.Errorf("basic: want user:password")
	case v.Sign != "" && v.Sign != "aws":
		return fmt.Errorf("sign %q: want aws", v.Sign)
	case len(v.Live) == 0:
		return fmt.Errorf("says nothing under live")
	}
	texts := []string{v.Basic, v.Body}
	for _, u := range v.URLs {
		if err := checkURL(u, parts); err != nil {
			return err
		}
		texts = append(texts, u)
	}
	for name, value := range v.Headers {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r != '-' && (r > 127 || !isWord(byte(r))) }) {
			return fmt.Errorf("header %q is no header's name", name)
		}
		texts = append(texts, value)
	}
	uses := v.Sign != ""
	for _, text := range texts {
		for _, m := range hole.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, m[1]) {
				return fmt.Errorf("{{%s}} is neither the secret, nor a part, nor a companion", m[1])
			}
			uses = uses || m[1] == "secret" || slices.Contains(parts, m[1])
		}
	}
	if !uses {
		return fmt.Errorf("does not use {{secret}}")
	}
	for _, a := range slices.Concat(v.Live, v.Revoked) {
		if len(a.Status) == 0 && a.Field == "" {
			return fmt.Errorf("an answer has neither status nor field: every answer would fit")
		}
		if a.Field == "" && len(a.Is)+len(a.Has) > 0 {
			return fmt.Errorf("is and has go with field")
		}
	}
	return nil
}

// checkURL holds an address to hosts that the rule names.
func checkURL(text string, parts []string) error {
	host, path, _ := strings.Cut(strings.TrimPrefix(text, "https://"), "/")
	if m := hole.FindStringSubmatch(host); m != nil {
		if !strings.HasPrefix(host, m[0]+".") || strings.Count(host, "{{") > 1 || !slices.Contains(parts, m[1]) || strings.Count(host, ".") < 3 {
			return fmt.Errorf("url %s: only a part of the secret may stand in the host, as its first label below a name of three", text)
		}
		host = strings.Replace(host, m[0], "x", 1)
	}
	if beforeQuery, query, _ := strings.Cut(path, "?"); strings.Contains(query, "{{") {
		return fmt.Errorf("url %s: a query is written to logs: nothing may be filled in behind %s?", text, beforeQuery)
	}
	u, err := url.Parse("https://" + host + "/" + hole.ReplaceAllString(path, "x"))
	if err != nil || !strings.HasPrefix(text, "https://") || !dnsName.MatchString(host) || u.Host != host || u.Fragment != "" {
		return fmt.Errorf("url %q: want https://HOST/PATH, without a port, a user or a fragment", text)
	}
	return nil
}
