package assembly

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/testudo-sec/testudo"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/state"
)

func (m *Machine) windowsPath() string { return filepath.Join(m.opts.Dir, testudo.WindowsFile) }

// savedWindows reads what the run before left. A file that is damaged is as good as none: the windows begin anew, under
// another judge's name.
func (m *Machine) savedWindows() (*testudo.SavedWindows, error) {
	saved, err := testudo.ReadWindows(m.windowsPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case err != nil:
		m.log.Error("what the windows of rules held before is lost, they begin anew", "error", err)
		return nil, nil
	}
	return saved, nil
}

// judgeID returns the id under which this node's verdicts are numbered. A data directory has one judge, whose numbers go
// on where they stopped; that is known from what the windows' file says. Without that file a new judge begins at 1, so
// that a judge and a number always name one event.
func judgeID(ctx context.Context, st *Storage, saved *testudo.SavedWindows) (string, error) {
	const collection, key = "node", "judge"
	for range 2 {
		value, version, err := st.State.Get(ctx, collection, key)
		if err != nil {
			return "", err
		}
		if id := strings.Trim(string(value), `"`); version != 0 && saved != nil && id != "" && id == saved.Judge {
			return id, nil
		}
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails, by its documentation
		if ok, err := st.State.Put(ctx, collection, key, []byte(`"`+hex.EncodeToString(b[:])+`"`), version); err != nil || ok {
			if err != nil {
				return "", err
			}
			return hex.EncodeToString(b[:]), nil
		}
	}
	return "", errors.New("the id of this judge could not be stored")
}

// past tells the node what has become of verdicts of before a stop.
type past struct{ m *Machine }

func (p past) Finding(ctx context.Context, id string) (signal.Finding, bool, error) {
	return p.m.storage.State.Finding(ctx, id)
}

func (p past) Acted(ctx context.Context, event signal.ID, kind, target string) (bool, error) {
	targets := []string{target}
	if a, err := netip.ParseAddr(target); err == nil && a.Is6() {
		// A rule blocks the network around an IPv6 address.
		if around, err := a.Prefix(64); err == nil {
			targets = append(targets, around.String())
		}
	}
	for _, t := range targets {
		actions, _, err := p.m.storage.State.Actions(ctx, state.ActionQuery{Kind: kind, Target: t, Limit: 100})
		if err != nil {
			return false, err
		}
		for i := range actions {
			if actions[i].State == signal.ActionActive || actions[i].Event == event {
				return true, nil
			}
		}
	}
	return false, nil
}
