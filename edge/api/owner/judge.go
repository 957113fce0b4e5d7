package owner

import (
	"math"
	"slices"
	"strconv"
)

// linear says for every number of bits out of 512 how many objects set them, most likely.
var linear = func() (t [513]uint32) {
	for n := range 512 {
		t[n] = uint32(512*math.Log(512/float64(512-n)) + 0.5)
	}
	t[512] = 4000
	return t
}()

// Bits of window.told.
const (
	toldForeign = 1 << iota
	toldWalk
	toldSequence
	toldRefused
	toldRecords
	toldBytes
)

// tell says something once in a window.
func (w *window) tell(bit uint32, v Violation) []Violation {
	if w.told&bit != 0 {
		return nil
	}
	w.told |= bit
	w.active = append(w.active, v)
	return []Violation{v}
}

// objects judges an access to objects. The endpoint's own statistics change with it.
func (t *Tracker) objects(sub *subject, w *window, a *Access, named []spot, everybody []uint64, known bool, now int64) []Violation {
	e := w.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	ok := a.Status >= 200 && a.Status < 300 || a.Status == 304
	refused := a.Status == 403 || a.Status == 404 || a.Status == 401 || a.Status == 410
	var all []Violation
	// The last object is what the request is about; those before it say within what.
	for i := range named {
		key, last := named[i].key, i == len(named)-1
		holds := t.owners.of(key, sub.key)
		handed := holds == mine || slices.ContainsFunc(everybody, func(who uint64) bool { return t.given.has(key ^ who) })
		switch {
		case ok && known && last && sub.key == everybody[0]:
			e.open(handed, sub.key)
		case refused && last && !handed && mark(&w.refused, key):
			w.denied = distinct(&w.refused)
		}
		if handed || !ok || !mark(&w.opened, key) {
			continue
		}
		w.walked = distinct(&w.opened)
		if known {
			switch holds {
			case others:
				w.points += 2
				w.alien++
			case unknown:
				w.points++
			}
		}
	}
	about := &named[len(named)-1]
	where := about.Name
	if (ok || refused) && isNumeric(about.Value) && !t.given.has(about.key^sub.key) {
		w.follow(about.Value)
	}

	complete := sub.cut == 0 || now-sub.cut >= int64(t.config.Remember.Seconds())
	warm := now-t.born.Load() >= int64(t.config.Warm.Seconds())
	if known && warm && complete && e.handsOut() && uint64(w.points) >= usual(&e.points, t.config.Foreign) {
		confidence := 60
		if w.alien*2 >= w.walked {
			confidence = 90
		}
		all = append(all, w.tell(toldForeign, Violation{CheckObject, CodeForeign, where,
			"opened " + count(w.walked) + " objects that were never given to the subject, where ids are usually given", confidence})...)
	}
	if complete && e.walked.all >= windowsWarm && uint64(w.walked) >= usual(&e.walked, t.config.Walk) {
		all = append(all, w.tell(toldWalk, Violation{CheckObject, CodeWalk, where,
			"opened " + count(w.walked) + " objects that were never given, far more than others do", 70})...)
	}
	if row := max(w.row, -w.row); row >= t.config.Sequence && uint64(w.walked+w.denied) >= usual(&e.walked, t.config.Sequence)/3 {
		all = append(all, w.tell(toldSequence, Violation{CheckObject, CodeSequence, where,
			"asked for " + strconv.Itoa(row) + " ids one after the other that were never given", 80})...)
	}
	if uint64(w.denied) >= usual(&e.refused, t.config.Refused) && w.denied*4 >= w.walked+w.denied {
		all = append(all, w.tell(toldRefused, Violation{CheckObject, CodeRefused, where,
			"asked for " + count(w.denied) + " objects that were refused or are not there", 75})...)
	}
	return all
}

// follow notices ids that come in a row, up or down, with small gaps.
func (w *window) follow(id string) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return
	}
	switch step := n - w.number; {
	case step == 0:
	case w.row > 0 && step >= 1 && step <= 3, w.row < 0 && step <= -1 && step >= -3:
		w.row += sign(w.row)
	case step >= 1 && step <= 3:
		w.row = 1
	case step <= -1 && step >= -3:
		w.row = -1
	default:
		w.row = 0
	}
	w.number = n
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// count is a number that was estimated.
func count(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// amount judges how much an answer, and all answers of a window together, hold.
func (t *Tracker) amount(w *window, a *Access, who uint64) []Violation {
	if a.Status < 200 || a.Status >= 300 {
		return nil
	}
	e := w.endpoint
	n := uint64(records(a.Response, 2))
	size := uint64(max(a.Bytes, 0))
	w.answers++
	w.bytes += size
	w.records += n
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []Violation
	if e.bytes.all >= answersWarm && e.subjects.count() >= subjectsWarm {
		if most := max(64<<10, 8*e.bytes.above(0.001)); size > most {
			all = append(all, w.tell(toldBytes, Violation{CheckExposure, CodeBytes, "", "an answer of " + strconv.FormatUint(size, 10) + " bytes, where " +
				strconv.FormatUint(most/8, 10) + " are much", 60})...)
		}
		if most := max(100, 4*e.records.above(0.001)); n > most {
			all = append(all, w.tell(toldRecords, Violation{CheckExposure, CodeRecords, "", "an answer with " + strconv.FormatUint(n, 10) + " records, where " +
				strconv.FormatUint(most/4, 10) + " are many", 65})...)
		}
	}
	if e.windowRecords.all >= 2*windowsWarm {
		if most := max(1000, 8*e.windowRecords.above(0.005)); w.records > most {
			all = append(all, w.tell(toldRecords, Violation{CheckExposure, CodeRecords, "", strconv.FormatUint(w.records, 10) + " records in one window, where " +
				strconv.FormatUint(most/8, 10) + " are many", 65})...)
		}
		if most := max(8<<20, 8*e.windowBytes.above(0.005)); w.bytes > most {
			all = append(all, w.tell(toldBytes, Violation{CheckExposure, CodeBytes, "", strconv.FormatUint(w.bytes, 10) + " bytes in one window, where " +
				strconv.FormatUint(most/8, 10) + " are much", 60})...)
		}
	}
	if len(all) == 0 {
		e.bytes.add(size)
		e.records.add(n)
		e.subjects.add(who)
	}
	return all
}

// authentication notices an answer without credentials where all others needed some.
func (t *Tracker) authentication(e *endpoint, a *Access, who uint64) []Violation {
	if a.Status < 200 || a.Status >= 300 || a.Method == "OPTIONS" || a.Method == "HEAD" {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if a.Credentials {
		if e.secured < math.MaxUint32 {
			e.secured++
		}
		e.subjects.add(who)
		return nil
	}
	always := e.secured >= securedWarm && uint64(e.bare)*200 <= uint64(e.secured)
	if e.bare < math.MaxUint32 {
		e.bare++
	}
	if !always || e.subjects.count() < 5 {
		return nil
	}
	return []Violation{{CheckAuthentication, CodeBare, "", "answered without credentials, which all others needed", 85}}
}
