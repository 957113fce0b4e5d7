package livetest

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy"
)

// deed is what is done for a rule, and perhaps something beside it that is no business of the rule's.
type deed struct {
	rule        string
	where       place
	do          string
	act         func(t *testing.T, h *host) // in the place of do
	not         string                      // the rule must not fire on it
	alreadyDone bool                        // when the places were made
}

type place int

const (
	onHost place = iota
	inPlain
	inGreat
)

func (h *host) at(p place) *shell { return [...]*shell{h.here, h.plain, h.great}[p] }

// stable and incubating are Falco's rules of that maturity, and what makes them fire. The programs in /opt/deed do what
// their argument says, see testdata/deed.
var stableAndIncubating = []deed{
	{rule: "directory-traversal-monitored-file-read", do: "/opt/deed/deed run /opt/deed/deed open /usr/../usr/../etc/passwd", not: "/opt/deed/deed run /opt/deed/deed open /etc/passwd"},
	{rule: "read-sensitive-file-untrusted", do: "cat /etc/shadow", not: "cat /etc/hostname"},
	{rule: "run-shell-untrusted", do: "/opt/deed/nginx run /bin/sh -c :", not: "/opt/deed/deed run /bin/sh -c :"},
	{rule: "system-user-interactive", do: "/opt/deed/sshd as 1 /bin/true", not: "/opt/deed/deed as 1 /bin/true"},
	{rule: "terminal-shell-in-container", where: inPlain, act: func(t *testing.T, h *host) { h.enter(t, "plain", true, "/bin/sh", "-c", "true") }, not: "/bin/sh -c true"},
	{rule: "contact-k8s-api-server-from-container", where: inGreat, do: "/opt/deed/deed resolve kubernetes.default.svc.cluster.local 10.96.0.1 443", not: "/opt/deed/deed connect tcp4 127.0.0.1:443"},
	{rule: "netcat-remote-code-execution-in-container", where: inPlain, do: "/bin/nc 127.0.0.1 9 -e /bin/sh", not: "/bin/nc 127.0.0.1 9"},
	{rule: "search-private-keys-or-passwords", where: inPlain, do: "/bin/find /root -name id_rsa", not: "/bin/find /root -name x"},
	{rule: "clear-log-activities", where: inPlain, do: ": >/var/log/auth.log", not: "echo >>/var/log/auth.log"},
	{rule: "remove-bulk-data-from-disk", do: "echo x >/root/old; shred -u /root/old", not: "echo x >/root/old; rm /root/old"},
	{rule: "create-symlink-over-sensitive-files", where: inPlain, do: "/bin/ln -s /etc/shadow /tmp/soft", not: "/bin/ln -s /etc/group /tmp/softer"},
	{rule: "create-hardlink-over-sensitive-files", where: inPlain, do: "/bin/ln /etc/shadow /tmp/hard", not: "/bin/ln /etc/group /tmp/harder"},
	{rule: "packet-socket-created-in-container", where: inGreat, do: "/opt/deed/deed packet", not: "/opt/deed/deed listen 127.0.0.1:0"},
	{rule: "redirect-stdout-stdin-to-network-connection-in-container", where: inGreat, do: "/opt/deed/deed reverse /bin/sh", not: "/opt/deed/deed connect tcp4 127.0.0.1:9 2>&1"},
	{rule: "linux-kernel-module-injection-detected", where: inGreat, do: "/opt/deed/deed module /tmp/none.ko"},
	{rule: "debugfs-launched-in-privileged-container", where: inGreat, do: "/opt/deed/debugfs"},
	{rule: "detect-release-agent-file-container-escapes", where: inGreat, do: "echo /x >/tmp/release_agent", not: "/bin/cat /tmp/release_agent"},
	{rule: "ptrace-attached-to-process", do: "/opt/deed/deed attach"},
	{rule: "ptrace-anti-debug-attempt", do: "/opt/deed/deed traced", not: "/opt/deed/deed open /etc/passwd"},
	{rule: "find-aws-credentials", where: inPlain, do: "/bin/find /root -path /root/.aws/credentials", not: "/bin/find /root -name config"},
	{rule: "execution-from-dev-shm", where: inGreat, do: "/bin/mount -o remount,exec /dev/shm && /bin/cp /opt/deed/deed /dev/shm/x && /dev/shm/x", not: "/opt/deed/deed open /dev/shm/x"},
	{rule: "drop-and-execute-new-binary-in-container", where: inGreat, do: "/bin/cp /opt/deed/deed /tmp/dropped; /tmp/dropped", not: "/opt/deed/deed open /tmp/dropped"},
	{rule: "disallowed-ssh-connection-non-standard-port", where: inGreat, do: "/opt/deed/ssh connect tcp4 93.184.216.34:443", not: "/opt/deed/ssh connect tcp4 93.184.216.34:22"},
	{rule: "fileless-execution-via-memfd-create", do: "/opt/deed/deed memory /opt/deed/date", not: "/opt/deed/date"},

	{rule: "modify-shell-configuration-file", where: inPlain, do: "/bin/cp /etc/group /root/.bashrc", not: "/bin/cat /root/.bashrc"},
	{rule: "schedule-cron-jobs", where: inPlain, do: "echo x | /bin/tee /etc/cron.d/job", not: "/bin/cat /etc/cron.d/job"},
	{rule: "read-ssh-information", where: inPlain, do: "/bin/cat /root/.ssh/id_rsa >/dev/null", not: "/bin/cat /root/.bashrc"},
	{rule: "db-program-spawned-process", where: inPlain, do: "/opt/deed/postgres run /bin/ls /data", not: "/opt/deed/postgres run /opt/deed/postgres"},
	{rule: "change-thread-namespace", where: inGreat, do: "/bin/nsenter -u/proc/1/ns/uts /bin/true"},
	{rule: "change-namespace-privileges-via-unshare", where: inPlain, do: "/bin/unshare -U /bin/true", not: "/bin/true"},
	{rule: "launch-privileged-container", where: inGreat, alreadyDone: true},
	{rule: "launch-excessively-capable-container", where: inGreat, alreadyDone: true},
	{rule: "system-procs-network-activity", where: inGreat, do: "/opt/deed/date connect tcp4 93.184.216.34:80", not: "/opt/deed/deed connect tcp4 93.184.216.34:80"},
	{rule: "program-run-with-disallowed-http-proxy-env", do: "HTTP_PROXY=http://127.0.0.1:9 /opt/deed/curl x", not: "/opt/deed/curl x"},
	{rule: "unexpected-udp-traffic", where: inGreat, do: "/opt/deed/deed connect udp4 93.184.216.34:5555", not: "/opt/deed/deed connect udp4 93.184.216.34:123"},
	{rule: "non-sudo-setuid", do: "/opt/deed/deed as 1 /opt/deed/deed setuid 1", not: "/opt/deed/deed setuid 0"},
	{rule: "user-mgmt-binaries", do: "/opt/deed/useradd eve", not: "/opt/deed/useradd -D"},
	{rule: "create-files-below-dev", where: inPlain, do: "/bin/touch /dev/hidden", not: ": >/dev/null"},
	{rule: "contact-ec2-instance-metadata-service-from-container", where: inGreat, do: "/opt/deed/deed connect tcp4 169.254.169.254:80", not: "/opt/deed/deed connect tcp4 93.184.216.34:80"},
	{rule: "contact-cloud-metadata-service-from-container", where: inGreat, do: "/opt/deed/deed connect tcp4 169.254.169.254:80", not: "/opt/deed/deed connect tcp4 127.0.0.1:80"},
	{rule: "launch-package-management-process-in-container", where: inPlain, do: "/opt/deed/apk add x"},
	{rule: "launch-suspicious-network-tool-in-container", where: inPlain, do: "/opt/deed/nc", not: "/opt/deed/deed"},
	{rule: "launch-suspicious-network-tool-on-host", do: "/opt/deed/nc", not: "/opt/deed/deed"},
	{rule: "delete-or-rename-shell-history", where: inPlain, do: "/bin/rm /root/.bash_history", not: "echo x >>/root/.bash_history"},
	{rule: "set-setuid-or-setgid-bit", where: inPlain, do: "/bin/cp /bin/busybox /tmp/bits; /bin/chmod u+s /tmp/bits", not: "/bin/chmod 755 /tmp/bits"},
	{rule: "launch-remote-file-copy-tools-in-container", where: inPlain, do: "/opt/deed/scp x y:", not: "/bin/cp /etc/group /tmp/copy"},
	{rule: "network-connection-outside-local-subnet", where: inGreat, do: "/opt/deed/deed connect tcp4 93.184.216.34:80", not: "/opt/deed/deed connect tcp4 10.96.0.1:80"},
	{rule: "mount-launched-in-privileged-container", where: inGreat, do: "/bin/mount -t tmpfs none /mnt", not: "/bin/mount"},
	{rule: "launch-ingress-remote-file-copy-tools-in-container", where: inPlain, do: "/bin/wget http://127.0.0.1:9/x", not: "/bin/cat /etc/group"},
	{rule: "read-environment-variable-from-proc-files", where: inPlain, do: "/bin/cat /proc/1/environ >/dev/null", not: "/bin/cat /proc/1/status >/dev/null"},
	{rule: "exfiltrating-artifacts-via-kubernetes-control-plane", where: inPlain, act: func(t *testing.T, h *host) { h.enter(t, "plain", false, "/bin/tar", "cf", "-", "/data") }, not: "/bin/tar cf /tmp/tar /data"},
	{rule: "adding-ssh-keys-to-authorized-keys", where: inPlain, do: "echo key | /bin/tee -a /root/.ssh/authorized_keys", not: "/bin/cat /root/.ssh/authorized_keys"},
	{rule: "potential-local-privilege-escalation-via-environment-variables-misuse", do: "GLIBC_TUNABLES=x /bin/true", not: "/bin/true"},
	{rule: "backdoored-library-loaded-into-sshd-cve-2024-3094", where: inPlain, do: "/opt/deed/sshd open /lib/liblzma.so.5.6.1", not: "/opt/deed/deed open /lib/liblzma.so.5.6.1"},
	{rule: "bpf-program-not-profiled", where: inGreat, do: "/opt/deed/deed bpf"},
	// Last, as it is waited for.
	{rule: "read-sensitive-file-trusted-after-startup", do: "/opt/deed/nginx later 5200ms /etc/shadow", not: "/opt/deed/nginx open /etc/shadow"},
}

