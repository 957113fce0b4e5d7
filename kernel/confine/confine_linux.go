package confine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Options says what is run and how it is bounded.
type Options struct {
	// Stage is the command that runs [Stage]: this binary and the arguments that lead there. Its folder, environment and streams
	// become the program's.
	Stage *exec.Cmd
	// Path and Argv are the program and its arguments, its name as the first.
	Path string
	Argv []string
	// Limits bounds it by Landlock.
	Limits Limits
	// Opens says which opens of files are looked at.
	Opens Opens
	// Tasks is how many processes and threads it may have at once with all that it started, 0 for [DefaultTasks]. More cannot be made: EAGAIN.
	Tasks int
	// Crowded is told once when Tasks was reached; may be nil.
	Crowded func(limit int)
	// Wait is how long a call waits for an answer. Then it is refused.
	Wait time.Duration
}

// Program is a program that runs under a supervisor: a [kernel.Sensor] of what it does.
type Program struct {
	opts    Options
	process atomic.Pointer[os.Process] // nil before it was started
	records atomic.Uint64
	late    atomic.Uint64 // questions that were not answered in time
	gone    atomic.Uint64 // calls whose process had gone before they were looked at

	crowd crowd

	mu   sync.Mutex
	exit error // of the program, once done is closed
	done chan struct{}

	telling sync.Mutex // of records: one at a time
	met     map[uint32]uint64
}

// maxMet bounds the processes that are remembered as told of.
const maxMet = 8192

// maxAsking bounds the calls that wait for an answer at once. More wait in the kernel.
const maxAsking = 64

// New returns a program that is not started.
func New(o Options) *Program {
	if o.Wait <= 0 {
		o.Wait = 2 * time.Second
	}
	if o.Opens == "" {
		o.Opens = OpensWrites
	}
	if o.Tasks <= 0 {
		o.Tasks = DefaultTasks
	}
	var full func()
	if o.Crowded != nil {
		full = func() { o.Crowded(o.Tasks) }
	}
	return &Program{opts: o, crowd: crowd{limit: o.Tasks, full: full, tasks: 1}, done: make(chan struct{}), met: map[uint32]uint64{}}
}

// Done is closed when the program has ended; [Program.Exit] says how.
func (p *Program) Done() <-chan struct{} { return p.done }

// Exit returns how the program ended: nil, an *exec.ExitError, or why it was not started.
func (p *Program) Exit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// Run starts the program and answers for its calls until it and all that it started have ended. When ctx ends first,
// the program is killed, and all that it started. This process becomes the parent of what the program leaves behind (PR_SET_CHILD_SUBREAPER).
func (p *Program) Run(ctx context.Context, to kernel.Receiver) error {
	defer close(p.done)
	err := p.run(ctx, to)
	p.mu.Lock()
	p.exit = err
	p.mu.Unlock()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (p *Program) run(ctx context.Context, to kernel.Receiver) error {
	if err := adopt(); err != nil {
		return fmt.Errorf("what the program leaves behind cannot be watched over: %w", err)
	}
	cmd := p.opts.Stage
	listener, err := start(cmd, &order{Path: p.opts.Path, Argv: p.opts.Argv, Calls: watched(), Opens: p.opts.Opens, Limits: p.opts.Limits})
	if err != nil {
		return err
	}
	p.process.Store(cmd.Process)
	p.crowd.program = cmd.Process.Pid // before anything is answered
	answering, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		p.answer(answering, listener, to)
		unix.Close(listener)
	})
	killer := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer killer()
	err = cmd.Wait()
	// What the program left behind is answered for as long as it lives, unless we are told to stop.
	wg.Wait()
	if ctx.Err() != nil {
		endAll(cmd.Process.Pid)
	}
	reap(cmd.Process.Pid)
	return err
}

// notification is struct seccomp_notif, response struct seccomp_notif_resp.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

const ioctlStillValid = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID

// answer answers calls until nothing is left that could make one, or ctx ends.
func (p *Program) answer(ctx context.Context, listener int, to kernel.Receiver) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return
	}
	defer unix.Close(wake)
	rung := make(chan struct{})
	quiet := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(rung)
	})
	var wg sync.WaitGroup
	defer func() { // before the descriptors are closed
		if !quiet() {
			<-rung
		}
		wg.Wait()
	}()
	slots := make(chan struct{}, maxAsking)
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		switch {
		case fds[0].Revents&unix.POLLIN != 0:
		case fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0:
			return // the last process of the filter has ended
		default:
			continue
		}
		var n notification
		if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
			continue // its process has gone meanwhile
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			p.reply(ctx, listener, &n, to)
		})
	}
}

// reply answers one call.
func (p *Program) reply(ctx context.Context, listener int, n *notification, to kernel.Receiver) {
	if call, _ := callOf(int(n.nr)); makesTasks(call) {
		p.admit(listener, n)
		return
	}
	all, errno := p.look(n)
	// What was read is of this call only if it still waits: else the process may be another one by now.
	if err := ioctl(listener, ioctlStillValid, unsafe.Pointer(&n.id)); err != nil {
		p.gone.Add(1)
		return
	}
	for _, r := range all {
		if !p.ask(ctx, r, to) {
			errno = unix.EPERM
			break
		}
	}
	resp := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if errno != 0 {
		resp.errno, resp.flags = -int32(errno), 0
	}
	if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&resp)); err != nil {
		p.gone.Add(1)
	}
}

