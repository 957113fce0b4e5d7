package assembly

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/logs/follow"
	"github.com/testudo-sec/testudo/logs/intake"
	"github.com/testudo-sec/testudo/logs/listen"
	"github.com/testudo-sec/testudo/logs/otlp"
	"github.com/testudo-sec/testudo/signal"
)

// The files of the logs plane in the data directory.
const (
	logPositions  = "logs-positions.json"
	logDeadLetter = "logs-rejected.jsonl"
)

// logPlane is everything that reads logs of others.
type logPlane struct {
	intake    *intake.Intake
	dead      *intake.DeadLetters // nil: none is kept
	follower  *follow.Follower    // nil: no file is followed
	listeners []listen.Listener
	sources   []logSource
}

// logSource is one source of records, to be shown.
type logSource struct {
	kind, where string
	feed        *intake.Feed
	patterns    []string        // of files
	listener    listen.Listener // nil for files
}

// openLogs binds the addresses of the logs plane. What cannot be read or bound is a note.
func (m *Machine) openLogs(ctx context.Context) error {
	cfg := &m.settings.Logs
	if !cfg.any() {
		return nil
	}
	p := &logPlane{}
	if cfg.DeadLetters > 0 {
		p.dead = &intake.DeadLetters{Path: filepath.Join(m.opts.Dir, logDeadLetter), Max: cfg.DeadLetters, Sample: 20, Redact: redactor(), Now: time.Now}
	}
	sink := &logSink{node: m.node, pending: func() bytesize.Size {
		st, _ := m.storage.Store.Stats()
		return bytesize.Size(st.Pending)
	}, room: m.settings.Store.Memory / 2}
	var err error
	p.intake, err = intake.New(cfg.Config, intake.Deps{Formats: LogFormats(), Handle: sink.take, Now: time.Now, Dead: p.dead, Logger: m.log,
		Registerer: m.registry})
	if err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	if err := m.openFiles(p); err != nil {
		return fmt.Errorf("logs.files: %w", err)
	}
	for i := range cfg.Syslog {
		if err := m.openSyslog(ctx, p, &cfg.Syslog[i]); err != nil {
			m.note("logs", fmt.Sprintf("syslog %s: %v", cfg.Syslog[i].Address, err))
		}
	}
	for i := range cfg.OTLP {
		if err := m.openOTLP(ctx, p, &cfg.OTLP[i]); err != nil {
			m.note("logs", fmt.Sprintf("otlp %s: %v", cfg.OTLP[i].Address, err))
		}
	}
	if err := m.registry.Register(listenMetrics{p}); err != nil {
		p.close()
		return fmt.Errorf("logs: %w", err)
	}
	m.logs = p
	return nil
}

func (m *Machine) openFiles(p *logPlane) error {
	cfg := &m.settings.Logs
	var inputs []follow.Input
	for i := range cfg.Files {
		f := &cfg.Files[i]
		feed, err := p.intake.Feed(f.Spec, strings.Join(f.Paths, " "))
		if err != nil {
			return err
		}
		p.sources = append(p.sources, logSource{kind: "files", where: strings.Join(f.Paths, ", "), feed: feed, patterns: f.Paths})
		inputs = append(inputs, follow.Input{Files: f.Files,
			Consumer: consumer(func(ctx context.Context, s *follow.Stream) error { return feed.Follow(ctx, s) })})
	}
	if len(inputs) == 0 {
		return nil
	}
	var err error
	p.follower, err = follow.New(cfg.Follow, inputs, follow.Deps{Positions: filepath.Join(m.opts.Dir, logPositions), Logger: m.log, Registerer: m.registry})
	return err
}

func (m *Machine) openSyslog(ctx context.Context, p *logPlane, cfg *LogSyslog) error {
	spec := cfg.Spec
	if spec.Format == "" || spec.Format == intake.Auto {
		spec.Format = "syslog"
	}
	feed, err := p.intake.Feed(spec, "syslog "+cfg.Transport+" "+cfg.Address)
	if err != nil {
		return err
	}
	open := func() (listen.Taker, error) {
		s, err := feed.Messages()
		return taker{s}, err
	}
	l, err := listen.NewSyslog(ctx, cfg.Syslog, m.settings.Logs.Limits, open, m.log)
	if err != nil {
		return err
	}
	p.sources = append(p.sources, logSource{kind: "syslog", where: cfg.Transport + " " + l.Addr().String(), feed: feed, listener: l})
	m.listening(p, l, "syslog", cfg.Transport)
	return nil
}