// TestFalcoRules does for each stable and incubating rule of Falco what it is about, and something beside it.
func TestFalcoRules(t *testing.T) {
	dir := filepath.Join(require.Corpora(t), "falco")
	set := load(t, policy.Disk(filepath.Join(dir, "falco-incubating_rules.yaml")), policy.Disk(filepath.Join(dir, "falco_rules.yaml")), tuning)
	missing := map[string]bool{}
	for _, r := range set.Rules() {
		missing[r.ID] = true
	}
	if len(missing) != 56 {
		t.Fatalf("%d rules, want 56", len(missing))
	}
	h := watch(t, set)
	for _, d := range stableAndIncubating {
		if !missing["falco."+d.rule] {
			t.Errorf("there is no rule %s", d.rule)
		}
		delete(missing, "falco."+d.rule)
		h.check(t, "falco."+d.rule, &d)
	}
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("nothing is done for %s", id)
	}
	if t.Failed() {
		t.Logf("events: %v", h.events)
	}
}

// tuning is what its author leaves to the reader of a rule: in which namespaces connections to elsewhere matter.
var tuning = policy.Embedded("tuning:", fstest.MapFS{"tuning.yaml": {Data: []byte("- list: namespace_scope_network_only_subnet\n  items: [live]\n")}})

// check does what a rule is about and waits until it fires, and then something that it must not fire on.
func (h *host) check(t *testing.T, rule string, d *deed) {
	t.Run(d.rule, func(t *testing.T) {
		in := h.at(d.where)
		if d.not != "" {
			_, before := h.firedIn(0)
			in.do(t, d.not)
			if !h.seen(t, in) {
				return
			}
			if fired, _ := h.firedIn(before); fired[rule] != (hit{}) {
				t.Errorf("it fires on %q: %s", d.not, fired[rule].what)
			}
		}
		_, before := h.firedIn(0)
		said := ""
		switch {
		case d.alreadyDone:
			before = 0
		case d.act != nil:
			d.act(t, h)
		default:
			said = in.do(t, d.do)
		}
		if !h.seen(t, in) {
			return
		}
		fired, _ := h.firedIn(before)
		if fired[rule] == (hit{}) {
			t.Errorf("it does not fire on %q, which printed %q; what fires: %v", d.do, said, slices.Sorted(maps.Keys(fired)))
		}
	})
}
