package follow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a consumer that keeps the lines that it reads.
type lines struct {
	mu   sync.Mutex
	got  []string
	at   []int64 // how many lines lay before the stream, of each stream
	fail func(line string) error
}

func (l *lines) Consume(_ context.Context, s *Stream) error {
	l.mu.Lock()
	l.at = append(l.at, s.Lines())
	l.mu.Unlock()
	var rest []byte
	done, count := int64(0), int64(0)
	buf := make([]byte, 700)
	for {
		n, err := s.Read(buf)
		rest = append(rest, buf[:n]...)
		for {
			line, after, ok := bytes.Cut(rest, []byte{'\n'})
			if !ok {
				break
			}
			if l.fail != nil {
				if err := l.fail(string(line)); err != nil {
					return err
				}
			}
			l.mu.Lock()
			l.got = append(l.got, string(line))
			l.mu.Unlock()
			done, count = done+int64(len(line))+1, count+1
			s.Commit(done, count)
			rest = bytes.Clone(after)
		}
		switch {
		case err == nil || errors.Is(err, ErrQuiet):
		case errors.Is(err, io.EOF):
			if len(rest) > 0 {
				l.mu.Lock()
				l.got = append(l.got, string(rest))
				l.mu.Unlock()
				s.Commit(done+int64(len(rest)), count)
			}
			return nil
		default:
			return err
		}
	}
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.got...)
}

// bench is a follower over a folder, as a test drives it.
type bench struct {
	t     *testing.T
	dir   string
	files Files
	lines *lines
	cfg   Config
	f     *Follower
	log   bytes.Buffer
	stop  func()
}

func newBench(t *testing.T, pattern string) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), lines: &lines{}, cfg: Config{Poll: 5 * time.Millisecond, Rescan: 10 * time.Millisecond, Quiet: 30 * time.Millisecond, MaxFiles: 100}}
	b.files = Files{Paths: []string{filepath.Join(b.dir, pattern)}}
	t.Cleanup(func() {
		if b.stop != nil {
			b.stop()
		}
		if t.Failed() {
			t.Log(b.log.String())
		}
	})
	return b
}

