package image

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// The virtual files that findings about the configuration are in. No file of an image has such a path to begin with: "!/" stands for the inside of a file.
const (
	inConfig  = "config!/settings"
	inEnv     = "config!/environment"
	inLabels  = "config!/labels"
	inHistory = "config!/history"
)

// maxLines bounds the entries of a virtual file.
const maxLines = 10_000

// checker judges how an image is made.
type checker struct {
	*reading
	rules  map[string]scan.Rule
	result scan.Result
}

// check reports what is wrong with how the image is made, and has the scanners look at its environment, labels and history.
func (r *reading) check(ctx context.Context) {
	c := &checker{reading: r, rules: map[string]scan.Rule{}}
	for _, rule := range Rules() {
		c.rules[rule.ID] = rule
	}
	c.texts(ctx)
	if r.options.Config.Checks {
		c.settings()
		c.history()
		c.files()
	}
	r.v.File(ctx, &scan.File{Given: &c.result})
}

// find makes a finding. What tells it from others of its rule does not change from build to build.
func (c *checker) find(rule, at string, line int, snippet, what string, confidence scan.Confidence, evidence ...signal.Evidence) *signal.Finding {
	r := c.rules[rule]
	c.result.Findings = append(c.result.Findings, scan.Judged{By: "image", Confidence: confidence, Finding: signal.Finding{
		ID: signal.Fingerprint("image", rule, at, what), Kind: signal.FindingPosture, Rule: rule, Title: r.Title, Desc: r.Why, Severity: r.Severity, Fix: r.Fix,
		References: r.References, Tags: r.Tags, Count: 1, Evidence: evidence,
		Location: signal.Location{Path: scan.Printable(at), Line: line, Column: min(line, 1), Snippet: scan.Printable(cut(snippet, 200))}}})
	return &c.result.Findings[len(c.result.Findings)-1].Finding
}

// texts has the scanners read what the image says of itself, and judges by name what they do not know.
func (c *checker) texts(ctx context.Context) {
	env := c.Configuration.Config.Env
	if len(env) > maxLines {
		env = env[:maxLines]
	}
	known := c.scan(ctx, inEnv, env, nil)
	for n, line := range env {
		name, value, _ := strings.Cut(line, "=")
		if c.options.Config.Checks && !known[n+1] && isSecretName(name) && isSecretValue(value) {
			c.find("image-secret-variable", inEnv, n+1, name+"=…", name, scan.Medium)
		}
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(c.Configuration.Config.Labels)) {
		if len(labels) < maxLines {
			labels = append(labels, name+"="+c.Configuration.Config.Labels[name])
		}
	}
	known = c.scan(ctx, inLabels, labels, nil)
	for n, line := range labels {
		name, value, _ := strings.Cut(line, "=")
		if c.options.Config.Checks && !known[n+1] && isSecretName(name) && isSecretValue(value) {
			c.find("image-secret-label", inLabels, n+1, name+"=…", name, scan.Medium)
		}
	}
	var history []string
	for _, h := range c.Configuration.History[:min(len(c.Configuration.History), maxLines)] {
		history = append(history, h.CreatedBy)
	}
	known = c.scan(ctx, inHistory, history, c.historyEvidence)
	for n, line := range history {
		if known[n+1] || !c.options.Config.Checks {
			continue
		}
		for _, m := range setting.FindAllStringSubmatch(cut(line, longestInstruction), 100) {
			if isSecretName(m[1]) && isSecretValue(strings.Trim(m[2], `"'`)) && !c.inEnv(m[1]) {
				c.find("image-secret-history", inHistory, n+1, c.instruction(line), m[1], scan.Medium, c.historyEvidence(n+1)...)
				break
			}
		}
	}
}

