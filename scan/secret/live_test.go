package secret_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/signal"
)

// answers is a verifier that gives one verdict, and notes what it was asked.
type answers struct {
	verdict secret.Verdict
	mu      sync.Mutex
	asked   []string
}

func (a *answers) Verify(_ context.Context, q secret.Question) secret.Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	if string(q.Near[q.At:q.At+len(q.Secret)]) != string(q.Secret) {
		a.asked = append(a.asked, "the secret does not stand where it is said to")
	}
	a.asked = append(a.asked, q.Rule.ID+" "+string(q.Secret))
	return a.verdict
}

func TestLive(t *testing.T) {
	set := builtin(t)
	token := expand(t, "{{github ghp_}}", "live")
	for _, c := range []struct {
		verdict    secret.Verdict
		severity   signal.Severity
		confidence scan.Confidence
		evidence   string
	}{
		{secret.Verdict{Live: secret.LiveYes, Who: "account octo\x1bcat"}, signal.SeverityCritical, scan.High, "live=yes live as=account octo\\x1bcat"},
		{secret.Verdict{Live: secret.LiveNo}, signal.SeverityLow, scan.Medium, "live=no"},
		{secret.Verdict{Why: "api.github.com cannot be reached"}, signal.SeverityCritical, scan.Medium, "live=unknown not verified=api.github.com cannot be reached"},
		{secret.Verdict{Live: secret.NotVerifiable}, signal.SeverityCritical, scan.Medium, "live=not verifiable"},
	} {
		v := &answers{verdict: c.verdict}
		// The same secret thrice in a folder of tests, where it counts for less: one finding, one question.
		text := strings.Repeat("token: "+token+"\n", 3)
		var got []signal.Finding
		err := secret.NewVerifying(set, v).Scan(t.Context(), &scan.File{Path: "tests/a.yaml", Data: []byte(text)}, func(f signal.Finding, confidence scan.Confidence) {
			got = append(got, f)
			if confidence != c.confidence {
				t.Errorf("%+v: confidence %s", c.verdict, confidence)
			}
		})
		if err != nil || len(got) != 1 || got[0].Severity != c.severity {
			t.Fatalf("%+v: %+v, %v", c.verdict, got, err)
		}
		var evidence []string
		for _, e := range got[0].Evidence {
			if strings.HasPrefix(e.Name, "live") || e.Name == "not verified" {
				evidence = append(evidence, e.Name+"="+e.Value)
			}
		}
		if e := strings.Join(evidence, " "); e != c.evidence {
			t.Errorf("evidence %q, want %q", e, c.evidence)
		}
		if len(v.asked) != 1 || v.asked[0] != "github-token "+token {
			t.Errorf("asked %q", v.asked)
		}
	}
}

// TestLiveEncoded asks about what an encoding hides: by the secret, and with what stands beside it inside.
func TestLiveEncoded(t *testing.T) {
	token := expand(t, "{{github ghp_}}", "encoded")
	v := &answers{}
	hidden := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("user=octocat\ntoken=%s\n", token)))
	err := secret.NewVerifying(builtin(t), v).Scan(t.Context(), &scan.File{Path: "a.yaml", Data: []byte("data: " + hidden + "\n")}, func(signal.Finding, scan.Confidence) {})
	if err != nil || len(v.asked) != 1 || v.asked[0] != "github-token "+token {
		t.Errorf("asked %q, %v", v.asked, err)
	}
}
