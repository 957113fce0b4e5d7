package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// maxSocketPath is what a socket address holds on every system testudo runs on
// (sun_path: 108 bytes on Linux, 104 on the BSDs, with the zero at the end).
const maxSocketPath = 103

// ErrSocketTaken says that another node answers on the control socket.
var ErrSocketTaken = errors.New("another testudo answers there")

// ListenSocket binds the control socket, mode 0600, in a folder that nobody else can
// enter. A socket that a dead node left is removed; a living one is ErrSocketTaken.
func (s *Server) ListenSocket(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("control socket %s: the path has %d bytes, at most %d fit: set XDG_RUNTIME_DIR or a shorter data directory", path, len(path), maxSocketPath)
	}
	if err := privateFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := clearStale(path); err != nil {
		return fmt.Errorf("control socket %s: %w", path, err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("control socket %s: %w", path, unwrapOp(err))
	}
	// Until this line the folder's mode alone keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return fmt.Errorf("control socket: %w", err)
	}
	s.sock = &peerListener{UnixListener: ln, server: s}
	return nil
}

// privateFolder makes sure that the folder is ours and closed to others.
func privateFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others may enter %s (mode %04o): chmod 0700 it", dir, fi.Mode().Perm())
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, not to uid %d", dir, st.Uid, os.Geteuid())
	}
	return nil
}

// clearStale removes a socket that nobody answers on, and nothing else.
func clearStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode()&fs.ModeSocket == 0 {
		return errors.New("there is a file of that name that is not a socket: move it away")
	}
	c, err := net.DialTimeout("unix", path, 2*time.Second)
	if err == nil {
		_ = c.Close()
		return ErrSocketTaken
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether somebody answers there: %w", unwrapOp(err))
	}
	return os.Remove(path)
}

// peer is the process at the other end of the control socket.
type peer struct {
	identity Identity
	refused  string // why it may not, if it may not
}

// peerListener asks the kernel who connects.
type peerListener struct {
	*net.UnixListener
	server *Server
}

func (l *peerListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	p := &peer{}
	uid, err := peerUID(c)
	switch {
	case err != nil:
		p.refused = "the system does not say which user you are: " + err.Error()
	case uid != uint32(os.Geteuid()) && uid != 0:
		p.refused = fmt.Sprintf("uid %d may not command this node: only uid %d and root may", uid, os.Geteuid())
		l.server.log.Warn("control socket: refused", "uid", uid)
	default:
		p.identity = Identity{Name: "uid:" + strconv.FormatUint(uint64(uid), 10), Role: RoleAdmin, Kind: KindLocal}
	}
	return &peerConn{Conn: c, peer: p}, nil
}

type peerConn struct {
	net.Conn
	peer *peer
}

type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	if pc, ok := c.(*peerConn); ok {
		return context.WithValue(ctx, peerKey{}, pc.peer)
	}
	return context.WithValue(ctx, peerKey{}, &peer{refused: "not a control connection"})
}

func peerOf(ctx context.Context) *peer {
	p, _ := ctx.Value(peerKey{}).(*peer)
	return p
}

// unwrapOp takes away net's repetition of the address.
func unwrapOp(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
