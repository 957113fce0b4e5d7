package privilege

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Times of the keeper.
const (
	firstPause = 500 * time.Millisecond
	longPause  = time.Minute
	steady     = 2 * time.Minute  // a sensor that ran as long is not paused for
	undoWithin = 20 * time.Second // that a sensor has after the end of the node
)

// keeperSocket is the descriptor on which a keeper finds the node.
const keeperSocket = 3

// Keep is the keeper's life: it starts the program with these arguments as the sensor, again and again, until the node is gone. The sensor
// finds its link by [BeSensor].
func Keep(args []string) error {
	ignoreSignals()
	rename("testudo-keeper")
	if err := protect(); err != nil {
		return err
	}
	unix.CloseOnExec(keeperSocket)
	if kind, err := unix.GetsockoptInt(keeperSocket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return fmt.Errorf("descriptor %d is not the node's socket: this command is started by testudo up alone", keeperSocket)
	}
	f := os.NewFile(keeperSocket, "node")
	c, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return fmt.Errorf("the node's socket: %w", err)
	}
	node, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return errors.New("the node's socket is of another family")
	}
	defer node.Close()
	ctx, gone := context.WithCancel(context.Background())
	go func() {
		// The node sends nothing: what comes is its end.
		_, _ = node.Read(make([]byte, 1))
		gone()
	}()
	for pause := firstPause; ; {
		began := time.Now()
		reason, err := keepOne(ctx, node, args)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			reason = err.Error()
		}
		if time.Since(began) > steady {
			pause = firstPause
		}
		if err := tell(node, News{Ended: reason, Again: pause}); err != nil {
			return nil // the node is gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// ignoreSignals: whoever stops the node stops what belongs to it, in its order. A terminal's and a service manager's signals go to
// all processes at once.
func ignoreSignals() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGXFSZ)
}

// keepOne starts a sensor and waits for its end.
func keepOne(ctx context.Context, node *net.UnixConn, args []string) (reason string, err error) {
	var mine, theirs []*os.File
	defer func() { closeAll(mine); closeAll(theirs) }()
	for _, name := range []string{"control", "records"} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return "", fmt.Errorf("socket pair: %w", err)
		}
		mine = append(mine, os.NewFile(uintptr(fds[0]), name))
		theirs = append(theirs, os.NewFile(uintptr(fds[1]), name))
	}
	words := &lastWords{}
	cmd := exec.Cmd{Path: ourselves, Args: append([]string{os.Args[0]}, args...), Env: []string{"GOTRACEBACK=single"}, Dir: "/",
		Stderr: words, ExtraFiles: theirs}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("the sensor does not start: %w", err)
	}
	closeAll(theirs)
	theirs = nil
	if err := tell(node, News{PID: cmd.Process.Pid}, mine...); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return "", err
	}
	closeAll(mine)
	mine = nil
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	Trim()
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(undoWithin):
			_ = cmd.Process.Kill()
			err = <-ended
		}
	}
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	if last := words.String(); last != "" {
		how += ": " + last
	}
	return how, nil
}

// tell sends news to the node, with files.
func tell(node *net.UnixConn, n News, files ...*os.File) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if len(text) > maxNews {
		return errors.New("too much news")
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_ = node.SetWriteDeadline(time.Now().Add(undoWithin))
	_, _, err = node.WriteMsgUnix(text, rights, nil)
	return err
}

// lastWords keeps the end of what a program writes, and the beginning of a Go program's panic.
type lastWords struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// maxWords bounds what is kept, in bytes.
const maxWords = 2 << 10

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := maxWords - l.text.Len(); room > 0 {
		l.text.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(l.text.String(), "?"))
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

// filesOf returns the files that came with a message.
func filesOf(oob []byte) []*os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "link"))
		}
	}
	return files
}
