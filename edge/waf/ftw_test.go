package waf_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// ftwFile is a regression test file of the Core Rule Set, in the format of
// https://github.com/coreruleset/ftw-tests-schema.
type ftwFile struct {
	RuleID int       `yaml:"rule_id"`
	Tests  []ftwTest `yaml:"tests"`
}

type ftwTest struct {
	ID     int        `yaml:"test_id"`
	Stages []ftwStage `yaml:"stages"`
}

type ftwStage struct {
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

// namedStages is one test with its name, as in "942100-1".
type namedStages struct {
	name   string
	stages []ftwStage
}

func readFTW(t *testing.T, dir string) []namedStages {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "crs", "*", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no regression files in %s: %v", dir, err)
	}
	sort.Strings(paths)
	var all []namedStages
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
			all = append(all, namedStages{fmt.Sprintf("%d-%d", f.RuleID, test.ID), test.Stages})
		}
	}
	return all
}

// bytes returns the request as it goes on the wire.
func (s *ftwStage) bytes() []byte {
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

// exchange sends raw bytes and returns the status of the answer, 0 where none came, and the
// local port that the request came from.
func exchange(addr string, raw []byte) (status, port int, err error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	port = conn.LocalAddr().(*net.TCPAddr).Port
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write(raw); err != nil {
		return 0, port, nil // refused while it was being sent
	}
	// Some tests announce a longer body than they send: let the server see the end, but not
	// before it had time to answer, for it takes a half-closed connection for a client that left.
	end := time.AfterFunc(2*time.Second, func() { _ = conn.(*net.TCPConn).CloseWrite() })
	defer end.Stop()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, port, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, port, nil
}

// echo is the backend that the regression tests are written for: POST /reflect answers as the JSON
// body says, everything else with 200.
func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/reflect" || r.Method != http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/plain")
			return
		}
		var spec struct {
			Status      int               `json:"status"`
			Headers     map[string]string `json:"headers"`
			Body        string            `json:"body"`
			EncodedBody string            `json:"encodedBody"`
		}
		if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body := []byte(spec.Body)
		if spec.EncodedBody != "" {
			body, _ = base64.StdEncoding.DecodeString(spec.EncodedBody)
		}
		for k, v := range spec.Headers {
			w.Header().Set(k, v)
		}
		if spec.Status != 0 {
			w.WriteHeader(spec.Status)
		}
		_, _ = w.Write(body)
	})
}
