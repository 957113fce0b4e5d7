package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan/secret"
)

const (
	// maxAnswer is how much of an answer is read, and of its headers.
	maxAnswer = 64 << 10
	// maxWho bounds what is shown of each name in an answer.
	maxWho = 200
)

// build makes the request. Its errors hold nothing of the values.
func (v *Verifier) build(ctx context.Context, how *detect.Verify, address string, values map[string]string) (*http.Request, error) {
	rest := strings.TrimPrefix(address, "https://")
	host, path, _ := strings.Cut(rest, "/")
	bad := false
	host = detect.Fill(host, values, func(part string) string {
		// A label of its own and nothing else: the name below it is the rule's.
		if len(part) == 0 || len(part) > 20 || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			bad = true
		}
		return part
	})
	if bad {
		return nil, errors.New("it does not name a region of the provider")
	}
	method := how.Method
	if method == "" {
		method = http.MethodGet
	}
	json := strings.Contains(how.Headers["Content-Type"], "json")
	var body io.Reader
	if how.Body != "" {
		escape := url.QueryEscape
		if json {
			escape = escapeJSON
		}
		body = strings.NewReader(detect.Fill(how.Body, values, escape))
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+host+"/"+detect.Fill(path, values, url.PathEscape), body)
	if err != nil {
		return nil, errors.New("no request can be made of it")
	}
	as := func(s string) string { return s } // printable characters alone: see valuesOf
	for name, value := range how.Headers {
		r.Header.Set(name, detect.Fill(value, values, as))
	}
	r.Header.Set("User-Agent", v.agent)
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "application/json")
	}
	if body != nil && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if how.Basic != "" {
		user, password, _ := strings.Cut(how.Basic, ":")
		r.SetBasicAuth(detect.Fill(user, values, as), detect.Fill(password, values, as))
	}
	if how.Sign == "aws" {
		if err := signAWS(r, detect.Fill(how.Body, values, url.QueryEscape), values["id"], values["secret"], values["token"], v.now()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func escapeJSON(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   any // JSON; nil if it is something else, or more than is read
}

func readAnswer(r *http.Response) (answer, error) {
	a := answer{status: r.StatusCode, header: r.Header}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
	if err != nil {
		return a, err
	}
	if len(data) <= maxAnswer && json.Unmarshal(data, &a.body) != nil {
		a.body = nil
	}
	return a, nil
}

// judge says what an answer means.
func (v *Verifier) judge(how *detect.Verify, host string, a answer, values map[string]string) secret.Verdict {
	fits := func(list []detect.Answer) bool {
		return slices.ContainsFunc(list, func(d detect.Answer) bool { return a.fits(&d) })
	}
	switch {
	case !fits(how.Revoked) && fits(how.Live): // where both fit, it is a field that says more than the status
		return secret.Verdict{Live: secret.LiveYes, Who: v.who(how, a, values)}
	case fits(how.Revoked) && !slices.ContainsFunc(how.With, func(c detect.Companion) bool { return !c.Optional }):
		return secret.Verdict{Live: secret.LiveNo}
	case fits(how.Revoked): // what stands beside it may belong to something else
		return secret.Verdict{Why: host + " does not accept it together with the " + how.With[0].Name + " beside it"}
	case a.status >= 300 && a.status < 400:
		return secret.Verdict{Why: fmt.Sprintf("%s answers with a redirect (%d)", host, a.status)}
	}
	return secret.Verdict{Why: fmt.Sprintf("%s answers %d", host, a.status)}
}

func (a *answer) fits(d *detect.Answer) bool {
	if len(d.Status) > 0 && !slices.Contains(d.Status, a.status) {
		return false
	}
	if d.Field == "" {
		return true
	}
	value, ok := field(a.body, d.Field)
	if !ok {
		return false
	}
	if len(d.Is)+len(d.Has) == 0 {
		return value != "" && value != "false"
	}
	return slices.Contains(d.Is, value) || slices.ContainsFunc(d.Has, func(part string) bool { return strings.Contains(value, part) })
}

// field returns what stands in a JSON document at a path such as data.0.name: text, numbers and truth as they are written, lists of
// these with commas between; "" and true of anything else that is there.
func field(doc any, path string) (string, bool) {
	for name := range strings.SplitSeq(path, ".") {
		switch d := doc.(type) {
		case map[string]any:
			doc = d[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(d) {
				return "", false
			}
			doc = d[i]
		default:
			return "", false
		}
	}
	switch d := doc.(type) {
	case nil:
		return "", false
	case []any:
		var words []string
		for _, e := range d[:min(len(d), 50)] {
			if w, ok := scalar(e); ok {
				words = append(words, w)
			}
		}
		return strings.Join(words, ", "), true
	case map[string]any:
		return "{}", true
	}
	return scalar(doc)
}

func scalar(d any) (string, bool) {
	switch d := d.(type) {
	case string:
		return d, true
	case bool:
		return fmt.Sprint(d), true
	case float64:
		return fmt.Sprintf("%.0f", d), true
	}
	return "", false
}

// who puts what the answer names into one line. An answer that repeats the secret, whole or in part, is not repeated.
func (v *Verifier) who(how *detect.Verify, a answer, values map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(how.Names)) {
		value := ""
		if header, ok := strings.CutPrefix(how.Names[name], "header "); ok {
			value = a.header.Get(header)
		} else {
			value, _ = field(a.body, how.Names[name])
		}
		if value = strings.TrimSpace(value); value == "" {
			continue
		}
		if len(value) > maxWho {
			value = strings.ToValidUTF8(value[:maxWho], "") + "…"
		}
		if holds(value, values) {
			continue
		}
		out = append(out, name+" "+v.redact(value))
	}
	return strings.Join(out, "; ")
}
