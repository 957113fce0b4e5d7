package vuln

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/testudo-sec/testudo/internal/require"
)

// The judges below read lines "A<tab>B" and say of each how the ecosystem's own tool orders the two: "<", "=", ">", or "?" if the
// tool takes one of them for no version.

const pythonJudge = `
import sys
from packaging.version import Version, InvalidVersion
cache = {}
def parse(s):
    if s not in cache:
        try: cache[s] = Version(s)
        except InvalidVersion: cache[s] = None
    return cache[s]
for line in sys.stdin:
    a, b = map(parse, line.rstrip("\n").split("\t"))
    print("?" if a is None or b is None else "<" if a < b else ">" if a > b else "=")
`

const npmJudge = `
const semver = require(process.env.SEMVER);
for (const line of require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
	const [a, b] = line.split('\t').map(v => semver.parse(v));
	console.log(a && b ? '<=>'[semver.compare(a, b) + 1] : '?');
}
`

const rpmJudge = `%{lua:
for line in io.lines() do
	local a, b = line:match("^(.-)\t(.*)$")
	local x, y = rpm.ver(a), rpm.ver(b)
	if not x or not y then print("?\n") elseif x < y then print("<\n") elseif y < x then print(">\n") else print("=\n") end
end
}`

const dpkgJudge = `
while IFS="$(printf '\t')" read -r a b; do
	if dpkg --compare-versions "$a" lt "$b" 2>/dev/null; then echo '<'; elif dpkg --compare-versions "$a" gt "$b" 2>/dev/null; then echo '>'; else echo '='; fi
done
`

type judge func(t *testing.T, pairs [][2]string) []string

func command(name string, args ...string) judge {
	return func(t *testing.T, pairs [][2]string) []string {
		t.Helper()
		var in bytes.Buffer
		for _, p := range pairs {
			fmt.Fprintf(&in, "%s\t%s\n", p[0], p[1])
		}
		cmd := exec.Command(name, args...)
		var complaints bytes.Buffer
		cmd.Stdin, cmd.Stderr = &in, &complaints
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(name, err, complaints.String())
		}
		var said []string
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			if lines.Text() != "" {
				said = append(said, lines.Text())
			}
		}
		if len(said) != len(pairs) {
			t.Fatalf("%s: %d answers to %d questions: %s", name, len(said), len(pairs), complaints.String())
		}
		return said
	}
}

// agree holds our order of each pair to the judge's.
func agree(t *testing.T, ecosystem string, ask judge, pairs [][2]string, least int) {
	t.Helper()
	o, ok := newOrder(ecosystem)
	if !ok {
		t.Fatalf("%s has no order", ecosystem)
	}
	judged, wrong := 0, 0
	for i, want := range ask(t, pairs) {
		if want == "?" {
			continue
		}
		judged++
		got := "?"
		if n, ok := o.compare(o.parse(pairs[i][0]), pairs[i][1]); ok {
			got = string("<=>"[n+1])
		}
		if got != want {
			if wrong++; wrong <= 20 {
				t.Errorf("%s %s %s by the tool, %q here", pairs[i][0], want, pairs[i][1], got)
			}
		}
	}
	if judged < least || wrong > 0 {
		t.Errorf("%d of %d pairs are judged, %d otherwise", judged, len(pairs), wrong)
	}
}

// neighbours pairs each version with itself, the next ones and one from anywhere.
func neighbours(r *rand.Rand, versions []string, next int) [][2]string {
	var out [][2]string
	for i, v := range versions {
		out = append(out, [2]string{v, v}, [2]string{v, versions[r.IntN(len(versions))]})
		for d := 1; d <= next && i+d < len(versions); d++ {
			out = append(out, [2]string{v, versions[i+d]}, [2]string{versions[i+d], v})
		}
	}
	return out
}

