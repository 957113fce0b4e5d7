// Package listen takes records of logs from the network: syslog over UDP, TCP and TLS, and OpenTelemetry logs
// over HTTP and gRPC. It knows transports only: messages and requests go to a [Taker] or an [Exporter] as bytes.
//
// Everything that a sender can make a listener hold is bounded: connections, in all and from one address; the
// length of a message and of a request, before and after decompression; the time that a message may take
// once it has begun; what all requests together hold in memory. What is refused or dropped is counted,
// and the sender is told where its protocol has words for it. A listener that can be reached from elsewhere needs TLS,
// or the explicit word that it needs none.
//
// Records from the network are claims of whoever sent them. Who wants to know who that was uses TLS with a
// client authority, or a token.
package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Taker takes the messages of one socket or connection, from one goroutine. It keeps nothing of a message. An error
// ends the connection.
type Taker interface {
	Take(ctx context.Context, message []byte, from netip.AddrPort) error
}

// A Listener takes records until its context ends. New has bound its address already.
type Listener interface {
	Run(ctx context.Context) error
	Addr() net.Addr
	Stats() Stats
	Close() error // for a listener that is not run
}

// Stats are a listener's counters since its start.
type Stats struct {
	Address     string
	Transport   string
	Connections int64             // open now
	Messages    uint64            // messages or requests taken
	Bytes       uint64            // of them
	Refused     map[string]uint64 // what was not taken, by reason
	Peers       []Peer            // who sent the most
}

// Peer is a sender.
type Peer struct {
	Addr     netip.Addr
	Messages uint64
}

// The reasons for which something is not taken.
const (
	RefusedConnections = "connections"  // too many connections
	RefusedClient      = "client"       // too many from one address
	RefusedOversize    = "oversize"     // message or request too large
	RefusedFraming     = "framing"      // the stream made no sense
	RefusedSlow        = "slow"         // message or request took too long
	RefusedTLS         = "tls"          // the handshake did not succeed
	RefusedQueue       = "queue"        // UDP: came faster than it could be judged
	RefusedKernel      = "kernel"       // UDP: dropped by the kernel before testudo saw it
	RefusedMemory      = "memory"       // OTLP: too much under way
	RefusedMalformed   = "malformed"    // OTLP: no request
	RefusedUnwelcome   = "unauthorized" // OTLP: no token, or a wrong one
	RefusedRecords     = "records"      // OTLP: records of a request that were not taken
	RefusedNotTaken    = "not-taken"    // the records could not be handed on
)

// counters are what every listener counts.
type counters struct {
	connections     atomic.Int64
	messages, bytes atomic.Uint64

	mu      sync.Mutex
	refused map[string]uint64
	peers   map[netip.Addr]uint64
	open    map[netip.Addr]int
}

// maxPeers bounds the senders that are counted by address; others are counted under the zero address.
const maxPeers = 1024

func newCounters() *counters {
	return &counters{refused: map[string]uint64{}, peers: map[netip.Addr]uint64{}, open: map[netip.Addr]int{}}
}

func (c *counters) refuse(reason string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[reason] += n
}

func (c *counters) took(from netip.Addr, size int) {
	c.messages.Add(1)
	c.bytes.Add(uint64(size))
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.peers[from]; !known && len(c.peers) >= maxPeers {
		from = netip.Addr{}
	}
	c.peers[from]++
}

// admit counts a connection, unless there are too many.
func (c *counters) admit(from netip.Addr, l *Limits) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case int(c.connections.Load()) >= l.Connections:
		c.refused[RefusedConnections]++
		return false
	case l.ConnectionsPerClient > 0 && c.open[from] >= l.ConnectionsPerClient:
		c.refused[RefusedClient]++
		return false
	}
	c.connections.Add(1)
	c.open[from]++
	return true
}

func (c *counters) leave(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connections.Add(-1)
	if c.open[from]--; c.open[from] <= 0 {
		delete(c.open, from)
	}
}

func (c *counters) stats(address, transport string) Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Address: address, Transport: transport, Connections: c.connections.Load(), Messages: c.messages.Load(), Bytes: c.bytes.Load(),
		Refused: make(map[string]uint64, len(c.refused))}
	for k, v := range c.refused {
		s.Refused[k] = v
	}
	for a, n := range c.peers {
		s.Peers = append(s.Peers, Peer{a, n})
	}
	slices.SortFunc(s.Peers, func(a, b Peer) int {
		if a.Messages != b.Messages {
			if a.Messages > b.Messages {
				return -1
			}
			return 1
		}
		return a.Addr.Compare(b.Addr)
	})
	s.Peers = s.Peers[:min(len(s.Peers), 10)]
	return s
}

// addrOf returns who is at the other end.
func addrOf(a net.Addr) netip.AddrPort {
	if p, err := netip.ParseAddrPort(a.String()); err == nil {
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	return netip.AddrPort{}
}

// limited is a listener that admits connections.
type limited struct {
	net.Listener
	counters *counters
	limits   *Limits
	log      *slog.Logger
}

// Accept returns the next connection that is admitted; it waits after errors such as too many open files.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			var op *net.OpError
			if errors.As(err, &op) && !errors.Is(err, net.ErrClosed) {
				l.log.Warn("a connection could not be accepted", "address", l.Addr().String(), "error", err)
				time.Sleep(50 * time.Millisecond)
				continue
			}
			return nil, err
		}
		from := addrOf(conn.RemoteAddr()).Addr()
		if !l.counters.admit(from, l.limits) {
			_ = conn.Close()
			continue
		}
		return &counted{Conn: conn, leave: sync.OnceFunc(func() { l.counters.leave(from) })}, nil
	}
}

type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

// certificate serves a key pair, and reads it again when the files change.
type certificate struct {
	cert, key string

	mu      sync.Mutex
	pair    *tls.Certificate
	changed time.Time
	looked  time.Time
}

// lookAgain is how often a certificate's file is asked whether it has changed.
const lookAgain = 10 * time.Second

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair != nil && time.Since(c.looked) < lookAgain {
		return c.pair, nil
	}
	c.looked = time.Now()
	info, err := os.Stat(c.cert)
	if err == nil && (c.pair == nil || !info.ModTime().Equal(c.changed)) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.cert, c.key); err == nil {
			c.pair, c.changed = &pair, info.ModTime()
		}
	}
	if c.pair == nil {
		return nil, err
	}
	return c.pair, nil // the old one is better than none
}

// config returns the settings of a TLS listener.
func (t *TLS) config(protocols ...string) (*tls.Config, error) {
	c := &certificate{cert: t.Cert, key: t.Key}
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	cfg := &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: protocols}
	if t.ClientCA != "" {
		pem, err := os.ReadFile(t.ClientCA)
		if err != nil {
			return nil, err
		}
		cfg.ClientCAs = x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", t.ClientCA)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}
