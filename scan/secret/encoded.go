package secret

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"

	"github.com/testudo-sec/testudo/detect"
)

const (
	// shortestRun is the length from which characters of base64 are looked at: 18 bytes.
	shortestRun = 24
	shortestHex = 40
	// judged is how many bytes are decoded to see whether the whole is text.
	judged = 12
	// maxLayers is how deep encodings in each other are taken off.
	maxLayers = 3
	// maxDecoded bounds what is decoded of one file, in all layers, beyond its size.
	maxDecoded = 8 << 20
	maxToken   = 16 << 10 // of percent-encoding
	// maxHits bounds what is found in what is decoded of one file.
	maxHits = 10_000
)

var errEncoded = errors.New("too much of it is encoded: not all of that was judged")

// hit is a match, perhaps in something that was decoded: then Start and End are those of the encoded
// text, and via names the encodings from the outermost in.
type hit struct {
	detect.Match
	secret []byte
	via    string
	text   []byte // that the secret was found in, at
	at     int
}

// Values of the characters: below 64 of base64 in both alphabets, hexadecimal digits, others.
type alphabet struct{ base64, hex [256]byte }

const other = 0xff

var letters = func() (a alphabet) {
	for i := range 256 {
		a.base64[i], a.hex[i] = other, other
	}
	for i := range 26 {
		a.base64['A'+i], a.base64['a'+i] = byte(i), byte(26+i)
	}
	for i := range 10 {
		a.base64['0'+i], a.hex['0'+i] = byte(52+i), byte(i)
	}
	for i := range 6 {
		a.hex['a'+i], a.hex['A'+i] = byte(10+i), byte(10+i)
	}
	a.base64['+'], a.base64['-'], a.base64['/'], a.base64['_'] = 62, 62, 63, 63
	return a
}()

// decoder looks for secrets in what is encoded in a file.
type decoder struct {
	find  func(path string, text []byte, yield func(detect.Match) bool) bool
	path  string
	room  int
	short bool // room was not enough, or the rules gave up
	hits  []hit
}

// look goes through text for what is encoded. Places are those of the outermost text: from and to, if layer is not 0.
func (d *decoder) look(text []byte, layer int, via string, from, to int) {
	place := func(start, end int) (int, int) {
		if layer > 0 {
			return from, to
		}
		return start, end
	}
	for at := 0; !d.full(); {
		start, end := nextRun(text, at)
		if start < 0 {
			break
		}
		at = end
		run := d.decode(text, start, end)
		if run.text == nil {
			continue
		}
		at = max(at, run.end)
		a, b := place(run.start, run.end)
		d.search(run.text, layer, via+run.how+" of ", a, b)
	}
	for at := 0; !d.full(); {
		i := bytes.IndexByte(text[at:], '%')
		if i < 0 {
			break
		}
		at += i
		start, end, escapes := percentToken(text, at)
		if escapes < 2 {
			at = end
			continue
		}
		at = end
		if d.take(end - start) {
			a, b := place(start, end)
			d.search(unescape(text[start:end]), layer, via+"percent-encoding of ", a, b)
		}
	}
}

// full reports whether so much was found that the rest is not looked at.
func (d *decoder) full() bool {
	d.short = d.short || len(d.hits) >= maxHits
	return len(d.hits) >= maxHits
}

// search judges decoded text, and what is encoded in it.
func (d *decoder) search(text []byte, layer int, via string, from, to int) {
	if !d.find(d.path, text, func(m detect.Match) bool {
		h := hit{Match: m, secret: text[m.Start:m.End], via: via, text: text, at: m.Start}
		h.Start, h.End = from, to
		d.hits = append(d.hits, h)
		return len(d.hits) < maxHits
	}) {
		d.short = true
	}
	if layer+1 < maxLayers {
		d.look(text, layer+1, via, from, to)
	}
}

// take reports whether so much may still be decoded.
func (d *decoder) take(n int) bool {
	if d.room -= n; d.room < 0 {
		d.short = true
	}
	return d.room >= 0
}

// nextRun finds the next run of characters of base64 that is long enough. It looks at the last character that such a run would
// have, and backwards from there, so that in ordinary text it passes over most characters.
func nextRun(text []byte, at int) (start, end int) {
	for at+shortestRun <= len(text) {
		i := at + shortestRun - 1
		for i >= at && letters.base64[text[i]] != other {
			i--
		}
		if i >= at {
			at = i + 1
			continue
		}
		end = at + shortestRun
		for end < len(text) && letters.base64[text[end]] != other {
			end++
		}
		return at, end
	}
	return -1, -1
}

// decoded is text that was encoded, and where.
type decoded struct {
	text       []byte // nil if it is none
	how        string
	start, end int // in base64 the end may be lines below
}

// decode decodes a run if it is text, or compressed text, in hexadecimal or base64.
func (d *decoder) decode(text []byte, start, end int) decoded {
	run := text[start:end]
	if len(run) >= shortestHex && len(run)%2 == 0 && isHex(run) {
		if !plausible(unhex(run[:2*judged])) || !d.take(len(run)/2) {
			return decoded{}
		}
		return d.unpack(decoded{unhex(run), "hex", start, end})
	}
	if !mixed(run[:min(len(run), 200)]) || isTokenPart(text, start, end) {
		return decoded{}
	}
	for tries, from := 0, start; tries < 6 && end-from >= shortestRun; tries++ {
		var head [judged + 4]byte
		if plausible(unbase64(head[:0], text[from:from+16])) {
			last := wrapped(text, from, end)
			if !d.take((last - from) * 3 / 4) {
				return decoded{}
			}
			return d.unpack(decoded{unbase64(make([]byte, 0, (last-from)*3/4+3), text[from:last]), "base64", from, last})
		}
		next := bytes.IndexAny(text[from:min(end, from+64)], "/_-") // what stands before may be no base64
		if next < 0 {
			break
		}
		from += next + 1
	}
	return decoded{}
}

