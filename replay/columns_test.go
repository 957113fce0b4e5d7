package replay_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/lake"
)

// emptyLog is a bus without batches.
type emptyLog struct{}

func (emptyLog) Bounds(context.Context) (first, last uint64, err error) { return 1, 0, nil }
func (emptyLog) Trim(context.Context, uint64) error                     { return nil }
func (emptyLog) Read(context.Context, uint64, func(uint64, []byte) bool) error {
	return nil
}

// lakeOf writes events into a new lake, a file for each run of so many of a partition.
func lakeOf(t testing.TB, events []*signal.Event, perFile int) *store.History {
	t.Helper()
	l, err := lake.Open(t.TempDir(), lake.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	parts := make(map[store.Partition]store.Part)
	seq := uint64(0)
	commit := func(p store.Partition) {
		seq++
		if err := parts[p].Commit(seq, seq); err != nil {
			t.Fatal(err)
		}
		delete(parts, p)
	}
	for _, e := range events {
		p := store.PartitionOf(e)
		if parts[p] == nil {
			if parts[p], err = l.Create(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := parts[p].Append(e); err != nil {
			t.Fatal(err)
		}
		if parts[p].Rows() == perFile {
			commit(p)
		}
	}
	for p := range parts {
		commit(p)
	}
	return store.ReadOnly(emptyLog{}, l)
}

// world makes events and conditions that have something to do with each other.
type world struct {
	r     *rand.Rand
	clean bool // no text is anything but UTF-8
	rules bool // conditions are rules', which read nothing that is written when they have judged
}

func pick[T any](w world, list []T) T { return list[w.r.IntN(len(list))] }

var words = []string{"", "/", "/admin", "/admin/users", "/ADMIN/x", "/shop/cart", "curl/8.5", "Mozilla/5.0", "sqlmap", "ä-Straße", "10.0.0.7", "404", "4.5",
	"aGVsbG8=", "%2e%2e/etc", "no utf\xff8", "Ünïcode", "edge", "kernel"}

var huntTexts = []signal.Field{signal.FieldHTTPRequestURLPath, signal.FieldHTTPRequestUserAgent, signal.FieldHTTPRequestURLQueryString,
	signal.FieldHTTPRequestUID, signal.FieldMessage, signal.FieldMetadataLogProvider}
var huntLists = []signal.Field{signal.FieldHTTPRequestHeaderNames, signal.FieldWAFRules, signal.FieldResourcesName, signal.FieldResourcesType}
var huntAttrs = []string{"eventName", "a.items.cidr", "vendor"}

func (w world) event(i int, start time.Time) *signal.Event {
	e := new(signal.Event)
	e.Time = start.Add(time.Duration(i)*time.Second + time.Duration(w.r.IntN(3))).UnixNano()
	e.ID = signal.NewID(time.Unix(0, e.Time))
	e.Class = pick(w, []signal.Class{signal.ClassHTTPActivity, signal.ClassAPIActivity})
	e.Plane = pick(w, []signal.Plane{signal.PlaneNone, signal.PlaneEdge, signal.PlaneKernel})
	e.Activity, e.Severity, e.Seq = uint8(w.r.IntN(4)), signal.Severity(w.r.IntN(5)), uint64(w.r.IntN(3)*i)
	some := func() bool { return w.r.IntN(3) > 0 }
	for _, f := range huntTexts[:5] {
		switch {
		case !some():
		case f == signal.FieldHTTPRequestURLQueryString && some():
			e.SetMasked(f, "token=secret", "token=***")
		case f == signal.FieldHTTPRequestUID:
			e.SetString(f, fmt.Sprintf("%016x%016x", w.r.Uint64(), w.r.Uint64()))
		case w.clean || w.r.IntN(40) > 0 || i%7 != 0: // texts that are not UTF-8 stay rare enough for most rows to be in columns
			e.SetString(f, words[w.r.IntN(15)])
		default:
			e.SetString(f, pick(w, words))
		}
	}
	if some() {
		e.SetInt(signal.FieldHTTPResponseCode, int64(pick(w, []int{200, 302, 403, 404, 500, -1})))
	}
	if some() {
		e.SetBool(signal.FieldIsMFA, w.r.IntN(2) == 0)
	}
	if some() {
		e.SetIP(signal.FieldSrcEndpointIP, netip.AddrFrom4([4]byte{10, 0, byte(w.r.IntN(3)), byte(w.r.IntN(9))}))
	}
	if some() {
		e.SetTime(signal.FieldStartTime, time.Unix(int64(w.r.IntN(4)), int64(w.r.IntN(3))))
	}
	for _, f := range huntLists {
		if some() {
			e.SetStrings(f, []string{pick(w, words[:15]), pick(w, words[:15]), pick(w, words[:15])}[:1+w.r.IntN(3)])
		}
	}
	if i%3 == 0 {
		for _, name := range []string{"eventName", "a.items[0].cidr", "a.items[1].cidr"} {
			if some() {
				e.SetUnmapped(name, pick(w, words[:15]))
			}
		}
	}
	return e
}

func (w world) operand() match.Operand {
	var o match.Operand
	switch w.r.IntN(10) {
	case 0, 1, 2, 3:
		o.Field = pick(w, huntTexts)
	case 4, 5:
		if o.Field = pick(w, huntLists); w.r.IntN(6) == 0 {
			o.At = 1 + w.r.IntN(2)
		}
	case 6:
		seq := signal.FieldMetadataSequence
		if w.rules {
			seq = signal.FieldActivityID
		}
		o.Field = pick(w, []signal.Field{signal.FieldHTTPResponseCode, signal.FieldIsMFA, signal.FieldSrcEndpointIP, signal.FieldStartTime,
			signal.FieldSeverityID, seq, signal.FieldTime, signal.FieldClassUID, signal.FieldMetadataUID})
	case 7:
		o.Attr = pick(w, huntAttrs)
	case 8:
		o.Field, o.Attr = pick(w, huntTexts), pick(w, huntAttrs)
	default:
		if w.r.IntN(8) == 0 {
			return match.Operand{Any: true}
		}
		o.Field = pick(w, huntTexts)
	}
	if w.r.IntN(6) == 0 {
		o.Steps = []match.Step{pick(w, []match.Step{match.StepLower, match.StepUpper, match.StepURLDecode, match.StepBase64, match.StepBasename})}
	}
	if w.r.IntN(10) == 0 {
		o.Measure = pick(w, []match.Measure{match.MeasureCount, match.MeasureBytes, match.MeasureRunes})
	}
	return o
}

func (w world) atom(on match.Operand) match.Expr {
	texts := []string{pick(w, words), pick(w, words)}[:1+w.r.IntN(2)]
	switch w.r.IntN(9) {
	case 0:
		return &match.Atom{On: on, Op: match.OpExists}
	case 1:
		return match.Int(on, match.IntOrder(match.Order(w.r.IntN(6)), int64(pick(w, []int{0, 1, 3, 4, 200, 404})))...)
	case 2:
		return &match.Atom{On: on, Op: match.OpNumber, Numbers: match.NumberOrder(match.Order(w.r.IntN(6)), 4.5)}
	case 3:
		return &match.Atom{On: on, Op: match.OpCIDR, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	case 4:
		return &match.Atom{On: on, Op: match.OpRegex, Regex: regexp.MustCompile(pick(w, []string{`^/admin`, `(?i)mozilla`, `\d+`}))}
	case 5:
		other := w.operand()
		if w.r.IntN(2) == 0 {
			on.Field, other.Field = signal.FieldHTTPResponseCode, pick(w, []signal.Field{signal.FieldSeverityID, signal.FieldActivityID, signal.FieldHTTPRequestURLPath})
			on.Attr, other.Attr, on.At, on.Any, other.Any = "", "", 0, false, false
			return &match.Atom{On: on, Op: match.OpCompare, Other: &other, Order: match.Order(w.r.IntN(6))}
		}
		return &match.Atom{On: on, Op: match.OpEqual, Other: &other}
	}
	return match.Text(on, pick(w, []match.Op{match.OpEqual, match.OpPrefix, match.OpSuffix, match.OpContains, match.OpGlob, match.OpPathPrefix}),
		w.r.IntN(3) == 0, texts...)
}

func (w world) expr(depth int) match.Expr {
	if depth > 0 {
		list := func() []match.Expr {
			out := make([]match.Expr, 1+w.r.IntN(3))
			for i := range out {
				out[i] = w.expr(depth - 1)
			}
			return out
		}
		switch w.r.IntN(6) {
		case 0, 1:
			return match.And(list())
		case 2, 3:
			return match.Or(list())
		case 4:
			return match.Not{Part: w.expr(depth - 1)}
		}
	}
	switch w.r.IntN(16) {
	case 0:
		return match.Const(w.r.IntN(2) == 0)
	case 1:
		elem := match.Operand{Elem: true}
		return &match.Loop{List: match.Operand{Field: pick(w, huntLists)}, Every: w.r.IntN(2) == 0,
			Body: match.Or{w.atom(elem), match.Not{Part: w.atom(elem)}, w.atom(w.operand())}[:1+w.r.IntN(3)]}
	case 2:
		f := pick(w, []signal.Field{signal.FieldHTTPRequestURLPath, signal.FieldHTTPResponseCode})
		return &match.Func{Text: "faulty", Fields: []signal.Field{f}, Call: func(e *signal.Event) match.Answer {
			if e.Has(f) {
				return match.Answer((len(e.Str(f)) + int(e.Int(f)) + 1) % 3)
			}
			return match.Fault
		}}
	}
	return w.atom(w.operand())
}

// thorough is how many times as much as usual the tests over random rules and events do: TESTUDO_LONG asks for more.
func thorough() int {
	if os.Getenv("TESTUDO_LONG") != "" {
		return 20
	}
	return 1
}

// plain hides that a condition is an expression, so that every event is made and asked about.
type plain struct{ replay.Condition }

// TestColumnsAgree holds what a hunt finds by columns against what it finds by asking about every
// event, over random conditions and events in real lake files.
func TestColumnsAgree(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := world{r: rand.New(rand.NewPCG(seed, 1))}
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var events []*signal.Event
	for i := range 1000 {
		events = append(events, w.event(i, start))
	}
	h := lakeOf(t, events, 700)
	rounds := 50 * thorough() / require.Stride(2)
	matched := 0
	for range rounds {
		agree(t, h, w.expr(3), replay.Query{Limit: replay.MaxLimit}, &matched)
		agree(t, h, w.expr(2), replay.Query{Limit: 1 + w.r.IntN(30), Since: start.Add(time.Duration(w.r.IntN(500)) * time.Second),
			Until: start.Add(time.Duration(500+w.r.IntN(500)) * time.Second)}, &matched)
	}
	if matched == 0 {
		t.Error("no condition matched any event")
	}
}

// TestColumnsAgreeBeyondDictionaries does the same where a column has more distinct texts than fit
// into its dictionary, and several pages.
func TestColumnsAgreeBeyondDictionaries(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 1)), true, false}
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var events []*signal.Event
	for i := range 24_000 {
		e := w.event(i%3000, start)
		e.Class = signal.ClassHTTPActivity
		e.SetString(signal.FieldHTTPRequestUserAgent, fmt.Sprintf("agent-%0120d", w.r.IntN(7000)))
		e.SetStrings(signal.FieldHTTPRequestHeaderNames, []string{"host", fmt.Sprintf("x-%060d", i), "accept"})
		e.SetUnmapped("vendor", fmt.Sprintf("%050d", i))
		e.SetUnmapped("other", "x")
		e.SetUnmapped("third", "x")
		events = append(events, e)
	}
	h := lakeOf(t, events, 1<<20)
	one := events[slices.IndexFunc(events, func(e *signal.Event) bool { return e.Has(signal.FieldHTTPRequestUID) })]
	uid := one.Str(signal.FieldHTTPRequestUID)
	matched := 0
	agent, names, vendor := match.Operand{Field: signal.FieldHTTPRequestUserAgent}, match.Operand{Field: signal.FieldHTTPRequestHeaderNames}, match.Operand{Attr: "vendor"}
	for _, x := range []match.Expr{
		match.Text(agent, match.OpSuffix, false, "77"),
		match.And{match.Text(agent, match.OpContains, false, "9"), match.Text(names, match.OpSuffix, false, "13"), match.Int(match.Operand{Field: signal.FieldHTTPResponseCode}, match.IntIs(404))},
		match.And{match.Not{Part: match.Text(names, match.OpContains, false, "1", "2")}, match.Text(vendor, match.OpSuffix, false, "4")},
		match.Text(match.Operand{Field: signal.FieldHTTPRequestUID}, match.OpEqual, false, uid),
		match.Text(match.Operand{Field: signal.FieldHTTPRequestUID}, match.OpPrefix, false, "zz", uid),
		match.Text(match.Operand{Field: signal.FieldMetadataUID}, match.OpEqual, false, one.ID.String()),
	} {
		before := matched
		agree(t, h, x, replay.Query{Limit: 5000}, &matched)
		if matched == before {
			t.Errorf("%s matches nothing", match.String(x))
		}
	}
}

func agree(t *testing.T, h *store.History, x match.Expr, q replay.Query, matched *int) {
	t.Helper()
	c := match.NewCondition(x)
	run := func(c replay.Condition) ([]string, replay.Stats) {
		var got []string
		stats, err := replay.Hunt(t.Context(), h, c, q, func(e *signal.Event) bool {
			got = append(got, string(e.AppendJSON(nil)))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return got, stats
	}
	want, slow := run(plain{c})
	got, fast := run(c)
	*matched += len(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s\nfinds by columns other events than by asking about each (-want +got):\n%s", match.String(x), diff)
	}
	if len(fast.Inexact) > len(slow.Inexact) || q.Limit == replay.MaxLimit && (fast.Faults != slow.Faults || !cmp.Equal(fast.Inexact, slow.Inexact)) {
		t.Fatalf("%s: by columns %+v, by asking about each %+v", match.String(x), fast, slow)
	}
}
