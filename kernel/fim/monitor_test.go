package fim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/signal"
)

// disk is an Examiner of files in memory.
type disk struct {
	mu    sync.Mutex
	files map[string]kernel.File
	fail  error
	asked int // questions for paths
	pages int
}

func (d *disk) set(f kernel.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[string(f.Path)] = f
}

func (d *disk) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
}

func (d *disk) Examine(_ context.Context, q kernel.ExamineRequest) (kernel.Examined, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return kernel.Examined{}, d.fail
	}
	var a kernel.Examined
	if len(q.Paths) > 0 {
		d.asked++
		for _, p := range q.Paths {
			f, ok := d.files[string(p)]
			if !ok {
				f = kernel.File{Path: p}
			}
			a.Files = append(a.Files, f)
		}
		return a, nil
	}
	d.pages++
	var names []string
	for name := range d.files {
		if q.After == "" || comparePaths(name, string(q.After)) > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, comparePaths)
	for _, name := range names {
		if len(a.Files) == kernel.MaxExamined {
			a.After = a.Files[len(a.Files)-1].Path
			break
		}
		a.Files = append(a.Files, d.files[name])
	}
	return a, nil
}

// judge keeps what it is told.
type judge struct {
	mu  sync.Mutex
	all []*signal.Event
}

func (j *judge) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := &signal.Event{}
	e.CopyTo(c)
	if _, ours := e.Unmapped(AttrChange); ours {
		j.all = append(j.all, c)
	}
	return signal.Verdict{Decision: signal.Alert}, nil
}

// take returns what was told since the last call, a line each.
func (j *judge) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for _, e := range j.all {
		what, _ := e.Unmapped(AttrChange)
		seen, _ := e.Unmapped(AttrSeen)
		line := e.Str(signal.FieldFilePath) + " " + what
		if seen == "true" {
			line += " by " + e.Str(signal.FieldActorProcessName)
		}
		if others, ok := e.Unmapped(AttrOthers); ok {
			line += " with " + others
		}
		out = append(out, line)
	}
	j.all = nil
	slices.Sort(out)
	return out
}

// did makes the event of a process that does something to a file.
func did(name string, pid int64, path string) *signal.Event {
	e := &signal.Event{ID: signal.NewID(time.Now()), Time: time.Now().UnixNano(), Class: signal.ClassFileActivity, Activity: 3, Plane: signal.PlaneKernel}
	e.SetString(signal.FieldFilePath, path)
	e.SetString(signal.FieldActorProcessName, name)
	e.SetString(signal.FieldActorProcessUID, fmt.Sprint("boot-", pid))
	e.SetInt(signal.FieldActorProcessPID, pid)
	e.SetMasked(signal.FieldActorProcessCmdLine, name+" --password hunter2", name+" --password ***")
	e.SetStrings(signal.FieldActorProcessLineage, []string{"/usr/bin/bash"})
	return e
}

type world struct {
	*Monitor
	disk  *disk
	judge *judge
	book  *ledgerOf
	file  string
}

// watched runs a monitor of a few files, in virtual time, until the test ends.
func watched(t *testing.T, change func(*Config), before func(*world)) *world {
	t.Helper()
	w := &world{disk: &disk{files: map[string]kernel.File{}}, judge: &judge{}, book: &ledgerOf{}, file: filepath.Join(t.TempDir(), "b")}
	for _, f := range []kernel.File{{Path: "/etc", Exists: true, Mode: typeFolder | 0o755}, file("/etc/passwd", "root", 0o644), file("/etc/shadow", "x", 0o600)} {
		w.disk.set(f)
	}
	if before != nil {
		before(w)
	}
	cfg := Default()
	cfg.Paths = []string{"/etc"}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg, Deps{Examiner: w.disk, Sink: w.judge, Book: w.book, File: w.file, Host: "h", Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	w.Monitor = m
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return w
}

func (w *world) does(t *testing.T, e *signal.Event) {
	t.Helper()
	if v, err := w.Event(t.Context(), e); err != nil || v.Decision != signal.Alert {
		t.Fatalf("the judge's verdict is not handed back: %v %v", v.Decision, err)
	}
}

func (w *world) want(t *testing.T, after time.Duration, lines ...string) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if d := cmp.Diff(lines, w.judge.take()); d != "" {
		t.Fatalf("told (-want +got):\n%s", d)
	}
}

