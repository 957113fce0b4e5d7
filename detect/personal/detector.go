package personal

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/internal/literal"
)

// A Detector finds what its configuration chose. It does not change, and is safe for concurrent use.
type Detector struct {
	config Config
	least  detect.Confidence

	numbers      *index // nil if none is wanted
	email, phone *Kind  // nil if not wanted
	token        *Kind

	literals *literal.Set // nil if there are none
	targets  [][]target   // per literal
	sorted   []string     // the literals
	first    [256]bool    // what they begin with
	longest  int          // of them
	scanners sync.Pool
}

// A target is what a literal may be the beginning of: a textual kind, or a provider's token.
type target struct {
	text   *textual
	anchor *detect.Anchor
}

func providerToken() *Kind {
	return &Kind{ID: "token", Name: "token of a provider", Group: Secret, Proof: "the provider's form"}
}

// New makes a detector.
func New(c Config) (*Detector, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &Detector{config: c, least: c.Confidence, numbers: newIndex(c.wants)}
	if k := emailAddress(); c.wants(k) {
		d.email = k
	}
	if k := phoneNumber(); c.wants(k) {
		d.phone = k
		if d.numbers == nil {
			d.numbers = &index{}
		}
		d.numbers.addPhones(k)
	}
	at := map[string]int{}
	var patterns []literal.Pattern
	add := func(text string, t target) {
		i, ok := at[text]
		if !ok {
			i = len(patterns)
			at[text] = i
			patterns = append(patterns, literal.Pattern{Text: text})
			d.targets = append(d.targets, nil)
			d.sorted = append(d.sorted, text)
			d.first[text[0]] = true
			d.longest = max(d.longest, len(text))
		}
		d.targets[i] = append(d.targets[i], t)
	}
	for _, t := range texts() {
		if c.wants(t.kind) {
			for _, l := range t.literals {
				add(l, target{text: &t})
			}
		}
	}
	if k := providerToken(); c.wants(k) {
		d.token = k
		anchors, err := tokens()
		if err != nil {
			return nil, err
		}
		for _, a := range anchors {
			add(a.Literal, target{anchor: a})
		}
	}
	slices.Sort(d.sorted)
	if len(patterns) > 0 {
		var err error
		if d.literals, err = literal.Compile(patterns); err != nil {
			return nil, err
		}
	}
	d.scanners.New = func() any { return newScanner(d) }
	return d, nil
}

// tokens returns where tokens of providers begin: those of the secret rules that know theirs by its beginning. Private keys and JSON Web Tokens are kinds of
// their own here.
func tokens() ([]*detect.Anchor, error) {
	set, err := detect.BuiltinWithout(func(r *detect.Rule) bool {
		return r.Generic || slices.Contains(publicKeys(), r.ID) || strings.HasSuffix(r.ID, "private-key")
	})
	if err != nil {
		return nil, fmt.Errorf("secret rules: %w", err)
	}
	return set.Anchors(), nil
}

// publicKeys are rules about keys that pages carry on purpose: their providers bind them to a site.
func publicKeys() []string {
	return []string{"gcp-api-key", "segment-write-key", "segment-public-api-token", "launchdarkly-key", "bugsnag-api-key", "sentry-dsn", "stripe-test-key", "zapier-webhook"}
}

// Kinds returns the kinds that the detector looks for.
func (d *Detector) Kinds() []*Kind {
	return slices.DeleteFunc(Kinds(), func(k *Kind) bool { return !d.config.wants(k) })
}

// Find calls yield for every match in text, in the order of their places, until yield returns false. Matches do not overlap. It allocates nothing
// where there are none.
func (d *Detector) Find(text []byte, yield func(Match) bool) {
	s := d.scanners.Get().(*scanner)
	defer s.release()
	s.find = yield
	s.whole(text)
}

// Mask appends text to dst with every match masked.
func (d *Detector) Mask(dst, text []byte) []byte {
	s := d.scanners.Get().(*scanner)
	defer s.release()
	s.act, s.out = maskAll, dst
	s.whole(text)
	out := append(s.out, text[s.flushed:]...)
	s.out = nil
	return out
}

func maskAll(Match) bool { return true }
