package match

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/signal"
)

// ref is a node, and whether its answer is turned around: number<<1 | turned.
type ref int32

// The constant node is the first.
const (
	refYes ref = 0
	refNo  ref = 1
)

func (r ref) turned() bool { return r&1 == 1 }
func (r ref) number() int  { return int(r >> 1) }

// node is a part of a condition in normal form: nots stand before atoms, loops and functions only,
// an and holds no and, an or no or, and nothing stands in one of them twice. A node stands for every
// condition that has it.
type node struct {
	kind nodeKind
	kids []ref
	atom int32
	leaf Expr  // *Loop or *Func
	uses int32 // by how many others and rules

	cost, chance float64 // nanoseconds to answer; how often the answer is Yes
	any          bool    // something below it looks at every text of the event
}

type nodeKind uint8

const (
	nodeConst nodeKind = iota // Yes
	nodeAtom
	nodeAnd
	nodeOr
	nodeLeaf
)

// normalizer makes nodes of conditions. Equal parts become one node.
type normalizer struct {
	nodes  []node
	byKey  map[string]ref // of atoms, ands and ors
	atoms  []*Atom
	leaves map[Expr]ref
}

func newNormalizer() *normalizer {
	return &normalizer{
		nodes: []node{{kind: nodeConst}}, byKey: map[string]ref{}, leaves: map[Expr]ref{},
	}
}

// expr returns the node of a condition, or of its opposite. Turning around goes by De Morgan's laws, which
// hold for three answers too.
func (n *normalizer) expr(x Expr, turn bool) ref {
	switch x := x.(type) {
	case Const:
		if bool(x) != turn {
			return refYes
		}
		return refNo
	case And:
		return n.join(n.all(x, turn), turn)
	case Or:
		return n.join(n.all(x, turn), !turn)
	case Not:
		return n.expr(x.Part, !turn)
	case *Atom:
		r := n.rewrite(x)
		if !turn {
			return r
		}
		return n.opposite(r)
	case *Loop, *Func:
		r, ok := n.leaves[x]
		if !ok {
			r = n.node(node{kind: nodeLeaf, leaf: x})
			n.leaves[x] = r
		}
		if turn {
			return r ^ 1
		}
		return r
	}
	return refNo
}

func (n *normalizer) all(parts []Expr, turn bool) []ref {
	refs := make([]ref, len(parts))
	for i, part := range parts {
		refs[i] = n.expr(part, turn)
	}
	return refs
}

// opposite returns the node that answers otherwise.
func (n *normalizer) opposite(r ref) ref {
	at := &n.nodes[r.number()]
	if at.kind != nodeAnd && at.kind != nodeOr {
		return r ^ 1
	}
	kids := make([]ref, len(at.kids))
	for i, kid := range at.kids {
		kids[i] = n.opposite(kid)
	}
	return n.join(kids, at.kind == nodeAnd)
}

func (n *normalizer) node(v node) ref {
	n.nodes = append(n.nodes, v)
	return ref(len(n.nodes)-1) << 1
}

// join returns the and of these nodes, or their or.
func (n *normalizer) join(parts []ref, or bool) ref {
	kind, neutral, decides := nodeAnd, refYes, refNo
	if or {
		kind, neutral, decides = nodeOr, refNo, refYes
	}
	var kids []ref
	for _, p := range parts {
		switch at := &n.nodes[p.number()]; {
		case p == neutral:
		case p == decides:
			return decides
		case at.kind == kind:
			kids = append(kids, at.kids...)
		default:
			kids = append(kids, p)
		}
	}
	kids = n.merge(kids, or)
	slices.Sort(kids)
	kids = slices.Compact(kids)
	switch len(kids) {
	case 0:
		return neutral
	case 1:
		return kids[0]
	}
	key := make([]byte, 1, 1+4*len(kids))
	key[0] = byte(kind)
	for _, k := range kids {
		key = binary.LittleEndian.AppendUint32(key, uint32(k))
	}
	r, ok := n.byKey[string(key)]
	if !ok {
		r = n.node(node{kind: kind, kids: kids})
		n.byKey[string(key)] = r
	}
	return r
}

