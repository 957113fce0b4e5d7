package secret_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/signal"
)

// planted is a line of the planted corpus.
type planted struct {
	text   string
	secret bool
	rule   string
}

// surroundings are the files that lines are put into: what stands before and after a line there.
var surroundings = []struct {
	path       string
	head, tail string
	write      func(line string) string
}{
	{"deploy/values.yaml", "replicas: 3\nimage:\n  repository: registry.corp.net/shop\n", "resources:\n  limits:\n    memory: 512Mi\n", func(l string) string { return l }},
	{"app/settings.env", "# what the shop needs\nPORT=8080\nLOG_LEVEL=info\n", "FEATURE_CART=true\n", func(l string) string { return l }},
	{"src/client.py", "import os\n\nclass Client:\n    def __init__(self):\n        self.url = \"https://api.corp.net/v2\"\n", "\n    def close(self):\n        self.session.close()\n", inCode},
	{"var/log/shop.log", "2026-03-01T10:00:00Z INFO started in 312 ms\n", "2026-03-01T10:00:02Z WARN slow answer: 1.2 s\n", func(l string) string { return "2026-03-01T10:00:01Z DEBUG request with " + l }},
}

var assignment = regexp.MustCompile(`^([A-Za-z_]+)=([^"'$]+)$`)

// inCode writes a line as a programmer would: a value in quotes, all else in a comment.
func inCode(l string) string {
	if m := assignment.FindStringSubmatch(l); m != nil {
		return fmt.Sprintf("        %s = %q", m[1], m[2])
	}
	return "        # " + l
}

// nearMisses makes lines that look like secrets and are none, from a positive line and by themselves.
func nearMisses(r *rand.Rand, t testing.TB, line string, m detect.Match) []planted {
	token := line[m.Start:m.End]
	before, after := line[:m.Start], line[m.End:]
	with := func(s string) string { return before + s + after }
	fill := func(text string) string { return expand(t, text, fmt.Sprint(r.Uint64())) }
	prefix := token[:min(len(token), 4)]
	out := []string{
		with("${" + strings.ToUpper(prefix) + "TOKEN}"),
		with("<your-token-here>"),
		with(prefix + strings.Repeat("x", max(8, len(token)-4))),
		with(prefix + strings.Repeat("*", max(8, len(token)-4))),
		with("{{ .Values.credentials.token }}"),
		fill("digest: sha256:{{hex 64}}"),
		fill("request_id={{uuid}} trace={{hex 32}}"),
		fill("github.com/acme/shop v1.4.2 h1:{{base64 43}}="),
		fill(`"integrity": "sha512-{{base64 86}}=="`),
		fill("commit {{hex 40}} by ada@corp.net at build {{digits 9}}"),
	}
	var lines []planted
	for _, l := range out {
		lines = append(lines, planted{text: l})
	}
	return lines
}

// TestPlanted measures recall and precision at the default confidence: every example of every rule with fresh random
// parts in files of several kinds, among ten times as many lines that look alike.
func TestPlanted(t *testing.T) {
	set := builtin(t)
	s := secret.New(set)
	r := rand.New(rand.NewPCG(7, 11))
	var positives, found, wrong, negatives int
	missed, falsely := map[string]int{}, map[string]int{}
	for _, rule := range set.Rules() {
		for i, e := range rule.Tests.Find {
			for round := range 2 {
				line := expand(t, e.Text, fmt.Sprintf("planted %s %d %d", rule.ID, i, round))
				if strings.Contains(line, "\n") && e.Path == "" && strings.Count(line, "\n") > 3 {
					continue // a block of its own: the rule's own examples hold it to its word
				}
				place := surroundings[(i+round+len(rule.ID))%len(surroundings)]
				path, write := place.path, place.write
				if e.Path != "" || strings.Contains(line, "\n") {
					path, write = e.Path, func(l string) string { return l }
				}
				var at detect.Match
				set.FindIn(e.Path, []byte(line), func(m detect.Match) bool { at = m; return false })
				lines := append(nearMisses(r, t, line, at), planted{text: line, secret: true, rule: rule.ID})
				r.Shuffle(len(lines), func(a, b int) { lines[a], lines[b] = lines[b], lines[a] })
				text := ""
				isSecret := map[int]bool{} // by line number
				number := 1
				put := func(l string, secret bool) {
					for range strings.Count(l, "\n") + 1 {
						isSecret[number] = secret
						number++
					}
					text += l + "\n"
				}
				if e.Path == "" {
					for l := range strings.Lines(place.head) {
						put(strings.TrimSuffix(l, "\n"), false)
					}
				}
				for _, l := range lines {
					put(write(l.text), l.secret)
				}
				positives, negatives = positives+1, negatives+len(lines)-1
				hit := false
				err := s.Scan(t.Context(), &scan.File{Path: path, Data: []byte(text)}, func(f signal.Finding, c scan.Confidence) {
					switch {
					case c < scan.Medium:
					case isSecret[f.Location.Line]:
						hit = true
					default:
						wrong++
						falsely[f.Rule+" at "+strings.Split(text, "\n")[f.Location.Line-1]]++
					}
				})
				if err != nil {
					t.Error(err)
				}
				if hit {
					found++
				} else {
					missed[rule.ID]++
				}
			}
		}
	}
	recall, precision := float64(found)/float64(positives), float64(found)/float64(found+wrong)
	t.Logf("%d planted secrets of %d kinds, %d near misses: recall %.4f, precision %.4f", positives, len(set.Rules()), negatives, recall, precision)
	if recall < 0.97 || precision < 0.97 {
		t.Errorf("recall %.4f, precision %.4f: want 0.97 each", recall, precision)
		for id, n := range missed {
			t.Logf("missed: %s (%d)", id, n)
		}
		for what, n := range falsely {
			t.Logf("wrong: %s (%d)", what, n)
		}
	}
	if negatives < 10*positives || positives < 2*300 {
		t.Errorf("%d near misses for %d secrets", negatives, positives)
	}
}