func (b *bench) start() {
	b.t.Helper()
	f, err := New(b.cfg, []Input{{Files: b.files, Consumer: b.lines}}, Deps{Positions: filepath.Join(b.dir, ".positions"),
		Logger: slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	b.f = f
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) add(name, text string) {
	b.t.Helper()
	f, err := os.OpenFile(b.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) rename(from, to string) {
	b.t.Helper()
	if err := os.Rename(b.path(from), b.path(to)); err != nil {
		b.t.Fatal(err)
	}
}

// copyTruncate rotates as logrotate's copytruncate does.
func (b *bench) copyTruncate(from, to string) {
	b.t.Helper()
	text, err := os.ReadFile(b.path(from))
	if err == nil {
		err = os.WriteFile(b.path(to), text, 0o600)
	}
	if err == nil {
		err = os.Truncate(b.path(from), 0)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// want waits until these lines have come, and a little longer for those that should not.
func (b *bench) want(want ...string) {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end) && len(b.lines.all()) < len(want); {
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(60 * time.Millisecond)
	if d := cmp.Diff(want, b.lines.all()); d != "" {
		b.t.Fatalf("lines (-want +got):\n%s", d)
	}
}

// patience bounds how long a test waits for what must come.
const patience = 5 * time.Second

// long makes a text of numbered lines that is longer than what files are told apart by.
func long(name string, n int) (text string, all []string) {
	for i := range n {
		line := fmt.Sprintf("%s %04d %s", name, i, strings.Repeat("x", 40))
		text += line + "\n"
		all = append(all, line)
	}
	return text, all
}

func TestFileGrows(t *testing.T) {
	b := newBench(t, "app.log")
	b.add("app.log", "one\ntw")
	b.start()
	b.want("one") // half a line is no line
	b.add("app.log", "o\nthree\n")
	b.want("one", "two", "three")
	if s := b.f.Stats(); s.Open != 1 || s.Bytes != 14 || s.Rotated != 0 || s.Truncated != 0 {
		t.Errorf("stats are %+v", s)
	}
	if st := b.f.Status(); len(st) != 1 || st[0].Offset != 14 || st[0].Path != b.path("app.log") {
		t.Errorf("status is %+v", st)
	}
}

func TestFileAppearsLater(t *testing.T) {
	b := newBench(t, "*/app*.log")
	b.files.Exclude = []string{"app-debug.log"}
	b.start()
	if err := os.Mkdir(b.path("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.add("x/app.log", "one\n")
	b.want("one")
	b.add("x/app2.log", "two\n")
	b.add("x/app-debug.log", "not this\n")
	b.want("one", "two")
}

// TestRenamed has the writer go on writing to the renamed file for a while, as nginx does.
func TestRenamed(t *testing.T) {
	for _, pattern := range []string{"app.log", "app*"} {
		t.Run(pattern, func(t *testing.T) {
			b := newBench(t, pattern)
			b.add("app.log", "1\n2\n")
			b.start()
			b.want("1", "2")
			b.rename("app.log", "app.log.1")
			b.add("app.log.1", "3\n")
			b.add("app.log", "5\n")
			b.add("app.log.1", "4\n")
			b.want("1", "2", "3", "4", "5")
			b.rename("app.log.1", "app.log.2")
			b.rename("app.log", "app.log.1")
			b.add("app.log", "6\n")
			b.want("1", "2", "3", "4", "5", "6")
			if s := b.f.Stats(); s.Rotated < 2 || s.Open != 1 {
				t.Errorf("stats are %+v", s)
			}
			b.stop()
			b.start()
			b.add("app.log", "7\n")
			b.want("1", "2", "3", "4", "5", "6", "7")
		})
	}
}

// TestRotatedTwiceAtOnce has a file come and be rotated away before anybody looks.
func TestRotatedTwiceAtOnce(t *testing.T) {
	b := newBench(t, "app.log")
	b.cfg.Rescan = 300 * time.Millisecond
	b.add("app.log", "1\n")
	b.start()
	b.want("1")
	time.Sleep(15 * time.Millisecond)
	b.rename("app.log", "app.log.2")
	b.add("app.log.1", "2\n")
	b.add("app.log", "3\n")
	b.want("1", "2", "3")
}

func TestCopiedAndTruncated(t *testing.T) {
	for _, pattern := range []string{"app.log", "app*"} {
		t.Run(pattern, func(t *testing.T) {
			b := newBench(t, pattern)
			text, want := long("first", 40)
			b.add("app.log", text)
			b.start()
			b.want(want...)
			b.copyTruncate("app.log", "app.log.1")
			b.add("app.log", "second\n")
			want = append(want, "second")
			b.want(want...)
			if s := b.f.Stats(); s.Truncated != 1 {
				t.Errorf("stats are %+v", s)
			}
			b.stop()
			b.start()
			b.want(want...)
		})
	}
}

// TestTruncatedBetweenLooks fills the file anew beyond what was read of it.
func TestTruncatedBetweenLooks(t *testing.T) {
	b := newBench(t, "app.log")
	b.add("app.log", "old\n")
	b.start()
	b.want("old")
	if err := os.WriteFile(b.path("app.log"), []byte("new one\nnew two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.want("old", "new one", "new two")
}

// TestHole is a file that was truncated under a writer that goes on writing where it was.
func TestHole(t *testing.T) {
	b := newBench(t, "app.log")
	f, err := os.Create(b.path("app.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, want := long("line", 50)
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.want(want...)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("after\n"); err != nil {
		t.Fatal(err)
	}
	want = append(want, "after")
	b.want(want...)
	b.stop()
	b.start()
	b.add("app.log", "more\n")
	b.want(append(want, "more")...)
}

func TestDeleted(t *testing.T) {
	b := newBench(t, "app.log")
	b.add("app.log", "one\n")
	b.start()
	b.want("one")
	if err := os.Remove(b.path("app.log")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); b.f.Stats().Open > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if s := b.f.Stats(); s.Open != 0 {
		t.Errorf("the deleted file is still open: %+v", s)
	}
	b.add("app.log", "two\n")
	b.want("one", "two")
}

// TestRestart is what happens to a file while nobody follows it.
func TestRestart(t *testing.T) {
	first, firstLines := long("first", 30)
	rest, restLines := long("rest", 5)
	next, nextLines := long("next", 30)
	last, lastLines := long("last", 3)
	for _, tc := range []struct {
		name      string
		meanwhile func(b *bench)
		want      [][]string
		lost      uint64
	}{
		{"nothing", func(*bench) {}, nil, 0},
		{"written to", func(b *bench) { b.add("app.log", rest) }, [][]string{restLines}, 0},
		{"renamed", func(b *bench) {
			b.add("app.log", rest)
			b.rename("app.log", "app.log.1")
			b.add("app.log", next)
		}, [][]string{restLines, nextLines}, 0},
		{"renamed and nothing new", func(b *bench) {
			b.add("app.log", rest)
			b.rename("app.log", "app-20260102.log")
		}, [][]string{restLines}, 0},
		{"renamed twice", func(b *bench) {
			b.add("app.log", rest)
			b.rename("app.log", "app.log.2")
			time.Sleep(20 * time.Millisecond)
			b.add("app.log.1", next)
			time.Sleep(20 * time.Millisecond)
			b.add("app.log", last)
			b.add("app.log.bak", "a copy by hand\n")
		}, [][]string{restLines, nextLines, lastLines}, 0},
		{"copied and truncated", func(b *bench) {
			b.add("app.log", rest)
			b.copyTruncate("app.log", "app.log.1")
			b.add("app.log", last)
		}, [][]string{restLines, lastLines}, 0},
		{"truncated and filled beyond", func(b *bench) {
			b.add("app.log", rest)
			b.copyTruncate("app.log", "app.log.1")
			b.add("app.log", next+next)
		}, [][]string{restLines, nextLines, nextLines}, 0},
		{"compressed", func(b *bench) {
			b.add("app.log", rest)
			b.rename("app.log", "app.log.1.gz")
			b.add("app.log", next)
		}, [][]string{nextLines}, 1},
		{"removed", func(b *bench) {
			if err := os.Remove(b.path("app.log")); err != nil {
				b.t.Fatal(err)
			}
			b.add("app.log", next)
		}, [][]string{nextLines}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, "app.log")
			b.add("app.log", first)
			b.start()
			want := append([]string(nil), firstLines...)
			b.want(want...)
			b.stop()
			tc.meanwhile(b)
			b.start()
			for _, l := range tc.want {
				want = append(want, l...)
			}
			b.want(want...)
			if s := b.f.Stats(); s.Lost != tc.lost {
				t.Errorf("stats are %+v, want %d lost", s, tc.lost)
			}
			b.stop()
			b.start()
			b.want(want...)
		})
	}
}

// TestLinesGoOn numbers lines on after a restart.
func TestLinesGoOn(t *testing.T) {
	b := newBench(t, "app.log")
	b.add("app.log", "1\n2\n3\n")
	b.start()
	b.want("1", "2", "3")
	b.stop()
	b.add("app.log", "4\n")
	b.start()
	b.want("1", "2", "3", "4")
	if d := cmp.Diff([]int64{0, 3}, b.lines.at); d != "" {
		t.Error(d)
	}
}

// TestNumberGivenAgain is another file that was given the number of the one that was followed.
// TestSameBeginning: what a program says at each start does not make its files copies of one another.
func TestSameBeginning(t *testing.T) {
	banner, lines := long("banner", 60) // longer than what files are told apart by
	t.Run("side by side", func(t *testing.T) {
		b := newBench(t, "*.log")
		b.add("a.log", banner)
		b.start()
		b.want(lines...)
		b.add("b.log", banner+"b at work\n")
		want := slices.Concat(lines, lines, []string{"b at work"})
		b.want(want...)
		b.add("c.log", banner[:len(banner)/2]+"c at work\n") // shorter than the others
		b.want(slices.Concat(want, lines[:30], []string{"c at work"})...)
	})
	t.Run("one after the other", func(t *testing.T) {
		b := newBench(t, "app.log")
		b.add("app.log", banner+"first\n")
		b.start()
		want := slices.Concat(lines, []string{"first"})
		b.want(want...)
		b.rename("app.log", "app.log.1")
		b.add("app.log", banner+"again\n")
		b.want(slices.Concat(want, lines, []string{"again"})...)
	})
}

func TestNumberGivenAgain(t *testing.T) {
	b := newBench(t, "app.log")
	b.add("app.log", "one\ntwo\n")
	b.start()
	b.want("one", "two")
	b.stop()
	text, err := os.ReadFile(b.path(".positions"))
	if err != nil {
		t.Fatal(err)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil || len(k.Files) != 1 || k.Files[0].Offset != 8 || k.Files[0].Lines != 2 || k.Files[0].Len != 8 {
		t.Fatalf("positions are %s: %v", text, err)
	}
	// In place, so that the number stays.
	f, err := os.OpenFile(b.path("app.log"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("ONE\nTWO\nTHREE\n"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	b.start()
	b.want("one", "two", "ONE", "TWO", "THREE")
}

func TestFromTheEnd(t *testing.T) {
	b := newBench(t, "*.log")
	b.files.From = End
	b.add("app.log", "old\nhalf")
	b.start()
	time.Sleep(30 * time.Millisecond)
	b.add("app.log", " a line\nnew\n")
	b.want("half a line", "new")
	b.add("later.log", "from the beginning\n")
	b.want("half a line", "new", "from the beginning")
	b.stop()
	b.add("while-down.log", "not missed\n")
	b.start()
	b.want("half a line", "new", "from the beginning", "not missed")
}

// TestNotTaken has a record refused: it and what follows comes again, nothing before it does.
func TestNotTaken(t *testing.T) {
	b := newBench(t, "app.log")
	refusals := 1
	b.lines.fail = func(line string) error {
		if line == "two" && refusals > 0 {
			refusals--
			return errors.New("not now")
		}
		return nil
	}
	b.add("app.log", "one\ntwo\nthree\n")
	b.start()
	b.want("one", "two", "three")
	if refusals != 0 {
		t.Error("nothing was refused")
	}
}

func TestMaxFiles(t *testing.T) {
	b := newBench(t, "*.log")
	b.cfg.MaxFiles = 2
	want := map[string]bool{}
	for i := range 7 {
		b.add(fmt.Sprintf("%d.log", i), fmt.Sprintf("file %d\n", i))
		want[fmt.Sprintf("file %d", i)] = true
	}
	b.start()
	for end := time.Now().Add(patience); len(b.lines.all()) < 7 && time.Now().Before(end); {
		if s := b.f.Stats(); s.Open > 2 {
			t.Fatalf("%d files are open", s.Open)
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.add("0.log", "again 0\n")
	want["again 0"] = true
	for end := time.Now().Add(patience); len(b.lines.all()) < 8 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	got := map[string]bool{}
	for _, l := range b.lines.all() {
		if got[l] {
			t.Errorf("%q came twice", l)
		}
		got[l] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestNoFile has no patience with what is no file: a pipe would wait for its writer.
func TestNoFile(t *testing.T) {
	b := newBench(t, "*")
	if err := syscall.Mkfifo(b.path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.path("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.add("secret", "x\n")
	if os.Geteuid() != 0 {
		if err := os.Chmod(b.path("secret"), 0); err != nil {
			t.Fatal(err)
		}
	}
	b.add("old.gz", "compressed\n")
	b.files.Exclude = []string{".positions*"}
	b.start()
	b.add("app.log", "one\n")
	for end := time.Now().Add(patience); b.f.Stats().Unreadable == 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if s := b.f.Stats(); s.Unreadable != 1 && s.Unreadable != 2 {
		t.Errorf("stats are %+v", s)
	}
	b.stop()
	if !strings.Contains(b.log.String(), "not a regular file") {
		t.Error("nobody was told of the pipe")
	}
}

func TestDamagedPositions(t *testing.T) {
	b := newBench(t, "app.log")
	for text, want := range map[string]string{`{"version":1,"fil`: "is damaged", `{"version":7}`: "has version 7"} {
		if err := os.WriteFile(b.path(".positions"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(b.cfg, []Input{{Files: b.files, Consumer: b.lines}}, Deps{Positions: b.path(".positions"), Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

func TestPositionsAreKeptPrivate(t *testing.T) {
	b := newBench(t, "app.log")
	b.add("app.log", "one\n")
	b.start()
	b.want("one")
	b.stop()
	info, err := os.Stat(b.path(".positions"))
	if err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("positions: %v, %v", info, err)
	}
	left, err := filepath.Glob(b.path("*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestAnyOrder does what writers, rotation and restarts do in any order: each line comes once, and in its order.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 7))
			b := newBench(t, []string{"app.log", "app*"}[seed%2])
			b.files.Exclude = []string{".positions*"}
			// Longer lines than a real heading, so that each file is told apart by its first line.
			line := func(n int) string { return fmt.Sprintf("%06d %s", n, strings.Repeat("y", 300)) }
			var want []string
			b.start()
			rotated := 0
			for range 60 {
				switch rnd.IntN(8) {
				case 0, 1, 2, 3:
					text := ""
					for range 1 + rnd.IntN(4) {
						want = append(want, line(len(want)))
						text += want[len(want)-1] + "\n"
					}
					b.add("app.log", text)
				case 4:
					b.settle(want)
					if _, err := os.Stat(b.path("app.log")); err == nil {
						rotated++
						b.rename("app.log", fmt.Sprintf("app.log.%d", rotated))
						if rnd.IntN(2) == 0 { // the writer has not noticed yet
							want = append(want, line(len(want)))
							b.add(fmt.Sprintf("app.log.%d", rotated), want[len(want)-1]+"\n")
						}
						b.settle(want)
					}
				case 5:
					b.settle(want)
					if info, err := os.Stat(b.path("app.log")); err == nil && info.Size() > 0 {
						rotated++
						b.copyTruncate("app.log", fmt.Sprintf("app.log.%d", rotated))
						b.settle(want)
					}
				case 6:
					b.stop()
					b.start()
				case 7:
					time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
				}
			}
			b.want(want...)
		})
	}
}

// settle waits until a rotation has been noticed: a second one at once is another test's matter.
func (b *bench) settle(want []string) {
	b.t.Helper()
	for end := time.Now().Add(patience); len(b.lines.all()) < len(want); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%d lines have come of %d", len(b.lines.all()), len(want))
		}
	}
	time.Sleep(30 * time.Millisecond)
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		files Files
		want  string
	}{
		{Files{}, "paths is empty"},
		{Files{Paths: []string{"app.log"}}, "not absolute"},
		{Files{Paths: []string{"/var/log/[a"}}, "not a pattern"},
		{Files{Paths: []string{"/var/**/x"}}, "** is not known"},
		{Files{Paths: []string{"/x"}, Exclude: []string{"["}}, "exclude"},
		{Files{Paths: []string{"/x"}, From: "middle"}, "want beginning or end"},
		{Files{Paths: []string{"/x"}, From: End}, ""},
	} {
		err := tc.files.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%+v: %v, want %q", tc.files, err, tc.want)
		}
	}
	ok := DefaultConfig()
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []Config{{}, {Poll: time.Second}, {Poll: time.Second, Rescan: time.Second, Quiet: -1}, {Poll: time.Second, Rescan: time.Second}} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}
