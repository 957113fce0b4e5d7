package wire

import (
	"context"
	"log/slog"
)

// logged writes a line that the child sent: a level and a text.
func (s *session) logged(payload []byte) {
	if len(payload) < 1 {
		return
	}
	level := slog.Level(int8(payload[0]))
	s.log.Log(context.Background(), min(max(level, slog.LevelDebug), slog.LevelError), "sensor: "+printable(payload[1:]))
}
