package assembly

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/testudo-sec/testudo"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/ui"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/internal/addrset"
	"github.com/testudo-sec/testudo/kernel/chain"
	"github.com/testudo-sec/testudo/kernel/privilege"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/block"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/trust/people"
	"github.com/testudo-sec/testudo/trust/sealed"
)

// Options says what a machine runs beside its settings.
type Options struct {
	Version console.Version
	Dir     string // data directory
	Logger  *slog.Logger
	Socket  string // path of the control socket; "" for the data directory's
	Console bool   // run the console
	Edge    bool   // run the edge, if it has a route
	Offline bool   // the machine is not run: listen on nothing
	Scan    []string
	Keeper  *privilege.Keeper // of the sensor; nil where none was started
	Watch   bool              // without a keeper the host is watched by this process, as far as it may
	Root    bool              // the process stays root, because there is nobody else to become
	Settled bool              // privileges of the start are given up once everything listens
	// Firewall makes the firewall, whose files are in a folder; nil stands for waf.New. It is for who starts many machines in one process.
	Firewall func(c waf.Config, dir string) (*waf.WAF, error)
}

// Note is something that people should know about what runs and what does not.
type Note struct {
	What string // console, edge, scan
	Text string
}

// Machine is everything that one machine runs.
type Machine struct {
	settings Settings
	opts     Options
	log      *slog.Logger
	registry *prometheus.Registry
	started  time.Time

	storage    *Storage
	engine     *policy.Engine
	watcher    *policy.Watcher
	loader     *policy.Loader
	sources    []policy.Source
	node       *testudo.Node
	saved      *testudo.SavedWindows // what the run before left, nil where windows begin anew
	blocked    *addrset.Table
	host       *respond.Host
	people     *people.People
	edge       *edge.Edge  // nil where none runs
	api        *api.Guard  // nil where no edge runs
	sealed     *sealed.Box // nil where no request is kept
	budgets    *budgets
	logs       *logPlane // nil where none runs
	kernel     *kernelPlane
	chain      *chain.Table // nil where the host is not watched
	console    *console.Server
	serve      bool // the console has something to answer on
	listens    map[string]console.Listener
	notes      []Note
	ready      atomic.Bool
	stopping   atomic.Bool
	scans      scanJobs
	stateFault atomic.Pointer[error]     // why the state could not be written, as last tried
	lockedOut  atomic.Pointer[lockouts]  // what of the rules in force would lock everybody out of this host
	tested     atomic.Pointer[testedSet] // how the tests of the rules in force ended
}

// maxBlocked bounds the addresses that are blocked at once.
const maxBlocked = 200_000

// New opens the data directory and the listening addresses, and starts nothing. A busy
// address is a note, not an error: the rest runs.
func New(ctx context.Context, s Settings, o Options) (m *Machine, err error) {
	m = &Machine{settings: s, opts: o, log: o.Logger, registry: prometheus.NewRegistry(), started: time.Now(),
		listens: map[string]console.Listener{}}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if m.storage, err = OpenStorage(ctx, o.Dir, &s, o.Logger, m.registry); err != nil {
		return nil, err
	}
	storage := m.storage // a return of nil, err takes m away from the deferred call
	defer func() {
		if err != nil {
			storage.Close()
		}
	}()
	if err = m.openBudgets(); err != nil {
		return nil, err
	}
	if err = m.openPolicy(ctx); err != nil {
		return nil, err
	}
	if err = m.openResponders(); err != nil {
		return nil, err
	}
	if m.saved, err = m.savedWindows(); err != nil {
		return nil, err
	}
	id, err := judgeID(ctx, m.storage, m.saved)
	if err != nil {
		return nil, err
	}
	if m.saved != nil && m.saved.Judge != id {
		m.saved = nil
	}
	m.node = testudo.NewNode(testudo.Deps{ID: id, Engine: m.engine, Recorder: m.storage.Store, Orders: m.host, State: m.storage.State,
		Now: time.Now, Logger: o.Logger, Changed: func() { m.changed(console.TopicFindings) }, Enforces: m.enforces,
		Windows: m.windowsPath(), Journal: m.storage.Store, Past: past{m}})
	m.people = people.New(m.storage.State, m.storage, people.Options{Logger: o.Logger, Metrics: m.registry})
	if o.Keeper != nil && m.settings.Kernel.Enabled != "off" {
		m.chain = chain.New(chain.Deps{})
	}
	if !o.Offline {
		m.openSealed()
	}
	if o.Edge {
		if err = m.openEdge(ctx); err != nil {
			return nil, err
		}
	}
	if !o.Offline {
		if err = m.openConsole(); err != nil {
			return nil, err
		}
	}
	if !o.Offline && o.Console { // testudo edge runs the edge alone
		if err = m.openLogs(ctx); err != nil {
			return nil, err
		}
	}
	if !o.Offline {
		if err = m.openKernel(); err != nil {
			return nil, err
		}
	}
	m.registry.MustRegister(nodeMetrics{m.node})
	return m, nil
}

