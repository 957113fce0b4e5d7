package image

import (
	"archive/tar"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// base is a lowest layer with what distributions have.
func distribution(t *testing.T) []byte {
	return tarOf(t, file{name: "etc/os-release", data: "ID=debian\nVERSION_ID=\"12\"\n"}, file{name: "etc/passwd", data: "root:x"}, file{name: "tmp/", sort: tar.TypeDir, mode: 0o1777},
		file{name: "usr/bin/passwd", data: "elf", mode: 0o4755}, file{name: "var/lib/apt/lists/old", data: "x"})
}

// TestChecks has for each rule what it finds, and what is close to it and is fine.
func TestChecks(t *testing.T) {
	type given struct {
		config  map[string]any
		history []string // of empty layers
		files   []file   // of a layer on the base
		by      string
		labels  map[string]string
	}
	covered := map[string][2]bool{}
	for _, c := range []struct {
		name, rule string
		given      given
		want       []string // places, with what is beside them
	}{
		{"no user", "image-root-user", given{config: map[string]any{}}, []string{"config!/settings USER "}},
		{"root", "image-root-user", given{config: map[string]any{"User": "root:staff"}}, []string{"config!/settings USER root:staff"}},
		{"zero", "image-root-user", given{config: map[string]any{"User": "0"}}, []string{"config!/settings USER 0"}},
		{"zeros", "image-root-user", given{config: map[string]any{"User": "000:1"}}, []string{"config!/settings USER 000:1"}},
		{"a number", "image-root-user", given{config: map[string]any{"User": "10001:0"}}, nil},
		{"a name", "image-root-user", given{config: map[string]any{"User": "app"}}, nil},
		{"a name", "image-user-name", given{config: map[string]any{"User": "app"}}, []string{"config!/settings USER app"}},
		{"a number", "image-user-name", given{config: map[string]any{"User": "1000"}}, nil},

		{"password", "image-secret-variable", given{config: map[string]any{"Env": []string{"PATH=/bin", "DB_PASSWORD=hunter22", "API_TOKEN=s3cr3tvalue"}}},
			[]string{"config!/environment:2 DB_PASSWORD=…", "config!/environment:3 API_TOKEN=…"}},
		{"no password", "image-secret-variable", given{config: map[string]any{"Env": []string{"DB_PASSWORD_FILE=/run/secrets/db", "DB_PASSWORD=", "TOKEN=changeme", "SECRET=/run/secret", "PASSWORD=${PW}",
			"TOKENIZERS_PARALLELISM=false", "KEYBOARD=german", "AUTH_URL=https://login.example"}}}, nil},
		{"known to a scanner", "image-secret-variable", given{config: map[string]any{"Env": []string{"DB_PASSWORD=NEEDLE-pw"}}}, nil},
		{"label", "image-secret-label", given{config: map[string]any{"Labels": map[string]string{"deploy.token": "abcdef012345", "version": "1"}}}, []string{"config!/labels:1 deploy.token=…"}},
		{"no label", "image-secret-label", given{config: map[string]any{"Labels": map[string]string{"token.type": "bearer", "maintainer": "ada"}}}, nil},
		{"argument", "image-secret-history", given{history: []string{"RUN |1 NPM_TOKEN=hunter22xx /bin/sh -c npm ci # buildkit"}}, []string{"config!/history:3 RUN npm ci"}},
		{"no argument", "image-secret-history", given{history: []string{"RUN |1 VERSION=1.2.3 /bin/sh -c npm ci # buildkit"}}, nil},

		{"latest", "image-base-latest", given{labels: map[string]string{"org.opencontainers.image.base.name": "registry.example:5000/debian:latest"}}, []string{"config!/settings FROM registry.example:5000/debian:latest"}},
		{"no tag", "image-base-latest", given{labels: map[string]string{"org.opencontainers.image.base.name": "registry.example:5000/debian"}}, []string{"config!/settings FROM registry.example:5000/debian"}},
		{"tag", "image-base-latest", given{labels: map[string]string{"org.opencontainers.image.base.name": "debian:12"}}, nil},
		{"digest", "image-base-latest", given{labels: map[string]string{"org.opencontainers.image.base.name": "debian@" + sum(nil)}}, nil},

		{"address", "image-add-address", given{history: []string{"ADD https://example.com/x.tar /x # buildkit"}}, []string{"config!/history:3 ADD https://example.com/x.tar /x"}},
		{"address, old builder", "image-add-address", given{history: []string{"/bin/sh -c #(nop) ADD http://example.com/x /x "}}, []string{"config!/history:3 ADD http://example.com/x /x"}},
		{"checked", "image-add-address", given{history: []string{"ADD --checksum=sha256:24454f830cdb https://example.com/x /x # buildkit", "ADD file:0123 in /"}}, nil},
		{"curl to a shell", "image-fetch-and-run", given{by: "RUN /bin/sh -c curl -fsSL https://get.example/install.sh | bash -s -- -y # buildkit"},
			[]string{"config!/history:2 RUN curl -fsSL https://get.example/install.sh | bash -s -- -y"}},
		{"wget to sudo", "image-fetch-and-run", given{by: "/bin/sh -c wget -qO- https://x.example | sudo -E sh"}, []string{"config!/history:2 RUN wget -qO- https://x.example | sudo -E sh"}},
		{"shell of curl", "image-fetch-and-run", given{by: `/bin/sh -c sh -c "$(curl -fsSL https://x.example)"`}, []string{`config!/history:2 RUN sh -c "$(curl -fsSL https://x.example)"`}},
		{"curl to tar", "image-fetch-and-run", given{by: "/bin/sh -c curl -L https://x.example/a.tgz | tar xz && bash ./configure; curl x | grep sh"}, nil},

		{"ssh", "image-remote-login", given{config: map[string]any{"ExposedPorts": map[string]any{"22/tcp": nil, "8080/tcp": nil}}}, []string{"config!/settings EXPOSE 22/tcp"}},
		{"web", "image-remote-login", given{config: map[string]any{"ExposedPorts": map[string]any{"443": nil, "2222/tcp": nil}}}, nil},
		{"database", "image-admin-port", given{config: map[string]any{"ExposedPorts": map[string]any{"5432/tcp": nil, "2375/tcp": nil}}}, []string{"config!/settings EXPOSE 2375/tcp", "config!/settings EXPOSE 5432/tcp"}},
		{"web", "image-admin-port", given{config: map[string]any{"ExposedPorts": map[string]any{"80/tcp": nil}}}, nil},

		{"setuid", "image-setuid", given{files: []file{{name: "usr/local/bin/x", data: "elf", mode: 0o4755}, {name: "opt/y", data: "elf", mode: 0o2755}}}, []string{"opt/y ", "usr/local/bin/x "}},
		{"updated, and not executable", "image-setuid", given{files: []file{{name: "usr/bin/passwd", data: "elf 2", mode: 0o4755}, {name: "opt/y", data: "x", mode: 0o4644}, {name: "opt/", sort: tar.TypeDir, mode: 0o2755}}}, nil},
		{"writable", "image-world-writable", given{files: []file{{name: "app/", sort: tar.TypeDir, mode: 0o777}, {name: "app/a", mode: 0o666}, {name: "app/b/c", mode: 0o666}, {name: "etc/conf", mode: 0o646}}},
			[]string{"app ", "etc/conf "}},
		{"sticky, links", "image-world-writable", given{files: []file{{name: "spool/", sort: tar.TypeDir, mode: 0o1777}, {name: "link", sort: tar.TypeSymlink, link: "x", mode: 0o777}, {name: "a", mode: 0o664}}}, nil},
		{"passwd", "image-account-file", given{files: []file{{name: "etc/passwd", data: "root", mode: 0o664}}}, []string{"etc/passwd "}},
		{"passwd of root", "image-account-file", given{files: []file{{name: "etc/passwd", data: "root", mode: 0o644}, {name: "srv/etc/passwd", mode: 0o664}}}, nil},
		{"sudo", "image-sudo", given{files: []file{{name: "usr/bin/sudo", data: "elf"}}}, []string{"usr/bin/sudo "}},
		{"not sudo", "image-sudo", given{files: []file{{name: "usr/share/doc/sudo", data: "x"}, {name: "usr/bin/.wh.sudo"}}}, nil},
		{"caches", "image-package-cache", given{files: []file{{name: "var/lib/apt/lists/deb_main", data: "list"}, {name: "root/.cache/pip/http/a", data: "x"}, {name: "root/.cache/pip/http/b", data: "x"}}},
			[]string{"root/.cache/pip ", "var/lib/apt/lists "}},
		{"no caches", "image-package-cache", given{files: []file{{name: "var/lib/apt/lists/lock"}, {name: "var/cache/apk", data: "x"}, {name: "var/lib/apt/listsx/a", data: "x"}}}, nil},
		{"no health check", "image-healthcheck", given{config: map[string]any{}}, []string{"config!/settings "}},
		{"switched off", "image-healthcheck", given{config: map[string]any{"Healthcheck": map[string]any{"Test": []string{"NONE"}}}}, []string{"config!/settings "}},
		{"health check", "image-healthcheck", given{config: map[string]any{"Healthcheck": map[string]any{"Test": []string{"CMD", "x"}}}}, nil},
	} {
		t.Run(c.rule+", "+c.name, func(t *testing.T) {
			m := &made{layers: [][]byte{distribution(t), tarOf(t, c.given.files...)}, config: c.given.config, annotations: c.given.labels}
			if c.given.by == "" {
				c.given.by = "COPY x /"
			}
			m.history = []map[string]any{{"created_by": "ADD rootfs.tar / # buildkit"}, {"created_by": c.given.by}}
			for _, h := range c.given.history {
				m.history = append(m.history, map[string]any{"created_by": h, "empty_layer": true})
			}
			m.history = slices.Insert(m.history, 1, map[string]any{"created_by": `CMD ["bash"]`, "empty_layer": true})
			for i := range c.want { // the entry for CMD
				c.want[i] = strings.NewReplacer("history:2", "history:3", "history:3", "history:4").Replace(c.want[i])
			}
			got := scanned(t, m.layout(t), options())
			var places []string
			for _, f := range got.findings {
				if f.Rule != c.rule {
					continue
				}
				at := f.Location.Path
				if f.Location.Line > 0 {
					at += ":" + string(rune('0'+f.Location.Line))
				}
				places = append(places, at+" "+f.Location.Snippet)
				if f.Title == "" || f.Fix == "" || f.Desc == "" || f.Severity == signal.SeverityUnknown || f.ID == "" {
					t.Errorf("%+v lacks something", f)
				}
			}
			slices.Sort(places)
			if diff := cmp.Diff(c.want, places); diff != "" {
				t.Error(diff)
			}
		})
		has := covered[c.rule]
		has[0], has[1] = has[0] || len(c.want) > 0, has[1] || len(c.want) == 0
		covered[c.rule] = has
	}
	for _, r := range Rules() {
		if covered[r.ID] != [2]bool{true, true} {
			t.Errorf("%s has no case of both sorts", r.ID)
		}
		if r.Title == "" || r.Why == "" || r.Fix == "" || r.Severity == signal.SeverityUnknown {
			t.Errorf("%s lacks something", r.ID)
		}
	}
}

// TestChecksOff holds that without checks there are none, and that scanners read the configuration all the same.
func TestChecksOff(t *testing.T) {
	m := &made{layers: [][]byte{distribution(t)}, config: map[string]any{"Env": []string{"A=b", "X=NEEDLE-env"}, "Labels": map[string]string{"l": "NEEDLE-label"}},
		by: []string{"RUN echo NEEDLE-history"}}
	o := options()
	o.Config.Checks = false
	got := scanned(t, m.layout(t), o)
	for _, f := range got.findings {
		if strings.HasPrefix(f.Rule, "image-") {
			t.Errorf("%s", f.Rule)
		}
	}
	want := []string{"config!/environment Needle env", "config!/history Needle history; layer: 1 of 1, " + sum(m.layers[0]) + "; instruction: RUN echo NEEDLE-history", "config!/labels Needle label"}
	if lines := slices.Compact(got.lines("needle")); !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

// TestSystemPrograms holds that the setuid programs of a distribution are not held against an image whose base nothing tells, and those added are.
func TestSystemPrograms(t *testing.T) {
	m := &made{layers: [][]byte{distribution(t), tarOf(t, file{name: "bin/su", data: "x", mode: 0o4755})}}
	var at []string
	for _, f := range scanned(t, m.saved(t), options()).findings {
		if f.Rule == "image-setuid" {
			at = append(at, f.Location.Path)
		}
	}
	if !slices.Equal(at, []string{"bin/su"}) {
		t.Errorf("%q, want bin/su alone", at)
	}
}

// TestStableIDs holds that findings about how an image is made keep their ids from build to build.
func TestStableIDs(t *testing.T) {
	build := func(content string, more ...string) []string {
		m := &made{layers: [][]byte{distribution(t), tarOf(t, file{name: "x", data: content}, file{name: "bin/su", data: content, mode: 0o4755})}, empty: more, config: map[string]any{}}
		var ids []string
		for _, f := range scanned(t, m.layout(t), options()).findings {
			ids = append(ids, f.Rule+" "+f.ID)
		}
		return ids
	}
	a, b := build("1"), build("2", "LABEL a=b")
	if len(a) < 3 || !slices.Equal(a, b) {
		t.Errorf("%q\n%q", a, b)
	}
}

// TestInstruction holds how entries of the history are shown: as they stood in the build file, without secrets.
func TestInstruction(t *testing.T) {
	i, err := Open(t.Context(), shop(t).saved(t), options())
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for in, want := range map[string]string{
		"/bin/sh -c #(nop)  CMD [\"bash\"]":                                            `CMD ["bash"]`,
		"/bin/sh -c #(nop) COPY file:2a8e4cdf0a1b in /etc/ ":                           "COPY file:2a8e4cdf0a1b in /etc/",
		"/bin/sh -c apt-get update &&     apt-get install -y curl":                     "RUN apt-get update && apt-get install -y curl",
		"RUN /bin/sh -c make # buildkit":                                               "RUN make",
		"RUN /bin/bash -eo pipefail -c make":                                           "RUN /bin/bash -eo pipefail -c make",
		"RUN |2 TOKEN=abc PW=hunter2 /bin/sh -c make # buildkit":                       "RUN make",
		"|1 TOKEN=abc /bin/sh -c make":                                                 "RUN make",
		"ENV PATH=/usr/bin API_KEY=hunter22":                                           "ENV PATH=… API_KEY=…",
		"ENV API_KEY hunter22":                                                         "ENV API_KEY …",
		"LABEL token=\"a b c\"":                                                        "LABEL token=…",
		"/bin/sh -c curl --user ada:lovelace https://x.example":                        "RUN curl --user ada:* https://x.example",
		"/bin/sh -c git clone https://ada:lovelace@x.example/r":                        "RUN git clone https://ada:*@x.example/r",
		"/bin/sh -c npm config set //r/:_authToken npm_AbCdEf0123456789AbCdEf":         "RUN npm config set //r/:_authToken …",
		"/bin/sh -c aws AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": "RUN aws AKIAIOSFODNN7EXAMPLE …",
		"\x1b[31mred\nnext":                                                            `\x1b[31mred next`,
		"":                                                                             "",
	} {
		got := i.instruction(in)
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if long := i.instruction("RUN " + strings.Repeat("x ", 1<<20)); len(long) > maxInstruction+10 {
		t.Errorf("%d bytes", len(long))
	}
}

// TestBase holds how the base image is recognised, and what is said of what it brings.
func TestBase(t *testing.T) {
	base := tarOf(t, file{name: "etc/os-release", data: "ID=debian\nVERSION_ID=\"12\"\n"}, file{name: "db/packages", data: "bash"})
	app := tarOf(t, file{name: "db/packages", data: "bash curl"}, file{name: "x", data: "NEEDLE-x"})
	built := func() *made {
		return &made{layers: [][]byte{base, app}, history: []map[string]any{{"created_by": "ADD rootfs.tar /"}, {"created_by": `CMD ["bash"]`, "empty_layer": true},
			{"created_by": "COPY . /"}, {"created_by": `CMD ["app"]`, "empty_layer": true}}}
	}
	got := scanned(t, built().layout(t), options())
	want := Base{Layers: 1, By: "history", System: "debian 12"}
	if got.image.Base() != want {
		t.Errorf("%+v, want %+v", got.image.Base(), want)
	}
	if len(got.packages) != 2 || got.packages[0].BaseImage != "debian 12" || got.packages[1].BaseImage != "" {
		t.Errorf("%+v", got.packages)
	}
	named := built()
	named.annotations = map[string]string{"org.opencontainers.image.base.name": "docker.io/library/debian:12\x1b", "org.opencontainers.image.base.digest": sum([]byte("x"))}
	got = scanned(t, named.layout(t), options())
	want = Base{Name: `docker.io/library/debian:12\x1b`, Digest: sum([]byte("x")), Layers: 1, By: "history", System: "debian 12"}
	if got.image.Base() != want || got.packages[0].BaseImage != want.Name {
		t.Errorf("%+v, want %+v", got.image.Base(), want)
	}
	plain := &made{layers: [][]byte{base, app}}
	if b := scanned(t, plain.layout(t), options()).image.Base(); b != (Base{}) {
		t.Errorf("nothing tells the base, yet %+v", b)
	}
	// An image that was scanned before is known again.
	o := options()
	o.Cache = openCache(t, t.TempDir(), DefaultConfig().CacheSize)
	below := &made{layers: [][]byte{base}}
	scanned(t, below.saved(t), o) // shop:1
	if b, want := scanned(t, plain.layout(t), o).image.Base(), (Base{Name: "shop:1", Layers: 1, By: "known", System: "debian 12"}); b != want {
		t.Errorf("%+v, want %+v", b, want)
	}
}

var _ scan.Scanner = words{}
