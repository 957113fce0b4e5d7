package kernel

import "testing"

func TestPathsHas(t *testing.T) {
	p := Paths{Exact: []string{"/etc/shadow"}, Prefix: []string{"/etc/cron", "/dev/shm/"}, Name: []string{"id_rsa"}, Part: []string{".ssh"}}
	for path, want := range map[string]bool{
		"/etc/shadow": true, "/etc/shadow-": false, "/x/etc/shadow": false, "/etc/cron.d/x": true, "/etc/crontab": true, "/dev/shm": false,
		"/dev/shm/x": true, "/root/id_rsa": true, "id_rsa": true, "/root/id_rsa.pub": false, "/id_rsa/x": false, "/root/.ssh/config": true,
		"/root/.ssh": true, ".ssh": true, "/root/.sshd/x": false, "": false, "/": false,
	} {
		if p.Has(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
	if p.Empty() || !(&Paths{}).Empty() || (&Paths{All: true}).Empty() || (&Paths{}).Has("/x") || !(&Paths{All: true}).Has("") {
		t.Error("all, or nothing")
	}
	if n := testing.AllocsPerRun(100, func() { p.Has("/usr/lib/x86_64-linux-gnu/libc.so.6") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
