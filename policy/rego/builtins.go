package rego

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// The bounds of one evaluation.
const (
	MaxSteps     = 1_000_000 // expressions evaluated, and costs of built-ins
	MaxText      = 1 << 20   // bytes of one text or encoding that a built-in makes
	bytesPerStep = 64        // bytes that a built-in makes for one step
	maxShift     = 4096      // bits that a number may be shifted by
)

// ErrWork says that a policy took more steps than it may for one document.
var ErrWork = errors.New("the policy does too much work for this document")

// refused says why a built-in cannot be used; "" where it can.
func refused(b *ast.Builtin) string {
	switch {
	case strings.HasPrefix(b.Name, "http.") || strings.HasPrefix(b.Name, "net.lookup"):
		return "it reads the network"
	case b.Name == "time.now_ns" || b.Name == "io.jwt.decode_verify" || strings.HasPrefix(b.Name, "crypto.x509.parse_and_verify"):
		return "it reads the clock"
	case b.Name == "opa.runtime":
		return "it reads the environment"
	case strings.HasPrefix(b.Name, "rand.") || strings.HasPrefix(b.Name, "uuid.rfc4122") || strings.HasPrefix(b.Name, "io.jwt.encode_sign"):
		return "it depends on chance"
	case strings.HasPrefix(b.Name, "json.") && strings.HasSuffix(b.Name, "_schema"):
		return "a schema may name others on the network"
	case strings.HasPrefix(b.Name, "providers."):
		return "it signs requests"
	case b.IsNondeterministic() && b.Name != "rego.metadata.rule":
		return "it does not depend on the input alone"
	}
	return ""
}

// bounded are the built-ins whose results can be much larger than what they are made of. They are called by a name
// of ours, under which the original's result is measured. What belongs here is held by a test.
var bounded = []string{
	"concat", "replace", "strings.replace_n", "sprintf", "strings.render_template", "split", "format_int",
	"array.concat", "array.flatten", "numbers.range", "numbers.range_step", "object.union", "object.union_n", "json.patch",
	"base64.encode", "base64url.encode", "base64url.encode_no_pad", "hex.encode", "urlquery.encode", "urlquery.encode_object",
	"json.marshal", "json.marshal_with_options", "yaml.marshal", "json.unmarshal", "yaml.unmarshal",
	"regex.replace", "regex.find_n", "regex.find_all_string_submatch_n", "regex.split", "indexof_n",
	"bits.lsh", "net.cidr_expand", "internal.template_string",
	"time.clock", "time.date", "time.weekday", "time.format", "time.diff", "time.add_date", "time.parse_ns",
}

// ours is put before the names of bounded built-ins.
const ours = "testudo."

// builtins is what OPA has, as policies here may use it. It is made once and never changed.
type builtins struct {
	capabilities *ast.Capabilities
	custom       map[string]*topdown.Builtin
	refused      map[string]string // by name, why
}

var available = sync.OnceValue(func() *builtins {
	b := &builtins{capabilities: ast.CapabilitiesForThisVersion(), custom: make(map[string]*topdown.Builtin), refused: make(map[string]string)}
	b.capabilities.AllowNet = []string{}
	b.capabilities.Builtins = slices.DeleteFunc(slices.Clone(b.capabilities.Builtins), func(d *ast.Builtin) bool {
		why := refused(d)
		if why != "" {
			b.refused[d.Name] = why
		}
		return why != ""
	})
	for _, name := range bounded {
		decl, call := ast.BuiltinMap[name], topdown.GetBuiltin(name)
		if decl == nil || call == nil {
			continue
		}
		own := *decl
		own.Name, own.Infix = ours+name, ""
		b.capabilities.Builtins = append(b.capabilities.Builtins, &own)
		b.custom[own.Name] = &topdown.Builtin{Decl: &own, Func: measured(name, call)}
	}
	return b
})

// measured wraps a built-in, so that what it makes is counted and bounded.
func measured(name string, call topdown.BuiltinFunc) topdown.BuiltinFunc {
	return func(ctx topdown.BuiltinContext, operands []*ast.Term, yield func(*ast.Term) error) error {
		if err := permitted(name, operands); err != nil {
			return err
		}
		return call(ctx, operands, func(result *ast.Term) error {
			size := sizeOf(result)
			if size > MaxText {
				return topdown.Halt{Err: fmt.Errorf("%w: %s makes more than %d bytes", ErrWork, name, MaxText)}
			}
			if b, ok := ctx.Cancel.(*budget); ok {
				b.spend(size / bytesPerStep)
			}
			return yield(result)
		})
	}
}

