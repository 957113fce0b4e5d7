package falco

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// base is what the files of TestMerge change.
const base = `
- list: names
  items: [bash]
- macro: wanted
  condition: (proc.name in (names))
- rule: R
  desc: first
  condition: evt.type = execve and wanted
  output: started %proc.name
  priority: NOTICE
  tags: [container, T1059, mitre_execution]
  exceptions:
    - name: by_parent
      fields: [proc.pname, user.uid]
      comps: [in, "="]
      values:
        - [[cron, systemd], 0]
        - [sshd, 7]
    - name: by_name
      fields: proc.cmdline
      comps: in
      values: [known, "known too"]
`

// TestMerge loads a second file behind the first, and judges three events.
func TestMerge(t *testing.T) {
	started := func(name string) *signal.Event {
		e := exec()
		e.SetString(signal.FieldProcessName, name)
		return e
	}
	cron := started("bash")
	cron.SetString(signal.FieldProcessParentProcessName, "cron")
	cron.SetString(signal.FieldProcessUserUID, "0")
	known := started("bash")
	known.SetString(signal.FieldProcessCmdLine, "known too")
	events := map[string]*signal.Event{"bash": started("bash"), "zsh": started("zsh"), "cron": cron, "known": known}
	for _, c := range []struct {
		name   string
		second string
		fires  []string
		check  func(r *policy.Rule) bool
	}{
		{name: "alone", second: "", fires: []string{"bash"}},
		{name: "a list is appended to", second: "- list: names\n  append: true\n  items: [zsh]", fires: []string{"bash", "zsh"}},
		{name: "a list is appended to by override", second: "- list: names\n  items: [zsh]\n  override: {items: append}", fires: []string{"bash", "zsh"}},
		{name: "a list is replaced", second: "- list: names\n  items: [zsh]", fires: []string{"zsh"}},
		{name: "a list is replaced by override", second: "- list: names\n  items: [zsh]\n  override: {items: replace}", fires: []string{"zsh"}},
		{name: "a list becomes empty", second: "- list: names\n  items: []"},
		{name: "a macro is appended to", second: "- macro: wanted\n  condition: or proc.name = zsh\n  append: true", fires: []string{"bash", "zsh"}},
		{name: "a macro is replaced", second: "- macro: wanted\n  condition: proc.name = zsh", fires: []string{"zsh"}},
		{name: "a macro is overridden", second: "- macro: wanted\n  condition: proc.name = zsh\n  override: {condition: replace}", fires: []string{"zsh"}},
		{name: "a condition is appended to", second: "- rule: R\n  append: true\n  condition: and proc.name != bash"},
		// As in Falco, the texts are put behind each other: and binds closer than the or that is appended.
		{name: "an or is appended", second: "- rule: R\n  condition: or proc.name = zsh\n  override: {condition: append}", fires: []string{"bash", "zsh"}},
		{name: "a condition is replaced", second: "- rule: R\n  condition: evt.type = execve and proc.name = zsh\n  override: {condition: replace}", fires: []string{"zsh"}},
		{name: "exceptions are appended to", second: "- rule: R\n  exceptions:\n    - name: by_parent\n      values: [[nginx, 33]]\n  override: {exceptions: append}", fires: nil},
		{name: "an exception is added", second: "- rule: R\n  append: true\n  exceptions:\n    - name: mine\n      fields: [proc.cmdline]\n      comps: [startswith]\n      values: [[\"bash -c\"]]", fires: nil},
		{name: "exceptions are replaced", second: "- rule: R\n  exceptions: [{name: none, fields: [proc.name], values: [[zsh]]}]\n  override: {exceptions: replace}", fires: []string{"bash", "cron", "known"}},
		{name: "a list stands in an exception", second: "- list: parents\n  items: [nginx]\n- rule: R\n  append: true\n  exceptions: [{name: p, fields: proc.pname, values: [parents]}]"},
		{name: "a rule is switched off", second: "- rule: R\n  enabled: false", fires: []string{"bash"}, check: func(r *policy.Rule) bool { return r.Disabled }},
		{name: "and by override", second: "- rule: R\n  enabled: false\n  override: {enabled: replace}", fires: []string{"bash"}, check: func(r *policy.Rule) bool { return r.Disabled }},
		{name: "tags and output are appended to", second: "- rule: R\n  tags: [mine]\n  output: by %user.name\n  override: {tags: append, output: append}", fires: []string{"bash"},
			check: func(r *policy.Rule) bool {
				return slices.Equal(r.Tags, []string{"container", "attack.t1059", "attack.execution", "mine"}) && r.Why == "started %proc.name by %user.name"
			}},
		{name: "the priority is replaced", second: "- rule: R\n  priority: critical\n  override: {priority: replace}", fires: []string{"bash"},
			check: func(r *policy.Rule) bool { return r.Severity == signal.SeverityCritical }},
		{name: "a rule is defined again", second: "- rule: R\n  desc: other\n  condition: evt.type = execve and proc.name = zsh\n  output: x\n  priority: ERROR", fires: []string{"zsh"},
			check: func(r *policy.Rule) bool { return r.File == "b.yaml" && r.Severity == signal.SeverityHigh }},
	} {
		files := []policy.File{{Name: "a.yaml", Text: []byte(base)}}
		if c.second != "" {
			files = append(files, policy.File{Name: "b.yaml", Text: []byte(c.second)})
		}
		rules, problems := New().Compile(files)
		if len(problems) > 0 || len(rules) != 1 {
			t.Errorf("%s: %d rules, %v", c.name, len(rules), problems)
			continue
		}
		var fires []string
		for _, name := range []string{"bash", "zsh", "cron", "known"} {
			if judge(rules[0], events[name]) {
				fires = append(fires, name)
			}
		}
		if diff := cmp.Diff(c.fires, fires); diff != "" {
			t.Errorf("%s fires on (-want +got):\n%s", c.name, diff)
		}
		if c.check != nil && !c.check(rules[0]) {
			t.Errorf("%s: %+v", c.name, rules[0])
		}
	}
}