// merge makes one atom of those that ask one operand the same with other constants: of an or's atoms, and of
// an and's atoms behind a not.
func (n *normalizer) merge(kids []ref, or bool) []ref {
	groups := map[string][]int{}
	var order []string
	several := false
	for i, k := range kids {
		at := &n.nodes[k.number()]
		if at.kind != nodeAtom || k.turned() == or {
			continue
		}
		a := n.atoms[at.atom]
		if a.Other != nil || a.Op == OpExists || a.Op == OpRegex || a.Op == OpCompare {
			continue
		}
		key := a.question()
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], i)
		several = several || len(groups[key]) > 1
	}
	if !several {
		return kids
	}
	var merged []ref
	gone := map[int]bool{}
	for _, key := range order {
		group := groups[key]
		if len(group) < 2 {
			continue
		}
		one := *n.atoms[n.nodes[kids[group[0]].number()].atom]
		one.Texts, one.Ints, one.Numbers, one.Prefixes = nil, nil, nil, nil
		for _, i := range group {
			a := n.atoms[n.nodes[kids[i].number()].atom]
			one.Texts = append(one.Texts, a.Texts...)
			one.Ints = append(one.Ints, a.Ints...)
			one.Numbers = append(one.Numbers, a.Numbers...)
			one.Prefixes = append(one.Prefixes, a.Prefixes...)
			gone[i] = true
		}
		r := n.atom(&one)
		if !or {
			r ^= 1
		}
		merged = append(merged, r)
	}
	for i, k := range kids {
		if !gone[i] {
			merged = append(merged, k)
		}
	}
	return merged
}

// rewrite returns the node of an atom: each of its constants asks in the way that is cheapest to answer.
func (n *normalizer) rewrite(a *Atom) ref {
	one := *a
	one.On.Steps = keptSteps(&one)
	switch {
	case one.Op == OpExists:
		one.On.Measure = MeasureNone
		return n.atom(&one)
	case one.Op == OpRegex:
		texts, ok := plainTexts(one.Regex.String())
		if !ok {
			return n.atom(&one)
		}
		return n.rewrite(&Atom{On: one.On, Op: OpContains, Texts: texts})
	case one.Other != nil || one.Op == OpCompare:
		return n.atom(&one)
	case one.Op == OpInt || one.Op == OpNumber || one.Op == OpCIDR:
		return n.join([]ref{n.constants(&one)}, true)
	}
	byOp := map[Op][]string{}
	for _, c := range one.Texts {
		op, text := one.Op, c
		if op == OpGlob {
			op, text = simpleGlob(c)
		}
		if text == "" && (op == OpPrefix || op == OpSuffix || op == OpContains) {
			op = OpExists // every text begins with nothing
		}
		byOp[op] = append(byOp[op], text)
	}
	if _, any := byOp[OpExists]; any {
		return n.atom(&Atom{On: one.On, Op: OpExists})
	}
	var parts []ref
	for op := OpEqual; op <= OpPathPrefix; op++ {
		if texts := byOp[op]; len(texts) > 0 {
			part := one
			part.Op, part.Texts = op, texts
			parts = append(parts, n.typed(&part))
		}
	}
	return n.join(parts, true)
}

// constants returns the atom, or No where it has nothing to compare with.
func (n *normalizer) constants(a *Atom) ref {
	if len(a.Ints) == 0 && a.Op == OpInt || len(a.Numbers) == 0 && a.Op == OpNumber || len(a.Prefixes) == 0 && a.Op == OpCIDR {
		return refNo
	}
	return n.atom(a)
}

// typed makes comparisons of numbers of those with a number's text, which need no text to be made of the number.
func (n *normalizer) typed(a *Atom) ref {
	o := a.On
	plain := o.Attr == "" && !o.Any && !o.Elem && o.At <= 1 && len(o.Steps) == 0
	if a.Op != OpEqual || !plain {
		return n.atom(a)
	}
	o.Measure = MeasureNone
	switch o.Field.Kind() {
	case signal.KindInt:
		var ranges []IntRange
		for _, t := range a.Texts {
			if v, ok := ParseInt(t); ok && strconv.FormatInt(v, 10) == t {
				ranges = append(ranges, IntIs(v))
			}
		}
		return n.constants(&Atom{On: o, Op: OpInt, Ints: ranges})
	case signal.KindBool:
		var ranges []IntRange
		for _, t := range a.Texts {
			if t == "true" {
				ranges = append(ranges, IntIs(1))
			} else if t == "false" {
				ranges = append(ranges, IntIs(0))
			}
		}
		return n.constants(&Atom{On: o, Op: OpInt, Ints: ranges})
	}
	return n.atom(a)
}

