package assembly

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/rerun"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/trust/sealed"
)

// Requests as they were received, in the data directory.
const (
	sealedFolder  = "sealed"
	sealedKeyFile = "sealed.key"
)

// Guarding is the firewall whose changes are tried: its settings, and the data directory in which requests may be kept.
type Guarding struct {
	WAF *waf.Config
	Dir string
	// Record writes to the ledger that somebody asked about kept requests.
	Record func(ctx context.Context, actor, verb, subject string, detail map[string]string) error
	Actor  string // who asks
	Admin  bool   // who asks may ask about kept requests: with rules of one's choice that tells what is in them
}

// guarding is the firewall of this machine, for who asks.
func (m *Machine) guarding(ctx context.Context) Guarding {
	who := console.CallerFrom(ctx)
	return Guarding{WAF: &m.settings.WAF, Dir: m.opts.Dir, Record: m.storage.Record, Actor: who.Actor(), Admin: who.May(console.RoleAdmin)}
}

// Local is the firewall of a data directory that is opened here, by who may read it.
func Local(s *Settings, st *Storage) Guarding {
	return Guarding{WAF: &s.WAF, Dir: st.Dir, Record: st.Record, Actor: localActor(), Admin: true}
}

// kept opens what is kept of requests, for one question, of which the ledger has a digest. There may be a reason why who asks does not see what is there.
func (g Guarding) kept(ctx context.Context, verb string, question any) (r *sealed.Reader, reason string, err error) {
	r, err = sealed.NewReader(ctx, filepath.Join(g.Dir, sealedFolder), filepath.Join(g.Dir, sealedKeyFile), nil)
	if err != nil || r.Len() == 0 {
		return r, "", err
	}
	if !g.Admin {
		r.Close()
		return nil, "requests are kept sealed, and are asked about for admins alone", nil
	}
	text, err := json.Marshal(question)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(text)
	if err := g.Record(ctx, g.Actor, verb, "sealed requests", map[string]string{"question": hex.EncodeToString(sum[:16]), "requests": strconv.Itoa(r.Len())}); err != nil {
		r.Close()
		return nil, "requests are kept sealed, and cannot be asked about while the ledger cannot be written", nil
	}
	return r, "", nil
}

// openSealed opens the folder of sealed requests where a route keeps some, or did: what is over its time goes, whatever the settings are now.
// Where that cannot be, nothing is kept, and everything else runs.
func (m *Machine) openSealed() {
	folder := filepath.Join(m.opts.Dir, sealedFolder)
	if _, err := os.Stat(folder); err != nil && len(keeping(&m.settings)) == 0 {
		return
	}
	box, err := sealed.Open(folder, filepath.Join(m.opts.Dir, sealedKeyFile), m.settings.Sealed, sealed.Options{Logger: m.log, Metrics: m.registry})
	if err != nil {
		m.log.Error("requests are not kept sealed", "error", err)
		m.note("sealed", "requests are not kept: "+err.Error())
		return
	}
	m.sealed = box
}

// keeping returns the routes that keep requests.
func keeping(s *Settings) []edge.Route {
	var out []edge.Route
	for _, r := range s.Edge.Routes {
		if r.Record.Bodies.For > 0 && r.WAF && r.Mode != edge.ModeOff {
			out = append(out, r)
		}
	}
	return out
}

// sealedCheck says that requests are kept as they were received, where, and for how long. There is none where nothing is.
func sealedCheck(s *Settings, dir string) []console.Check {
	const name = "sealed requests"
	folder := filepath.Join(dir, sealedFolder)
	u, err := sealed.Look(folder)
	routes := keeping(s)
	if err != nil {
		return []console.Check{{Name: name, Detail: err.Error(), Cost: "nobody can say what is kept of requests", Command: "ls -l " + folder}}
	}
	if len(routes) == 0 && u.Bytes == 0 {
		return nil
	}
	size := bytesize.Size((u.Bytes + 1023) / 1024 * 1024).Round()
	var parts []string
	for _, r := range routes {
		parts = append(parts, fmt.Sprintf("%s for %s", r.Name, plainly(r.Record.Bodies.For)))
	}
	detail := fmt.Sprintf("no route keeps requests any more; %s of before", size)
	if len(parts) > 0 {
		detail = fmt.Sprintf("kept with their bodies, encrypted: %s; %s of %v", strings.Join(parts, ", "), size, s.Sealed.MaxSize)
	}
	detail += " in " + folder
	if !u.Oldest.IsZero() {
		detail += ", since " + u.Oldest.UTC().Format(time.RFC3339)
	}
	return []console.Check{ok(name, detail+"; the key is "+filepath.Join(dir, sealedKeyFile))}
}

// plainly writes a time without parts that are zero.
func plainly(d time.Duration) string {
	text := d.String()
	text = strings.TrimSuffix(text, "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// keptRequests restores records from sealed requests, for one question.
type keptRequests struct {
	reader  *sealed.Reader // nil where nothing is kept, or not for who asks
	request *edge.Received // that was restored last, nil where it was not kept
	fault   string         // why it could not be, as far as something was
	refused map[string]bool
}

// maxRefused bounds the damaged files that a report names.
const maxRefused = 10

// Restore implements replay.Kept.
func (k *keptRequests) Restore(e *signal.Event) bool {
	k.request, k.fault = nil, ""
	m, err := received(k.reader, e.ID)
	if err != nil {
		if k.fault = err.Error(); !k.refused[k.fault] && len(k.refused) >= maxRefused {
			k.fault = "sealed requests could not be read"
		}
		k.refused[k.fault] = true
	}
	if k.request = m; m == nil {
		return false
	}
	rerun.Restore(e, m)
	return true
}

// damaged names files that could not be read, a few of them.
func (k *keptRequests) damaged() []string {
	var out []string
	if k.reader == nil {
		return nil
	}
	for _, d := range k.reader.Damaged() {
		if len(out) == maxRefused {
			break
		}
		out = append(out, d.Error())
	}
	return out
}

// received opens the request of an event: nil where it is not kept. The error names the file that cannot be read.
func received(kept *sealed.Reader, id signal.ID) (*edge.Received, error) {
	if kept == nil {
		return nil, nil
	}
	text, err := kept.Get(id)
	if errors.Is(err, sealed.ErrNotKept) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := new(edge.Received)
	if err := m.UnmarshalBinary(text); err != nil {
		return nil, fmt.Errorf("sealed request %s: %w", id, err)
	}
	return m, nil
}