// TestDigest holds that what a macro or a list puts into a rule shows in the set's digest.
func TestDigest(t *testing.T) {
	digest := func(second string) string {
		rules, problems := New().Compile([]policy.File{{Name: "a.yaml", Text: []byte(base)}, {Name: "b.yaml", Text: []byte(second)}})
		set, err := policy.NewSet(rules)
		if len(problems) > 0 || err != nil {
			t.Fatal(problems, err)
		}
		return set.Digest()
	}
	same, other := digest("- list: unused\n  items: [a]"), digest("- list: names\n  append: true\n  items: [a]")
	if same == other {
		t.Error("the digest does not see what is in a list")
	}
	if digest("- list: unused\n  items: [b]") != same {
		t.Error("the digest sees a list that no rule uses")
	}
}

// TestItems reads entries of lists as Falco does, which puts them into conditions as text.
func TestItems(t *testing.T) {
	file := `
- list: l
  items: ['"(systemd)"', "a b", 'c,d', "runc:[0:PARENT]", 'e f "g"', 5, true, "'h i'"]
- rule: R
  desc: d
  condition: proc.cmdline in (l)
  output: x
  priority: INFO
`
	rules, problems := New().Compile([]policy.File{{Name: "a.yaml", Text: []byte(file)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for text, want := range map[string]bool{
		"(systemd)": true, "a b": true, "c": true, "d": true, "c,d": false, "runc:[0:PARENT]": true, `e f "g"`: true, "5": true, "true": true, "h i": true, "a": false,
	} {
		e := exec()
		e.SetString(signal.FieldProcessCmdLine, text)
		if judge(rules[0], e) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestOutput(t *testing.T) {
	e := exec()
	e.SetMasked(signal.FieldProcessCmdLine, "mysql -psecret", "mysql -p***")
	e.SetString(signal.FieldProcessUserName, "www\x1b[2J\u202edata")
	for output, want := range map[string]string{
		`Shell (user=%user.name)`:                          `Shell (user=www\x1b[2J\u202edata)`,
		`*%proc.cmdline`:                                   `mysql -p***`,
		`%proc.aname[2] %proc.aname[9] %proc.pname`:        `containerd-shim-runc-v2 <NA> nginx`,
		`%container.id %container.name %container.info`:    `3ad7b26ded6d host container_id=3ad7b26ded6d container_name=`,
		`%evt.type %evt.arg.flags %evt.dir %evt.time`:      `execve EXE_WRITABLE|EXE_UPPER_LAYER < 1970-01-01T00:00:10Z`,
		`100%% of 5% %proc.tty %proc.duration`:             `100% of 5% pts0 1000000000`,
		`%toupper(proc.name) %len(proc.name)`:              `BASH 4`,
		`%fd.name|%fd.num|%container.mount.dest[/etc]`:     `<NA>|<NA>|N/A`,
		`%container.mounts %container.mount.dest[/proc/1]`: `/var/run/docker.sock:/run/docker.sock:rw:true:rprivate,/proc/1:/host:ro:false:rprivate /host`,
		"two\n  lines":                                        `two lines`,
		`%concat(proc.name, "-", user.uid)`:                   `bash-33`,
		`%evt.source %evt.num %fd.type %fd.l4proto %proc.pid`: `syscall 0 <NA> <NA> 4711`,
	} {
		src := text{value: output}
		out, m := parseOutput(&src, sources[0])
		if m != nil {
			t.Errorf("%s: %v", output, m)
			continue
		}
		if got := out.render(e); got != want {
			t.Errorf("%s:\n got %q\nwant %q", output, got, want)
		}
	}
	src := text{value: "%fd.name %fd.rip %fd.lport %fd.type %fd.typechar %fd.is_server %fd.sockfamily"}
	out, _ := parseOutput(&src, sources[0])
	if got, want := out.render(connection()), "10.1.2.3:40000->169.254.169.254:80 169.254.169.254 40000 ipv4 4 false ip"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMeta(t *testing.T) {
	for name, want := range map[string]string{"Run shell untrusted": "falco.run-shell-untrusted", "A (B) c/D": "falco.a-b-c-d"} {
		if got := identifier(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
	if a, b := identifier("Ошибка"), identifier("Ошибки"); a == b || !strings.HasPrefix(a, "falco.") || len(a) < 10 {
		t.Errorf("%s and %s", a, b)
	}
	got := tagsOf([]string{"T1059.004", "mitre_privilege_escalation", "PCI_DSS_10.2.7", "maturity_stable", "T1059.004", "Ü x"})
	want := []string{"attack.t1059.004", "attack.privilege-escalation", "pci_dss_10.2.7", "maturity_stable", "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

// TestClasses holds which classes of events a rule is asked about.
func TestClasses(t *testing.T) {
	const process, file, network = signal.ClassProcessActivity, signal.ClassFileActivity, signal.ClassNetworkActivity
	for cond, want := range map[string][]signal.Class{
		"evt.type = execve and proc.name = a":                     {process},
		"evt.type in (open, openat) and fd.name = a":              {file},
		"evt.type = connect or (evt.type = open and fd.name = a)": {file, network},
		"not evt.type = open and evt.type in (open, connect)":     {network},
		"proc.name = a": {file, process, network},
		"not (evt.type = open or proc.name = a) and evt.type = rename": {file},
	} {
		r, problems := compileOne(t, cond)
		if len(problems) > 0 {
			t.Errorf("%s: %v", cond, problems)
		} else if diff := cmp.Diff(want, r.On); diff != "" {
			t.Errorf("%s (-want +got):\n%s", cond, diff)
		}
	}
}
