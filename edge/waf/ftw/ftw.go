// Package ftw reads the regression tests of the Core Rule Set: requests, most of them attacks, with the rules that are to match. The
// format is that of https://github.com/coreruleset/ftw-tests-schema.
package ftw

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/goccy/go-yaml"
)

type file struct {
	RuleID int    `yaml:"rule_id"`
	Tests  []test `yaml:"tests"`
}

type test struct {
	ID     int     `yaml:"test_id"`
	Stages []Stage `yaml:"stages"`
}

// Test is one test with its name, as in "942100-1".
type Test struct {
	Name   string
	Rule   int // that it is about
	Stages []Stage
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

// Read returns the tests of the files that a pattern of fs.Glob names, in the order of their names.
func Read(root fs.FS, pattern string) ([]Test, error) {
	paths, err := fs.Glob(root, pattern)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("there are no regression tests at %s", pattern)
	}
	sort.Strings(paths)
	files, errs := make([]file, len(paths)), make([]error, len(paths))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(paths); i = int(next.Add(1)) - 1 {
				data, err := fs.ReadFile(root, paths[i])
				if err == nil {
					err = yaml.Unmarshal(data, &files[i])
				}
				if err != nil {
					errs[i] = fmt.Errorf("%s: %w", paths[i], err)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var all []Test
	for i := range files {
		for _, t := range files[i].Tests {
			all = append(all, Test{fmt.Sprintf("%d-%d", files[i].RuleID, t.ID), files[i].RuleID, t.Stages})
		}
	}
	return all, nil
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
