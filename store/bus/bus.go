package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	startTimeout = 10 * time.Second
	dedupeWindow = 10 * time.Minute
	minPayload   = 1 << 20 // what a batch may take
)

// Bus is a stream of batches. It is safe for concurrent use. It fits store.Bus.
type Bus struct {
	cfg     Config
	log     *slog.Logger
	dir     string         // of the stream, "" on an external server
	server  *server.Server // nil on an external server
	conn    *nats.Conn
	js      jetstream.JetStream
	stream  jetstream.Stream
	subject string
}

// Options is what the bus needs to know beside its configuration.
type Options struct {
	// Dir is the folder of the server inside the process.
	Dir string
	// After is the last sequence that the lake holds. Sequences go on behind it, also when
	// the stream's folder was removed.
	After uint64
}

// Open starts the server inside the process, or connects to the external one, and makes the stream
// where it is missing. Close ends what it started.
func Open(ctx context.Context, cfg Config, o Options, log *slog.Logger) (b *Bus, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	b = &Bus{cfg: cfg, log: log, subject: "testudo." + cfg.Stream + ".batch"}
	defer func() {
		if err != nil {
			b.Close()
			b = nil
		}
	}()
	existed := false
	if cfg.URL == "" {
		b.dir = filepath.Join(o.Dir, "jetstream", "$G", "streams", cfg.Stream)
		_, statErr := os.Stat(b.dir)
		existed = statErr == nil
		err = b.startServer(o.Dir)
	} else {
		err = b.connect()
	}
	if err != nil {
		return b, err
	}
	if b.js, err = jetstream.New(b.conn); err != nil {
		return b, fmt.Errorf("bus: %w", err)
	}
	return b, b.openStream(ctx, o.After, existed)
}

func (b *Bus) openStream(ctx context.Context, after uint64, existed bool) error {
	ctx, cancel := context.WithTimeout(ctx, max(b.cfg.Timeout, startTimeout))
	defer cancel()
	stream, err := b.js.Stream(ctx, b.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if existed {
			return fmt.Errorf("bus: the stream in %s is damaged and was not loaded: restore it from a copy, or move the folder away to "+
				"go on without the events that were not yet in the lake", b.dir)
		}
		stream, err = b.js.CreateStream(ctx, b.streamConfig(after))
	}
	if err != nil {
		return fmt.Errorf("bus: stream %s: %w", b.cfg.Stream, b.explain(err))
	}
	b.stream = stream
	info := stream.CachedInfo()
	if want := b.streamConfig(0); info.Config.MaxBytes != want.MaxBytes || !info.Config.AllowDirect || info.Config.Discard != want.Discard {
		want.FirstSeq = info.Config.FirstSeq
		if b.stream, err = b.js.UpdateStream(ctx, want); err != nil {
			return fmt.Errorf("bus: stream %s: %w", b.cfg.Stream, b.explain(err))
		}
	}
	if info.State.LastSeq < after {
		if info.State.Msgs > 0 {
			return fmt.Errorf("bus: stream %s is another one than the lake was written from: it ends at batch %d and the lake at %d: "+
				"give this node a stream of its own, or move %s away", b.cfg.Stream, info.State.LastSeq, after, b.where())
		}
		if err := b.Trim(ctx, after); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bus) streamConfig(after uint64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        b.cfg.Stream,
		Description: "batches of testudo events on their way into the lake",
		Subjects:    []string{b.subject},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    int64(b.cfg.MaxSize),
		Storage:     jetstream.FileStorage,
		Duplicates:  dedupeWindow,
		AllowDirect: true,
		FirstSeq:    after + 1,
	}
}

func (b *Bus) where() string {
	if b.dir != "" {
		return b.dir
	}
	return "the stream"
}

// explain adds what the user can do to errors that come from outside.
func (b *Bus) explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		if b.server == nil {
			return fmt.Errorf("%w: the server at %s has JetStream switched off", err, b.cfg.URL)
		}
		return fmt.Errorf("%w: the server's log above says why", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("no answer within %s: %w", b.cfg.Timeout, err)
	}
	return err
}

// Publish stores a batch and returns its sequence; see store.Publisher.
func (b *Bus) Publish(ctx context.Context, id string, payload []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	ack, err := b.js.Publish(ctx, b.subject, payload, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, fmt.Errorf("bus: %w", b.explain(err))
	}
	return ack.Sequence, nil
}

// Bounds returns the sequences of the first and last batch; see store.Log.
func (b *Bus) Bounds(ctx context.Context) (first, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	info, err := b.stream.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("bus: %w", b.explain(err))
	}
	if info.State.Msgs == 0 {
		return info.State.LastSeq + 1, info.State.LastSeq, nil
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

// Read hands out batches from a sequence on; see store.Log.
func (b *Bus) Read(ctx context.Context, from uint64, yield func(seq uint64, payload []byte) bool) error {
	first, last, err := b.Bounds(ctx)
	if err != nil {
		return err
	}
	for seq := max(from, first); seq <= last; {
		msg, err := b.get(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bus: batch %d: %w", seq, b.explain(err))
		}
		if msg.Sequence > last || !yield(msg.Sequence, msg.Data) {
			return nil
		}
		seq = msg.Sequence + 1
	}
	return nil
}

// get returns the first message at or behind a sequence.
func (b *Bus) get(ctx context.Context, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	return b.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(b.subject))
}

// Trim forgets batches up to and including a sequence; see store.Log. Where the stream is empty
// its next batch comes behind that sequence.
func (b *Bus) Trim(ctx context.Context, through uint64) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	if err := b.stream.Purge(ctx, jetstream.WithPurgeSequence(through+1)); err != nil {
		return fmt.Errorf("bus: trim: %w", b.explain(err))
	}
	return nil
}

// Health returns nil, or why the server cannot be reached.
func (b *Bus) Health() error {
	if b.conn.IsConnected() {
		return nil
	}
	if err := b.conn.LastError(); err != nil {
		return fmt.Errorf("bus: not connected to %s: %w", b.target(), err)
	}
	return fmt.Errorf("bus: not connected to %s", b.target())
}

func (b *Bus) target() string {
	if b.server != nil {
		return "the server inside the process"
	}
	return b.cfg.URL
}

// Close ends the connection and the server inside the process, and returns when its goroutines are gone.
func (b *Bus) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
}
