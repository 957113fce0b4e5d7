package assembly

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/privilege"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/kernel/wire"
)

// kernelPlane is everything of this node that sees the host, but for the sensor, which is another process.
type kernelPlane struct {
	m      *Machine
	keeper *privilege.Keeper
	sensor *wire.Client
	seen   atomic.Uint64
}

// openKernel joins the sensor that the keeper starts.
func (m *Machine) openKernel() error {
	if m.opts.Root {
		m.note("privileges", "everything runs as root, because there is neither a user behind sudo nor a user "+privilege.ServiceUser+
			": make one with useradd --system --home-dir /var/lib/testudo --shell /usr/sbin/nologin "+privilege.ServiceUser)
	}
	if m.opts.Keeper == nil {
		return nil
	}
	p := &kernelPlane{m: m, keeper: m.opts.Keeper}
	p.sensor = wire.NewClient(links{p}, m.log)
	m.kernel = p
	return nil
}

// run watches until ctx ends, and then lets the keeper go.
func (p *kernelPlane) run(ctx context.Context) error {
	defer p.keeper.Close()
	return p.sensor.Run(ctx, p)
}

func (p *kernelPlane) Records(batch []byte) { p.seen.Add(uint64(len(batch))) }

func (p *kernelPlane) Ask(context.Context, []byte, record.Gate) kernel.Answer { return kernel.Answer{} }

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
	err := p.sensor.Health()
	if last := p.keeper.Last(); err != nil && last.Ended != "" && !errors.Is(err, privilege.ErrNoKeeper) {
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
	if err != nil {
		return []console.Check{{Name: KernelCheck, Detail: err.Error(), Cost: "processes, files and sockets of this host are not watched",
			Command: "the log says how the sensor ended: journalctl -u testudo, or standard error"}}
	}
	return FeatureChecks(st)
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
	}
	return append(checks, m.kernel.checks(ctx)...)
}

// Kernel says in a line what is seen of the host, once the sensor runs, and "" where none was started.
func (m *Machine) Kernel(ctx context.Context) string {
	if m.kernel == nil {
		return ""
	}
	st, err := m.kernel.status(ctx)
	if err != nil {
		return "not watched yet: " + err.Error()
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
	return fmt.Sprintf("watched by %s on Linux %s, %d of %d features", st.Mode, st.Kernel, works, len(st.Features))
}
