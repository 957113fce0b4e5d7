package match

import (
	"math"
	"regexp/syntax"
)

// price estimates what it costs to answer each node, and how often its answer is Yes.
func (b *builder) price() {
	nodes := b.n.nodes
	for i := range nodes { // a node stands behind its kids
		n := &nodes[i]
		switch n.kind {
		case nodeConst:
			n.cost, n.chance = 1, 1
		case nodeAtom:
			n.cost, n.chance, n.any = b.priceOf(n.atom)
		case nodeLeaf:
			n.chance = 0.3
			if f, ok := n.leaf.(*Func); ok {
				n.cost = math.Max(float64(f.Cost), 50)
			} else {
				n.cost = 500
				n.any = ReadsAll(n.leaf)
			}
		default:
			left := 1.0 // how often it is still undecided
			n.cost, n.any = 2, false
			for _, kid := range n.kids {
				k := &nodes[kid.number()]
				n.cost += left * k.cost
				yes := k.chance
				if kid.turned() {
					yes = 1 - yes
				}
				if n.kind == nodeAnd {
					left *= yes
				} else {
					left *= 1 - yes
				}
				n.any = n.any || k.any
			}
			n.chance = left
			if n.kind == nodeOr {
				n.chance = 1 - left
			}
		}
	}
}

// priceOf estimates an atom.
func (b *builder) priceOf(i int32) (cost, chance float64, any bool) {
	a := b.n.atoms[i]
	any = a.On.Any || a.Other != nil && a.Other.Any
	chance = 0.3
	if acc := b.accessOf[i]; acc != nil {
		chance = math.Min(acc.chance, 0.9)
	}
	constants := float64(min(len(a.Texts)+len(a.Ints)+len(a.Numbers)+len(a.Prefixes), manyTexts))
	switch a.Op {
	case OpExists:
		cost = 3
	case OpEqual, OpPrefix, OpSuffix, OpPathPrefix:
		cost = 6 + 2*constants
	case OpInt, OpNumber:
		cost = 5 + constants
	case OpCIDR:
		cost = 10 + 4*constants
	case OpContains:
		cost = 10 + 12*constants
	case OpGlob:
		cost = 10 + 40*constants
	case OpRegex:
		cost, chance = b.priceOfRegex(a)
	default:
		cost = 50
	}
	if a.Other != nil {
		cost += 100
	}
	if t := b.x.atoms; int(i) < len(t) && t[i].tokens.to > t[i].tokens.from {
		look := 2 + 0.5*float64(t[i].tokens.to-t[i].tokens.from)
		if t[i].exact {
			cost = look
		} else {
			cost = look + b.accessOf[i].chance*cost
		}
	}
	if any {
		cost *= 20
	}
	return cost, chance, any
}

// priceOfRegex estimates a regular expression: its matcher's work grows with its size, and what it needs spares most texts it.
func (b *builder) priceOfRegex(a *Atom) (cost, chance float64) {
	if known, ok := b.regexes[a]; ok {
		return known[0], known[1]
	}
	pattern := a.Regex.String()
	cost, chance = math.Min(500+20*float64(len(pattern)), 10000), 0.3
	if tree, err := syntax.Parse(pattern, syntax.Perl); err == nil {
		if needs, ok := requiredOf(tree, 1); ok && len(needs) <= maxNeeds {
			chance = math.Min(places*weight(needs), 0.3)
			cost = 15*float64(len(needs)) + math.Min(2*chance, 1)*cost
		}
	}
	b.regexes[a] = [2]float64{cost, chance}
	return cost, chance
}
