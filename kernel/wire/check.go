package wire

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"strings"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Bounds on what the plane may ask for.
const (
	maxItems  = 200_000 // elements of all lists of a request together
	maxText   = record.MaxPath
	maxRules  = 8192
	maxScopes = 1024
	maxKeep   = 64
	maxID     = 256
)

// bounded checks every text and list within v, which a request was decoded into: also those that a later version adds.
func bounded(v any) error {
	left := maxItems
	return walk(reflect.ValueOf(v), &left)
}

func walk(v reflect.Value, left *int) error {
	spend := func(n int) error {
		if *left -= n; *left < 0 {
			return fmt.Errorf("more than %d elements in one request", maxItems)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); len(s) > maxText || strings.IndexByte(s, 0) >= 0 {
			return fmt.Errorf("%.40q is longer than %d bytes, or has a zero byte", s, maxText)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return walk(v.Elem(), left)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				if err := walk(v.Field(i), left); err != nil {
					return err
				}
			}
		}
	case reflect.Slice:
		if err := spend(v.Len()); err != nil {
			return err
		}
		for i := range v.Len() {
			if err := walk(v.Index(i), left); err != nil {
				return err
			}
		}
	case reflect.Map:
		if err := spend(v.Len()); err != nil {
			return err
		}
		for key, value := range v.Seq2() {
			if err := errors.Join(walk(key, left), walk(value, left)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkInterest(w *kernel.Interest) error {
	if err := bounded(w); err != nil {
		return fmt.Errorf("interest: %w", err)
	}
	return nil
}

func checkGuard(g *kernel.Guard) error {
	if err := bounded(g); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	if len(g.Rules) > maxRules || len(g.Ask) > maxScopes {
		return fmt.Errorf("guard: %d rules and %d scopes, at most %d and %d are taken", len(g.Rules), len(g.Ask), maxRules, maxScopes)
	}
	for i := range g.Rules {
		r := &g.Rules[i]
		switch {
		case r.Rule == "" || len(r.Rule) > maxID:
			return fmt.Errorf("guard: the id of rule %d has %d bytes, want 1 to %d", i, len(r.Rule), maxID)
		case r.Hook < kernel.HookExec || r.Hook > kernel.HookConnect:
			return fmt.Errorf("guard: hook %d of rule %d is not known", r.Hook, i)
		}
		for _, p := range r.Remote {
			if !p.IsValid() {
				return fmt.Errorf("guard: a network of rule %d is malformed", i)
			}
		}
	}
	for i := range g.Ask {
		s := &g.Ask[i]
		switch {
		case s.Hook != kernel.HookExec && s.Hook != kernel.HookOpen:
			return fmt.Errorf("guard: hook %d of scope %d does not ask", s.Hook, i)
		case !path.IsAbs(s.Mount) || path.Clean(s.Mount) != s.Mount:
			return fmt.Errorf("guard: %.40q of scope %d is no clean absolute path", s.Mount, i)
		}
	}
	return nil
}

// checkOrder says whether an order may be carried out. What it names is looked at again by who carries it out: this is
// what holds whatever that is.
func (h *house) checkOrder(o *kernel.Order) error {
	if err := bounded(o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if len(o.ID) > maxID || len(o.Container) > maxID || len(o.Keep) > maxKeep {
		return errors.New("order: a name in it is too long, or it keeps too many addresses")
	}
	for _, a := range o.Keep {
		if !a.IsValid() {
			return errors.New("order: an address to keep is none")
		}
	}
	harmful := false
	switch o.Verb {
	case kernel.VerbRadius:
		return nil
	case kernel.VerbThaw, kernel.VerbJoin:
	case kernel.VerbIsolate:
		harmful = true
		if o.Container == "" && o.Cgroup <= 1 {
			return errors.New("order: only a container's network is isolated, and none is named")
		}
	case kernel.VerbKill, kernel.VerbFreeze:
		harmful = true
		if o.PID == 0 && o.Cgroup == 0 && o.Container == "" {
			return fmt.Errorf("order: %s names nothing", o.Verb)
		}
	default:
		return fmt.Errorf("order: %.20q is nothing that a sensor does", string(o.Verb))
	}
	if !harmful {
		return nil
	}
	if o.Cgroup != 0 {
		if err := h.checkCgroup(o.Cgroup); err != nil {
			return err
		}
	}
	if o.PID != 0 {
		return h.checkProcess(o.PID, o.Start)
	}
	return nil
}

// checkFile says whether the plane may ask about a file: one that runs under the process that it names, or that was told of as
// having run.
func (h *house) checkFile(r *kernel.FileRef, ran *ranFiles) error {
	if err := bounded(r); err != nil {
		return fmt.Errorf("executable: %w", err)
	}
	if r.Path != "" && !path.IsAbs(r.Path) {
		return fmt.Errorf("executable: %.40q is no absolute path", r.Path)
	}
	if r.Inode.Number == 0 {
		return errors.New("executable: no inode is named")
	}
	if ran.has(r.Inode) || h.runs(r) {
		return nil
	}
	return fmt.Errorf("executable: no program with inode %d has run: only those are read", r.Inode.Number)
}

// checkExamine bounds a question for files. Which files may be asked for is the sensor's to say: its own configuration names them.
func checkExamine(q *kernel.ExamineRequest) error {
	if err := bounded(q); err != nil {
		return fmt.Errorf("examine: %w", err)
	}
	if len(q.Paths) > kernel.MaxExamined {
		return fmt.Errorf("examine: %d files at once, at most %d", len(q.Paths), kernel.MaxExamined)
	}
	for _, p := range append(q.Paths[:len(q.Paths):len(q.Paths)], q.After) {
		if p != "" && (!path.IsAbs(string(p)) || path.Clean(string(p)) != string(p)) {
			return fmt.Errorf("examine: %.60s is no clean absolute path", p)
		}
	}
	return nil
}
