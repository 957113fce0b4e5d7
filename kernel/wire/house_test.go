package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// Whom testudo descends from is read once: a number that another process has since is nobody's forebear.
func TestLineIsOfProcessesNotNumbers(t *testing.T) {
	h := newHouse(0)
	self, err := h.stat(os.Getpid())
	require.Part(t, "proc", err == nil, fmt.Sprint("mount /proc: ", err))
	child := startSleep(t)
	s, err := h.stat(child)
	if err != nil {
		t.Fatal(err)
	}
	h.line[child] = s.start - 1 // of one that has ended
	if err := h.checkProcess(uint32(child), s.start*tick); err != nil {
		t.Errorf("another process with the number of a forebear: %v", err)
	}
	h.line[child] = s.start
	if err := h.checkProcess(uint32(child), s.start*tick); err == nil || !strings.Contains(err.Error(), "descends from it") {
		t.Errorf("a forebear: %v", err)
	}
	h.line = nil // it could not be read whole
	if err := h.checkProcess(uint32(os.Getpid()), self.start*tick); err == nil || !strings.Contains(err.Error(), "descends from it") {
		t.Errorf("itself: %v", err)
	}
	if err := h.checkProcess(uint32(child), s.start*tick); err != nil {
		t.Errorf("a child: %v", err)
	}
}
