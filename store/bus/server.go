package bus

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startServer starts the server inside the process and connects to it.
func (b *Bus) startServer(l *link) error {
	dir := b.opts.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName:             "testudo",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             true, // acknowledged means on disk
		JetStreamMaxMemory:     1 << 20,
		JetStreamMaxStore:      int64(b.cfg.MaxSize) + 64<<20,
		MaxPayload:             2 << 20,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("bus: the server inside the process: %w", err)
	}
	logger := &serverLog{log: b.log}
	s.SetLoggerV2(logger, false, false, false)
	l.server = s
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		return fmt.Errorf("bus: the server inside the process is not ready within %s: its folder is %s", startTimeout, dir)
	}
	if !s.JetStreamEnabled() {
		return fmt.Errorf("bus: JetStream does not start in %s: %s: check that the folder is writable and the disk not full", dir, logger.lastError())
	}
	l.conn, err = nats.Connect("", nats.InProcessServer(s), nats.Name("testudo"), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		return fmt.Errorf("bus: the server inside the process: %w", err)
	}
	return nil
}

// connect connects to the external server.
func (b *Bus) connect(l *link) error {
	options := []nats.Option{
		nats.Name("testudo"), nats.Timeout(b.cfg.Timeout), nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // what cannot be sent fails at once and is tried again
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("the connection to the bus broke", "url", b.cfg.URL, "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { b.log.Info("connected to the bus again", "url", b.cfg.URL) }),
	}
	if b.cfg.Credentials != "" {
		options = append(options, nats.UserCredentials(b.cfg.Credentials))
	}
	if b.cfg.CA != "" {
		options = append(options, nats.RootCAs(b.cfg.CA))
	}
	if b.cfg.Certificate != "" {
		options = append(options, nats.ClientCert(b.cfg.Certificate, b.cfg.Key))
	}
	conn, err := nats.Connect(b.cfg.URL, options...)
	if err != nil {
		return fmt.Errorf("bus: %s: %w", b.cfg.URL, err)
	}
	l.conn = conn
	if limit := conn.MaxPayload(); limit < minPayload {
		return fmt.Errorf("bus: %s takes messages of %d bytes: set max_payload to 1MB there", b.cfg.URL, limit)
	}
	return nil
}

// serverLog passes what the server inside the process says on to slog. It must not end the process.
type serverLog struct {
	log  *slog.Logger
	last lastLine
}

func (l *serverLog) lastError() string {
	if s := l.last.get(); s != "" {
		return s
	}
	return "it does not say why"
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug("bus: " + line(format, v)) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

func (l *serverLog) Warnf(format string, v ...any) {
	text := line(format, v)
	l.last.set(text)
	l.log.Warn("bus: " + text)
}

func (l *serverLog) Errorf(format string, v ...any) {
	text := line(format, v)
	l.last.set(text)
	l.log.Error("bus: " + text)
}

func (l *serverLog) Fatalf(format string, v ...any) { l.Errorf(format, v...) }

func line(format string, v []any) string { return strings.TrimSpace(fmt.Sprintf(format, v...)) }
