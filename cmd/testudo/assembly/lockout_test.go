package assembly

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/testudo-sec/testudo/policy"
)

// setOf compiles rules that refuse under these conditions, by their ids.
func setOf(t *testing.T, class string, conditions map[string]string) *policy.Set {
	t.Helper()
	files := fstest.MapFS{}
	for id, when := range conditions {
		text := "id: " + id + "\ntitle: t\nseverity: high\non: " + class + "\nwhen: |\n  " + when + "\nthen: deny\nwhy: w\nfix: f\ntests:\n  - name: x\n    event: {activity_id: 99}\n    fires: false\n"
		files[id+".yaml"] = &fstest.MapFile{Data: []byte(text)}
	}
	settings := DefaultSettings()
	set, err := Loader(&settings.Policy).Load(t.Context(), policy.Embedded("test:", files))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestRulesThatLockOut: whatever form a rule has, one that refuses what a host is kept up or reached by is found before it is enforced, and one that refuses
// something else is not.
func TestRulesThatLockOut(t *testing.T) {
	host := hostFacts{own: "/usr/local/bin/testudo", uid: 1000, shells: map[uint32]string{0: "/bin/bash", 1000: "/usr/bin/zsh"}, real: func(p string) string {
		if p == "/bin/bash" {
			return "/usr/bin/bash"
		}
		return p
	}}
	for class, conditions := range map[string]map[string]string{
		"process_activity": {
			"lock-all":          `activity_id == 1`,
			"lock-all-by-regex": `activity_id == 1 && process.file.path.matches(r"^/")`,
			"lock-sshd":         `activity_id == 1 && process.file.path.contains("ssh") && process.cmd_line.contains("-D")`,
			"lock-shell":        `activity_id == 1 && process.file.path.matches(r"/(ba|z)sh$") && process.parent_process.name == "sshd"`,
			"lock-other-shell":  `activity_id == 1 && process.user.uid == "1000" && process.name == "zsh"`,
			"lock-systemd":      `activity_id == 1 && process.file.path.endsWith("systemd")`,
			"lock-testudo":      `activity_id == 1 && process.name.startsWith("testudo")`,
			"lock-login":        `activity_id == 1 && process.name in ["login", "su"]`,
			"fine-miner":        `activity_id == 1 && process.file.path.matches(r"/xmrig$")`,
			"fine-sudo":         `activity_id == 1 && process.name == "sudo"`,
			"fine-container":    `activity_id == 1 && container.uid != ""`,
			"fine-shell-of-web": `activity_id == 1 && process.name == "bash" && process.parent_process.name == "nginx"`,
		},
		"file_activity": {
			"lock-files":     `activity_id == 14 && file.path.startsWith("/etc/")`,
			"lock-libraries": `file.path.matches(r"libc\.so")`,
			"fine-file":      `activity_id == 14 && file.path == "/etc/cron.d/x"`,
		},
		"network_activity": {
			"lock-accept": `actor.process.name == "sshd"`,
			"fine-accept": `actor.process.name == "nc"`,
		},
	} {
		got, err := tryRules(setOf(t, class, conditions), host)
		if err != nil {
			t.Fatal(err)
		}
		for id := range conditions {
			if why, locks := got.rules[id]; locks != strings.HasPrefix(id, "lock-") {
				t.Errorf("%s locks out: %t %s", id, locks, why)
			}
		}
	}
}

func TestLockoutsAreNotEnforced(t *testing.T) {
	set := setOf(t, "process_activity", map[string]string{"lock-all": `activity_id == 1`, "fine-miner": `activity_id == 1 && process.file.path == "/tmp/xmrig"`})
	m := &Machine{engine: policy.NewEngine(set)}
	m.settings.Kernel.Mode = "enforce"
	if m.enforces("fine-miner") {
		t.Error("a set that was not tried is enforced")
	}
	tried, err := tryRules(set, factsOfHost(0))
	if err != nil {
		t.Fatal(err)
	}
	m.lockedOut.Store(tried)
	if m.enforces("lock-all") || !m.enforces("fine-miner") {
		t.Errorf("%v", tried.rules)
	}
	if err := m.lockoutFault(); err == nil || !strings.Contains(err.Error(), "lock-all would refuse") || strings.Contains(err.Error(), "miner") {
		t.Errorf("%v", err)
	}
	m.settings.Kernel.Force = []string{"lock-all"}
	if err := m.lockoutFault(); err != nil || !m.enforces("lock-all") {
		t.Errorf("what is forced is not enforced: %v", err)
	}
}

func TestShellsOfPeople(t *testing.T) {
	f := hostFacts{uid: 1000, shells: map[uint32]string{}}
	f.readShells(strings.NewReader("root:x:0:0::/root:/bin/bash\nbroken\nwww:x:33:33::/:/usr/sbin/nologin\nalice:x:1000:1000:A:/home/a:/bin/zsh\nbob:x:1001:1001::/:relative\n"))
	if len(f.shells) != 2 || f.shells[0] != "/bin/bash" || f.shells[1000] != "/bin/zsh" {
		t.Errorf("%v", f.shells)
	}
}
