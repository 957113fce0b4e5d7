package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// NewSyslog binds the address. open makes a Taker for each connection, or one for UDP.
func NewSyslog(ctx context.Context, cfg Syslog, limits Limits, open func() (Taker, error), log *slog.Logger) (Listener, error) {
	if err := errors.Join(cfg.Validate(), limits.Validate()); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	if cfg.Transport == "udp" {
		return newUDP(ctx, cfg, limits, open, log)
	}
	var secure *tls.Config
	if cfg.Transport == "tls" {
		var err error
		if secure, err = cfg.TLS.config(); err != nil {
			return nil, err
		}
	}
	ln, err := lc.Listen(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, err
	}
	s := &stream{cfg: cfg, limits: limits, open: open, log: log, counters: newCounters(), secure: secure}
	s.ln = &limited{Listener: ln, counters: s.counters, limits: &s.limits, log: log}
	return s, nil
}

// stream takes syslog messages over TCP, with or without TLS.
type stream struct {
	*counters
	cfg    Syslog
	limits Limits
	open   func() (Taker, error)
	log    *slog.Logger
	ln     net.Listener
	secure *tls.Config
}

func (s *stream) Addr() net.Addr { return s.ln.Addr() }
func (s *stream) Close() error   { return s.ln.Close() }
func (s *stream) Stats() Stats   { return s.stats(s.ln.Addr().String(), s.cfg.Transport) }

// Run takes connections until ctx ends. What a sender has sent until then and what has not been read is lost
// to it: syslog has no acknowledgement.
func (s *stream) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	stop := context.AfterFunc(ctx, func() { _ = s.ln.Close() })
	defer stop()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wait.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			s.serve(ctx, conn)
		})
	}
}

func (s *stream) serve(ctx context.Context, conn net.Conn) {
	from := addrOf(conn.RemoteAddr())
	if s.secure != nil {
		_ = conn.SetDeadline(time.Now().Add(s.limits.MessageTimeout))
		t := tls.Server(conn, s.secure)
		if err := t.HandshakeContext(ctx); err != nil {
			s.refuse(RefusedTLS, 1)
			s.log.Debug("a TLS handshake did not succeed", "from", from, "error", err)
			return
		}
		_ = conn.SetDeadline(time.Time{})
		conn = t
	}
	taker, err := s.open()
	if err != nil {
		s.log.Error("messages cannot be taken", "address", s.cfg.Address, "error", err)
		return
	}
	f := newFramer(conn, int(s.limits.Message))
	for ctx.Err() == nil {
		// The wait for a message is long, the wait for its end is short.
		if f.r.Buffered() == 0 {
			readWithin(ctx, conn, s.limits.IdleTimeout)
			if _, err := f.r.Peek(1); err != nil {
				return // it has gone, or been silent
			}
		}
		readWithin(ctx, conn, s.limits.MessageTimeout)
		message, err := f.next()
		switch {
		case err == nil:
			if err := taker.Take(ctx, message, from); err != nil {
				s.refuse(RefusedNotTaken, 1)
				s.log.Error("a message could not be handed on", "from", from, "error", err)
				return
			}
			s.took(from.Addr(), len(message))
		case errors.Is(err, errOversize):
			s.refuse(RefusedOversize, 1)
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			s.refuse(RefusedSlow, 1)
			return
		case errors.Is(err, errFraming), errors.Is(err, io.ErrUnexpectedEOF):
			s.refuse(RefusedFraming, 1)
			return
		default:
			return
		}
	}
}

// readWithin bounds the next reads. Where ctx has ended meanwhile, the deadline that its end has set stays.
func readWithin(ctx context.Context, conn net.Conn, d time.Duration) {
	_ = conn.SetReadDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// datagrams takes syslog messages over UDP.
type datagrams struct {
	*counters
	cfg    Syslog
	limits Limits
	open   func() (Taker, error)
	log    *slog.Logger
	conn   *net.UDPConn
	free   sync.Pool
}

// datagram is a message that waits.
type datagram struct {
	buf  []byte
	from netip.AddrPort
}

// socketBuffer is asked of the kernel, for the time in which the reader does not run.
const socketBuffer = 4 << 20

func newUDP(ctx context.Context, cfg Syslog, limits Limits, open func() (Taker, error), log *slog.Logger) (Listener, error) {
	pc, err := new(net.ListenConfig).ListenPacket(ctx, "udp", cfg.Address)
	if err != nil {
		return nil, err
	}
	d := &datagrams{counters: newCounters(), cfg: cfg, limits: limits, open: open, log: log, conn: pc.(*net.UDPConn)}
	_ = d.conn.SetReadBuffer(socketBuffer) // the kernel gives what it allows
	countDrops(d.conn)
	return d, nil
}

func (d *datagrams) Addr() net.Addr { return d.conn.LocalAddr() }
func (d *datagrams) Close() error   { return d.conn.Close() }
func (d *datagrams) Stats() Stats   { return d.stats(d.conn.LocalAddr().String(), "udp") }

// Run reads as fast as it can, and judges as fast as it goes: between them is a queue with a bound.
func (d *datagrams) Run(ctx context.Context) error {
	taker, err := d.open()
	if err != nil {
		return err
	}
	queue := make(chan datagram, d.limits.Queue)
	var held atomic.Int64 // bytes that wait
	var wait sync.WaitGroup
	wait.Go(func() {
		for m := range queue {
			// What was received is judged, also while testudo stops.
			if err := taker.Take(context.WithoutCancel(ctx), m.buf, m.from); err != nil {
				d.refuse(RefusedNotTaken, 1)
			} else {
				d.took(m.from.Addr(), len(m.buf))
			}
			held.Add(-int64(cap(m.buf)))
			d.release(m.buf)
		}
	})
	defer wait.Wait()
	defer close(queue)
	stop := context.AfterFunc(ctx, func() { _ = d.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer d.conn.Close()
	buf := make([]byte, 65536) // no datagram is longer
	oob := make([]byte, 64)
	var dropped uint32
	for {
		n, oobn, _, from, err := d.conn.ReadMsgUDPAddrPort(buf, oob)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			continue // an ICMP answer to somebody
		}
		if total, ok := dropsIn(oob[:oobn]); ok && total != dropped {
			d.refuse(RefusedKernel, uint64(total-dropped))
			dropped = total
		}
		if n > int(d.limits.Message) {
			d.refuse(RefusedOversize, 1)
			continue
		}
		message := buf[:n]
		for len(message) > 0 && (message[len(message)-1] == '\n' || message[len(message)-1] == 0 || message[len(message)-1] == '\r') {
			message = message[:len(message)-1]
		}
		if len(message) == 0 {
			continue
		}
		m := datagram{from: netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())}
		if b, ok := d.free.Get().(*[]byte); ok {
			m.buf = *b
		}
		m.buf = append(m.buf[:0], message...)
		size := int64(cap(m.buf))
		if held.Add(size) <= int64(d.limits.Memory) {
			select {
			case queue <- m:
				continue
			default:
			}
		}
		held.Add(-size)
		d.refuse(RefusedQueue, 1)
		d.release(m.buf)
	}
}

// usual is the size of a buffer that is kept for a next message: one that held a long message would hold many short
// ones in its time.
const usual = 4 << 10

func (d *datagrams) release(buf []byte) {
	if cap(buf) <= usual {
		d.free.Put(&buf)
	}
}