// openPolicy loads the rules; a mistake in one is an error, for a node must not start with
// fewer rules than it was told.
func (m *Machine) openPolicy(ctx context.Context) error {
	m.loader = Loader(&m.settings.Policy)
	m.loader.Monitor = m.budgets.monitored
	m.sources = m.settings.Policy.Sources(BuiltinRules())
	var err error
	m.engine, m.watcher, err = policy.Watch(ctx, m.loader, m.sources, m.settings.Policy.Reload, m.swapped)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	return policy.Register(m.registry, m.engine, m.watcher)
}

// swapped writes to the ledger that other rules judge from now on.
func (m *Machine) swapped(c policy.Change) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	detail := map[string]string{"old": c.Old, "new": c.New}
	for name, ids := range map[string][]string{"added": c.Added, "removed": c.Removed, "changed": c.Changed} {
		if len(ids) > 0 {
			detail[name] = strings.Join(ids, " ")
		}
	}
	if err := m.storage.Record(ctx, "system", "policy.swap", "rules", detail); err != nil {
		m.log.Error("a change of rules could not be written to the ledger", "error", err)
	}
	m.node.RulesChanged()
	m.kernel.rulesChanged()
	m.budgets.rulesChanged()
	m.changed(console.TopicRules)
}

func (m *Machine) openResponders() error {
	m.blocked = addrset.New(maxBlocked)
	var proxies []netip.Prefix
	proxies = append(proxies, m.settings.Edge.TrustedProxies...)
	b, err := block.New(m.settings.Respond.Block, m.blocked, recentTraffic{m}, proxies)
	if err != nil {
		return fmt.Errorf("respond.block: %w", err)
	}
	parts, err := m.handParts()
	if err != nil {
		return err
	}
	m.host, err = respond.New(m.settings.Respond.Config, append(parts, b.Part()), respond.Options{
		Store: m.storage.State, Ledger: m.storage, Logger: m.log, Metrics: m.registry,
		Publish: func(signal.Action) { m.changed(console.TopicActions) }})
	return err
}

// blocklist fits the table of blocked addresses to the edge.
type blocklist struct{ table *addrset.Table }

func (b blocklist) Lookup(a netip.Addr, now time.Time) (id string, blocked bool) {
	e, ok := b.table.Lookup(a, now)
	return e.ID, ok
}

func (m *Machine) openEdge(ctx context.Context) error {
	cfg := m.settings.Edge
	if len(cfg.Routes) == 0 {
		m.note("edge", "nothing to protect: start it with --protect http://host:port, or name routes in testudo.yaml")
		return nil
	}
	var inspector edge.Inspector
	for i := range cfg.Routes {
		if cfg.Routes[i].WAF && cfg.Routes[i].Mode != edge.ModeOff {
			open := m.opts.Firewall
			if open == nil {
				open = waf.New
			}
			w, err := open(m.settings.WAF, filepath.Join(m.opts.Dir, wafFolder))
			if err != nil {
				return err
			}
			if err := w.Register(m.registry); err != nil {
				return err
			}
			if list := w.Uncovered(); len(list) > 0 {
				m.note("waf", fmt.Sprintf("Coraza executes the rules, which takes ten times as long: the fast engine does not cover %v", list[0]))
			}
			inspector = w
			break
		}
	}
	if err := m.openGuard(ctx, &cfg); err != nil {
		return err
	}
	deps := edge.Deps{Sink: judged{m.node, m.budgets}, Muted: m.budgets.at, Inspector: inspector, Guard: m.api, Blocklist: blocklist{m.blocked}, Logger: m.log, Registerer: m.registry, Dir: m.opts.Dir}
	if m.sealed != nil {
		deps.Recorder = m.sealed
	}
	if m.chain != nil {
		deps.Follower = passages{m.chain}
	}
	ed, err := edge.New(cfg, deps)
	if err != nil {
		return err
	}
	if err := ed.Listen(ctx); err != nil {
		m.note("edge", err.Error())
		m.listens["edge"] = console.Listener{Name: "edge", Note: err.Error()}
		return nil
	}
	m.edge = ed
	for i, a := range ed.Addrs() {
		scheme := "http"
		if i < len(cfg.Listen) && cfg.Listen[i].TLS {
			scheme = "https"
		}
		name := "edge"
		if i > 0 {
			name = fmt.Sprintf("edge %d", i+1)
		}
		m.listens[name] = console.Listener{Name: name, URL: scheme + "://" + a.String(), OK: true}
	}
	return nil
}

func (m *Machine) openConsole() error {
	pages, err := ui.New()
	if err != nil {
		return err
	}
	srv, err := console.New(m.settings.Console, m.consoleSources(), console.Deps{Logger: m.log, Registerer: m.registry, Gatherer: m.registry,
		UI: pages, Dir: m.opts.Dir})
	if err != nil {
		return err
	}
	m.console = srv
	if m.opts.Console {
		if err := srv.Listen(); err != nil {
			m.note("console", err.Error())
			m.listens["console"] = console.Listener{Name: "console", Note: err.Error()}
		} else {
			m.serve = true
			m.listens["console"] = console.Listener{Name: "console", URL: srv.URL(), OK: true}
		}
	}
	socket := m.opts.Socket
	if socket == "" {
		socket = SocketPath(m.opts.Dir)
	}
	if err := srv.ListenSocket(socket); err != nil {
		m.note("socket", err.Error())
		return nil
	}
	m.serve = true
	return nil
}

