package assembly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/kernel/record"
)

// What a sensor is put together from. Any of it may be missing: then the sensor says so as a feature.
type (
	// eyes see: kernel/bpf, or what there is without it.
	eyes interface {
		// Open loads what this kernel takes.
		Open(ctx context.Context) error
		Run(ctx context.Context, receive func(batch []byte)) error
		Watch(ctx context.Context, want kernel.Interest) error
		Status() (kernel.Status, error)
		Close() error
	}
	// gates refuse: kernel/enforce.
	gates interface {
		// Open is called after the eyes are open, Run while they see.
		Open(ctx context.Context) error
		Run(ctx context.Context, to kernel.Receiver) error
		Guard(ctx context.Context, g kernel.Guard) error
		Status(into *kernel.Status)
		Close() error
	}
	// hands act: kernel/enforce/hand.
	hands interface {
		Do(ctx context.Context, o kernel.Order) (kernel.Done, error)
		Features() []kernel.Feature
	}
	// workloads know containers: kernel/workload.
	workloads interface {
		Container(ctx context.Context, cgroup uint64, pid uint32) (kernel.Container, bool, error)
	}
	// programs read executables: kernel/software.
	programs interface {
		Executable(ctx context.Context, r kernel.FileRef) (kernel.Executable, error)
	}
)

// SensorConfig is what a sensor is told when it starts, by whoever started testudo: what the node could change later, and root would then
// obey, is not in it.
type SensorConfig struct {
	Ring    bytesize.Size // of the buffer between kernel and sensor; 0 for the usual
	Sockets []string      // of container runtimes
	Pins    string        // where eBPF objects stay that outlive the sensor; "" where none are to
	Eyes    string        // as kernel.eyes; "" for auto
	Files   fim.Config    // the files that may be asked about
}

// SensorConfigOf returns what of the settings a sensor is told.
func SensorConfigOf(s *Settings) SensorConfig {
	cfg := SensorConfig{Ring: s.Kernel.Ring, Sockets: s.Kernel.Sockets, Eyes: s.Kernel.Eyes, Files: s.FIM}
	if s.Kernel.Fail == kernel.FailClosed {
		cfg.Pins = pinsFolder
	}
	return cfg
}

// pinsFolder is where the file system of eBPF objects is on every distribution.
const pinsFolder = "/sys/fs/bpf"

// sensorParts are the parts of a sensor; nil where one is missing.
type sensorParts struct {
	eyes      eyes
	gates     gates
	hands     hands
	workloads workloads
	programs  programs
	files     kernel.Examiner
	// seed tells of what runs already.
	seed func(ctx context.Context, emit func(batch []byte)) error
	// settled is called once all is loaded and told of; it gives back what only that took.
	settled func()
	// known appends what /proc knows of a process and of those that it came from, and clock is that of records: for gates that ask.
	known   func(batch []byte, pid uint32) []byte
	clock   func() uint64
	sockets []string // of container runtimes
	log     *slog.Logger
}

// sensor is the privileged side, composed. It implements kernel.Sensor.
type sensor struct {
	sensorParts

	opened chan struct{} // closed once Run has opened what there is, or could not

	mu     sync.Mutex
	open   bool
	failed error // why the eyes are shut
}

func newSensor(p sensorParts) *sensor {
	return &sensor{sensorParts: p, opened: make(chan struct{}), failed: kernel.ErrUnable}
}

// opening waits until Run has opened what there is. Who hears before that his rules hold would rely on it.
func (s *sensor) opening(ctx context.Context) error {
	select {
	case <-s.opened:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("what watches this host is still being loaded: %w", ctx.Err())
	}
}

