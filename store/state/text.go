package state

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what is stored, in bytes. What is longer is cut, but for ids and
// keys, which are refused: a cut id would be another one's.
const (
	maxID       = 256
	maxKey      = 512
	maxTitle    = 1 << 10
	maxText     = 16 << 10
	maxValue    = 4 << 10
	maxItems    = 64
	maxSearch   = 8 << 10
	maxAsked    = 200 // of a text to search for
	maxDocument = 1 << 20
)

// clean makes a text fit for both databases, and cuts it.
func clean(s string, most int) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	const mark = "…"
	cut := most - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

func cleanList(list []string, items, most int) []string {
	if len(list) > items {
		list = list[:items]
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = clean(s, most)
	}
	if list == nil {
		return nil
	}
	return out
}

// checkID refuses what cannot be a key.
func checkID(what, id string, most int) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: %s has no id", ErrQuery, what)
	case len(id) > most:
		return fmt.Errorf("%w: the id of %s has %d bytes, at most %d can be stored", ErrQuery, what, len(id), most)
	case clean(id, most) != id:
		return fmt.Errorf("%w: the id of %s is not text: %q", ErrQuery, what, id)
	}
	return nil
}

// isID reports whether a key can be in the store at all.
func isID(id string, most int) bool { return checkID("", id, most) == nil }

// searchable joins what a text search looks through.
func searchable(parts ...string) string {
	return clean(strings.ToLower(strings.Join(parts, "\n")), maxSearch)
}

// pattern returns the LIKE pattern, with \ as escape, of a text that is looked for anywhere.
func pattern(text string) (string, error) {
	if len(text) > maxAsked {
		return "", fmt.Errorf("%w: the text to search for has %d bytes: shorten it to %d", ErrQuery, len(text), maxAsked)
	}
	text = strings.ToLower(clean(text, 4*maxAsked))
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%", nil
}

// nanos is how times are stored; the zero time is 0, and times outside of 1678 to
// 2262 are moved to the nearest end.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// counted turns a count into what a database holds.
func counted(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// cursor names the last row of a page: the values that it is sorted by. It is opaque
// to callers; nothing in it is trusted when it comes back.
func cursor(id string, sortedBy ...int64) string {
	var b strings.Builder
	for _, n := range sortedBy {
		fmt.Fprintf(&b, "%d.", n)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(b.String() + id))
}

func parseCursor(s string, numbers int) (id string, sortedBy []int64, err error) {
	bad := fmt.Errorf("%w: it is not one of this list: leave it out to start from the beginning", ErrCursor)
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(s) > 2*maxKey {
		return "", nil, bad
	}
	parts := strings.SplitN(string(b), ".", numbers+1)
	if len(parts) != numbers+1 {
		return "", nil, bad
	}
	for _, p := range parts[:numbers] {
		n, err := strconv.ParseInt(p, 10, 64)
		if err != nil {
			return "", nil, bad
		}
		sortedBy = append(sortedBy, n)
	}
	if id = parts[numbers]; !isID(id, maxKey) {
		return "", nil, bad
	}
	return id, sortedBy, nil
}

// conditions collects the WHERE clause of a query; values go to args only.
type conditions struct {
	where []string
	args  []any
}

func (c *conditions) add(condition string, args ...any) {
	c.where = append(c.where, condition)
	c.args = append(c.args, args...)
}

// text adds a search for text; "" matches everything.
func (c *conditions) text(text string) error {
	if text == "" {
		return nil
	}
	p, err := pattern(text)
	if err != nil {
		return err
	}
	c.add(`search LIKE ? ESCAPE '\'`, p)
	return nil
}

func (c *conditions) String() string {
	if len(c.where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.where, " AND ")
}

// Bounds of the number of rows in one page.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func limited(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return min(n, maxLimit)
}
