package confine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// stageFD is where the stage finds its end of the socket pair.
const stageFD = 3

// maxOrder bounds what the stage is told.
const maxOrder = 4 << 20

// order is what the stage does: restrict itself, and execute.
type order struct {
	Path   string        `json:"path"`
	Argv   []string      `json:"argv"`
	Calls  []record.Call `json:"calls"`
	Opens  Opens         `json:"opens"`
	Limits Limits        `json:"limits"`
}

// Stage is the main function of the process that becomes the program: it reads its order, restricts itself, hands the
// supervisor its end of the filter, and executes the program. It returns only with an error.
func Stage() error {
	// Filter and domain are the calling thread's. The others go when it executes the program.
	runtime.LockOSThread()
	sock := os.NewFile(stageFD, "supervisor")
	if sock == nil {
		return errors.New("this is a stage of testudo run, and nothing to start by hand")
	}
	o, err := readOrder(sock)
	if err != nil {
		return err
	}
	if err := o.restrict(); err != nil {
		o.tell(err)
		return err
	}
	program, err := filter(o.Calls, o.Opens)
	if err != nil {
		o.tell(err)
		return err
	}
	hand := sender()
	listener, err := install(program)
	if err != nil {
		o.tell(err)
		return err
	}
	// From here on every call of this thread that the filter names waits for the supervisor.
	if err := hand(listener); err != nil {
		return fmt.Errorf("to the supervisor: %w", err)
	}
	unix.Close(listener)
	unix.CloseOnExec(stageFD)
	return fmt.Errorf("%s: %w", o.Path, syscall.Exec(o.Path, o.Argv, os.Environ()))
}

// sender returns a function that hands the supervisor its end of the filter. It does so on a thread that the filter does not hold for, being older:
// sendmsg is one of the calls that wait for who has that end.
func sender() (hand func(fd int) error) {
	ready, fds, sent := make(chan struct{}), make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread()
		close(ready)
		sent <- unix.Sendmsg(stageFD, []byte{0}, unix.UnixRights(<-fds), nil, 0)
	}()
	<-ready
	return func(fd int) error {
		fds <- fd
		return <-sent
	}
}

func readOrder(r io.Reader) (*order, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, fmt.Errorf("from the supervisor: %w", err)
	}
	n := binary.NativeEndian.Uint32(size[:])
	if n > maxOrder {
		return nil, fmt.Errorf("from the supervisor: %d bytes are no order", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("from the supervisor: %w", err)
	}
	o := new(order)
	if err := json.Unmarshal(text, o); err != nil {
		return nil, fmt.Errorf("from the supervisor: %w", err)
	}
	if o.Path == "" || len(o.Argv) == 0 {
		return nil, errors.New("from the supervisor: no program is named")
	}
	return o, nil
}

func (o *order) restrict() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	return o.Limits.restrict()
}

// tell tells the supervisor why the program is not started. The process's own exit says that it is not.
func (o *order) tell(err error) {
	_, _ = unix.Write(stageFD, append([]byte{1}, err.Error()...))
}

// start starts a stage with the command's streams, folder and environment, gives it its order, and returns the supervisor's end of
// the filter.
func start(cmd *exec.Cmd, o *order) (listener int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "stage"), os.NewFile(uintptr(pair[1]), "supervisor")
	defer ours.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return -1, err
	}
	text, err := json.Marshal(o)
	if err == nil {
		_, err = ours.Write(append(binary.NativeEndian.AppendUint32(nil, uint32(len(text))), text...))
	}
	if err == nil {
		listener, err = receive(ours)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return -1, err
	}
	return listener, nil
}

// receive takes the supervisor's end of the filter from the stage, or why there is none.
func receive(ours *os.File) (int, error) {
	conn, err := net.FileConn(ours)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	text, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(text, control)
	if err != nil {
		return -1, fmt.Errorf("from the stage: %w", err)
	}
	if n > 0 && text[0] == 1 {
		return -1, errors.New(string(text[1:n]))
	}
	messages, err := unix.ParseSocketControlMessage(control[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, errors.New("the stage ended before it restricted itself")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("from the stage: no filter came: %w", err)
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}