// corpusVersions returns each version that the advisories of a family name.
func corpusVersions(t *testing.T, family string) []string {
	t.Helper()
	seen := map[string]bool{}
	step, n := require.Stride(8), 0
	err := filepath.WalkDir(filepath.Join(require.Corpora(t), "osv", family), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if n++; n%step != 0 {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var a struct {
			Affected []struct {
				Versions []string
				Ranges   []struct {
					Type   string
					Events []map[string]string
				}
			}
		}
		switch filepath.Ext(path) {
		case ".json":
			err = json.Unmarshal(data, &a)
		case ".yaml":
			err = yaml.Unmarshal(data, &a)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, e := range a.Affected {
			for _, v := range e.Versions {
				seen[v] = true
			}
			for _, r := range e.Ranges {
				for _, event := range r.Events {
					for _, v := range event {
						seen[v] = seen[v] || r.Type != "GIT"
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for v, wanted := range seen {
		if wanted && v != "" && !strings.ContainsAny(v, " \t\n") {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(natural(a), natural(b)) })
	return out
}

// natural pads numbers, so that text is sorted about as versions are.
func natural(v string) string {
	var b strings.Builder
	for i := 0; i < len(v); {
		from := i
		for i < len(v) && '0' <= v[i] && v[i] <= '9' {
			i++
		}
		if from == i {
			b.WriteByte(v[i])
			i++
			continue
		}
		fmt.Fprintf(&b, "%12s", v[from:i])
	}
	return b.String()
}

// textOf makes a text of a few of the pieces.
func textOf(r *rand.Rand, most int, pieces ...string) string {
	var b strings.Builder
	for range 1 + r.IntN(most) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// TestOrderPyPI: every version of the corpus is ordered as packaging, which pip uses, does.
func TestOrderPyPI(t *testing.T) {
	versions := corpusVersions(t, "pypi")
	python := "/usr/bin/python3" // Debian's own has Debian's packages
	err := exec.Command(python, "-c", "import packaging.version").Run()
	require.Part(t, "python3-packaging", err == nil, "install Debian's package python3-packaging")
	agree(t, "PyPI", command(python, "-c", pythonJudge), neighbours(rand.New(rand.NewPCG(1, 1)), versions, 2), 50_000/require.Stride(12))
}

// TestOrderNPM: the versions of the Go corpus, which are semantic ones too, and prereleases of all kinds, are ordered as npm does.
func TestOrderNPM(t *testing.T) {
	node := require.Program(t, "node", "node")
	places := []string{"/usr/share/nodejs/semver", "/usr/lib/node_modules/npm/node_modules/semver", "/usr/local/lib/node_modules/npm/node_modules/semver"}
	if npm, err := exec.LookPath("npm"); err == nil {
		if npm, err = filepath.EvalSymlinks(npm); err == nil {
			places = append(places, filepath.Join(filepath.Dir(npm), "../node_modules/semver"))
		}
	}
	at := slices.IndexFunc(places, func(p string) bool { _, err := os.Stat(p); return err == nil })
	require.Part(t, "npm", at >= 0, "install npm, which brings the package semver")
	t.Setenv("SEMVER", places[at])
	r := rand.New(rand.NewPCG(2, 2))
	versions := corpusVersions(t, "go")
	for _, v := range slices.Clone(versions) {
		versions = append(versions, v+"-"+textOf(r, 4, "alpha", "beta", "rc", "1", "10", "2", ".", ".0", "x-", "x", "next.")+strings.Repeat("+b.1", r.IntN(2)))
	}
	slices.SortFunc(versions, func(a, b string) int { return strings.Compare(natural(a), natural(b)) })
	agree(t, "npm", command(node, "-e", npmJudge), neighbours(r, versions, 2), 20_000/require.Stride(12))
}

// TestOrderRPM: made-up versions with all that rpm gives a meaning are ordered as it does.
func TestOrderRPM(t *testing.T) {
	rpm := require.Program(t, "rpm", "rpm")
	r := rand.New(rand.NewPCG(3, 3))
	part := func() string {
		return fmt.Sprint(1+r.IntN(3)) + textOf(r, 5, "1", "2", "10", "0", "00", "001", ".", ".", "~", "^", "a", "b", "rc1", "~beta", "^git", "_", "+", "el8", ".el8_4", ".fc40")
	}
	var versions []string
	for range 4000 {
		versions = append(versions, []string{"", "", "1:", "2:"}[r.IntN(4)]+part()+"-"+part())
	}
	slices.Sort(versions)
	for _, ecosystem := range []string{"Rocky Linux:9", "Red Hat:enterprise_linux:9::baseos", "openSUSE:Leap 15.5"} {
		agree(t, ecosystem, command(rpm, "--eval", rpmJudge), neighbours(r, versions, 2), 20_000)
	}
}

// TestOrderDebian does so by dpkg.
func TestOrderDebian(t *testing.T) {
	_, err := exec.LookPath("dpkg")
	require.Part(t, "dpkg", err == nil, "install dpkg")
	r := rand.New(rand.NewPCG(4, 4))
	var versions []string
	for range 120 {
		v := fmt.Sprint(1+r.IntN(2)) + textOf(r, 5, "1", "2", "10", "0", "00", ".", "~", "+", "a", "rc1", "~deb12u1", "+b1", "+dfsg", "+really", "-1", "-2")
		versions = append(versions, []string{"", "", "1:", "0:"}[r.IntN(4)]+v+[]string{"", "-1", "-1ubuntu0.1", "-1+b1", "-0.1~bpo12+1"}[r.IntN(5)])
	}
	slices.Sort(versions)
	agree(t, "Debian:12", command("sh", "-c", dpkgJudge), neighbours(r, versions, 2), 500)
}

// TestOrderMaven: versions as libraries have published them, each list in the order of Maven's ComparableVersion (3.8.7), which
// orders each "=" with the one before it.
func TestOrderMaven(t *testing.T) {
	o, ok := newOrder("Maven")
	if !ok {
		t.Fatal("Maven has no order")
	}
	for _, list := range []string{
		"2.0-alpha-1 2.0-alpha-2 2.0-beta9 2.0-rc1 2.0-rc2 2.0 2.0.1 2.0.2 2.3.1 2.3.2 2.12.0 2.12.1 2.15.0 2.16.0 2.17.1 3.0.0-alpha1 3.0.0-beta1 3.0.0-beta2",
		"4.3.30.RELEASE 5.0.0.M1 5.0.0.M5 5.0.0.RC1 5.0.0.RC4 5.0.0.RELEASE =5.0.0 5.0.1.RELEASE 5.0.10.RELEASE 5.2.20.RELEASE 5.3.0-M1 5.3.0-RC1 5.3.0 5.3.18 6.0.0-M1 6.0.0-SNAPSHOT 6.0.0",
		"4.0.0.Alpha1 4.0.0.Beta1 4.0.0.Beta10 4.0.0.CR1 4.0.0.CR9 4.0.0.Final =4.0.0 4.0.1.Final 4.1.9.Final 4.1.77.Final 4.1.100.Final 5.0.0.Alpha1 5.0.0.Alpha2",
		"3.6.10.Final 4.0.0.Beta5 4.0.0.CR7 4.0.0.Final 4.0.0.SP1 4.0.1.Final 5.6.15.Final 6.0.0.Alpha9 6.0.0.CR2 6.0.0.Final",
		"10.0 10.0.1 11.0-rc1 11.0 11.0.1 23.0-rc1-android 23.0-android 30.1.1-android 30.1.1-jre 31.0.1-android 31.0.1-jre 32.0.0-android 32.0.0-jre",
		"1-alpha 1-alpha-1 =1-a1 1-beta =1beta 1-beta-2 1-milestone 1-m3 1-rc =1-cr 1-SNAPSHOT 1 =1.0 =1.0.0 =1-ga =1-final =1.Final =1-release 1-sp 1-sp1 1-abc 1-1 1-2 1.1",
		"9.4.0.M0 9.4.0.M1 9.4.0.RC3 9.4.0.v20161208 9.4.1.v20170120 9.4.10.v20180503 9.4.41.v20210516 10.0.0-alpha0 10.0.0.beta0 10.0.0",
		"1.46 1.70 1.70.1 1.71 1.78.1", "r01 r02 r10", "20030203.000129 20040616 20231013",
	} {
		var all []string
		var level []int
		for v := range strings.FieldsSeq(list) {
			same, equal := strings.CutPrefix(v, "=")
			all = append(all, same)
			switch n := len(level); {
			case n == 0:
				level = append(level, 0)
			case equal:
				level = append(level, level[n-1])
			default:
				level = append(level, level[n-1]+1)
			}
		}
		for i, a := range all {
			for k, b := range all {
				if n, ok := o.compare(o.parse(a), b); !ok || n != cmp.Compare(level[i], level[k]) {
					t.Errorf("%s to %s: %d, %v", a, b, n, ok)
				}
			}
		}
	}
}
