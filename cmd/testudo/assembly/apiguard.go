package assembly

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/internal/atomicfile"
	"github.com/testudo-sec/testudo/signal"
)

// Files of the API guard in the data directory.
const (
	apiKeyFile     = "api.key"            // key of the hashes that stand for people
	apiLearnedFile = "api-inventory.json" // what was learned of endpoints
	apiHabitsFile  = "api-habits.json"    // what was learned of parameters
)

// openGuard makes the guard of APIs for the routes of the edge.
func (m *Machine) openGuard(ctx context.Context, cfg *edge.Config) error {
	key, err := keyFile(filepath.Join(m.opts.Dir, apiKeyFile))
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	var names []string
	for i := range cfg.Routes {
		names = append(names, cfg.Routes[i].Name)
	}
	m.api, err = api.New(ctx, m.settings.API, api.Deps{Routes: names, Secret: key, Store: learnedFile(filepath.Join(m.opts.Dir, apiLearnedFile)), Habits: learnedFile(filepath.Join(m.opts.Dir, apiHabitsFile)), Logger: m.log, Registerer: m.registry})
	return err
}

// keyFile reads a key of 32 bytes, and makes it where there is none.
func keyFile(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == 32:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("%s: %d bytes, want 32: remove it to have a new one; what was learned of who asks begins anew then", path, len(key))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	key = make([]byte, 32)
	_, _ = rand.Read(key) // never fails, by its documentation
	return key, atomicfile.Write(path, key)
}

// learnedFile keeps what was learned in a file.
type learnedFile string

// maxLearned bounds what is read again: ten thousand endpoints take a third of it.
const maxLearned = 256 << 20

func (f learnedFile) Load(context.Context) ([]byte, error) {
	info, err := os.Stat(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxLearned {
		return nil, fmt.Errorf("%s has %d bytes, no more than %d are read", string(f), info.Size(), maxLearned)
	}
	return os.ReadFile(string(f))
}

func (f learnedFile) Save(_ context.Context, b []byte) error { return atomicfile.Write(string(f), b) }

// driftEvery is how often the routes are compared with their documents.
const driftEvery = 10 * time.Minute

// followDrift tells of endpoints that are not as described, until ctx ends, and of those that are again.
func (m *Machine) followDrift(ctx context.Context) error {
	tick := time.NewTicker(driftEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := m.tellDrift(ctx, time.Now()); err != nil && ctx.Err() == nil {
				m.log.Warn("how APIs differ from their documents could not be stored: it is tried again", "error", err)
			}
		}
	}
}

// tellDrift stores each difference as a finding. Findings of what is mended are for people to close: that nobody asked for an endpoint lately does not mend it.
func (m *Machine) tellDrift(ctx context.Context, now time.Time) error {
	var all []*signal.Finding
	for _, d := range m.api.Compare() {
		all = append(all, driftFinding(&d, now))
	}
	for len(all) > 0 {
		n := min(len(all), maxDriftBatch)
		if _, _, err := m.storage.State.PutFindings(ctx, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	m.changed(console.TopicFindings)
	return nil
}

// maxDriftBatch bounds one transaction.
const maxDriftBatch = 500

// driftKind says how grave each kind of difference is, and what to do.
func driftKind(k inventory.Kind) (title string, s signal.Severity, fix string) {
	switch k {
	case inventory.Shadow:
		return "An endpoint that the document does not know", signal.SeverityMedium, "Describe it, or take it out of service. With undocumented: block requests for it are refused."
	case inventory.Zombie:
		return "A deprecated endpoint is still in use", signal.SeverityLow, "Move its callers, which the inventory names, then take it out of service."
	case inventory.Unauthenticated:
		return "An endpoint answers without credentials", signal.SeverityHigh, "Ask for credentials there, or say in the document that it is for everybody."
	case inventory.NewSensitive:
		return "An endpoint gives sensitive data that it did not give before", signal.SeverityMedium, "Give only the fields that callers need; mask the data on its way until then."
	case inventory.Unused:
		return "A documented endpoint is not in use", signal.SeverityInfo, "Take it out of service: what nobody uses nobody watches."
	}
	return "An endpoint is not as its document says", signal.SeverityLow, "Say in the document what is meant, or mend the application."
}

func driftFinding(d *inventory.Drift, now time.Time) *signal.Finding {
	title, severity, fix := driftKind(d.Kind)
	since := d.Since
	if since.IsZero() {
		since = now
	}
	return &signal.Finding{ID: signal.Fingerprint("api", d.Route, string(d.Kind), d.Method, d.Template, d.Where), Kind: signal.FindingPosture, Rule: "api-" + string(d.Kind), Title: title,
		Desc: strings.TrimSpace(d.Method+" "+d.Template) + " of route " + d.Route + ": " + d.Message, Severity: severity, State: signal.FindingOpen, Plane: signal.PlaneEdge, Asset: signal.AssetID("application", d.Route),
		Evidence: []signal.Evidence{{Name: "endpoint", Value: d.Method + " " + d.Template}, {Name: "where", Value: d.Where}}, Fix: fix,
		References: []string{"https://owasp.org/API-Security/editions/2023/en/0xa9-improper-inventory-management/"}, Tags: []string{"edge", "api"}, First: since, Last: now, Count: 1}
}