func (m *Machine) openOTLP(ctx context.Context, p *logPlane, cfg *LogOTLP) error {
	spec := cfg.Spec
	spec.Format = "otlp"
	feed, err := p.intake.Feed(spec, "otlp "+cfg.Address)
	if err != nil {
		return err
	}
	l, err := listen.NewOTLP(ctx, cfg.OTLP, m.settings.Logs.Limits, exporter{feed}, m.log)
	if err != nil {
		return err
	}
	scheme := "http"
	if cfg.TLS.Cert != "" {
		scheme = "https"
	}
	p.sources = append(p.sources, logSource{kind: "otlp", where: scheme + " " + l.Addr().String(), feed: feed, listener: l})
	m.listening(p, l, "otlp", scheme)
	return nil
}

// listening keeps a listener, and shows it.
func (m *Machine) listening(p *logPlane, l listen.Listener, kind, scheme string) {
	p.listeners = append(p.listeners, l)
	name := kind + " " + l.Addr().String()
	m.listens[name] = console.Listener{Name: name, URL: scheme + "://" + l.Addr().String(), OK: true}
}

// run reads until ctx ends, and returns when everything that was received has been handed on.
func (p *logPlane) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	failed := make(chan error, len(p.listeners)+1)
	run := func(what string, part func(context.Context) error) {
		wait.Go(func() {
			if err := part(ctx); err != nil {
				failed <- fmt.Errorf("%s: %w", what, err)
				cancel(err)
			}
		})
	}
	if p.follower != nil {
		run("files", p.follower.Run)
	}
	for _, l := range p.listeners {
		run(l.Addr().String(), l.Run)
	}
	wait.Wait()
	if p.dead != nil {
		_ = p.dead.Close()
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// close releases what New has bound, of a plane that is not run.
func (p *logPlane) close() {
	for _, l := range p.listeners {
		_ = l.Close()
	}
}

// logSink hands events to the node, no faster than the store can keep them: the node itself never waits.
type logSink struct {
	node    signal.Sink
	pending func() bytesize.Size
	room    bytesize.Size
	taken   atomic.Uint64
}

// lookEvery is how many events pass between two looks at the store.
const lookEvery = 32

// waitForRoom bounds the wait for the store where the record cannot be read again later.
const waitForRoom = 2 * time.Second

func (s *logSink) take(ctx context.Context, e *signal.Event, at intake.Place) error {
	if s.taken.Add(1)%lookEvery == 0 {
		fromFile := at.Line > 0
		for end := time.Now().Add(waitForRoom); s.pending() > s.room && (fromFile || time.Now().Before(end)); {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	_, err := s.node.Event(ctx, e)
	return err
}

// taker fits a session to listen.Taker.
type taker struct{ *intake.Session }

func (t taker) Take(ctx context.Context, message []byte, from netip.AddrPort) error {
	return t.Session.Take(ctx, message, intake.Place{Path: from.String()})
}

// exporter fits a feed to listen.Exporter.
type exporter struct{ feed *intake.Feed }

func (x exporter) Export(ctx context.Context, r listen.Request) (listen.Result, error) {
	req, err := otlp.Open(r.Body, r.JSON)
	if err != nil {
		return listen.Result{}, listen.ErrMalformed // which says the same as err
	}
	s, err := x.feed.Messages()
	if err != nil {
		return listen.Result{}, err
	}
	at := intake.Place{Path: r.From.String()}
	n := int64(0)
	for record, ok := req.Next(); ok; record, ok = req.Next() {
		if err := s.Take(ctx, record, at); err != nil {
			return listen.Result{}, err
		}
		n++
	}
	rejected, last := s.Rejected()
	result := listen.Result{Accepted: n - rejected, Rejected: rejected}
	if last != nil {
		result.Reason = fmt.Sprintf("%d of %d records are no events; the last one: %v", rejected, n, last)
	}
	return result, nil
}

// logChecks tells how the logs plane is, for doctor and the console.
func logChecks(s *Settings) []console.Check {
	var checks []console.Check
	for i := range s.Logs.Files {
		f := &s.Logs.Files[i]
		for _, pattern := range f.Paths {
			checks = append(checks, logFileCheck(cmp.Or(f.Name, "log files"), pattern))
		}
	}
	return checks
}
