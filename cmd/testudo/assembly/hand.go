package assembly

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	proctable "github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/freeze"
	"github.com/testudo-sec/testudo/respond/isolate"
	"github.com/testudo-sec/testudo/respond/kill"
	"github.com/testudo-sec/testudo/respond/workload"
)

// handWithin bounds an order, with the start of a sensor that is not there yet.
const handWithin = 15 * time.Second

// sensorHand fits the sensor of the kernel plane to the responders that act on processes and containers.
type sensorHand struct {
	sensor func() kernel.Sensor // nil where there is none
	boot   string               // tag of this boot in keys of processes
}

func newHand(sensor func() kernel.Sensor) sensorHand {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return sensorHand{sensor, proctable.BootTag(strings.TrimSpace(string(id)))}
}

// Do implements workload.Hand.
func (h sensorHand) Do(ctx context.Context, o workload.Order) (workload.Done, error) {
	sensor := h.sensor()
	if sensor == nil {
		return workload.Done{}, fmt.Errorf("%w: the sensor of the kernel plane does not run", respond.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, handWithin)
	defer cancel()
	order := kernel.Order{Verb: kernel.Verb(o.Verb), For: kernel.Verb(o.For), ID: o.ID, Keep: o.Keep}
	if o.Verb == workload.Thaw || o.Verb == workload.Join { // by the action's id, whatever became of the target
		done, err := sensor.Do(ctx, order)
		return workload.Done{Target: o.Target, Detail: done.Detail}, outage(err)
	}
	if err := h.aim(&order, o.Target); err != nil {
		return workload.Done{}, err
	}
	if o.Verb != workload.Radius {
		return h.act(ctx, sensor, o, order)
	}
	done, err := sensor.Do(ctx, order)
	if err != nil {
		return workload.Done{}, outage(err)
	}
	if done.Gone {
		return workload.Done{}, fmt.Errorf("%w: %s", workload.ErrGone, done.Refusal)
	}
	return h.radius(ctx, sensor, &o, &order, &done), nil
}

// act carries out what is not a look. Only a cgroup's network is isolated: that of a process is its container's.
func (h sensorHand) act(ctx context.Context, sensor kernel.Sensor, o workload.Order, order kernel.Order) (workload.Done, error) {
	if order.PID != 0 && order.Verb == kernel.VerbIsolate {
		look := order
		look.Verb, look.For, look.Keep = kernel.VerbRadius, kernel.VerbIsolate, nil
		at, err := sensor.Do(ctx, look)
		if err != nil {
			return workload.Done{}, outage(err)
		}
		if at.CgroupID <= 1 {
			return workload.Done{}, errors.New("it is in no container: only a container's network is isolated")
		}
		order.PID, order.Start, order.Cgroup = 0, 0, at.CgroupID
	}
	done, err := sensor.Do(ctx, order)
	return workload.Done{Target: o.Target, Count: done.Count, Detail: done.Detail}, outage(err)
}

// outage marks errors of a sensor that does not answer, and those of what has ended.
func outage(err error) error {
	if errors.Is(err, kernel.ErrGone) {
		return fmt.Errorf("%w: %w", workload.ErrGone, err)
	}
	if errors.Is(err, kernel.ErrUnable) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", respond.ErrUnavailable, err)
	}
	return err
}

