package secret

import (
	"context"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// A Verifier asks who issued a secret whether it is in use. It must be safe for concurrent use, keeps nothing of the
// question, and returns when ctx ends.
type Verifier interface {
	Verify(ctx context.Context, q Question) Verdict
}

// A Question is about one secret. Its bytes are the file's: they are good until Verify returns.
type Question struct {
	Rule   *detect.Rule
	Secret []byte
	Near   []byte // the text around it
	At     int    // where the secret begins in Near
}

// A Verdict is what is known of a secret then. Nothing in it may hold the secret.
type Verdict struct {
	Live Live
	Why  string // why it is not known
	Who  string // what the provider tells of the owner, and of what the secret may do
}

// Live is whether a secret is in use.
type Live uint8

// The answers to whether a secret is in use.
const (
	LiveUnknown   Live = iota
	LiveYes            // the provider accepts it
	LiveNo             // the provider says that it is not valid
	NotVerifiable      // nothing is known about how to ask
)

const (
	// nearBytes is how far from a secret what belongs to it may stand.
	nearBytes = 4 << 10
	// maxSecret bounds a secret that is asked about.
	maxSecret = 4 << 10
)

// ask puts a sighting to the verifier and writes its verdict into the finding: a secret that is in use is
// critical wherever it stands, one that is not matters little.
func (g *sighting) ask(ctx context.Context, v Verifier) {
	f := &g.finding
	says := func(live string) { f.Evidence = append(f.Evidence, signal.Evidence{Name: "live", Value: live}) }
	if len(g.hit.secret) > maxSecret {
		says("not verifiable")
		return
	}
	from, to := max(0, g.hit.at-nearBytes), min(len(g.hit.text), g.hit.at+len(g.hit.secret)+nearBytes)
	verdict := v.Verify(ctx, Question{Rule: g.hit.Rule, Secret: g.hit.secret, Near: g.hit.text[from:to], At: g.hit.at - from})
	switch verdict.Live {
	case LiveYes:
		says("yes")
		f.Severity, g.confidence = signal.SeverityCritical, scan.High
	case LiveNo:
		says("no")
		f.Severity = min(f.Severity, signal.SeverityLow)
	case NotVerifiable:
		says("not verifiable")
	default:
		says("unknown")
		f.Evidence = append(f.Evidence, signal.Evidence{Name: "not verified", Value: scan.Printable(verdict.Why)})
	}
	if verdict.Who != "" {
		f.Evidence = append(f.Evidence, signal.Evidence{Name: "live as", Value: scan.Printable(verdict.Who)})
	}
}
