package rego

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/testudo-sec/testudo/policy"
)

// The bounds of what is judged, and of what a policy says.
const (
	MaxDocument   = 4 << 20 // bytes of a document as JSON
	MaxViolations = 1000    // of one document
	maxMessage    = 2000    // characters
)

// ErrDocument says that a document is too large.
var ErrDocument = fmt.Errorf("the document is larger than %d bytes as JSON", MaxDocument)

// Violation is one thing that a policy says of a document.
type Violation struct {
	Rule    string // "main.deny_latest", "k8srequiredlabels.must-have-owner"
	Warn    bool   // it is a warning: the document is not refused for it
	Message string // fit for a terminal
	Details any    // what the policy says beside it; nil for nothing
	File    string // of the policy
	Line    int
}

// Judge returns what the policies say of a document, by rule and message. The document is what
// encoding/json makes of JSON: maps, slices, texts, truths, nil, and numbers as json.Number or float64. The error is
// ErrDocument, ErrWork with the rule's name, ctx's, or what a policy does wrong.
func (p *Policies) Judge(ctx context.Context, document any) ([]Violation, error) {
	input, err := valueOf(document)
	if err != nil {
		return nil, err
	}
	var all []Violation
	for i := range p.units {
		for j := range p.units[i].entries {
			found, err := p.units[i].judge(ctx, &p.units[i].entries[j], input, MaxSteps)
			if err != nil {
				return nil, err
			}
			if all = append(all, found...); len(all) > MaxViolations {
				return nil, fmt.Errorf("%w: more than %d violations", ErrWork, MaxViolations)
			}
		}
	}
	return all, nil
}

// valueOf turns a document into a value of OPA's.
func valueOf(document any) (ast.Value, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("the document is no JSON: %w", err)
	}
	if len(text) > MaxDocument {
		return nil, ErrDocument
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return ast.InterfaceToValue(v)
}

// judge evaluates one entry.
func (u *unit) judge(ctx context.Context, e *entry, input ast.Value, steps int) ([]Violation, error) {
	if e.constraint != nil {
		review, ok := e.constraint.review(input)
		if !ok {
			return nil, nil
		}
		input = review
	}
	result, err := u.eval(ctx, e.path, input, steps)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", e.id(), err)
	}
	if result == nil {
		return nil, nil
	}
	found, err := e.violations(result)
	if err != nil || len(found) == 0 || e.excepted == nil {
		return found, err
	}
	exceptions, err := u.eval(ctx, e.excepted, input, steps)
	if err != nil {
		return nil, fmt.Errorf("exceptions of %s: %w", e.id(), err)
	}
	if e.isExcepted(exceptions) {
		return nil, nil
	}
	return found, nil
}

// eval returns the value of a rule, nil where it has none.
func (u *unit) eval(ctx context.Context, path ast.Ref, input ast.Value, steps int) (ast.Value, error) {
	work := &budget{limit: steps, done: ctx.Done()}
	store := inmem.New()
	txn, err := store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		return nil, err
	}
	defer store.Abort(ctx, txn)
	result := ast.VarTerm("result")
	query := topdown.NewQuery(ast.NewBody(ast.Equality.Expr(ast.NewTerm(path), result))).
		WithCompiler(u.compiler).WithStore(store).WithTransaction(txn).WithInput(ast.NewTerm(input)).
		WithCancel(work).WithBuiltins(available().custom).WithStrictBuiltinErrors(false)
	var value ast.Value
	err = query.Iter(ctx, func(r topdown.QueryResult) error {
		value = r[ast.Var("result")].Value
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case work.steps > work.limit:
		return nil, ErrWork
	case err != nil:
		if errors.Is(err, ErrWork) {
			return nil, err
		}
		return nil, errors.New(policy.Printable(err.Error(), 300))
	}
	return value, nil
}

// violations reads what a rule says: a set or list of messages, one message, or whether something is wrong.
func (e *entry) violations(result ast.Value) ([]Violation, error) {
	var all []Violation
	add := func(t *ast.Term) {
		if v, ok := e.violation(t.Value); ok && len(all) <= MaxViolations {
			all = append(all, v)
		}
	}
	switch v := result.(type) {
	case ast.Set:
		v.Foreach(add)
	case *ast.Array:
		v.Foreach(add)
	default:
		add(ast.NewTerm(result))
	}
	if len(all) > MaxViolations {
		return nil, fmt.Errorf("rule %s: %w: more than %d violations", e.id(), ErrWork, MaxViolations)
	}
	return all, nil
}

func (e *entry) violation(v ast.Value) (Violation, bool) {
	out := Violation{Rule: e.id(), Warn: e.warn, File: e.file, Line: e.line}
	switch v := v.(type) {
	case ast.Boolean:
		out.Message = e.rule
		return out, bool(v)
	case ast.String:
		out.Message = policy.Printable(strings.TrimSpace(string(v)), maxMessage)
		return out, true
	case ast.Null:
		return out, false
	case ast.Object:
		if msg := v.Get(ast.StringTerm("msg")); msg != nil {
			if s, ok := msg.Value.(ast.String); ok {
				out.Message = policy.Printable(strings.TrimSpace(string(s)), maxMessage)
			}
		}
		details := v.Get(ast.StringTerm("details"))
		if details != nil {
			out.Details, _ = ast.JSON(details.Value)
		}
		if out.Message != "" {
			return out, true
		}
	}
	out.Message = policy.Printable(v.String(), maxMessage)
	return out, true
}

// isExcepted reports whether one of conftest's exceptions names the rule, without its first word: deny_latest is latest.
func (e *entry) isExcepted(exceptions ast.Value) bool {
	_, name, _ := strings.Cut(e.rule, "_")
	set, ok := exceptions.(ast.Set)
	if !ok {
		return false
	}
	return slices.ContainsFunc(set.Slice(), func(list *ast.Term) bool {
		names, ok := list.Value.(*ast.Array)
		found := false
		if ok {
			names.Foreach(func(t *ast.Term) {
				s, isText := t.Value.(ast.String)
				found = found || isText && string(s) == name
			})
		}
		return found
	})
}

// fingerprint names policies by their texts.
func fingerprint(files []policy.File) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%d %d\n", len(f.Name), len(f.Text))
		h.Write([]byte(f.Name))
		h.Write(f.Text)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
