package habit

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Notice says how one parameter of a request differs from what others send. It holds no value.
type Notice struct {
	Place Place
	Name  string // as the client wrote it, of the characters of names; JSON pointers of bodies have * for elements of lists
	Text  string
}

// String returns the notice as a sentence: "query q: 4000 characters, others have at most 64".
func (n Notice) String() string { return n.Place.String() + " " + n.Name + ": " + n.Text }

// maxNotices bounds what is said of one request.
const maxNotices = 16

// Unusual tells how each parameter of a request differs from the norm, as of the last Refresh, by place and name. known says whether there is a norm: without
// one nothing is unusual. It may be called at the same time as all else, and allocates where something is unusual only.
func (h *Habits) Unusual(o *Observation) (notices []Notice, known bool) {
	norms := h.norms.Load()
	if norms == nil || o.Template == "" {
		return nil, false
	}
	n := (*norms)[endpointKey{o.Route, o.Method, o.Template}]
	if n == nil {
		return nil, false
	}
	var own slotsMask
	if o.Client != 0 {
		own = 1 << slotOf(o.Client)
	}
	if (n.filled &^ own).count() < leastOthers {
		return nil, false
	}
	var there [1024 / 64]uint64
	all := visit(o, func(place Place, name []byte, text string, value any) bool {
		i, ok := n.params[paramKey{place, string(name)}]
		if !ok || (n.of[i].filled&^own).count() < leastVouching {
			if !n.full {
				notices = add(notices, place, string(name), "others send no such parameter")
			}
			return len(notices) < maxNotices
		}
		p := &n.of[i]
		again := place != InBody && there[i/64]&(1<<(i%64)) != 0
		there[i/64] |= 1 << (i % 64)
		if !p.known || (p.filled&^own).count() < leastOthers {
			return true
		}
		v := h.see(text, value)
		if again {
			v.set |= 1 << repeated
		}
		if what := p.differs(v, own); what != "" {
			notices = add(notices, place, string(name), what)
		}
		return len(notices) < maxNotices
	})
	for i := range n.of {
		p := &n.of[i]
		if len(notices) == maxNotices || !all || o.Cut { // what was not looked at may be there
			break
		}
		if there[i/64]&(1<<(i%64)) != 0 || p.key.place == InBody && o.Body == nil || p.key.place == InForm && o.Form == nil {
			continue
		}
		if others := n.filled &^ own; p.always&others == others {
			notices = add(notices, p.key.place, p.key.name, "missing, others always send it")
		}
	}
	slices.SortStableFunc(notices, func(a, b Notice) int { return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Name, b.Name)) })
	return notices, true
}

// add appends a notice unless the same is there.
func add(to []Notice, place Place, name, text string) []Notice {
	n := Notice{place, name, text}
	if len(to) == maxNotices || slices.Contains(to, n) {
		return to
	}
	return append(to, n)
}

// differs says how a value differs from what others send, "" where it does not.
func (n *paramNorm) differs(v seen, own slotsMask) string {
	if v.set&^n.sure == 0 && v.language == unknown && v.length <= upTo(n.sureStep) {
		return "" // most values
	}
	usual := n.without(own)
	odd := v.set &^ usual
	form := v.set & plainValue
	if odd&form != 0 && (wider[bits.TrailingZeros64(uint64(form))]&usual != 0 || usual&plainValue == 0 && usual != 0) {
		odd &^= form // a number where there are words
	}
	if odd&form != 0 && bits.TrailingZeros64(uint64(form)) == int(isText) {
		if usual&plainValue&^(1<<empty) != 0 && odd&^form != 0 && usual&(1<<isWord|1<<isBase64|1<<isText) != 0 {
			odd &^= form // its characters say it
		}
	}
	longest := upTo(n.longest(own))
	long := form != 0 && v.length > 2*longest+8
	lang := v.language != unknown && (n.traits[languages+trait(v.language)]&^own).count() < leastVouching && (n.traits[languages]&^own).count() < (n.filled&^own).count()
	if lang { // others must be known to write another one
		others := false
		for l := english; l < numLanguages; l++ {
			others = others || l != v.language && (n.traits[languages+trait(l)]&^own).count() >= leastVouching
		}
		lang = others
	}
	if odd == 0 && !long && !lang {
		return ""
	}
	var parts []string
	say := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if long {
		say("%d characters, others have at most %d", v.length, longest)
	}
	if odd&form != 0 {
		say("%s, others send %s", formNames[bits.TrailingZeros64(uint64(form))], namesOf(usual))
	}
	if chars := charNames(odd &^ form); chars != "" {
		say("it has %s, which others do not have", chars)
	}
	if odd&(1<<structured) != 0 {
		say("an object or a list, others send %s", namesOf(usual))
	}
	if odd&(1<<null) != 0 {
		say("null, others send %s", namesOf(usual))
	}
	if odd&(1<<repeated) != 0 {
		say("there more than once, others send it once")
	}
	if lang {
		say("it is %s, others write otherwise", languageNames[v.language])
	}
	return strings.Join(parts, "; ")
}

// formNames are the forms in words.
var formNames = [forms]string{"empty", "a whole number", "a number", "true or false", "a date", "a UUID", "a hexadecimal number", "an e-mail address", "an address of the web", "base64", "a word", "a text"}

// namesOf lists what others send.
func namesOf(usual set) string {
	var names []string
	for t := range forms {
		if usual&(1<<t) != 0 {
			names = append(names, formNames[t])
		}
	}
	if usual&(1<<structured) != 0 {
		names = append(names, "an object or a list")
	}
	if usual&(1<<null) != 0 {
		names = append(names, "null")
	}
	if len(names) == 0 {
		return "nothing of the kind"
	}
	return strings.Join(names, " or ")
}

// maxChars bounds the characters that a notice names.
const maxChars = 8

// charNames lists characters: kinds, and the specials of ASCII themselves.
func charNames(s set) string {
	var names []string
	for t, name := range map[trait]string{lower: "small letters", upper: "capital letters", digit: "digits", space: "spaces", lines: "line breaks", controls: "control characters",
		letters: "letters beyond ASCII", symbols: "signs beyond ASCII", invalid: "bytes that are no UTF-8"} {
		if s&(1<<t) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i := range specials {
		if s&(1<<(special+trait(i))) != 0 {
			names = append(names, specials[i:i+1])
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) > maxChars:
		return strings.Join(names[:maxChars], " ") + fmt.Sprintf(" and %d more", len(names)-maxChars)
	case len(names) == 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
