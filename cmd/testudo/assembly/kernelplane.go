package assembly

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/kernel/privilege"
	"github.com/testudo-sec/testudo/kernel/wire"
)

// kernelPlane is everything of this node that sees the host, but for the sensor, which is another process.
type kernelPlane struct {
	m      *Machine
	keeper *privilege.Keeper // nil where the sensor is in this process
	sensor kernel.Sensor
	client *wire.Client // the same, where it is a process of its own; else nil
	plane  *kernel.Plane
	files  *fim.Monitor  // nil where no files are watched
	rules  chan struct{} // other rules are in force, or other containers run

	host       *hostRules                     // of the one goroutine that follows the rules
	containers map[uint64]kernel.Workload     // likewise, by cgroup: those that it has told the sensor of
	plan       atomic.Pointer[hostrules.Plan] // of the rules in force, for people
	pid        atomic.Int64                   // of the sensor, 0 while none runs
	orphaned   atomic.Bool                    // the keeper is gone: this sensor is the last one
	pace       pace
}

// openKernel joins the sensor that the keeper starts. Where there is none, because this is no root, what an ordinary user may see is seen by this
// process itself.
func (m *Machine) openKernel() error {
	cfg := m.settings.Kernel
	own := m.opts.Keeper == nil
	switch {
	case cfg.Enabled == "off":
		if !own {
			return m.opts.Keeper.Close()
		}
		return nil
	case own && cfg.Enabled == "on" && (!m.opts.Watch || cfg.Eyes != kernel.EyesProcwatch):
		return errors.New("kernel.enabled is on, and nobody may watch the host: start testudo up by root, as with sudo, without --no-kernel; or set kernel.eyes to procwatch, which sees less")
	case own && (!m.opts.Watch || cfg.Eyes == kernel.EyesEBPF):
		return nil
	}
	p := &kernelPlane{m: m, keeper: m.opts.Keeper, rules: make(chan struct{}, 1)}
	if own {
		if p.sensor = ownSensor(SensorConfigOf(&m.settings), m.log); p.sensor == nil {
			return nil
		}
	} else {
		p.client = wire.NewClient(links{p}, m.log)
		p.client.Ended = p.ended
		p.sensor = p.client
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("kernel: the name of this host: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("kernel: the id of this boot: %w", err)
	}
	sink, err := p.watchFiles(host)
	if err != nil {
		return err
	}
	var follows kernel.Chain // nil, and no pointer that is
	if m.chain != nil {
		follows = m.chain
	}
	var watching func()
	if p.files != nil {
		watching = p.files.Watching
	}
	p.plane, err = kernel.New(cfg, kernel.Deps{Sensor: p.sensor, Sink: sink, Chain: follows, Watching: watching, Enforces: m.enforces, Redact: redactor(), Logger: m.log, Registerer: m.registry, Host: host,
		Boot: strings.TrimSpace(string(boot)), Own: []uint32{uint32(os.Getpid())}, Data: m.opts.Dir, Learned: p.rulesChanged})
	if err != nil {
		return err
	}
	m.kernel = p
	p.rulesChanged()
	if p.client == nil {
		return nil
	}
	p.client.Unheld, p.client.Watching = p.plane.Unheld, watching
	return errors.Join(m.registry.Register(sensorMetrics{p.client}), m.registry.Register(m.chain.Metrics()))
}

// rulesChanged has the sensor see, and the kernel refuse, what the rules in force from now on need. It returns at once.
func (p *kernelPlane) rulesChanged() {
	if p == nil {
		return
	}
	select {
	case p.rules <- struct{}{}:
	default:
	}
}

// run watches until ctx ends, and then lets the keeper go.
func (p *kernelPlane) run(ctx context.Context) error {
	if p.keeper != nil {
		defer p.keeper.Close()
	}
	var wait sync.WaitGroup
	wait.Go(func() { p.follow(ctx) })
	if p.keeper != nil {
		wait.Go(func() { p.watchKeeper(ctx) })
	}
	if p.files != nil {
		wait.Go(func() { _ = p.files.Run(ctx) }) // what goes wrong is in its status
	}
	defer wait.Wait()
	return p.plane.Run(ctx)
}

// applyWithin bounds how long the sensor may take for other rules.
const applyWithin = 30 * time.Second

// follow tells the sensor of the rules in force, again after each change.
func (p *kernelPlane) follow(ctx context.Context) {
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-p.rules:
		}
		within, cancel := context.WithTimeout(ctx, applyWithin)
		if err := p.apply(within); err != nil && ctx.Err() == nil {
			p.m.log.Error("what the rules need of the kernel does not hold", "error", err)
		}
		cancel()
		if first && ctx.Err() == nil {
			p.m.log.Info("the kernel", "is", p.m.Kernel(ctx))
		}
	}
}

// watchKeeper says when the keeper is gone. Its sensor runs on and enforces on, but after its end there will be no other.
func (p *kernelPlane) watchKeeper(ctx context.Context) {
	err := p.keeper.Gone(ctx)
	if ctx.Err() != nil {
		return
	}
	p.orphaned.Store(errors.Is(err, privilege.ErrNoKeeper))
	p.m.log.Error("no other sensor will be started when this one ends, which watches and enforces until then", "error", err)
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := p.m.storage.Record(within, "system", "kernel.keeper.ended", "keeper", map[string]string{"why": err.Error()}); err != nil {
		p.m.log.Error("the end of the keeper could not be written to the ledger", "error", err)
	}
}

// keeperFault says that the keeper is gone, nil where it is there.
func (p *kernelPlane) keeperFault() error {
	if !p.orphaned.Load() {
		return nil
	}
	return errors.New("the keeper of the sensor is gone: the sensor watches and enforces on, and is not started again when it ends. Restart testudo")
}

