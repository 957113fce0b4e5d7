package detect

import "fmt"

// Test runs the rules' own examples and returns what does not hold, one error for each. Every
// positive example must give exactly one match, by its rule, with all rules of the set in place.
func (s *Set) Test() []error {
	var out []error
	for _, r := range s.rules {
		for i, e := range r.Tests.Find {
			if err := s.testFind(r, e, fmt.Sprintf("%s find %d", r.ID, i)); err != nil {
				out = append(out, fmt.Errorf("rule %s, tests.find %d: %w", r.ID, i+1, err))
			}
		}
		for i, e := range r.Tests.Pass {
			if err := s.testPass(r, e, fmt.Sprintf("%s pass %d", r.ID, i)); err != nil {
				out = append(out, fmt.Errorf("rule %s, tests.pass %d: %w", r.ID, i+1, err))
			}
		}
	}
	return out
}

func (s *Set) testFind(r *Rule, e Example, seed string) error {
	text, err := Expand(e.Text, seed)
	if err != nil {
		return err
	}
	var got []string
	s.FindIn(e.Path, []byte(text), func(m Match) bool {
		got = append(got, m.Rule.ID)
		return true
	})
	if len(got) != 1 || got[0] != r.ID {
		return fmt.Errorf("found %v in %q", got, text)
	}
	return nil
}

func (s *Set) testPass(r *Rule, e Example, seed string) error {
	text, err := Expand(e.Text, seed)
	if err != nil {
		return err
	}
	failed := error(nil)
	s.FindIn(e.Path, []byte(text), func(m Match) bool {
		if m.Rule == r && m.Confidence > Low {
			failed = fmt.Errorf("found at %d to %d in %q", m.Start, m.End, text)
		}
		return true
	})
	return failed
}
