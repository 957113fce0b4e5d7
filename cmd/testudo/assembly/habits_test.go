package assembly

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/signal"
)

const habitRule = `id: odd-search
title: A search that is unlike others
severity: low
on: http_activity
when: request() && habit.known && has(habit.unusual) && habit.unusual.exists(u, u.startsWith("query q"))
then: alert
why: "{http_request.url.path}, {habit.unusual}"
`

// TestHabitsOfTheShop: people search in the shop. After a restart an attack's explanation says how it differs from what they sent, and a rule of the user's own sees
// what neither the firewall nor the document has anything against.
func TestHabitsOfTheShop(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "odd.yaml"), []byte(habitRule), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := dataDir(t)
	settings := apiSettings(t, nil)
	settings.Policy.Rules = []string{folder}
	s := start(t, settings, dir)
	search := func(c *http.Client, q string) int { // by a name: the firewall has something against a host that is an address
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.m.EdgeURL()+"/search?q="+q, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "shop.localhost"
		return ask(t, c, r).status
	}
	words := []string{"lantern", "rope", "blue+tent", "tin+cup", "boots"}
	for i := range 120 {
		if status := search(from(t, fmt.Sprintf("127.0.3.%d", 1+i%40)), words[i%5]); status != http.StatusOK {
			t.Fatalf("an honest search: %d", status)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, apiHabitsFile))
	if err != nil || !strings.Contains(string(kept), "/search") || strings.Contains(string(kept), "lantern") {
		t.Fatalf("kept: %.300s %v", kept, err)
	}

	s = start(t, settings, dir)
	s.signIn()
	visitor := from(t, "127.0.4.1")
	search(visitor, "rope")
	if status := search(visitor, strings.Repeat("lantern+", 20)+"lantern"); status != http.StatusOK {
		t.Errorf("a long search: %d", status)
	}
	s.get(from(t, attacker), injection)
	explained := func(what, query, rule string) {
		t.Helper()
		var found *signal.Event
		eventually(t, what+" is recorded", func() bool {
			for _, e := range s.events(query) {
				if slices.Contains(e.Strings(signal.FieldVerdictRules), rule) {
					found = e
				}
			}
			return found != nil
		})
		cl, err := client.Dial(t.Context(), SocketPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		all, err := cl.Explain(t.Context(), found.ID, rule)
		if err != nil || len(all) != 1 || !all[0].Fires {
			t.Fatalf("%s is not explained: %+v %v", what, all, err)
		}
		said := strings.Join(all[0].Unusual, "\n")
		if !strings.HasPrefix(said, "query q: ") || !strings.Contains(said, "characters, others have at most ") || strings.Contains(said, "lantern") || strings.Contains(said, "UNION") {
			t.Errorf("%s: %q", what, said)
		}
	}
	explained("the attack", "decision=deny", "edge-waf-attack")
	explained("the long search", "decision=alert", "odd-search")
	for _, e := range s.events("") {
		if e.Has(signal.FieldHabitUnusual) && strings.Contains(strings.Join(e.Strings(signal.FieldHabitUnusual), "\n"), "lantern") {
			t.Errorf("a value is told: %s", e.AppendJSON(nil))
		}
	}
}

// TestHabitsCheck: testudo doctor says where parameters are not learned for want of room.
func TestHabitsCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		of   api.HabitsStatus
		want string
	}{
		{"room", api.HabitsStatus{Parameters: 10, Most: 100}, ""},
		{"full", api.HabitsStatus{Parameters: 90, Most: 100}, "api.habits.parameters"},
		{"full endpoints", api.HabitsStatus{Parameters: 10, Most: 100, Crammed: 2}, "api.habits.each"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checks := apiChecks(api.Status{Habits: c.of})
			if !strings.Contains(checks[0].Detail, fmt.Sprintf("%d parameters", c.of.Parameters)) {
				t.Errorf("%+v", checks[0])
			}
			if told := checks[1:]; len(told) > 0 != (c.want != "") || c.want != "" && (told[0].OK || !strings.Contains(told[0].Command, c.want)) {
				t.Errorf("%+v", told)
			}
		})
	}
}
