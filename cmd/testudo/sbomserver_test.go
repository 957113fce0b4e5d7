package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

// TestSBOMFindOnServer asks a console over TLS: with its certificate and a token that may read it answers, else it says what is wrong. Then a
// scan is sent to it by a token that may do nothing else.
func TestSBOMFindOnServer(t *testing.T) {
	dir, world := t.TempDir(), consoletest.New()
	config := console.Default()
	config.Listen = "127.0.0.1:0"
	reg := prometheus.NewRegistry()
	server, err := console.New(config, world.Sources(), console.Deps{Dir: dir, Now: world.Now, Registerer: reg, Gatherer: reg})
	if err != nil {
		t.Fatal(err)
	}
	consoletest.Run(t, server)
	if !strings.HasPrefix(server.URL(), "https://") {
		t.Fatalf("the console listens on %s", server.URL())
	}
	token := func(name, secret string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	viewer, scanner := token("viewer", consoletest.ViewerToken), token("scanner", consoletest.ScannerToken)
	ca := filepath.Join(dir, "console.crt")
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := Main(t.Context(), append(args, "--data", filepath.Join(dir, "data")), strings.NewReader(""), &out, &errs)
		return code, out.String(), errs.String()
	}
	find := func(query string, args ...string) (int, string, string) {
		return run(append([]string{"sbom", "find", query, "--server", server.URL()}, args...)...)
	}
	code, out, errs := find("pkg:npm/lodash", "--token-file", viewer, "--ca-file", ca, "--json")
	var found []console.Package
	if err := json.Unmarshal([]byte(out), &found); code != 0 || err != nil || len(found) != 2 || found[1].Version != "4.17.20" || len(found[1].Flaws) != 1 {
		t.Errorf("%d %v %+v %s", code, err, found, errs)
	}
	if code, out, errs = find("lodash", "--token-file", viewer, "--ca-file", ca, "--exit-code"); code != 1 || !strings.Contains(out, "pushed:repository:acme/site") || !strings.Contains(out, "CVE-2021-23337") {
		t.Errorf("%d %q %s", code, out, errs)
	}
	if code, out, errs = find("nothing-like-this", "--token-file", viewer, "--ca-file", ca); code != 0 || out != "nobody has it\n" {
		t.Errorf("%d %q %s", code, out, errs)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a certificate that nobody vouches for": {[]string{"--token-file", viewer}, "certificate"},
		"no token":                              {[]string{"--ca-file", ca}, "no token"},
		"a token that is none":                  {[]string{"--token-file", token("wrong", "tst_unknown"), "--ca-file", ca}, "401"},
		"a token that may not read":             {[]string{"--token-file", scanner, "--ca-file", ca}, "403: this needs the role viewer"},
	} {
		if code, _, errs := find("lodash", c.args...); code != 2 || !strings.Contains(errs, c.want) || strings.Contains(errs, "tst_") {
			t.Errorf("%s: %d %q, want %q", name, code, errs, c.want)
		}
	}

	shop := filepath.Join(dir, "shop")
	if err := os.Mkdir(shop, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"shop/package-lock.json": `{"name":"shop","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"shop","version":"1.0.0"},"node_modules/left":{"version":"1.0.0"}}}`,
		"testudo.yaml":           "scan:\n  server: {url: \"" + server.URL() + "\", token_file: \"" + scanner + "\", ca_file: \"" + ca + "\", required: true}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, _, errs = run("ci", shop, "--asset", "acme/shop", "--config", filepath.Join(dir, "testudo.yaml"))
	world.Lock.Lock()
	defer world.Lock.Unlock()
	if code != 0 || len(world.Scans) != 1 || world.Scans[0].Asset.Name != "acme/shop" {
		t.Errorf("%d %s, %+v", code, errs, world.Scans)
	}
}