// note keeps what people should know of a part. Errors begin with the part's name: once is enough.
func (m *Machine) note(what, text string) {
	m.notes = append(m.notes, Note{what, strings.TrimPrefix(text, what+": ")})
}

func (m *Machine) changed(t console.Topic) {
	if m.console != nil {
		m.console.Changed(t)
	}
}

// Notes returns what people should know about what runs and what does not.
func (m *Machine) Notes() []Note { return m.notes }

// EdgeURL returns where the edge answers, "" where none runs.
// Where the edge listens on every address of the machine it names one that a program here can ask.
func (m *Machine) EdgeURL() string { return askable(m.listens["edge"].URL) }

func askable(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port()) // [::] takes IPv4 too
	}
	return u.String()
}

// ConsoleURL returns where the console answers, "" where it does not.
func (m *Machine) ConsoleURL() string { return m.listens["console"].URL }

// Node returns where events are handed in.
func (m *Machine) Node() *testudo.Node { return m.node }

// Link makes a one-time link that signs this machine's admin in to the console.
func (m *Machine) Link(ctx context.Context) (url string, expires time.Time, err error) {
	secret, expires, err := m.people.Link(ctx, localActor(), console.LocalAdmin, people.Admin)
	if err != nil {
		return "", time.Time{}, err
	}
	return m.console.LinkURL(secret), expires, nil
}

func localActor() string { return fmt.Sprintf("uid:%d", os.Getuid()) }

// SocketPath returns where the control socket of a data directory is: in
// $XDG_RUNTIME_DIR for the default directory, else in the directory.
func SocketPath(dir string) string {
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); runtime != "" && filepath.IsAbs(runtime) {
		if standard, err := DataDir(""); err == nil && standard == dir {
			return filepath.Join(runtime, SocketName)
		}
	}
	return filepath.Join(dir, SocketName)
}

// stage is a set of parts that run and stop together.
type stage struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// start runs a part in the stage. A part that ends by itself, or with an error, is reported.
func (m *Machine) start(s *stage, ctx context.Context, failed chan<- error, name string, run func(context.Context) error) {
	s.wg.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			select {
			case failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	})
}

// Run runs everything until ctx ends or a part breaks, and then stops in the order in which
// nothing is lost: first what takes requests, then what acts on them, the store last.
func (m *Machine) Run(ctx context.Context) error {
	failed := make(chan error, 8)
	stages := make([]*stage, 3)
	contexts := make([]context.Context, 3)
	for i := range stages {
		stages[i] = new(stage)
		contexts[i], stages[i].cancel = context.WithCancel(context.WithoutCancel(ctx))
	}
	// Blocks are in force before the first request comes. Where the state cannot be read now, the
	// host says so and tries again while it runs.
	if _, err := m.host.Expire(ctx); err != nil {
		m.log.Error("actions of before could not be put in force yet", "error", err)
	}
	gates, hands, memory := 0, 1, 2
	// Nothing may be judged before the judge remembers: where a stop comes before that, gates never open.
	if err := m.node.Resume(ctx, m.saved); err != nil {
		stages[gates].cancel()
	}
	m.saved = nil
	run := func(i int, name string, fn func(context.Context) error) {
		m.start(stages[i], contexts[i], failed, name, fn)
	}

	run(memory, "store", m.storage.Store.Run)
	run(memory, "state", m.storage.State.Run)
	run(memory, "state watch", m.watchState)
	run(hands, "node", m.node.Run)
	run(hands, "respond", m.host.Run)
	run(hands, "rules", m.watcher.Run)
	run(hands, "budgets", m.budgets.run)
	run(hands, "people", m.people.Run)
	if m.serve {
		run(gates, "console", m.console.Run)
	}
	if m.sealed != nil {
		run(hands, "sealed", m.sealed.Run)
	}
	if m.edge != nil {
		run(gates, "edge", m.edge.Run)
		run(hands, "api", m.api.Run)
		run(hands, "api drift", m.followDrift)
	}
	if m.logs != nil {
		run(gates, "logs", m.logs.run)
	}
	if m.kernel != nil {
		run(gates, "kernel", m.kernel.run)
	}
	for _, path := range m.opts.Scan {
		run(gates, "scan", func(ctx context.Context) error { m.scan(ctx, path); return nil })
	}
	m.ready.Store(true)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	m.stopping.Store(true)
	m.log.Info("stopping: requests in flight end first, the store last")
	for _, s := range stages {
		s.cancel()
		s.wg.Wait()
	}
	m.storage.Close()
	m.log.Info("stopped")
	return err
}