// ended writes down that the host was not watched for a while.
func (p *kernelPlane) ended(why error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := p.m.storage.Record(ctx, "system", "kernel.sensor.ended", "sensor", map[string]string{"why": why.Error()}); err != nil {
		p.m.log.Error("the end of the sensor could not be written to the ledger", "error", err)
	}
}

// links hands the client the links to the sensors that the keeper starts.
type links struct{ p *kernelPlane }

func (l links) Next(ctx context.Context) (wire.Link, error) {
	control, records, err := l.p.keeper.Next(ctx, l.p.news)
	if err != nil {
		return wire.Link{}, err
	}
	return wire.FromFiles(control, records)
}

// news logs what the keeper says.
func (p *kernelPlane) news(n privilege.News) {
	p.pid.Store(int64(n.PID))
	if n.Ended != "" {
		p.m.log.Error("the sensor has ended", "how", n.Ended, "again_in", n.Again)
		return
	}
	p.m.log.Info("a sensor was started", "pid", n.PID)
}

// health says why the host is not watched, nil where it is.
func (p *kernelPlane) health() error {
	if p == nil {
		return nil
	}
	if p.client == nil {
		return errors.Join(p.plane.Health(), p.m.lockoutFault())
	}
	err := p.client.Health()
	if err == nil {
		return errors.Join(p.plane.Health(), p.m.lockoutFault(), p.keeperFault())
	}
	if last := p.keeper.Last(); last.Ended != "" && !errors.Is(err, privilege.ErrNoKeeper) {
		return fmt.Errorf("the sensor has ended (%.200s), it is started again", last.Ended)
	}
	return err
}

// statusWithin bounds how long the sensor is asked how it is.
const statusWithin = 2 * time.Second

// status asks the sensor how it is.
func (p *kernelPlane) status(ctx context.Context) (kernel.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	return p.sensor.Status(ctx)
}

// checks tells of each feature of this kernel, for doctor and the console.
func (p *kernelPlane) checks(ctx context.Context) []console.Check {
	if p == nil {
		return nil
	}
	st, err := p.status(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return []console.Check{{Name: KernelCheck, Detail: "the sensor did not answer within " + statusWithin.String() + ": it is still loading what watches this host, or has too much to do",
			Cost: "what happens on this host is not seen until then", Command: "ask again in a moment: testudo doctor"}}
	case err != nil:
		return []console.Check{{Name: KernelCheck, Detail: err.Error(), Cost: "processes, files and sockets of this host are not watched",
			Command: "the log says how the sensor ended: journalctl -u testudo, or standard error"}}
	}
	checks := FeatureChecks(st)
	if n := p.plane.Early(); n > 0 {
		checks = append(checks, console.Check{Name: KernelCheck + " questions", Detail: fmt.Sprintf("%d questions of gates were judged before all was known that had been seen before them", n),
			Cost: "a rule about parents or ancestors may not have held for them; what runs all the same is killed", Command: "less load, or rules that ask about fewer files"})
	}
	if err := p.keeperFault(); err != nil {
		checks = append(checks, console.Check{Name: KernelCheck + " keeper", Detail: err.Error(), Cost: "when the sensor ends, the host is not watched any more and only what stays with kernel.fail: closed is enforced",
			Command: "restart testudo: systemctl restart testudo, or what started it"})
	}
	return checks
}

// Doctor looks at what this machine can and cannot do for the node that runs here.
func (m *Machine) Doctor(ctx context.Context) []console.Check {
	checks := Doctor(ctx, &m.settings, m.opts.Dir)
	if m.opts.Settled {
		// What low ports need was given up when they were listened on.
		checks = slices.DeleteFunc(checks, func(c console.Check) bool { return c.Name == lowPorts })
	}
	if m.edge != nil {
		checks = append(checks, proxyChecks(m.edge.Status())...)
		checks = append(checks, m.budgets.check())
	}
	if m.api != nil {
		checks = append(checks, apiChecks(m.api.Status())...)
	}
	return append(checks, m.kernel.checks(ctx)...)
}

// Kernel says in a line what is seen of the host. It waits until the sensor runs, but not for long.
func (m *Machine) Kernel(ctx context.Context) string {
	switch {
	case m.kernel != nil:
	case m.settings.Kernel.Enabled == "off":
		return "not watched: kernel.enabled is off"
	case runtime.GOOS != "linux":
		return "not watched: that takes Linux"
	default:
		return "not watched: that takes root, as in sudo testudo up"
	}
	st, err := m.kernel.status(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "being prepared: the log says when it is watched"
	case err != nil:
		return "not watched: " + err.Error()
	}
	works := 0
	for _, f := range st.Features {
		if f.OK {
			works++
		}
	}
	if st.Mode == "" {
		return "not watched: testudo doctor says why"
	}
	return fmt.Sprintf("watched by %s on Linux %s, %d of %d features, mode %s", st.Mode, st.Kernel, works, len(st.Features), m.settings.Kernel.Mode)
}

// sensorMetrics shows whether the sensor runs.
type sensorMetrics struct{ client *wire.Client }

func (c sensorMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c sensorMetrics) Collect(ch chan<- prometheus.Metric) {
	up := 0.0
	if c.client.Health() == nil {
		up = 1
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("testudo_kernel_sensor_up", "1 while the sensor runs.", nil, nil), prometheus.GaugeValue, up)
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("testudo_kernel_sensor_starts_total", "Sensors that were started.", nil, nil),
		prometheus.CounterValue, float64(c.client.Starts()))
}
