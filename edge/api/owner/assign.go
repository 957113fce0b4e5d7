package owner

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// resource is what is known of the fields at one template, by all methods.
type resource struct {
	room *atomic.Int64 // for fields, of the whole Tracker

	mu        sync.Mutex
	told      map[uint64]struct{} // fields of answers
	asked     map[uint64]sent     // fields that were accepted
	described map[uint64]struct{} // fields of requests that the document knows
	partial   bool                // there are more than are kept
	bodies    uint32
	senders   crowd
	answered  uint32
}

// sent is who sent a field, a bit for each subject so that a few are told apart, and how often.
type sent struct {
	who   uint64
	count uint32
}

const (
	maxTold       = 512
	maxAsked      = 512
	maxKept       = 500_000 // of all resources
	maxFieldDepth = 6
	bodiesWarm    = 200
	sendersWarm   = 10
	knownBy       = 3 // subjects that vouch for a field
	privateBy     = 8 // subjects that vouch for one that grants something; or two, where it is in one of twenty bodies
	maxFound      = 16
)

// fields walks over the fields of a body. The pointer is written into a buffer that is only good within the call.
type fields struct {
	buf   []byte
	left  int // fields that are looked at
	items int // of each array
	cut   bool
	each  func(name string, pointer []byte, h uint64)
}

func (f *fields) walk(v any, h uint64, deep int) {
	if deep > maxFieldDepth || f.left <= 0 {
		f.cut = true
		return
	}
	switch v := v.(type) {
	case []any:
		n := len(f.buf)
		f.buf = append(f.buf, "/*"...)
		for _, inner := range v[:min(len(v), f.items)] {
			f.walk(inner, mix(h+1), deep+1)
		}
		f.buf = f.buf[:n]
	case map[string]any:
		if len(v) > f.left {
			f.left, f.cut = 0, true
			return
		}
		for name, inner := range v {
			f.left--
			n := len(f.buf)
			f.buf = append(f.buf, '/')
			f.buf = appendToken(f.buf, name)
			at := hash(h, name)
			f.each(name, f.buf, at)
			f.walk(inner, at, deep+1)
			f.buf = f.buf[:n]
		}
	}
}

// appendToken writes a name as a part of a JSON pointer.
func appendToken(b []byte, name string) []byte {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c == '~' || c == '/' || c < ' ' || c >= 0x7f || len(name) > 64 {
			return append(b, jsontree.Token(name)...)
		}
	}
	return append(b, name...)
}

// assignment looks at the fields of a request that wants to change something. It learns from those that were accepted. Of a field that a subject
// was allowed to send before, it says nothing more of that subject.
func (r *resource) assignment(a *Access, who uint64) []Violation {
	if a.Request == nil || a.Method != "POST" && a.Method != "PUT" && a.Method != "PATCH" {
		return nil
	}
	found := map[string]Violation{}
	r.mu.Lock()
	defer r.mu.Unlock()
	warm := r.bodies >= bodiesWarm && r.senders.count() >= sendersWarm
	accepted := a.Status >= 200 && a.Status < 300
	bit := uint64(1) << (mix(who) & 63)
	f := fields{left: 4096, items: 4096}
	f.each = func(name string, pointer []byte, h uint64) {
		if a.Document != nil {
			if r.isDescribed(a, pointer, h) {
				return
			}
			at := string(pointer)
			found[at] = violationOf(at, isPrivate(name), true)
			return
		}
		s, ok := r.asked[h]
		who := bits.OnesCount64(s.who)
		known := ok && (who >= privateBy || who >= 2 && uint64(s.count)*20 >= uint64(r.bodies))
		if !known && warm && s.who&bit == 0 {
			private := isPrivate(name)
			_, told := r.told[h]
			if who >= knownBy && !private {
				told = true
			}
			if private || !told && r.answered > 0 && !r.partial {
				at := string(pointer)
				found[at] = violationOf(at, private, false)
			}
		}
		if accepted && (ok || r.roomFor()) {
			s.who |= bit
			s.count++
			r.asked[h] = s
		}
	}
	f.walk(a.Request, 0, 0)
	if f.cut && (warm || a.Document != nil) {
		found[""] = Violation{CheckAssignment, CodeUnknown, "", "more fields, or deeper ones, than are looked at", 40}
	}
	if accepted {
		r.bodies++
		r.senders.add(who)
	}
	return inOrder(found)
}

