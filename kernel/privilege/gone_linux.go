package privilege

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// goneEvery bounds how long the end of ctx takes to be noticed.
const goneEvery = 250 * time.Millisecond

// Gone waits until the keeper has ended and returns [ErrNoKeeper], or ctx's error where that ends before. It takes nothing of what the keeper says.
func (k *Keeper) Gone(ctx context.Context) error {
	conn, err := k.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("the keeper's socket: %w", err)
	}
	own := -1 // a descriptor of our own: the other may be closed, and its number be another's
	if err := conn.Control(func(fd uintptr) { own, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return fmt.Errorf("the keeper's socket: %w", err)
	}
	if err != nil {
		return fmt.Errorf("the keeper's socket: %w", err)
	}
	defer unix.Close(own)
	fds := []unix.PollFd{{Fd: int32(own)}} // its end is told of unasked
	for ctx.Err() == nil {
		n, err := unix.Poll(fds, int(goneEvery/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("the keeper's socket: %w", err)
		}
		if n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return ErrNoKeeper
		}
	}
	return ctx.Err()
}
