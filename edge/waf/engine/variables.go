package engine

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// shape is how a variable holds what it holds.
type shape int

const (
	isSingle shape = iota // one text, which is always there
	isKeyed               // texts by keys, which are not case-sensitive
	isNames               // the keys of another variable
	isJoined              // some variables in one
	isSize                // of all arguments
	isTX
	isNothing // Coraza has it not
)

func shapeOf(v variables.RuleVariable) shape {
	switch v {
	case variables.Args, variables.ArgsNames:
		return isJoined
	case variables.ArgsGetNames, variables.ArgsPostNames, variables.RequestCookiesNames, variables.RequestHeadersNames, variables.ResponseHeadersNames, variables.MatchedVarsNames:
		return isNames
	case variables.ArgsGet, variables.ArgsPost, variables.ArgsPath, variables.RequestCookies, variables.RequestHeaders, variables.ResponseHeaders,
		variables.ResponseArgs, variables.MatchedVars, variables.Files, variables.FilesNames, variables.FilesSizes, variables.FilesTmpNames,
		variables.FilesTmpContent, variables.MultipartFilename, variables.MultipartName, variables.MultipartPartHeaders,
		variables.MultipartFilenameCharset, variables.MultipartFilenameLanguage, variables.XML, variables.RequestXML, variables.ResponseXML, variables.Geo:
		return isKeyed
	case variables.ArgsCombinedSize:
		return isSize
	case variables.TX:
		return isTX
	case variables.ResponseContentType, variables.UniqueID, variables.FilesCombinedSize, variables.FullRequestLength, variables.InboundDataError,
		variables.MatchedVar, variables.MatchedVarName, variables.MultipartDataAfter, variables.OutboundDataError, variables.QueryString,
		variables.RemoteAddr, variables.RemoteHost, variables.RemotePort, variables.ReqbodyError, variables.ReqbodyErrorMsg,
		variables.ReqbodyProcessorError, variables.ReqbodyProcessorErrorMsg, variables.ReqbodyProcessor, variables.RequestBasename, variables.RequestBody,
		variables.RequestBodyLength, variables.RequestFilename, variables.RequestLine, variables.RequestMethod, variables.RequestProtocol,
		variables.RequestURI, variables.RequestURIRaw, variables.ResponseBody, variables.ResponseContentLength, variables.ResponseProtocol,
		variables.ResponseStatus, variables.ServerAddr, variables.ServerName, variables.ServerPort, variables.HighestSeverity, variables.StatusLine,
		variables.Duration, variables.ResBodyProcessor, variables.UrlencodedError, variables.URIParseError, variables.MultipartStrictError,
		variables.MultipartDuplicatePartHeader, variables.MultipartInvalidQuoting, variables.ArgumentsLimitReached,
		variables.Time, variables.TimeDay, variables.TimeEpoch, variables.TimeHour, variables.TimeMin, variables.TimeMon, variables.TimeSec,
		variables.TimeWday, variables.TimeYear:
		return isSingle
	}
	return isNothing
}

// namesOf returns the variable whose keys v holds.
func namesOf(v variables.RuleVariable) variables.RuleVariable {
	switch v {
	case variables.ArgsGetNames:
		return variables.ArgsGet
	case variables.ArgsPostNames:
		return variables.ArgsPost
	case variables.RequestCookiesNames:
		return variables.RequestCookies
	case variables.RequestHeadersNames:
		return variables.RequestHeaders
	case variables.ResponseHeadersNames:
		return variables.ResponseHeaders
	}
	return variables.MatchedVars
}

// entry is one text of a variable.
type entry struct {
	key, value string
	lower      string // key in lower case, by which it is found

	keyLook, valueLook int32 // what is known of them: see Transaction.looking
}

// Datum is a value that a rule looks at.
type Datum struct {
	Variable   variables.RuleVariable
	Key, Value string
}

// item is a value that a rule is about to look at.
type item struct {
	Datum
	look *int32 // what is known of its text; nil if nothing can be
	from source
}

func (tx *Transaction) single(v variables.RuleVariable) string {
	if v == variables.MatchedVarName && tx.anyMatched {
		return nameOf(&tx.lastMatched)
	}
	return tx.singles[v]
}

// nameOf returns how MATCHED_VAR_NAME names a value.
func nameOf(d *Datum) string {
	if d.Key == "" {
		return d.Variable.Name()
	}
	return d.Variable.Name() + ":" + d.Key
}

func (tx *Transaction) add(v variables.RuleVariable, key, value string) {
	tx.keyed[v] = append(tx.keyed[v], entry{key: key, value: value, lower: tx.arena.Lower(key)})
}

// first returns the first text of a key, which is in lower case.
func (tx *Transaction) first(v variables.RuleVariable, key string) (string, bool) {
	for i := range tx.keyed[v] {
		if e := &tx.keyed[v][i]; e.lower == key {
			return e.value, true
		}
	}
	return "", false
}

// set puts one text in the place of all of a key.
func (tx *Transaction) set(v variables.RuleVariable, key, value string) {
	lower := tx.arena.Lower(key)
	for i := range tx.keyed[v] {
		if e := &tx.keyed[v][i]; e.lower == lower {
			e.key, e.value = key, value
			return
		}
	}
	tx.add(v, key, value)
}

// size returns the length of all arguments and their names.
func (tx *Transaction) size() int {
	n := 0
	for _, v := range [...]variables.RuleVariable{variables.ArgsGet, variables.ArgsPost} {
		for i := range tx.keyed[v] {
			n += len(tx.keyed[v][i].key) + len(tx.keyed[v][i].value)
		}
	}
	return n
}

// selector chooses among the texts of a variable by their keys.
type selector struct {
	key string // "": all
	rx  *regexp.Regexp
}

