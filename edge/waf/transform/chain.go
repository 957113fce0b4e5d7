package transform

import (
	"fmt"
	"strings"
)

// Chain is some transformations, one after the other.
type Chain struct {
	Name    string // of all, as in "urldecodeuni,lowercase"
	steps   []Transform
	touched Bytes
	always  bool // changes even the empty value
}

// NewChain returns the chain of those names. An unknown name is an error.
func NewChain(names []string) (*Chain, error) {
	c := &Chain{Name: strings.ToLower(strings.Join(names, ","))}
	for _, name := range names {
		t, ok := Lookup(name)
		if !ok {
			return nil, fmt.Errorf("there is no transformation %q", name)
		}
		if t.Name == "none" {
			continue
		}
		c.steps = append(c.steps, t)
		c.touched = c.touched.with(t.touched)
		c.always = c.always || t.touched == anyByte()
	}
	return c, nil
}

// Steps are its transformations, which are not to be changed.
func (c *Chain) Steps() []Transform { return c.steps }

// Idle reports whether a value that consists of these bytes stays as it is.
func (c *Chain) Idle(in *Bytes) bool { return !c.always && !c.touched.Meets(in) }

// Apply returns the value transformed, in the memory of a; the value itself where nothing changes.
func (c *Chain) Apply(a *Arena, value string) string {
	for i := range c.steps {
		value, _ = c.steps[i].apply(a, value)
	}
	return value
}

// Each appends to out what multiMatch looks at: the value itself, and what each step that changed something made of it.
func (c *Chain) Each(a *Arena, out []string, value string) []string {
	out = append(out, value)
	for i := range c.steps {
		if next, changed := c.steps[i].apply(a, value); changed {
			value = next
			out = append(out, value)
		}
	}
	return out
}

// Prefixes returns the chains that the first steps make: of none, of one, and so on, of all.
func (c *Chain) Prefixes() []*Chain {
	out := make([]*Chain, 0, len(c.steps)+1)
	for n := range len(c.steps) + 1 {
		p := &Chain{steps: c.steps[:n]}
		for i := range p.steps {
			if i > 0 {
				p.Name += ","
			}
			p.Name += p.steps[i].Name
			p.touched = p.touched.with(p.steps[i].touched)
			p.always = p.always || p.steps[i].touched == anyByte()
		}
		out = append(out, p)
	}
	return out
}