// inEnv reports whether the finding about a variable says it all.
func (c *checker) inEnv(name string) bool {
	return slices.ContainsFunc(c.Configuration.Config.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}

// scan has the scanners read lines as a file, and returns the lines in which they found something.
func (c *checker) scan(ctx context.Context, at string, lines []string, evidence func(line int) []signal.Evidence) map[int]bool {
	known := map[int]bool{}
	if len(lines) == 0 {
		return known
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.Map(func(r rune) rune {
			if r == '\n' || r == '\r' || r == 0 {
				return ' '
			}
			return r
		}, l))
		b.WriteByte('\n')
	}
	if b.Len() > int(c.options.Scan.MaxFileSize) {
		c.v.Skip(scan.TooLarge, at, fmt.Sprintf("larger than the limit of %s", c.options.Scan.MaxFileSize))
		return known
	}
	c.v.File(ctx, &scan.File{Path: at, Name: at, Data: []byte(b.String()), Only: scan.ScannersOnly, Take: func(r scan.Result) {
		for _, j := range r.Findings {
			known[j.Finding.Location.Line] = true
			if evidence != nil {
				j.Finding.Evidence = append(j.Finding.Evidence, evidence(j.Finding.Location.Line)...)
			}
			c.result.Findings = append(c.result.Findings, j)
		}
		c.result.Skips = append(c.result.Skips, r.Skips...)
	}})
	return known
}

// layerOf returns the layer that a line of the history made, -1 if none.
func (c *checker) layerOf(line int) int {
	n := -1
	for k, h := range c.Configuration.History[:min(line, len(c.Configuration.History))] {
		if !h.EmptyLayer {
			n++
		}
		if k == line-1 && h.EmptyLayer {
			return -1
		}
	}
	if n >= len(c.Layers) {
		return -1
	}
	return n
}

func (c *checker) historyEvidence(line int) []signal.Evidence {
	if n := c.layerOf(line); n >= 0 {
		return c.evidence(n)
	}
	if line < 1 || line > len(c.Configuration.History) {
		return nil
	}
	return []signal.Evidence{{Name: "instruction", Value: c.instruction(c.Configuration.History[line-1].CreatedBy)}}
}

var (
	secretName = regexp.MustCompile(`(?i)(?:^|[_.-])(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|auth)(?:$|[_.-](?:key|value|id))|(?:password|apikey|secretkey|authtoken)$`)
	// notSecret ends names of what says where a secret is, or of what kind.
	notSecret   = regexp.MustCompile(`(?i)(?:file|path|dir|url|uri|name|type|mode|length|ttl|expiry|enabled|required|policy|_id)$`)
	placeholder = regexp.MustCompile(`(?i)^(?:changeme|change_me|example|your|todo|none|null|nil|true|false|yes|no|on|off|default|dummy|placeholder|x+|\*+|0+|<.*>|\$.*|\{\{.*)$`)
)

func isSecretName(name string) bool {
	return len(name) <= 200 && secretName.MatchString(name) && !notSecret.MatchString(name)
}

// isSecretValue tells values from what stands for them, and from places where they are.
func isSecretValue(v string) bool {
	return len(v) >= 4 && !placeholder.MatchString(v) && !strings.HasPrefix(v, "/") && !strings.HasPrefix(v, "$") && !strings.ContainsAny(v, "\n ")
}

// settings judges the configuration.
func (c *checker) settings() {
	user := c.Configuration.Config.User
	name, _, _ := strings.Cut(user, ":")
	switch _, err := strconv.ParseUint(name, 10, 32); {
	case name == "" || name == "root" || err == nil && strings.Trim(name, "0") == "":
		c.find("image-root-user", inConfig, 0, "USER "+user, "", scan.Medium)
	case err != nil:
		c.find("image-user-name", inConfig, 0, "USER "+user, "", scan.Medium)
	}
	if h := c.Configuration.Config.Healthcheck; h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" {
		c.find("image-healthcheck", inConfig, 0, "", "", scan.Low)
	}
	if b := c.base; b.Name != "" && !strings.Contains(b.Name, "@") {
		last := b.Name[strings.LastIndex(b.Name, "/")+1:]
		if _, tag, _ := strings.Cut(last, ":"); tag == "" || tag == "latest" {
			c.find("image-base-latest", inConfig, 0, "FROM "+b.Name, b.Name, scan.Medium)
		}
	}
	for _, exposed := range slices.Sorted(maps.Keys(c.Configuration.Config.ExposedPorts)) {
		if len(exposed) > 50 {
			continue
		}
		port, _, _ := strings.Cut(exposed, "/")
		if what := loginPorts[port]; what != "" {
			c.find("image-remote-login", inConfig, 0, "EXPOSE "+exposed, exposed, scan.Medium, signal.Evidence{Name: "service", Value: what})
		}
		if what := adminPorts[port]; what != "" {
			c.find("image-admin-port", inConfig, 0, "EXPOSE "+exposed, exposed, scan.Medium, signal.Evidence{Name: "service", Value: what})
		}
	}
}