// unpack takes off gzip, and refuses what is no text.
func (d *decoder) unpack(r decoded) decoded {
	if bytes.HasPrefix(r.text, []byte{0x1f, 0x8b, 8}) {
		z, err := gzip.NewReader(bytes.NewReader(r.text))
		if err != nil {
			return decoded{}
		}
		limit := min(d.room, maxDecoded/4)
		out, _ := io.ReadAll(io.LimitReader(z, int64(limit)+1)) // what can be read of it counts
		if len(out) > limit {
			out, d.short = out[:limit], true
		}
		d.take(len(out))
		r.text, r.how = out, r.how+" of gzip"
	}
	if len(r.text) < judged || bytes.IndexByte(r.text[:min(len(r.text), 1000)], 0) >= 0 {
		return decoded{}
	}
	return r
}

// wrapped returns the end of base64 that goes on in the lines below: as long as they are full, and one more.
func wrapped(text []byte, from, end int) int {
	width := 0
	for {
		if width == 0 {
			width = end - from
		}
		if end-from < width || width < 40 {
			return end
		}
		i := end
		if i < len(text) && text[i] == '\r' {
			i++
		}
		if i >= len(text) || text[i] != '\n' {
			return end
		}
		for i++; i < len(text) && (text[i] == ' ' || text[i] == '\t'); i++ {
		}
		next := i
		for next < len(text) && next-i <= width && letters.base64[text[next]] != other {
			next++
		}
		if next == i || next-i > width || next < len(text) && text[next] != '\n' && text[next] != '\r' && text[next] != '=' && text[next] != '"' && text[next] != '\'' {
			return end
		}
		from, end = i, next
	}
}

// unbase64 appends what is encoded in either alphabet, passing over white space.
func unbase64(out, in []byte) []byte {
	var bits uint32
	n := 0
	for _, c := range in {
		v := letters.base64[c]
		if v == other {
			continue
		}
		bits = bits<<6 | uint32(v)
		if n++; n == 4 {
			out = append(out, byte(bits>>16), byte(bits>>8), byte(bits))
			bits, n = 0, 0
		}
	}
	switch n {
	case 2:
		out = append(out, byte(bits>>4))
	case 3:
		out = append(out, byte(bits>>10), byte(bits>>2))
	}
	return out
}

func isHex(b []byte) bool {
	for _, c := range b {
		if letters.hex[c] == other {
			return false
		}
	}
	return true
}

func unhex(in []byte) []byte {
	out := make([]byte, 0, len(in)/2)
	for i := 0; i+1 < len(in); i += 2 {
		out = append(out, letters.hex[in[i]]<<4|letters.hex[in[i+1]])
	}
	return out
}

// plausible reports whether text may begin so, or gzip. Bytes that mean something else do it once in 10,000 times.
func plausible(b []byte) bool {
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b, 8}) {
		return true
	}
	for _, c := range b {
		if (c < 0x20 || c >= 0x7f) && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// mixed reports whether a run has capitals, small letters and digits, as encoded text has and few names do.
func mixed(run []byte) bool {
	var upper, lower, digit bool
	for _, c := range run {
		upper = upper || 'A' <= c && c <= 'Z'
		lower = lower || 'a' <= c && c <= 'z'
		digit = digit || '0' <= c && c <= '9'
	}
	return upper && lower && digit
}

// isTokenPart tells the parts of a JSON Web Token, which is judged as a whole.
func isTokenPart(text []byte, start, end int) bool {
	return start > 0 && text[start-1] == '.' || end < len(text) && text[end] == '.' && bytes.HasPrefix(text[start:], []byte("eyJ"))
}

// percentToken returns the word around an escape, and how many escapes it has.
func percentToken(text []byte, at int) (start, end, escapes int) {
	start, end = at, at
	for start > 0 && at-start < maxToken/4 && isWordByte(text[start-1]) {
		start--
	}
	for end < len(text) && end-start < maxToken && isWordByte(text[end]) {
		if isEscape(text[end:]) {
			escapes++
		}
		end++
	}
	return start, max(end, at+1), escapes
}

func isWordByte(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '`' && c != '<' && c != '>'
}

func isEscape(b []byte) bool {
	return len(b) >= 3 && b[0] == '%' && letters.hex[b[1]] != other && letters.hex[b[2]] != other
}

func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if isEscape(b[i:]) {
			out = append(out, letters.hex[b[i+1]]<<4|letters.hex[b[i+2]])
			i += 2
			continue
		}
		out = append(out, b[i])
	}
	return out
}

// merge adds what was found in encoded text to the matches, in the order of places. A rule that knows only a shape gives way where
// its match is the encoded form of something known; else what was found without decoding stays.
func merge(matches []detect.Match, data []byte, inside []hit) []hit {
	out := make([]hit, 0, len(matches)+len(inside))
	overlap := func(a, b *detect.Match) bool { return a.Start < b.End && b.Start < a.End }
	for i := range matches {
		m := &matches[i]
		if m.Rule.Generic && slices.ContainsFunc(inside, func(h hit) bool { return !h.Rule.Generic && overlap(m, &h.Match) }) {
			continue
		}
		out = append(out, hit{Match: *m, secret: data[m.Start:m.End], text: data, at: m.Start})
	}
	plain := len(out)
	for _, h := range inside {
		if !slices.ContainsFunc(out[:plain], func(p hit) bool { return overlap(&p.Match, &h.Match) }) {
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b hit) int { return a.Start - b.Start })
	return out
}