// keptSteps leaves out what the comparison does anyway.
func keptSteps(a *Atom) []Step {
	steps := a.On.Steps
	if a.Fold && a.Other == nil && a.Op >= OpEqual && a.Op <= OpPathPrefix {
		for len(steps) > 0 && (steps[len(steps)-1] == StepLower || steps[len(steps)-1] == StepUpper) {
			steps = steps[:len(steps)-1]
		}
	}
	return steps
}

// simpleGlob returns the operator and text that ask the same as a pattern, where it needs none.
func simpleGlob(pattern string) (Op, string) {
	var text []byte
	before, behind := false, false
	for p := 0; p < len(pattern); {
		c, next := globByte(pattern, p)
		switch {
		case c == globAny, c == globStar && len(text) > 0 && next < len(pattern) && strings.Trim(pattern[next:], "*") != "":
			return OpGlob, pattern
		case c == globStar && len(text) == 0:
			before = true
		case c == globStar:
			behind = true
		default:
			text = append(text, byte(c))
		}
		p = next
	}
	switch {
	case !before && !behind:
		return OpEqual, string(text)
	case len(text) == 0:
		return OpExists, ""
	case !utf8.Valid(text):
		return OpGlob, pattern // a star passes over whole characters
	case before && behind:
		return OpContains, string(text)
	case before:
		return OpSuffix, string(text)
	}
	return OpPrefix, string(text)
}

// atom returns the node of an atom. Equal atoms have one.
func (n *normalizer) atom(a *Atom) ref {
	a.Texts = distinct(a)
	key := a.question() + a.answers()
	r, ok := n.byKey[key]
	if !ok {
		r = n.node(node{kind: nodeAtom, atom: int32(len(n.atoms))})
		n.atoms = append(n.atoms, a)
		n.byKey[key] = r
	}
	return r
}

// fewTexts bounds the constants that are compared with each other.
const fewTexts = 64

// distinct sorts an atom's constants, and leaves out those that hold only where another one does.
func distinct(a *Atom) []string {
	if a.Other != nil || len(a.Texts) == 0 {
		return a.Texts
	}
	texts := slices.Clone(a.Texts)
	slices.Sort(texts)
	texts = slices.Compact(texts)
	if a.Op == OpEqual || a.Op == OpGlob || a.Op == OpPathPrefix || len(texts) > fewTexts {
		return texts
	}
	all := slices.Clone(texts)
	return slices.DeleteFunc(texts, func(t string) bool {
		return slices.ContainsFunc(all, func(other string) bool { return other != t && textOp(a.Op, t, other) })
	})
}

// question returns what the atom asks without its constants, so that equal questions are equal texts.
func (a *Atom) question() string {
	b := append(make([]byte, 0, 64), 'a', byte(a.Op), byte(a.Order), flag(a.Fold))
	b = a.On.appendKey(b)
	if a.Other != nil {
		b = a.Other.appendKey(b)
	}
	return string(b)
}

// answers returns the constants.
func (a *Atom) answers() string {
	var b []byte
	for _, t := range a.Texts {
		b = appendText(b, t)
	}
	if a.Regex != nil {
		b = appendText(b, a.Regex.String())
	}
	for _, r := range a.Ints {
		b = append(b, r.String()...)
		b = append(b, 0)
	}
	for _, r := range a.Numbers {
		b = append(strconv.AppendFloat(b, r.Min, 'g', -1, 64), ' ', flag(r.MinOpen))
		b = append(strconv.AppendFloat(b, r.Max, 'g', -1, 64), ' ', flag(r.MaxOpen))
	}
	for _, p := range a.Prefixes {
		b = append(append(b, p.String()...), 0)
	}
	return string(b)
}

func (o *Operand) appendKey(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(o.Field))
	b = append(b, flag(o.Any)|flag(o.Elem)<<1, byte(o.Measure), byte(len(o.Steps)))
	b = binary.AppendVarint(b, int64(o.At))
	for _, s := range o.Steps {
		b = append(b, byte(s))
	}
	return appendText(b, o.Attr)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