var (
	loginPorts = map[string]string{"22": "ssh", "23": "telnet", "512": "rexec", "513": "rlogin", "514": "rsh", "3389": "Remote Desktop", "5900": "VNC", "5901": "VNC"}
	adminPorts = map[string]string{"1433": "SQL Server", "1521": "Oracle", "2375": "Docker without TLS", "2379": "etcd", "3306": "MySQL", "5432": "PostgreSQL", "5601": "Kibana",
		"5984": "CouchDB", "6379": "Redis", "8086": "InfluxDB", "9042": "Cassandra", "9200": "Elasticsearch", "10250": "kubelet", "11211": "memcached", "15672": "RabbitMQ", "27017": "MongoDB"}

	addAddress  = regexp.MustCompile(`^ADD (?:--\S+ )*(https?://\S+|ftp://\S+)`)
	fetchAndRun = regexp.MustCompile(`\b(?:curl|wget)\b[^|;&]*\|\s*(?:sudo\s+(?:-\S+\s+)*)?(?:env\s+(?:\S+=\S*\s+)*)?(?:/\S*/)?(?:ba|da|z|k|a)?sh\b|` +
		`\b(?:ba|da|z|k|a)?sh\s+(?:-c\s+)?(?:<\(\s*|["']?\$\(\s*|["']?` + "`" + `\s*)(?:curl|wget)\b|\b(?:curl|wget)\b[^|;&]*\|\s*(?:sudo\s+)?(?:python3?|perl|ruby|node)\b`)
)

// history judges the instructions, those of the base apart: its maker mends them.
func (c *checker) history() {
	for n, h := range c.Configuration.History[:min(len(c.Configuration.History), maxLines)] {
		if layer := c.layerOf(n + 1); layer >= 0 && c.Layers[layer].Base {
			continue
		}
		line := strings.Join(strings.Fields(cut(h.CreatedBy, longestInstruction)), " ")
		line = strings.TrimPrefix(line, "/bin/sh -c #(nop) ")
		if m := addAddress.FindStringSubmatch(strings.TrimSpace(line)); m != nil && !strings.Contains(line, "--checksum=") {
			c.find("image-add-address", inHistory, n+1, c.instruction(h.CreatedBy), c.instruction(h.CreatedBy), scan.High, c.historyEvidence(n+1)...)
		}
		if fetchAndRun.MatchString(line) {
			c.find("image-fetch-and-run", inHistory, n+1, c.instruction(h.CreatedBy), c.instruction(h.CreatedBy), scan.High, c.historyEvidence(n+1)...)
		}
	}
}

// accounts are files that only root may write.
var accounts = map[string]bool{"etc/passwd": true, "etc/shadow": true, "etc/group": true, "etc/gshadow": true, "etc/sudoers": true}

// sudos are the places of a program.
var sudos = map[string]bool{"usr/bin/sudo": true, "bin/sudo": true, "usr/local/bin/sudo": true}