// admit answers a call that makes a process or a thread.
func (p *Program) admit(listener int, n *notification) {
	resp := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if !p.crowd.admit() {
		resp.errno, resp.flags = -int32(unix.EAGAIN), 0
	}
	if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&resp)); err != nil {
		p.gone.Add(1)
	}
}

// ask reports whether something may happen. No answer in time is no.
func (p *Program) ask(ctx context.Context, r *record.Record, to kernel.Receiver) bool {
	p.meet(r, to)
	asking, cancel := context.WithTimeout(ctx, p.opts.Wait)
	defer cancel()
	// The question is judged behind all that was told before it.
	marked := *r
	marked.Time, marked.Flags = now(), r.Flags|record.FlagMarked
	mark := record.Record{Kind: record.KindMark, Time: marked.Time}
	to.Records(mark.Append(nil))
	answer := to.Ask(asking, marked.Append(nil), record.GateSeccomp)
	p.records.Add(1)
	switch {
	case asking.Err() != nil:
		p.late.Add(1)
		return false
	case answer.Deny:
		return false
	}
	if r.Kind == record.KindExec {
		p.tell(r, to)
	}
	return true
}

// meet tells of a process that is seen for the first time, so that it has a parent.
func (p *Program) meet(r *record.Record, to kernel.Receiver) {
	p.telling.Lock()
	defer p.telling.Unlock()
	if p.met[r.PID] == r.Start {
		return
	}
	if len(p.met) >= maxMet {
		clear(p.met)
	}
	p.met[r.PID] = r.Start
	fork := record.Record{Kind: record.KindFork, Time: r.Start, Start: r.Start, PID: r.PID, TID: r.PID, PPID: r.PPID, UID: r.UID, GID: r.GID,
		LoginUID: r.LoginUID, Comm: r.Comm}
	to.Records(fork.Append(nil))
}

// tell tells what a process is from now on. It was judged before it happened, and is not judged again.
func (p *Program) tell(r *record.Record, to kernel.Receiver) {
	p.telling.Lock()
	defer p.telling.Unlock()
	is := *r
	is.Flags |= record.FlagSeeded
	to.Records(is.Append(nil))
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// Watch takes what is to be seen: the filter of a program that runs cannot change, so that all that it names is handed on.
func (p *Program) Watch(context.Context, kernel.Interest) error { return nil }

// Guard is not needed: every call that is looked at is judged before it happens.
func (p *Program) Guard(_ context.Context, g kernel.Guard) error { return nil }

// Container knows none: the program runs where it was started.
func (p *Program) Container(context.Context, uint64, uint32) (kernel.Container, bool, error) {
	return kernel.Container{}, false, nil
}

// Executable is not read.
func (p *Program) Executable(context.Context, kernel.FileRef) (kernel.Executable, error) {
	return kernel.Executable{}, fmt.Errorf("hashes and packages of executables: %w", kernel.ErrUnable)
}

// Do kills the program; other orders are not possible without privileges.
func (p *Program) Do(_ context.Context, o kernel.Order) (kernel.Done, error) {
	process := p.process.Load()
	if o.Verb != kernel.VerbKill || process == nil || int(o.PID) != process.Pid {
		return kernel.Done{}, fmt.Errorf("%s: only the program itself can be killed: %w", o.Verb, kernel.ErrUnable)
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return kernel.Done{}, err
	}
	return kernel.Done{Detail: "the program was killed"}, nil
}

// Signal hands a signal on to the program. Before its start and after its end that is nothing.
func (p *Program) Signal(s os.Signal) {
	if process := p.process.Load(); process != nil {
		_ = process.Signal(s) // it may have ended
	}
}

// Status says what bounds the program.
func (p *Program) Status(context.Context) (kernel.Status, error) {
	abi := landlockABI()
	features := []kernel.Feature{{Name: "seccomp notification", OK: true, Detail: "calls are judged before they happen"},
		{Name: "landlock", OK: abi > 0, Detail: fmt.Sprintf("version %d bounds files, from 4 on ports, from 6 on signals", abi)}}
	crowd := kernel.Feature{Name: "tasks", OK: true, Detail: fmt.Sprintf("at most %d processes and threads at once", p.opts.Tasks)}
	p.crowd.mu.Lock()
	if n := p.crowd.refused; n > 0 {
		crowd.Detail += fmt.Sprintf("; %d more were not made", n)
	}
	p.crowd.mu.Unlock()
	features = append(features, crowd)
	if abi == 0 {
		features[1].Detail, features[1].Cost = "the kernel has none", "files and ports are not bounded, the program may trace its supervisor"
		features[1].Mend = "boot a kernel from 5.13 on with landlock in lsm="
	}
	return kernel.Status{Mode: "seccomp", Features: features, Records: p.records.Load(), Gates: []record.Gate{record.GateSeccomp},
		Lost: map[record.Kind]uint64{record.KindCall: p.gone.Load()}}, nil
}