var (
	// containerID is an id as runtimes give it, or the first digits of one, or a name of runc's.
	containerID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$`)
	// keyOfProcess is a key as package process writes it.
	keyOfProcess = regexp.MustCompile(`^[0-9a-f]{1,8}-[0-9]{1,10}-[0-9a-z]{1,13}$`)
	number       = regexp.MustCompile(`^[0-9]{1,7}$`)
	longID       = regexp.MustCompile(`[0-9a-f]{64}`)
)

// aim reads a target.
func (h sensorHand) aim(o *kernel.Order, target string) error {
	switch {
	case number.MatchString(target):
		pid, _ := strconv.ParseUint(target, 10, 32)
		if pid == 0 || o.Verb != kernel.VerbRadius { // what is acted on has its key by then
			return fmt.Errorf("%q is no process", target)
		}
		o.PID = uint32(pid)
	case keyOfProcess.MatchString(target):
		boot, pid, start, err := proctable.ParseKey(target)
		if err != nil {
			return err
		}
		if boot != h.boot || pid == 0 {
			return fmt.Errorf("process %s: %w: it was before the last boot, or on another machine", target, workload.ErrGone)
		}
		o.PID, o.Start = pid, start
	case containerID.MatchString(target):
		o.Container = target
	default:
		return fmt.Errorf("%.100q is no process and no container: give the number or key of a process, or the id of a container", target)
	}
	return nil
}

// radius says it in the responders' words, with the target in its canonical form.
func (h sensorHand) radius(ctx context.Context, sensor kernel.Sensor, o *workload.Order, order *kernel.Order, done *kernel.Done) workload.Done {
	d := workload.Done{Target: o.Target, Count: done.Count, Connections: done.Connections, Refusal: done.Refusal, Detail: done.Detail,
		Processes: processes(done.Processes), Sharing: processes(done.Sharing)}
	d.Container = h.container(ctx, sensor, order, done)
	switch {
	case order.PID == 0:
		d.Target = d.Container.ID
	case o.For != workload.Kill && d.Container.ID != "":
		d.Target = d.Container.ID // the whole of it is touched, whoever was named
	case len(done.Processes) > 0 && o.For == workload.Kill:
		d.Target = proctable.Key(h.boot, done.Processes[0].PID, done.Processes[0].Start)
	default:
		for _, p := range done.Processes {
			if p.PID == order.PID {
				d.Target = proctable.Key(h.boot, p.PID, p.Start)
			}
		}
	}
	if d.Refusal == "" && o.For == workload.Isolate && done.CgroupID <= 1 && order.PID != 0 {
		d.Refusal = "it is in no container: only a container's network is isolated"
	}
	return d
}

// container says in which one it is, as far as its runtime or the name of its cgroup tell.
func (h sensorHand) container(ctx context.Context, sensor kernel.Sensor, order *kernel.Order, done *kernel.Done) workload.Container {
	var pid uint32
	if len(done.Processes) > 0 {
		pid = done.Processes[0].PID
	}
	c, ok, err := sensor.Container(ctx, done.CgroupID, pid)
	if err == nil && ok && c.ID != "" {
		return workload.Container{ID: c.ID, Name: c.Name, Image: c.Image, Pod: c.Pod, Namespace: c.Namespace}
	}
	if id := longID.FindString(done.Cgroup); id != "" {
		return workload.Container{ID: id}
	}
	return workload.Container{ID: order.Container}
}

func processes(all []kernel.Touched) (out []workload.Process) {
	for _, p := range all {
		out = append(out, workload.Process{PID: p.PID, Name: p.Name, Exe: p.Exe})
	}
	return out
}

// handParts are the responders that act on processes and containers.
func (m *Machine) handParts() ([]respond.Part, error) {
	cfg, hands, needs := &m.settings.Respond, newHand(m.sensor), m.handNeeds()
	k, err := kill.New(cfg.Kill, cfg.Protect, hands)
	if err != nil {
		return nil, err
	}
	f, err := freeze.New(cfg.Freeze, cfg.Protect, hands)
	if err != nil {
		return nil, err
	}
	i, err := isolate.New(cfg.Isolate, cfg.Protect, hands)
	if err != nil {
		return nil, err
	}
	return []respond.Part{k.Part(needs), f.Part(needs), i.Part(needs)}, nil
}

// handNeeds says what is missing for the hand. A node that runs beside no sensor, or a command without a node, has none.
func (m *Machine) handNeeds() respond.Needs {
	return respond.Needs{OS: []string{"linux"}, Check: func() error {
		if m.opts.Keeper == nil {
			return errors.New("the sensor of the kernel plane does not run: start testudo with sudo testudo up")
		}
		return nil
	}}
}

// sensor returns that of the kernel plane, nil for none.
func (m *Machine) sensor() kernel.Sensor {
	if m.kernel == nil {
		return nil
	}
	return m.kernel.sensor
}