// Run implements kernel.Sensor. Where nothing can be seen it stays all the same: it can act, and say what is missing.
func (s *sensor) Run(ctx context.Context, to kernel.Receiver) (err error) {
	to = &oneAtATime{Receiver: to}
	openErr := s.openEyes(ctx)
	defer func() { err = errors.Join(err, s.shut()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	failed := make(chan error, 3)
	run := func(what string, fn func(context.Context) error) {
		wait.Go(func() {
			if err := fn(ctx); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	if openErr == nil {
		run("eyes", func(ctx context.Context) error { return s.see(ctx, to) })
	}
	if s.gates != nil {
		run("gates", func(ctx context.Context) error { return s.refuse(ctx, to) })
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	wait.Wait()
	return err
}

// refuse runs the gates, whose questions and decisions come behind what was seen before them.
func (s *sensor) refuse(ctx context.Context, to kernel.Receiver) error {
	if s.clock == nil {
		return s.gates.Run(ctx, to)
	}
	o := &inOrder{Receiver: to, known: s.known, now: s.clock, decided: make(chan []byte, maxDecisions)}
	o.eyes, _ = s.eyes.(flusher)
	var wait sync.WaitGroup
	defer wait.Wait()
	telling, stop := context.WithCancel(ctx)
	defer stop()
	wait.Go(func() { o.tell(telling) })
	return s.gates.Run(ctx, o)
}

// settler is what of the gates can say that what the kernel decided until now is handed on.
type settler interface{ Settle(ctx context.Context) }

// settleWithin bounds how long what was seen waits for that. Where it takes longer, somebody has very much refused: then it does not wait for
// settlePause, or the reader would be held up until records are lost.
const (
	settleWithin = 50 * time.Millisecond
	settlePause  = time.Second
)

// receive hands on what was seen. A program that starts, or does not, may have been refused: that is announced first.
func (s *sensor) receive(ctx context.Context, to kernel.Receiver) func(batch []byte) {
	by, ok := s.gates.(settler)
	if !ok {
		return to.Records
	}
	var rushed time.Time // until when nobody is waited for
	return func(batch []byte) {
		if now := time.Now(); now.After(rushed) && starts(batch) {
			within, cancel := context.WithTimeout(ctx, settleWithin)
			by.Settle(within)
			if within.Err() != nil {
				rushed = now.Add(settlePause)
			}
			cancel()
		}
		to.Records(batch)
	}
}

// starts reports whether a batch tells of programs that start, or of calls that were not permitted.
func starts(batch []byte) bool {
	for {
		n, ok := record.Size(batch)
		if !ok {
			return false
		}
		if k := record.KindOf(batch); k == record.KindExec || k == record.KindCall || k == record.KindConnect {
			return true
		}
		batch = batch[n:]
	}
}

// see tells of what runs already, and then of what happens. What happens meanwhile waits in the kernel.
func (s *sensor) see(ctx context.Context, to kernel.Receiver) error {
	if s.seed != nil {
		if err := s.seed(ctx, to.Records); err != nil && ctx.Err() == nil {
			s.log.Warn("processes that ran before are not all known", "error", err)
		}
	}
	if s.settled == nil {
		return s.eyes.Run(ctx, s.receive(ctx, to))
	}
	s.settled()
	var wait sync.WaitGroup
	defer wait.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait.Go(func() { // digests of what runs and the list of packages are asked for at first, too
		select {
		case <-ctx.Done():
		case <-time.After(settleDelay):
			s.settled()
		}
	})
	return s.eyes.Run(ctx, s.receive(ctx, to))
}

// settleDelay is when what only the start has used is given back once more.
const settleDelay = 30 * time.Second

// openEyes loads the programs.
func (s *sensor) openEyes(ctx context.Context) error {
	defer close(s.opened)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eyes != nil {
		s.failed = s.eyes.Open(ctx)
	}
	s.open = true
	if s.failed != nil {
		s.log.Error("processes, files and sockets are not seen", "error", s.failed)
	}
	if s.gates != nil {
		if err := s.gates.Open(ctx); err != nil {
			s.log.Error("nothing is refused before it happens", "error", err)
		}
	}
	return s.failed
}

func (s *sensor) shut() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.gates != nil {
		errs = append(errs, s.gates.Close())
	}
	if s.eyes != nil && s.failed == nil {
		errs = append(errs, s.eyes.Close())
	}
	s.open, s.failed = false, kernel.ErrUnable
	return errors.Join(errs...)
}

// Watch implements kernel.Sensor.
func (s *sensor) Watch(ctx context.Context, want kernel.Interest) error {
	if err := s.opening(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return fmt.Errorf("nothing can be watched: %w", s.failed)
	}
	return s.eyes.Watch(ctx, want)
}

// Guard implements kernel.Sensor.
func (s *sensor) Guard(ctx context.Context, g kernel.Guard) error {
	if s.gates == nil {
		if len(g.Rules)+len(g.Ask) == 0 {
			return nil
		}
		return fmt.Errorf("nothing is refused before it happens: %w", kernel.ErrUnable)
	}
	if err := s.opening(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gates.Guard(ctx, g)
}

// Container implements kernel.Sensor.
func (s *sensor) Container(ctx context.Context, cgroup uint64, pid uint32) (kernel.Container, bool, error) {
	if s.workloads == nil {
		return kernel.Container{}, false, fmt.Errorf("containers: %w", kernel.ErrUnable)
	}
	return s.workloads.Container(ctx, cgroup, pid)
}

// Executable implements kernel.Sensor.
func (s *sensor) Executable(ctx context.Context, r kernel.FileRef) (kernel.Executable, error) {
	if s.programs == nil {
		return kernel.Executable{}, fmt.Errorf("executables: %w", kernel.ErrUnable)
	}
	return s.programs.Executable(ctx, r)
}

// Examine implements kernel.Examiner.
func (s *sensor) Examine(ctx context.Context, q kernel.ExamineRequest) (kernel.Examined, error) {
	if s.files == nil {
		return kernel.Examined{}, fmt.Errorf("files: %w", kernel.ErrUnable)
	}
	return s.files.Examine(ctx, q)
}

// Do implements kernel.Sensor.
func (s *sensor) Do(ctx context.Context, o kernel.Order) (kernel.Done, error) {
	if s.hands == nil {
		return kernel.Done{}, fmt.Errorf("%s: %w", o.Verb, kernel.ErrUnable)
	}
	return s.hands.Do(ctx, o)
}

// Status implements kernel.Sensor.
func (s *sensor) Status(context.Context) (kernel.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var st kernel.Status
	if s.open && s.eyes != nil {
		var err error
		if st, err = s.eyes.Status(); err != nil && s.failed == nil {
			return st, err
		}
	}
	if st.Kernel == "" {
		st.Kernel = release()
	}
	if s.failed != nil && s.open && !slices.ContainsFunc(st.Features, func(f kernel.Feature) bool { return !f.OK }) {
		st.Features = append(st.Features, kernel.Feature{Name: "kernel events", Detail: s.failed.Error(),
			Cost: "processes, files and sockets of this host are not watched", Mend: "run testudo as root, on Linux 5.8 or newer with BTF"})
	}
	if s.gates != nil {
		s.gates.Status(&st)
	} else {
		st.Features = append(st.Features, kernel.Feature{Name: "gates", Detail: "they take root, and Linux",
			Cost: "nothing is refused before it happens: where a rule is enforced, who did it is killed, if it is a process of this user", Mend: "sudo testudo up"})
	}
	if s.hands != nil {
		st.Features = append(st.Features, s.hands.Features()...)
		if s.gates == nil {
			st.Gates = append(st.Gates, record.GateKill)
		}
	} else {
		st.Features = append(st.Features, kernel.Feature{Name: "actions", Detail: "not on this system", Cost: "nothing is killed, frozen or isolated"})
	}
	st.Features = append(st.Features, s.runtimes())
	return st, nil
}

// runtimes says which container runtimes answer here.
func (s *sensor) runtimes() kernel.Feature {
	f := kernel.Feature{Name: "containers", OK: true, Detail: "ids by the name of the cgroup; no runtime's socket is here to ask for more"}
	var there []string
	for _, path := range s.sockets {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			there = append(there, path)
		}
	}
	if len(there) > 0 {
		f.Detail = "image, labels and pod from " + strings.Join(there, ", ")
	}
	return f
}

// oneAtATime has batches of several parts come one behind the other.
type oneAtATime struct {
	kernel.Receiver
	mu sync.Mutex
}

func (o *oneAtATime) Records(batch []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.Receiver.Records(batch)
}