// files judges the modes and names of the files on top of each other.
func (c *checker) files() {
	open := map[string]*signal.Finding{} // folders that everybody may write to
	caches := map[string]*cacheFound{}
	for n, x := range c.layers {
		base := c.Layers[n].Base
		system := base || n <= c.system() // a distribution's own programs are no choice of the image's maker
		for k := range x.entries {
			e := &x.entries[k]
			if e.kind >= whiteout || e.kind == symlink || e.kind == hardlink || e.kind == device || !c.suspicious(e, base) {
				continue
			}
			if _, how := c.layers.hidden(e.path, n); how != visible && !(how == overwritten && e.kind == folder && c.sameFolder(e, n)) {
				continue
			}
			c.file(n, e, base, system, open, caches)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(caches)) {
		f := caches[name]
		finding := c.find("image-package-cache", f.path, 0, "", name, scan.Medium, append(c.evidence(f.layer), signal.Evidence{Name: "size",
			Value: fmt.Sprintf("%.1f MiB in %d files", float64(f.bytes)/(1<<20), f.files)})...)
		finding.Count = uint64(f.files)
	}
}

type cacheFound struct {
	path  string
	layer int
	bytes int64
	files int
}

// system returns the lowest layer that says which distribution it is, -1 where the base is known otherwise or there is none.
func (c *checker) system() int {
	if c.base.Layers > 0 {
		return -1
	}
	return slices.IndexFunc(c.layers, func(x *index) bool {
		etc, _, _ := x.find("etc/os-release")
		usr, _, _ := x.find("usr/lib/os-release")
		return etc != nil || usr != nil
	})
}

// suspicious passes over most entries quickly.
func (c *checker) suspicious(e *entry, base bool) bool {
	return e.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 || e.mode&0o002 != 0 || accounts[e.path] || !base && (sudos[e.path] || cacheOf(e.path) != "")
}

// sameFolder reports whether no layer above names the folder with another mode.
func (c *checker) sameFolder(e *entry, layer int) bool {
	_, top := c.layers.find(e.path, len(c.layers)-1)
	return top != nil && top.kind == folder && top.mode == e.mode && !slices.ContainsFunc(c.layers[layer+1:], func(x *index) bool {
		above, _, _ := x.find(e.path)
		return above != nil // it is judged there
	})
}

func (c *checker) file(n int, e *entry, base, system bool, open map[string]*signal.Finding, caches map[string]*cacheFound) {
	mode := signal.Evidence{Name: "mode", Value: e.mode.String()}
	if e.kind == regular && e.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 && e.mode&0o111 != 0 && !system && !c.wasSetuid(e, n) {
		c.find("image-setuid", e.path, 0, "", "", scan.Medium, append(c.evidence(n), mode)...)
	}
	if accounts[e.path] && e.mode&0o022 != 0 {
		c.find("image-account-file", e.path, 0, "", "", scan.High, append(c.evidence(n), mode)...)
	} else if e.mode&0o002 != 0 && (e.kind == regular || e.mode&fs.ModeSticky == 0) {
		// What lies in such a folder is the same mistake.
		for dir := path.Dir(e.path); ; dir = path.Dir(dir) {
			if f := open[dir]; f != nil {
				return
			}
			if dir == "." {
				break
			}
		}
		f := c.find("image-world-writable", e.path, 0, "", "", scan.Medium, append(c.evidence(n), mode)...)
		if e.kind == folder {
			open[e.path] = f
		}
	}
	if base {
		return
	}
	if sudos[e.path] && e.kind == regular {
		c.find("image-sudo", e.path, 0, "", "", scan.Medium, c.evidence(n)...)
	}
	if name := cacheOf(e.path); name != "" && e.kind == regular && e.size > 0 {
		f := caches[name]
		if f == nil {
			f = &cacheFound{path: name, layer: n}
			caches[name] = f
		}
		f.bytes, f.files = f.bytes+e.size, f.files+1
	}
}

// wasSetuid reports whether the layers below had the program already: an update writes it anew.
func (c *checker) wasSetuid(e *entry, n int) bool {
	_, below := c.layers.find(e.path, n-1)
	return below != nil && below.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0
}

// cacheOf returns the folder of a package manager's downloads that a file is in, "" if none.
func cacheOf(p string) string {
	for _, dir := range []string{"var/lib/apt/lists", "var/cache/apt", "var/cache/apk", "var/cache/yum", "var/cache/dnf", "root/.cache/pip", "root/.npm/_cacache", "root/.cache/go-build",
		"root/.m2/repository", "root/.cargo/registry/cache", "usr/local/share/.cache/yarn", "root/.cache/yarn"} {
		if strings.HasPrefix(p, dir) && len(p) > len(dir) && p[len(dir)] == '/' {
			return dir
		}
	}
	return ""
}
