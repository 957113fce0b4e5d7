package engine

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// Much of a request is the same in the next: names of fields and parameters, what browsers say of themselves. What was found in such a text is
// remembered. It is a fact of the text, whoever sends it, so that remembering changes no verdict. Values that may be
// somebody's secrets are not kept: parameters, cookies, credentials, paths.

const (
	knownTexts  = 4096 // how many are remembered
	knownLength = 192  // the longest text, and what transformations may make of it
	knownForms  = 8    // how many different texts they may make of it
)

// known remembers texts: each has one place, where another may take it. One is kept when it comes the second time, so that
// texts which never come again cost no memory. All of them take some megabytes at the most.
type known struct {
	seed   maphash.Seed
	places [knownTexts]atomic.Pointer[knownText]
	seen   [knownTexts]atomic.Uint32 // of a text that came once
}

// knownText is what a class of rules finds in a text of a source. It does not change.
type knownText struct {
	text, key string
	class     class
	source    source
	lit       bits
	forms     []knownForm
}

type knownForm struct {
	text   string
	chains []int
	found  bits
}

func newKnown() *known { return &known{seed: maphash.MakeSeed()} }

// repeats reports whether texts of a source are likely to come again and nobody's secret. The key is in lower case.
func repeats(s source, key, text string) bool {
	if len(text) > knownLength || len(key) > knownLength {
		return false
	}
	if s&names != 0 {
		return true
	}
	switch variables.RuleVariable(s) {
	case variables.RequestMethod, variables.RequestProtocol, variables.ResponseProtocol, variables.ResponseStatus:
		return true
	case variables.RequestHeaders, variables.ResponseHeaders:
		switch key {
		case "host", "user-agent", "accept", "accept-language", "accept-encoding", "connection", "content-type", "content-length", "cache-control", "origin", "upgrade-insecure-requests",
			"sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "priority", "te", "dnt",
			"x-requested-with", "x-content-type-options", "x-frame-options", "content-security-policy", "strict-transport-security", "vary", "server", "content-encoding":
			return true
		}
	}
	return false
}

// at returns a text's place, and what stands for it among those that were seen once.
func (k *known) at(c class, s source, key, text string) (place int, mark uint32) {
	h := maphash.String(k.seed, text) ^ (uint64(s)<<8|uint64(c))*0x9e3779b97f4a7c15
	if s&names == 0 && key != "" {
		h ^= maphash.String(k.seed, key) * 31
	}
	return int(h % knownTexts), uint32(h>>32) | 1
}

// recall gives a look what is known of its text, and reports whether something is.
func (k *known) recall(tx *Transaction, l *look, c class, s source, key string, place int) bool {
	t := k.places[place].Load()
	if t == nil || t.class != c || t.source != s || t.text != l.text || t.key != key {
		return false
	}
	for i := range t.forms {
		from := &t.forms[i]
		f := l.add(tx, from.text)
		for _, chain := range from.chains {
			l.formOf[chain] = int32(f + 1)
		}
		l.forms[f].found.add(from.found)
	}
	tx.lit[s].add(t.lit)
	return true
}

// learn keeps what was found in a text that came before. What it holds is its own.
func (k *known) learn(tx *Transaction, l *look, c class, s source, key string, place int, mark uint32) {
	if k.seen[place].Swap(mark) != mark {
		return
	}
	h := &tx.engine.heads
	t := &knownText{text: strings.Clone(l.text), key: strings.Clone(key), class: c, source: s, lit: newBits(len(h.patterns))}
	for i := range l.forms {
		f := &l.forms[i]
		to := knownForm{text: t.text}
		for j := range h.plan[c][s] {
			if chain := h.plan[c][s][j].chain; int(l.formOf[chain]) == i+1 {
				to.chains = append(to.chains, chain)
			}
		}
		if len(to.chains) == 0 {
			continue // what others are made of
		}
		if len(f.text) > knownLength || len(t.forms) == knownForms {
			return
		}
		if f.text != t.text {
			to.text = strings.Clone(f.text)
		}
		to.found = append(to.found, f.found...)
		t.forms = append(t.forms, to)
		t.lit.add(f.found)
	}
	k.places[place].Store(t)
}
