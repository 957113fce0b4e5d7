package assembly

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/internal/atomicfile"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/state"
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

// driftAgain is how long a difference that is told of is not told of again.
const driftAgain = 24 * time.Hour

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

// tellDrift stores each difference as a finding, and resolves findings of what is mended.
func (m *Machine) tellDrift(ctx context.Context, now time.Time) error {
	told := map[string]bool{}
	count := map[string]int{}
	var all []*signal.Finding
	for _, d := range m.api.Compare() {
		f := driftFinding(&d, now)
		told[f.ID] = true
		count[d.Route]++
		was, known, err := m.storage.State.Finding(ctx, f.ID)
		if err != nil {
			return err
		}
		if known && was.State == signal.FindingOpen && was.Desc == f.Desc && now.Sub(was.Last) < driftAgain {
			continue // it is told: a day has one sighting of it, not one for each comparison
		}
		all = append(all, f)
	}
	for len(all) > 0 {
		n := min(len(all), maxDriftBatch)
		if _, _, err := m.storage.State.PutFindings(ctx, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	for _, r := range m.api.Status().Routes {
		// Where there is no document nothing says what is right; where not all differences are told, silence says nothing.
		if r.Document == "" || count[r.Name] >= inventory.MaxDrifts {
			continue
		}
		if err := m.resolveDrift(ctx, r.Name, told); err != nil {
			return err
		}
	}
	m.changed(console.TopicFindings)
	return nil
}

// resolveDrift resolves open findings of a route's differences from its document that are not told any more, though their endpoint is known as before.
// That nobody asked for an endpoint lately, or that it was forgotten, does not mend it: those are for people to close.
func (m *Machine) resolveDrift(ctx context.Context, route string, told map[string]bool) error {
	known := map[string]bool{}
	for _, e := range m.api.Inventory().Endpoints(inventory.Filter{Route: route, Confirmed: true}) {
		known[e.Method+" "+e.Template] = true
	}
	q := state.FindingQuery{State: signal.FindingOpen, Kind: signal.FindingPosture, Plane: signal.PlaneEdge, Asset: signal.AssetID("application", route), Limit: 1000}
	var gone []string
	for {
		page, next, err := m.storage.State.Findings(ctx, q)
		if err != nil {
			return err
		}
		for i := range page {
			if f := &page[i]; !told[f.ID] && mendable(f.Rule) && known[learnedAs(f)] {
				gone = append(gone, f.ID)
			}
		}
		if next == "" {
			break
		}
		q.After = next
	}
	for _, id := range gone {
		if _, _, err := m.storage.State.SetFindingState(ctx, id, signal.FindingResolved, "api", "the document and the traffic agree now"); err != nil {
			return err
		}
	}
	return nil
}

// mendable are kinds of differences that end when the document is mended, not by time alone.
func mendable(rule string) bool {
	kind, ok := strings.CutPrefix(rule, "api-")
	return ok && slices.Contains([]inventory.Kind{inventory.Shadow, inventory.NewField, inventory.NewParameter, inventory.NewStatus, inventory.OtherType, inventory.Unauthenticated}, inventory.Kind(kind))
}

// The names of a finding's evidence.
const (
	evidenceEndpoint = "endpoint"
	evidenceLearned  = "learned as" // where the document's template is another one
)

// learnedAs is the endpoint of the inventory that a finding is about.
func learnedAs(f *signal.Finding) string {
	at := ""
	for _, e := range f.Evidence {
		if e.Name == evidenceLearned || e.Name == evidenceEndpoint && at == "" {
			at = e.Value
		}
	}
	return at
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
	evidence := []signal.Evidence{{Name: evidenceEndpoint, Value: d.Method + " " + d.Template}}
	if d.Learned != "" {
		evidence = append(evidence, signal.Evidence{Name: evidenceLearned, Value: d.Method + " " + d.Learned})
	}
	if d.Where != "" {
		evidence = append(evidence, signal.Evidence{Name: "where", Value: d.Where})
	}
	return &signal.Finding{ID: signal.Fingerprint("api", d.Route, string(d.Kind), d.Method, d.Template, d.Where), Kind: signal.FindingPosture, Rule: "api-" + string(d.Kind), Title: title,
		Desc: strings.TrimSpace(d.Method+" "+d.Template) + " of route " + d.Route + ": " + d.Message, Severity: severity, State: signal.FindingOpen, Plane: signal.PlaneEdge, Asset: signal.AssetID("application", d.Route),
		Evidence: evidence, Fix: fix,
		References: []string{"https://owasp.org/API-Security/editions/2023/en/0xa9-improper-inventory-management/"}, Tags: []string{"edge", "api"}, First: since, Last: now, Count: 1}
}