// permitted refuses operands whose result would be too large to be made, or would depend on the machine.
func permitted(name string, operands []*ast.Term) error {
	halt := func(format string, args ...any) error {
		return topdown.Halt{Err: fmt.Errorf("%w: "+format, append([]any{ErrWork}, args...)...)}
	}
	switch {
	case name == "bits.lsh":
		if n, ok := operands[1].Value.(ast.Number); ok {
			if bits, ok := n.Int(); !ok || bits > maxShift {
				return halt("bits.lsh shifts by more than %d bits", maxShift)
			}
		}
	case name == "net.cidr_expand":
		if s, ok := operands[0].Value.(ast.String); ok && wide(string(s)) {
			return halt("net.cidr_expand of more than 65536 addresses")
		}
	case name == "replace" || name == "regex.replace":
		// Every character could become the whole replacement.
		subject, with := 0, 0
		for i, o := range operands {
			switch {
			case i == 0:
				subject = sizeOf(o)
			default:
				with = max(with, sizeOf(o))
			}
		}
		if (subject+1)*(with+1) > 64*MaxText {
			return halt("%s of %d bytes by %d", name, subject, with)
		}
	case name == "sprintf":
		if s, ok := operands[0].Value.(ast.String); ok && padded(string(s)) {
			return halt("sprintf with a width or precision of more than 9999")
		}
	case strings.HasPrefix(name, "time."):
		for _, o := range operands {
			a, ok := o.Value.(*ast.Array)
			if !ok {
				continue
			}
			for i := 1; i < a.Len(); i++ {
				if s, ok := a.Elem(i).Value.(ast.String); ok && i == 1 && s != "" && s != "UTC" {
					return halt("%s in a time zone by name: the machine's files would decide", name)
				}
			}
		}
	}
	return nil
}

// wide reports whether a prefix has more than 16 bits of addresses.
func wide(cidr string) bool {
	_, bits, ok := strings.Cut(cidr, "/")
	total := 32
	if strings.Contains(cidr, ":") {
		total = 128
	}
	n := 0
	_, err := fmt.Sscanf(bits, "%d", &n)
	return ok && err == nil && total-n > 16
}

// padded reports whether a format has a width or precision of five digits or more, or one from an argument.
func padded(format string) bool {
	digits, verb := 0, false
	for _, c := range format {
		switch {
		case c == '%':
			verb, digits = !verb, 0
		case !verb:
		case c == '*':
			return true
		case '0' <= c && c <= '9':
			if digits++; digits > 4 {
				return true
			}
		case strings.ContainsRune("+-# .[]", c):
			digits = 0
		default:
			verb = false
		}
	}
	return false
}

// sizeOf estimates the bytes of a value.
func sizeOf(t *ast.Term) int {
	switch v := t.Value.(type) {
	case ast.String:
		return len(v)
	case ast.Number:
		return len(v)
	case *ast.Array:
		n := 16
		v.Foreach(func(t *ast.Term) { n += 16 + sizeOf(t) })
		return n
	case ast.Object:
		n := 16
		v.Foreach(func(k, t *ast.Term) { n += 32 + sizeOf(k) + sizeOf(t) })
		return n
	case ast.Set:
		n := 16
		v.Foreach(func(t *ast.Term) { n += 16 + sizeOf(t) })
		return n
	}
	return 8
}

// budget counts an evaluation's steps. OPA asks it before each expression whether to stop.
type budget struct {
	steps int
	limit int
	done  <-chan struct{}
	ended bool // by done
}

func (b *budget) Cancel() { b.ended = true }

// Cancelled reports whether the evaluation is to stop, and counts a step.
func (b *budget) Cancelled() bool {
	b.steps++
	if b.steps&0xff == 0 {
		select {
		case <-b.done:
			b.ended = true
		default:
		}
	}
	return b.ended || b.steps > b.limit
}

func (b *budget) spend(n int) { b.steps += n }