// TestNothingIsMissedBeforeItIsWatched: what changes between the baseline and the moment from which changes are seen is found at that moment, not half an hour later;
// and so is what changes while a sensor that has ended is started again.
func TestNothingIsMissedBeforeItIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, nil)
		w.want(t, time.Second)
		w.disk.set(file("/etc/shadow", "another", 0o600)) // nobody sees it
		w.want(t, time.Minute)
		w.Watching()
		w.want(t, time.Second, "/etc/shadow content")
		w.want(t, time.Minute)
		w.disk.remove("/etc/shadow")
		w.Watching()
		w.want(t, time.Second, "/etc/shadow removed")
	})
	// It is seen before there is a baseline: the first one is followed by a walk.
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, func(w *world) { w.disk.fail = errors.New("the sensor is being started") })
		w.Watching()
		w.disk.mu.Lock()
		w.disk.fail = nil
		w.disk.mu.Unlock()
		time.Sleep(2 * retry)
		synctest.Wait()
		w.disk.mu.Lock()
		pages := w.disk.pages
		w.disk.mu.Unlock()
		if pages < 2 {
			t.Errorf("%d walks, want that of the baseline and one behind it", pages)
		}
		w.want(t, time.Second)
	})
}

func TestMonitorTellsWhoChangedWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, nil)
		if len(w.book.entries) != 1 || w.book.entries[0]["actor"] != "system" || w.book.entries[0]["files"] != "3" {
			t.Fatalf("the first baseline's entry: %v", w.book.entries)
		}
		w.want(t, time.Second)

		e := did("vi", 7, "/etc/passwd")
		e.SetString(signal.FieldHTTPRequestUID, "request-1")
		w.does(t, e)
		after := file("/etc/passwd", "root and mallory", 0o666)
		w.disk.set(after)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(w.judge.all) != 1 {
			t.Fatalf("%d events", len(w.judge.all))
		}
		got := w.judge.all[0]
		attr := func(name string) string { v, _ := got.Unmapped(name); return v }
		for what, pair := range map[string][2]string{
			"change": {attr(AttrChange), "content, mode"}, "before": {attr(AttrBefore), Digest([]byte("root"))}, "after": {attr(AttrAfter), after.SHA256},
			"mode before": {attr(AttrModeBefore), "0644"}, "mode after": {attr(AttrModeAfter), "0666"}, "seen": {attr(AttrSeen), "true"},
			"parent": {got.Parent.String(), e.ID.String()}, "who": {got.Str(signal.FieldActorProcessUID), "boot-7"},
			"request": {got.Str(signal.FieldHTTPRequestUID), "request-1"}, "command line": {got.RecordedStr(signal.FieldActorProcessCmdLine), "vi --password ***"},
			"lineage": {strings.Join(got.Strings(signal.FieldActorProcessLineage), ","), "/usr/bin/bash"}, "host": {got.Str(signal.FieldDeviceHostname), "h"},
			"hash": {strings.Join(got.Strings(signal.FieldFileHashesValue), ","), after.SHA256}, "activity": {fmt.Sprint(got.Activity), fmt.Sprint(signal.ActivityOther)},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
			}
		}
		w.judge.take()

		w.does(t, did("rm", 8, "/etc/shadow"))
		w.disk.remove("/etc/shadow")
		opens := did("touch", 9, "/etc/new")
		opens.Activity = activityOpen
		opens.SetStrings(signal.FieldOpenFlags, []string{"O_WRONLY", "O_CREAT", "O_NONBLOCK"})
		w.does(t, opens)
		w.disk.set(file("/etc/new", "", 0o644))
		w.does(t, did("cat", 10, "/root/elsewhere"))
		w.want(t, 2*time.Second, "/etc/new created by touch", "/etc/shadow removed by rm")
		// It is told once.
		w.want(t, 3*time.Hour)
		st := w.Status()
		if len(st.Differ) != 3 || st.Problem != nil {
			t.Errorf("%d differ from the baseline, %v", len(st.Differ), st.Problem)
		}
	})
}

func TestMonitorWaitsForWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, nil)
		// Who opened the file writes half a minute later.
		w.does(t, did("slow", 7, "/etc/passwd"))
		w.want(t, 5*time.Second)
		w.disk.set(file("/etc/passwd", "late", 0o644))
		w.want(t, time.Minute, "/etc/passwd content by slow")

		// Of two, both are named; who comes after a look is named first.
		w.does(t, did("one", 8, "/etc/shadow"))
		w.want(t, 2*time.Second)
		w.does(t, did("two", 9, "/etc/shadow"))
		w.does(t, did("two", 9, "/etc/shadow"))
		w.disk.set(file("/etc/shadow", "both", 0o600))
		w.want(t, 2*time.Second, "/etc/shadow content by two with one (8)")
		w.want(t, time.Hour)
	})
}

func TestMonitorFindsWhatNobodyWasSeenToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, nil)
		w.disk.set(file("/etc/passwd", "other", 0o644))
		w.disk.set(file("/etc/\xff\n", "odd", 0o644))
		w.want(t, 31*time.Minute, "/etc/passwd content", "/etc/\uFFFD\n created")

		// A container has a file of that name of its own, reading changes nothing, and other planes' events are others'.
		in, read, other := did("sh", 3, "/etc/passwd"), did("cat", 4, "/etc/passwd"), did("x", 5, "/etc/passwd")
		in.SetString(signal.FieldContainerUID, "c1")
		read.Activity = activityOpen
		read.SetStrings(signal.FieldOpenFlags, []string{"O_RDONLY", "O_CLOEXEC"})
		other.Plane = signal.PlaneScan
		asked := w.disk.asked
		for _, e := range []*signal.Event{in, read, other} {
			w.does(t, e)
		}
		w.want(t, 5*time.Second)
		if w.disk.asked != asked {
			t.Error("a file was looked at for nothing")
		}

		// inotify does not tell who.
		change := &signal.Event{ID: signal.NewID(time.Now()), Class: signal.ClassFileActivity, Activity: 3, Plane: signal.PlaneKernel}
		change.SetString(signal.FieldFilePath, "/etc/shadow")
		w.does(t, change)
		w.disk.set(file("/etc/shadow", "nobody", 0o600))
		w.want(t, 2*time.Second, "/etc/shadow content")

		// A folder that is moved in brings files that no event names.
		w.does(t, did("mv", 6, "/etc/cron.d"))
		w.disk.set(kernel.File{Path: "/etc/cron.d", Exists: true, Mode: typeFolder | 0o755})
		w.disk.set(file("/etc/cron.d/x", "* * * * *", 0o644))
		w.want(t, 20*time.Second, "/etc/cron.d created by mv", "/etc/cron.d/x created by mv")

		// So does a name that the event has not as it is.
		w.does(t, did("mv", 6, "/etc/a\uFFFD"))
		w.disk.set(file("/etc/a\xfe", "", 0o644))
		w.want(t, 20*time.Second, "/etc/a\uFFFD created by mv")
	})
}

func TestMonitorIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, func(c *Config) { c.Pending, c.MaxFiles = 16, 40 }, nil)
		for i := range 100 {
			name := fmt.Sprintf("/etc/f%03d", i)
			w.does(t, did("flood", int64(100+i), name))
			w.disk.set(file(name, name, 0o644))
		}
		w.mu.Lock()
		pending, actors := len(w.pending), len(w.actors)
		w.mu.Unlock()
		if pending > 16 || actors > 16 || w.dropped.Load() != 84 {
			t.Errorf("%d files and %d processes are remembered, %d dropped", pending, actors, w.dropped.Load())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		told := w.judge.take()
		if len(told) != 39 { // with the folder the first 40, and none of those that they push out
			t.Errorf("%d are told of", len(told))
		}
		for _, l := range told {
			if !strings.HasSuffix(l, " by flood") {
				t.Errorf("%s", l)
			}
		}
		if st := w.Status(); !st.Full || st.Dropped != 84 || len(st.Differ) != 39 {
			t.Errorf("full %v, dropped %d, differ %d", st.Full, st.Dropped, len(st.Differ))
		}
		// Who is pushed out is watched all the same.
		w.disk.set(file("/etc/shadow", "y", 0o600))
		w.want(t, time.Hour, "/etc/shadow content")
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.pending)+len(w.actors)+len(w.moved) != 0 {
			t.Errorf("%d files, %d processes, %d folders are still remembered", len(w.pending), len(w.actors), len(w.moved))
		}
	})
}

