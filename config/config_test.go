package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/testudo-sec/testudo/internal/bytesize"
)

type upstream struct {
	URL    string `yaml:"url"`
	Weight int    `yaml:"weight"`
}

func (u *upstream) SetDefaults() { u.Weight = 1 }

type route struct {
	Name      string        `yaml:"name"`
	Upstreams []upstream    `yaml:"upstreams"`
	Timeout   time.Duration `yaml:"timeout"`
	Body      bytesize.Size `yaml:"body"`
}

func (r *route) Validate() error {
	if r.Name == "" {
		return errors.New("a route needs a name")
	}
	return nil
}

type file struct {
	Listen []string          `yaml:"listen"`
	Routes []route           `yaml:"routes"`
	Labels map[string]string `yaml:"labels"`
	On     bool              `yaml:"on"`
	Ratio  float64           `yaml:"ratio"`
	Port   uint16            `yaml:"port"`
	Deep   *route            `yaml:"deep"`
}

// either is a URL, or keys.
type either struct {
	URL string `yaml:"url"`
	N   int    `yaml:"n"`
}

func (e *either) UnmarshalYAML(decode func(any) error) error {
	if decode(&e.URL) == nil {
		return nil
	}
	type plain either
	p := plain{N: 7}
	if err := decode(&p); err != nil {
		return err
	}
	*e = either(p)
	return nil
}

func (e *either) Validate() error {
	if e.URL == "" {
		return errors.New("no url")
	}
	return nil
}

func TestOwnUnmarshalers(t *testing.T) {
	var got struct {
		All []either `yaml:"all"`
	}
	if err := Decode("f", []byte("all:\n  - http://a\n  - {url: b}\n"), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]either{{URL: "http://a"}, {URL: "b", N: 7}}, got.All); d != "" {
		t.Error(d)
	}
	err := Decode("f", []byte("all:\n  - {url: b, m: 1}\n  - {n: 1}\n"), &got)
	if want := "f:2:14: unknown key all[0].m; did you mean n?"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	err = Decode("f", []byte("all:\n  - {n: 1}\n"), &got)
	if want := "f:2:6: no url"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDecodeEverything(t *testing.T) {
	got := file{Port: 7, Ratio: 0.5}
	err := Load(filepath.Join("testdata", "good.yaml"), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := file{
		Listen: []string{":8080", "[::1]:9"}, Labels: map[string]string{"team": "shop", "n": "007"}, On: true, Ratio: 0.5, Port: 7,
		Routes: []route{{Name: "shop", Timeout: 90 * time.Second, Body: 64 * bytesize.KiB,
			Upstreams: []upstream{{URL: "http://127.0.0.1:8081", Weight: 1}, {URL: "http://127.0.0.1:8082", Weight: 3}}}},
		Deep: &route{Name: "d", Timeout: 48 * time.Hour},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestBadFiles reads testdata/bad/*.yaml; the first line of each is a comment that holds
// the expected errors, joined by " | ".
func TestBadFiles(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if len(paths) < 15 {
		t.Fatalf("%d bad files, want at least 15", len(paths))
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(data), "\n")
		want := strings.TrimPrefix(first, "# ")
		got := "no error"
		if err := Decode("f", data, &file{}); err != nil {
			got = strings.ReplaceAll(err.Error(), "\n", " | ")
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", path, got, want)
		}
	}
}

func TestBadBytes(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"utf8", "on: true\nlabels: {a: \"\xff\"}", "f:2:14: not valid UTF-8, or a control character"},
		{"control", "on: \x00", "f:1:5: not valid UTF-8, or a control character"},
		{"size", strings.Repeat("#", MaxSize+1), "f: 1048577 bytes, a configuration has at most 1048576"},
		{"flow", "labels: " + strings.Repeat("[", 100000), "f:1:1: nested deeper than 32"},
		{"bomb", "labels: &a {a: b}\ndeep: *a\n", "f:1:9: labels: anchors, aliases, merge keys and tags are not read here: write the value itself\n" +
			"f:2:7: deep: anchors, aliases, merge keys and tags are not read here: write the value itself"},
	} {
		err := Decode("f", []byte(c.data), &file{})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v\nwant %s", c.name, err, c.want)
		}
	}
}

func TestLoadMissingFile(t *testing.T) {
	if err := Load(filepath.Join(t.TempDir(), "none.yaml"), &file{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := Load(t.TempDir(), &file{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			data, _ := os.ReadFile(path)
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var errs Errors
		if err := Decode("f", data, &file{}); err != nil && !errors.As(err, &errs) {
			t.Fatalf("an error without a place: %v", err)
		}
	})
}
