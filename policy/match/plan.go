package match

// Plan says how the index serves a rule.
type Plan struct {
	Access   []string // what an event must have one of for the rule to be evaluated
	Residual bool     // there is no such thing: it is evaluated for every event of its classes
	Why      string
}

// Plan returns how rule i is served.
func (x *Index) Plan(i int) Plan {
	r := &x.rules[i]
	if r.access == nil {
		return Plan{Residual: true}
	}
	p := Plan{}
	for _, sp := range r.access.specs {
		p.Access = append(p.Access, x.columns[sp.column].on.String()+" "+sp.String())
	}
	return p
}