func TestMonitorRefusesAnEditedBaseline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, func(w *world) {
			b := &Baseline{Host: "h", Taken: time.Now(), Files: []kernel.File{file("/etc/passwd", "root", 0o644)}}
			if _, err := keep(t.Context(), b, w.file, w.book, "uid:0", nil); err != nil {
				t.Fatal(err)
			}
			b.Files[0] = file("/etc/passwd", "mallory", 0o644)
			if err := os.WriteFile(w.file, b.Text(), 0o600); err != nil {
				t.Fatal(err)
			}
		})
		w.want(t, time.Second, w.file+" "+Tampered)
		st := w.Status()
		if st.Problem == nil || !strings.Contains(st.Problem.Error(), "was edited") || st.Files != 0 {
			t.Errorf("%v", st.Problem)
		}
		// Changes are told of all the same.
		w.does(t, did("vi", 7, "/etc/passwd"))
		w.disk.set(file("/etc/passwd", "y", 0o644))
		w.want(t, 2*time.Second, "/etc/passwd content by vi")
		if _, err := w.Accept(t.Context(), "uid:0", Selection{Paths: []kernel.FilePath{"/etc"}}); !errors.Is(err, ErrNone) {
			t.Errorf("accepted into a baseline that was edited: %v", err)
		}
		if _, err := w.Take(t.Context(), "person:ann", nil); err != nil {
			t.Fatal(err)
		}
		if st := w.Status(); st.Problem != nil || st.Files != 3 || len(st.Differ) != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestMonitorTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, func(w *world) { w.disk.fail = errors.New("the sensor is being started") })
		if st := w.Status(); st.Problem == nil {
			t.Error("no problem while the sensor does not answer")
		}
		unavailable := func(err error) {
			w.disk.mu.Lock()
			defer w.disk.mu.Unlock()
			w.disk.fail = err
		}
		unavailable(nil)
		w.want(t, 10*time.Second)
		if st := w.Status(); st.Problem != nil || st.Files != 3 {
			t.Fatalf("%+v", st)
		}
		// An event waits until the sensor answers again.
		unavailable(errors.New("gone"))
		w.does(t, did("vi", 7, "/etc/passwd"))
		w.disk.set(file("/etc/passwd", "y", 0o644))
		w.want(t, 30*time.Second)
		unavailable(nil)
		w.want(t, 10*time.Second, "/etc/passwd content by vi")
	})
}

func TestAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watched(t, nil, nil)
		packaged := file("/etc/tool", "2", 0o755)
		packaged.Package = "tool 2"
		altered := file("/etc/tool2", "2", 0o755)
		altered.Package, altered.Altered = "tool 2", true
		for _, f := range []kernel.File{packaged, altered, file("/etc/passwd", "y", 0o644), file("/etc/nginx/a", "", 0o644), file("/etc/nginx-b", "", 0o644)} {
			w.disk.set(f)
		}
		if err := w.Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		accept := func(s Selection) (names []string) {
			t.Helper()
			taken, err := w.Accept(t.Context(), "person:ann", s)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range taken {
				names = append(names, c.Path.String())
			}
			return names
		}
		if got := accept(Selection{Paths: []kernel.FilePath{"/etc/ngin"}}); got != nil {
			t.Errorf("a piece of a name accepts %v", got)
		}
		if d := cmp.Diff([]string{"/etc/nginx/a"}, accept(Selection{Paths: []kernel.FilePath{"/etc/nginx"}})); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"/etc/tool"}, accept(Selection{Packaged: true})); d != "" {
			t.Error(d)
		}
		last := w.book.entries[len(w.book.entries)-1]
		if last["actor"] != "person:ann" || last["how"] != "accepted" || last["path1"] != "/etc/tool (created)" {
			t.Errorf("%v", last)
		}
		b, _, err := load(t.Context(), w.file, w.book)
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := b.Find("/etc/tool"); !ok || f.SHA256 != packaged.SHA256 {
			t.Error("what was accepted is not in the baseline")
		}
		if st := w.Status(); len(st.Differ) != 3 || len(st.Altered) != 1 {
			t.Errorf("%d differ, %d altered", len(st.Differ), len(st.Altered))
		}
	})
}
