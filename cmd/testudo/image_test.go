package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// layerOf makes a layer of files; a name with a final slash is a folder.
func layerOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// saveImage writes an archive as `docker save` does.
func saveImage(t *testing.T, name string, history []string, layers ...[]byte) {
	t.Helper()
	type object = map[string]any
	var diffs, names []string
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	put := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range layers {
		sum := sha256.Sum256(l)
		id := hex.EncodeToString(sum[:])
		diffs, names = append(diffs, "sha256:"+id), append(names, id+"/layer.tar")
		put(id+"/layer.tar", l)
	}
	var made []object
	for _, h := range history {
		made = append(made, object{"created_by": h, "created": "2024-01-02T03:04:05Z"})
	}
	config, err := json.Marshal(object{"architecture": "amd64", "os": "linux", "config": object{"Cmd": []string{"node", "server.js"}},
		"rootfs": object{"type": "layers", "diff_ids": diffs}, "history": made})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(config)
	put(hex.EncodeToString(sum[:])+".json", config)
	manifest, err := json.Marshal([]object{{"Config": hex.EncodeToString(sum[:]) + ".json", "RepoTags": []string{"shop:1.0"}, "Layers": names}})
	if err != nil {
		t.Fatal(err)
	}
	put("manifest.json", manifest)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

const osvOpenSSL = `{"id":"DEBIAN-CVE-2023-5363","upstream":["CVE-2023-5363"],"modified":"2024-01-01T00:00:00Z","details":"Processing of key and initialisation vector lengths.",
"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.11-1~deb12u2"}]}]}]}`

const osvLodash = `{"id":"GHSA-35jh-r3h4-6jhm","aliases":["CVE-2021-23337"],"summary":"Command injection in lodash","modified":"2024-01-01T00:00:00Z",
"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:U/C:H/I:H/A:H"}],
"affected":[{"package":{"ecosystem":"npm","name":"lodash"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"4.17.21"}]}]}]}`

// TestScanImage: what a release of Debian and an old module bring is named with its layer and instruction, and a secret that
// a later layer takes away is found where it still lies.
func TestScanImage(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	token := "AKIA" + "Q3EGWDNZLM5XKTBV"
	saveImage(t, filepath.Join(dir, "image.tar"),
		[]string{"/bin/sh -c #(nop) ADD file:abc in / ", "RUN /bin/sh -c npm ci # buildkit", "COPY .env /srv/.env # buildkit", "RUN /bin/sh -c rm /srv/.env # buildkit"},
		layerOf(t, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n",
			"var/lib/dpkg/status", "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl\nVersion: 3.0.11-1~deb12u1\nMaintainer: x\nDescription: y\n\n"+
				"Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\nMaintainer: x\nDescription: y\n\n"),
		layerOf(t, "srv/node_modules/lodash/package.json", `{"name":"lodash","version":"4.17.15","license":"MIT"}`),
		layerOf(t, "srv/.env", "AWS_ACCESS_KEY_ID="+token+"\n"),
		layerOf(t, "srv/.wh..env", ""))
	for name, text := range map[string]string{"a.json": osvOpenSSL, "b.json": osvLodash} {
		if err := os.MkdirAll(filepath.Join(dir, "osv"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "osv", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testudo := func(code int, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if got := Main(t.Context(), append([]string{"--data", filepath.Join(dir, "data")}, args...), strings.NewReader(""), &out, &errOut); got != code {
			t.Fatalf("testudo %v: exit code %d\n%s%s", args, got, out.String(), errOut.String())
		}
		return out.String()
	}
	testudo(exitOK, "db", "update", "--from", filepath.Join(dir, "osv"))
	for _, round := range []string{"first", "again, from what is known of the layers"} {
		var doc struct {
			Findings []signal.Finding `json:"findings"`
			Stats    scan.Stats       `json:"stats"`
			Notes    []string         `json:"notes"`
		}
		if err := json.Unmarshal([]byte(testudo(exitFindings, "scan", "--format", "json", filepath.Join(dir, "image.tar"))), &doc); err != nil {
			t.Fatal(err)
		}
		found := map[string]signal.Finding{}
		for _, f := range doc.Findings {
			found[f.Rule] = f
		}
		for rule, want := range map[string]string{"CVE-2023-5363": "ADD file:abc", "CVE-2021-23337": "npm ci", "aws-access-key-id": "COPY .env"} {
			text, err := json.Marshal(found[rule])
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: %s does not tell %q: %s", round, rule, want, text)
			}
			if strings.Contains(string(text), token) {
				t.Errorf("%s holds the secret", rule)
			}
		}
		if doc.Stats.Packages != 3 || doc.Stats.Incomplete() {
			t.Errorf("%s: %+v", round, doc.Stats)
		}
	}
	table := testudo(exitFindings, "scan", filepath.Join(dir, "image.tar"))
	for _, want := range []string{"libssl3", "3.0.11-1~deb12u2", "lodash (npm) 4.17.15 → 4.17.21", "4 of 4 layers were known"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table does not tell %q:\n%s", want, table)
		}
	}
}
