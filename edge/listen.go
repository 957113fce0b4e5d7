package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Listen opens the configured addresses, so that a busy port is known before anything
// runs. On an error none stays open. Run listens by itself where Listen was not called.
func (ed *Edge) Listen(ctx context.Context) error {
	ed.mu.Lock()
	defer ed.mu.Unlock()
	if len(ed.listeners) > 0 {
		return errors.New("edge: listens already")
	}
	var lc net.ListenConfig
	for _, l := range ed.cfg.Listen {
		ln, err := lc.Listen(ctx, "tcp", l.Address)
		if err != nil {
			for _, open := range ed.listeners {
				open.Close()
			}
			ed.listeners = nil
			return listenError(l.Address, err)
		}
		ed.listeners = append(ed.listeners, ed.newGate(ln, l.TLS))
	}
	return nil
}

func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("edge: %s is in use by another program; `ss -ltnp` as root names it; stop it, or let the edge listen elsewhere: %w", address, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("edge: not allowed to listen on %s: ports below net.ipv4.ip_unprivileged_port_start (1024) need root or the capability CAP_NET_BIND_SERVICE: %w", address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("edge: %s is no address of this machine: %w", address, err)
	}
	return fmt.Errorf("edge: listen on %s: %w", address, err)
}

// Addrs returns the addresses the edge listens on, ports chosen by the system included.
func (ed *Edge) Addrs() []net.Addr {
	ed.mu.Lock()
	defer ed.mu.Unlock()
	addrs := make([]net.Addr, len(ed.listeners))
	for i, l := range ed.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// gate is the listener that net/http sees: it bounds connections, makes TLS
// handshakes, and puts a framer before HTTP/1.
type gate struct {
	net.Listener
	ed     *Edge
	config *tls.Config // nil without TLS
	ready  chan net.Conn
	ctx    context.Context // ends when the gate is closed
	cancel context.CancelFunc
	once   sync.Once
	hands  sync.WaitGroup // handshakes under way, and the accept loop
}

func (ed *Edge) newGate(ln net.Listener, withTLS bool) *gate {
	g := &gate{Listener: ln, ed: ed}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if withTLS {
		g.config, g.ready = ed.tlsConfig(), make(chan net.Conn)
	}
	return g
}

// admit accepts connections until one fits within the limits.
func (g *gate) admit() (*slotConn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		free, reason := g.ed.conns.take(addrPort(c.RemoteAddr()).Addr())
		if reason != "" {
			g.ed.metrics.reject(reason)
			if t, ok := c.(*net.TCPConn); ok {
				t.SetLinger(0) // no time-wait state for a flood to fill
			}
			c.Close()
			continue
		}
		return &slotConn{Conn: c, free: free, stall: g.ed.cfg.Limits.StallTimeout}, nil
	}
}

// Accept returns the next connection that is ready for net/http.
func (g *gate) Accept() (net.Conn, error) {
	if g.config == nil {
		c, err := g.admit()
		if err != nil {
			return nil, err
		}
		return g.ed.newHTTP1Conn(c, g.ed.newConnInfo(c)), nil
	}
	g.once.Do(func() { g.hands.Go(g.acceptTLS) })
	select {
	case c := <-g.ready:
		return c, nil
	case <-g.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (g *gate) acceptTLS() {
	for {
		c, err := g.admit()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors or memory: net/http waits as well.
			g.ed.log.Error("edge: accept a connection", "err", err)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-g.ctx.Done():
				return
			}
			continue
		}
		g.hands.Go(func() { g.handshake(c) })
	}
}

func (g *gate) handshake(c *slotConn) {
	ctx, cancel := context.WithTimeout(g.ctx, g.ed.cfg.Limits.HeaderTimeout)
	defer cancel()
	t := tls.Server(c, g.config)
	if err := t.HandshakeContext(ctx); err != nil {
		g.ed.metrics.reject(reasonTLS)
		c.Close()
		return
	}
	var conn net.Conn = t
	if state := t.ConnectionState(); state.NegotiatedProtocol != "h2" {
		info := g.ed.newConnInfo(c)
		info.tls = newTLSInfo(&state)
		conn = http1TLSConn{g.ed.newHTTP1Conn(t, info)}
	}
	select {
	case g.ready <- conn:
	case <-g.ctx.Done():
		conn.Close()
	}
}

// Close stops accepting and waits for handshakes under way.
func (g *gate) Close() error {
	if g.ctx.Err() != nil {
		return net.ErrClosed
	}
	g.cancel()
	err := g.Listener.Close()
	g.hands.Wait()
	return err
}

// connTable bounds connections.
type connTable struct {
	max, perClient int
	exempt         func(netip.Addr) bool

	mu   sync.Mutex
	open int
	by   map[netip.Addr]int
}

// take takes a place; free gives it back. A reason is why there is none.
func (t *connTable) take(a netip.Addr) (free func(), reason string) {
	counted := t.perClient > 0 && !t.exempt(a)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open >= t.max {
		return nil, reasonConnections
	}
	if counted {
		if t.by[a] >= t.perClient {
			return nil, reasonPerClient
		}
		t.by[a]++
	}
	t.open++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open--
		if !counted {
			return
		}
		if t.by[a]--; t.by[a] <= 0 {
			delete(t.by, a)
		}
	}, ""
}

func (t *connTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}