// isDescribed reports whether the document knows a field of a request. What it knows is remembered: to ask it takes a text.
func (r *resource) isDescribed(a *Access, pointer []byte, h uint64) bool {
	h ^= hash(0, a.Method) // which may mean other fields
	if _, ok := r.described[h]; ok {
		return true
	}
	if !a.Document.RequestField(string(pointer)) {
		return false
	}
	if len(r.described) < maxAsked && r.room.Load() > 0 {
		if r.described == nil {
			r.described = map[uint64]struct{}{}
		}
		r.described[h] = struct{}{}
		r.room.Add(-1)
	}
	return true
}

// roomFor drops fields that one subject sent, where there are too many.
func (r *resource) roomFor() bool {
	if r.asked == nil {
		r.asked = map[uint64]sent{}
	}
	if len(r.asked) >= maxAsked {
		before := len(r.asked)
		maps.DeleteFunc(r.asked, func(_ uint64, s sent) bool { return bits.OnesCount64(s.who) < 2 })
		r.room.Add(int64(before - len(r.asked)))
	}
	if len(r.asked) >= maxAsked || r.room.Load() <= 0 {
		r.partial = true
		return false
	}
	r.room.Add(-1)
	return true
}

func violationOf(at string, private, documented bool) Violation {
	v := Violation{Check: CheckAssignment, Code: CodeUnknown, Where: at, Message: "a field that no answer has and nobody else sends", Confidence: 40}
	if documented {
		v.Message, v.Confidence = "a field that the document does not know", 60
	}
	if private {
		v.Code, v.Confidence = CodePrivate, 85
		v.Message = "a field that grants something, which users of this endpoint do not send"
		if documented {
			v.Message, v.Confidence = "a field that grants something, which the document does not know", 95
		}
	}
	return v
}

// inOrder puts what grants something first, and tells of sixteen at most.
func inOrder(found map[string]Violation) []Violation {
	if len(found) == 0 {
		return nil
	}
	all := slices.Collect(maps.Values(found))
	slices.SortFunc(all, func(a, b Violation) int {
		if a.Confidence != b.Confidence {
			return b.Confidence - a.Confidence
		}
		return strings.Compare(a.Where, b.Where)
	})
	return all[:min(len(all), maxFound)]
}

// answer learns the fields of an answer, and tells those that the document does not know.
func (r *resource) answer(a *Access) []Violation {
	if a.Response == nil || a.Status < 200 || a.Status >= 300 {
		return nil
	}
	var found map[string]Violation
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered++
	if a.Document == nil && r.answered > 256 && r.answered%16 != 0 {
		return nil // what there is, is known
	}
	f := fields{left: 1024, items: 16}
	f.each = func(_ string, pointer []byte, h uint64) {
		if _, ok := r.told[h]; ok {
			return
		}
		if a.Document != nil {
			if at := string(pointer); !a.Document.ResponseField(at) && len(found) < maxFound {
				if found == nil {
					found = map[string]Violation{}
				}
				found[at] = Violation{CheckExposure, CodeExtra, at, "the answer has a field that the document does not know", 50}
				return
			}
		}
		if len(r.told) >= maxTold || r.room.Load() <= 0 {
			r.partial = true
			return
		}
		if r.told == nil {
			r.told = map[uint64]struct{}{}
		}
		r.told[h] = struct{}{}
		r.room.Add(-1)
	}
	f.walk(a.Response, 0, 0)
	return inOrder(found)
}

// isPrivate holds for names of fields that grant something: rights, money, states that an application decides about, whose something is.
func isPrivate(name string) bool {
	if len(name) > 40 {
		return false
	}
	var b [40]byte
	n := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i] | 0x20; {
		case c >= 'a' && c <= 'z':
			b[n] = c
			n++
		}
	}
	flat := string(b[:n])
	if _, ok := slices.BinarySearch(private, flat); ok {
		return true
	}
	for _, part := range privateParts {
		if strings.Contains(flat, part) {
			return true
		}
	}
	return false
}

var privateParts = []string{"admin", "superuser", "privilege", "permission", "passwordhash", "isstaff", "isowner", "accountbalance", "bypass", "impersonat",
	"trusted", "isverified", "emailverified", "isapproved", "isactive"}

// private is sorted.
var private = []string{"acl", "approved", "authorities", "balance", "confirmed", "createdby", "credit", "credits", "discount", "grants",
	"groupid", "groups", "internal", "isinternal", "ispaid", "ispremium", "isroot", "issystem", "limit", "organizationid",
	"orgid", "owner", "ownerid", "paid", "plan", "premium", "price", "quota", "rights", "role", "roleid", "roles",
	"root", "scope", "scopes", "staff", "status", "tenant", "tenantid", "tier", "usertype", "verified"}
