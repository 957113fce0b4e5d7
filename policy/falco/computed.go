package falco

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// computed compiles comparisons over texts that are taken from an event's attributes.
func (k *compiler) computed(c *checkNode, f *Field, arg string) (match.Expr, *mistake) {
	if c.other != nil || len(c.left.steps) > 0 {
		return nil, fault(c, "compare it with a constant", "%s takes neither transformers nor a field on the right side", f.Name)
	}
	on := f.targets(processView, "", k.src)
	if f.Kind == "hostpath" {
		// Whether one of the paths is the argument, which may end in a star.
		return k.truth(c, each(on, func(o match.Operand) match.Expr { return match.Text(o, match.OpGlob, false, arg) }))
	}
	return k.texts(c, f.Name, fieldsRead(on), computedTexts(f, arg, k.src))
}

// computedTexts returns what yields the values of a field that are taken from attributes, nil for other fields.
func computedTexts(f *Field, arg string, src source) func(e *signal.Event, yield func(string) bool) {
	on := f.targets(processView, "", src)
	switch f.Kind {
	case "mount":
		return func(e *signal.Event, yield func(string) bool) { mountTexts(e, f, arg, yield) }
	case "under":
		prefix := on[len(on)-1].Attr
		return func(e *signal.Event, yield func(string) bool) {
			for _, a := range e.UnmappedAttrs() {
				rest, ok := strings.CutPrefix(a.Name, prefix)
				if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') && yield(a.Value) {
					return
				}
			}
			operandTexts(e, on[:len(on)-1], yield)
		}
	case "param":
		return func(e *signal.Event, yield func(string) bool) {
			operandTexts(e, on, func(uri string) bool { return paramTexts(uri, arg, yield) })
		}
	case "repository":
		return func(e *signal.Event, yield func(string) bool) {
			n := 0
			operandTexts(e, on, func(image string) bool {
				if n++; arg != "" && strconv.Itoa(n-1) != arg {
					return false
				}
				return yield(repository(image))
			})
		}
	}
	return nil
}

// paramTexts yields the values of a parameter of an address.
func paramTexts(uri, name string, yield func(string) bool) bool {
	_, query, _ := strings.Cut(uri, "?")
	for pair := range strings.SplitSeq(query, "&") {
		key, v, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err != nil || key != name {
			continue
		}
		if v, err := url.QueryUnescape(v); err == nil && yield(v) {
			return true
		}
	}
	return false
}

// repository returns the name of an image without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image
}

func fieldsRead(on []match.Operand) []signal.Field {
	var all []signal.Field
	for _, o := range on {
		if o.Field != 0 {
			all = append(all, o.Field)
		}
	}
	return all
}

// operandTexts yields the values of operands as texts, until yield returns true.
func operandTexts(e *signal.Event, on []match.Operand, yield func(string) bool) {
	for _, o := range on {
		if o.Texts(e, yield) {
			return
		}
	}
}

// anyTrue compiles a comparison over whether one of several values is true.
func (k *compiler) anyTrue(c *checkNode, f *Field) (match.Expr, *mistake) {
	return k.truth(c, each(f.targets(processView, "", k.src), func(o match.Operand) match.Expr {
		return match.Text(o, match.OpEqual, true, "true")
	}))
}

// indexed compiles a comparison over one element of a list of attributes.
func (k *compiler) indexed(c *checkNode, f *Field, attr string, n int) (match.Expr, *mistake) {
	if c.other != nil || len(c.left.steps) > 0 {
		return nil, fault(c, "compare it with a constant", "an element of %s takes neither transformers nor a field on the right side", f.Name)
	}
	return k.texts(c, attr, nil, func(e *signal.Event, yield func(string) bool) {
		i := 0
		operandTexts(e, []match.Operand{{Attr: attr}}, func(v string) bool {
			i++
			return i-1 == n && yield(v)
		})
	})
}

// mount compiles a comparison over a part of the mount with a given source.
func (k *compiler) mount(c *checkNode, f *Field, arg string) (match.Expr, *mistake) {
	if c.other != nil || len(c.left.steps) > 0 {
		return nil, fault(c, "compare it with a constant", "%s takes neither transformers nor a field on the right side", f.Name)
	}
	return k.texts(c, "container.mounts", nil, computedTexts(f, arg, k.src))
}

var mountParts = []string{"container.mount.source", "container.mount.dest", "container.mount.mode", "container.mount.rdwr", "container.mount.propagation"}

// mountTexts yields what a field asks of the mount that its argument names: by number, by source, or for the source by destination.
// The mounts are attributes of the form source:destination:mode:rdwr:propagation; what is asked of a mount
// that is not there is N/A, as in Falco.
func mountTexts(e *signal.Event, f *Field, arg string, yield func(string) bool) {
	part, key := slices.Index(mountParts, f.Name), 0
	if f.Name == "container.mount.source" {
		key = 1
	}
	number, err := strconv.Atoi(arg)
	n, found := 0, false
	operandTexts(e, []match.Operand{{Attr: "container.mounts"}}, func(v string) bool {
		parts := strings.SplitN(v, ":", 5)
		if len(parts) < 2 {
			return false
		}
		n++
		if err == nil && n-1 != number || err != nil && !match.GlobMatch(arg, parts[key]) {
			return false
		}
		found = true
		switch {
		case part < 0:
			yield(v)
		case part < len(parts):
			yield(parts[part])
		}
		return true
	})
	if !found {
		yield("N/A")
	}
}

// joined compiles a comparison over what join and concat make of several values.
func (k *compiler) joined(c *checkNode) (match.Expr, *mistake) {
	if c.other != nil {
		return nil, fault(c, "compare it with a constant", "%s() takes no field on the right side", c.left.join)
	}
	type part struct {
		text string
		on   []match.Operand
	}
	var parts []part
	var read []signal.Field
	for _, p := range c.left.parts {
		if p.field == nil {
			parts = append(parts, part{text: p.text})
			continue
		}
		f, arg, m := find(p.field)
		if m != nil {
			return nil, m
		}
		if !slices.Contains([]string{"text", "comm", "number", "id", "dynamic", "list", "bool", "name"}, f.Kind) {
			return nil, &mistake{p.field.src, p.field.offset, f.Name + " cannot be part of " + c.left.join + "()", ""}
		}
		inner := checkNode{left: *p.field}
		_, on, m := transform(&inner, f.Kind, f.targets(k.view, arg, k.src))
		if m != nil {
			return nil, m
		}
		parts = append(parts, part{on: on})
		read = append(read, fieldsRead(on)...)
	}
	separator := ""
	if c.left.join == "join" {
		separator, parts = parts[0].text, parts[1:]
	}
	var steps []match.Step
	for _, s := range c.left.steps {
		step, ok := map[string]match.Step{"tolower": match.StepLower, "toupper": match.StepUpper, "b64": match.StepBase64, "basename": match.StepBasename}[s]
		if !ok {
			return nil, fault(c, "", "%s() takes no %s()", s, c.left.join)
		}
		steps = append(steps, step)
	}
	return k.texts(c, "joined", read, func(e *signal.Event, yield func(string) bool) {
		var all []string
		for _, p := range parts {
			if p.on == nil {
				all = append(all, p.text)
				continue
			}
			had := false
			operandTexts(e, p.on, func(v string) bool {
				all, had = append(all, strings.Clone(v)), true
				return false
			})
			if !had {
				return // one that is missing leaves nothing to compare
			}
		}
		if v, ok := match.ApplySteps(steps, strings.Join(all, separator)); ok {
			yield(v)
		}
	})
}