func (s *selector) takes(lower string, exact string) bool {
	switch {
	case s.rx != nil:
		return s.rx.MatchString(lower)
	case s.key != "":
		return lower == exact
	}
	return true
}

// collect appends the texts of v that are chosen, which show as those of as.
func (tx *Transaction) collect(out []item, v, as variables.RuleVariable, s *selector) []item {
	if v == variables.XML { // which is the request's, and shows as such
		v, as = variables.RequestXML, variables.RequestXML
	}
	switch v {
	case variables.MatchedVars, variables.MatchedVarsNames:
		for i := range tx.matchedList {
			d := &tx.matchedList[i]
			name := nameOf(d)
			if value := d.Value; s.takes(strings.ToLower(name), strings.ToLower(s.key)) {
				if v == variables.MatchedVarsNames {
					value = name
				}
				out = append(out, item{Datum{as, name, value}, nil, 0})
			}
		}
		return out
	case variables.MatchedVarName:
		return append(out, item{Datum{as, "", tx.single(v)}, nil, 0})
	}
	switch shapeOf(v) {
	case isSingle:
		return append(out, item{Datum{as, "", tx.single(v)}, &tx.singleLook[v], source(v)})
	case isSize:
		return append(out, item{Datum{as, "", strconv.Itoa(tx.size())}, nil, 0})
	case isKeyed:
		lower := strings.ToLower(s.key)
		for i := range tx.keyed[v] {
			if e := &tx.keyed[v][i]; s.takes(e.lower, lower) {
				out = append(out, item{Datum{as, e.key, e.value}, &e.valueLook, source(v)})
			}
		}
	case isNames:
		of := namesOf(v)
		for i := range tx.keyed[of] {
			if e := &tx.keyed[of][i]; s.takes(e.lower, s.key) { // as it is written: Coraza does not fold it here
				out = append(out, item{Datum{as, e.key, e.key}, &e.keyLook, source(of) + names})
			}
		}
	case isJoined:
		if v == variables.Args {
			out = tx.collect(out, variables.ArgsGet, as, s)
			out = tx.collect(out, variables.ArgsPost, as, s)
			return tx.collect(out, variables.ArgsPath, as, s)
		}
		out = tx.collect(out, variables.ArgsGetNames, as, s)
		return tx.collect(out, variables.ArgsPostNames, as, s)
	case isTX:
		for i, name := range tx.engine.names {
			if value, ok := tx.slot(i); ok && s.takes(name, strings.ToLower(s.key)) {
				out = append(out, item{Datum{as, name, value}, nil, 0})
			}
		}
		for i := range tx.keyed[v] {
			if e := &tx.keyed[v][i]; s.takes(e.lower, strings.ToLower(s.key)) {
				out = append(out, item{Datum{as, e.key, e.value}, nil, 0})
			}
		}
	}
	return out
}

// setTX gives a key of TX, which is in lower case, its value.
func (tx *Transaction) setTX(key, value string) {
	if slot, ok := tx.engine.slots[key]; ok {
		if slot < captureSlots {
			tx.settle()
		}
		tx.values[slot] = value
		tx.present.set(slot)
		return
	}
	if at := tx.named(key); at >= 0 {
		e := &tx.keyed[variables.TX][at]
		e.key, e.value = key, value
		return
	}
	tx.add(variables.TX, key, value)
	if tx.txNames != nil {
		tx.txNames[key] = len(tx.keyed[variables.TX]) - 1
	}
}

// fewNames is how many keys of TX that the program does not name are looked through one by one.
const fewNames = 32

// named returns which of the keys of TX that the program does not name is that one; -1 if none is. Requests may make up many.
func (tx *Transaction) named(key string) int {
	list := tx.keyed[variables.TX]
	if len(list) <= fewNames {
		return slices.IndexFunc(list, func(e entry) bool { return e.lower == key })
	}
	if tx.txNames == nil {
		tx.txNames = make(map[string]int, 2*len(list))
		for i := range list {
			tx.txNames[list[i].lower] = i
		}
	}
	if at, ok := tx.txNames[key]; ok {
		return at
	}
	return -1
}

func (tx *Transaction) removeTX(key string) {
	if slot, ok := tx.engine.slots[key]; ok {
		if slot < captureSlots {
			tx.settle()
		}
		tx.present[slot>>6] &^= 1 << (slot & 63)
		return
	}
	if at := tx.named(key); at >= 0 {
		tx.keyed[variables.TX], tx.txNames = slices.Delete(tx.keyed[variables.TX], at, at+1), nil
	}
}

// TX returns the value of a key of the collection TX, in which rules keep scores. The key is in lower case.
func (tx *Transaction) TX(key string) (string, bool) {
	if slot, ok := tx.engine.slots[key]; ok {
		return tx.slot(slot)
	}
	if at := tx.named(key); at >= 0 {
		return tx.keyed[variables.TX][at].value, true
	}
	return "", false
}

// SetTX sets a key of the collection TX, for rules to read. The key is in lower case.
func (tx *Transaction) SetTX(key, value string) { tx.setTX(key, value) }

// captureSlots are the keys of TX that captures stand in.
const captureSlots = 10

// captured keeps a capture of the operator that judges just now.
func (tx *Transaction) captured(i int, text string) {
	if len(tx.pending) > 0 {
		tx.settle()
	}
	tx.setCapture(i, text)
}

func (tx *Transaction) setCapture(i int, text string) {
	tx.values[i] = text
	tx.present.set(i)
}

// slot returns what a slot of TX holds.
func (tx *Transaction) slot(i int) (string, bool) {
	if i < captureSlots && len(tx.pending) > 0 {
		tx.settle()
	}
	return tx.values[i], tx.present.has(i)
}
