// Package waftest reads the regression tests of the Core Rule Set, and knows where Coraza is no judge.
package waftest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// ftwFile is a regression test file of the Core Rule Set, in the format of
// https://github.com/coreruleset/ftw-tests-schema.
type ftwFile struct {
	RuleID int       `yaml:"rule_id"`
	Tests  []ftwTest `yaml:"tests"`
}

type ftwTest struct {
	ID     int     `yaml:"test_id"`
	Stages []Stage `yaml:"stages"`
}

// Stage is a request and what is expected of it.
type Stage struct {
	Input struct {
		Method   string        `yaml:"method"`
		URI      string        `yaml:"uri"`
		Version  *string       `yaml:"version"`
		Headers  yaml.MapSlice `yaml:"headers"`
		Data     *string       `yaml:"data"`
		Encoded  string        `yaml:"encoded_request"`
		Complete *bool         `yaml:"autocomplete_headers"`
	} `yaml:"input"`
	Output struct {
		Status      int  `yaml:"status"`
		ExpectError bool `yaml:"expect_error"`
		Log         struct {
			Expect     []int  `yaml:"expect_ids"`
			NoExpect   []int  `yaml:"no_expect_ids"`
			MatchRegex string `yaml:"match_regex"`
			NoMatch    string `yaml:"no_match_regex"`
		} `yaml:"log"`
	} `yaml:"output"`
}

// repeated is the one template function that the tests use.
var repeated = regexp.MustCompile(`\{\{ "([^"]*)" \| repeat (\d+) \}\}`)

func expand(s string) string {
	return repeated.ReplaceAllStringFunc(s, func(m string) string {
		part := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(part[2])
		return strings.Repeat(part[1], n)
	})
}

// Test is one test with its name, as in "942100-1".
type Test struct {
	Name   string
	Stages []Stage
}

// Read returns the tests of all files below a folder of corpora.
func Read(t testing.TB, dir string) []Test {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "crs", "*", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no regression files in %s: %v", dir, err)
	}
	sort.Strings(paths)
	var all []Test
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var f ftwFile
		if err := yaml.Unmarshal(data, &f); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, test := range f.Tests {
			all = append(all, Test{fmt.Sprintf("%d-%d", f.RuleID, test.ID), test.Stages})
		}
	}
	return all
}

// Bytes returns the request as it goes on the wire.
func (s *Stage) Bytes() []byte {
	in := &s.Input
	if in.Encoded != "" {
		raw, err := base64.StdEncoding.DecodeString(in.Encoded)
		if err != nil {
			return nil
		}
		return raw
	}
	method, uri, version := in.Method, expand(in.URI), "HTTP/1.1"
	if method == "" {
		method = "GET"
	}
	if uri == "" {
		uri = "/"
	}
	if in.Version != nil {
		version = *in.Version
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\n", method, uri, version)
	has := map[string]bool{}
	for _, h := range in.Headers {
		value := ""
		if h.Value != nil {
			value = fmt.Sprint(h.Value)
		}
		has[strings.ToLower(fmt.Sprint(h.Key))] = true
		fmt.Fprintf(&b, "%v: %s\r\n", h.Key, value)
	}
	data := ""
	if in.Data != nil {
		data = expand(*in.Data)
	}
	if in.Complete == nil || *in.Complete {
		if data != "" && !has["content-type"] {
			b.WriteString("Content-Type: application/x-www-form-urlencoded\r\n")
		}
		if data != "" && !has["content-length"] && !has["transfer-encoding"] {
			b.WriteString("Content-Length: " + strconv.Itoa(len(data)) + "\r\n")
		}
		if !has["connection"] {
			b.WriteString("Connection: close\r\n")
		}
	}
	b.WriteString("\r\n" + data)
	return []byte(b.String())
}
