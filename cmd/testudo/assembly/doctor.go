package assembly

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/ui"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/kernel/privilege"
)

// Doctor looks at what this machine can and cannot do for testudo, what that costs,
// and which command would change it.
func Doctor(ctx context.Context, s *Settings, dir string) []console.Check {
	checks := []console.Check{systemCheck(), rootCheck(dir), memoryCheck(), filesCheck(), lowPortsCheck()}
	checks = append(checks, dirCheck(dir), diskCheck(dir))
	for _, l := range s.Edge.Listen {
		checks = append(checks, portCheck(ctx, "edge port", l.Address))
	}
	checks = append(checks, portCheck(ctx, "console port", s.Console.Listen), assetsCheck(), databaseCheck(s), busCheck(s), wafCheck(s))
	checks = append(checks, sealedCheck(s, dir)...)
	checks = append(checks, logChecks(s)...)
	return append(checks, clockCheck())
}

func ok(name, detail string) console.Check {
	return console.Check{Name: name, OK: true, Detail: detail}
}

func systemCheck() console.Check {
	c := ok("system", fmt.Sprintf("%s/%s, %d processors, uid %d", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), os.Geteuid()))
	if runtime.GOOS != "linux" {
		c.OK = false
		c.Cost = "only Linux is tested: file locks, limits and the control socket may behave otherwise"
	}
	return c
}

// rootCheck says whether everything would run as root, and whether somebody else can become root by this program.
func rootCheck(dir string) console.Check {
	const name = "privileges"
	if os.Geteuid() != 0 {
		return ok(name, fmt.Sprintf("an ordinary user's, uid %d", os.Geteuid()))
	}
	t := privilege.Find(os.Getenv)
	if owner := ownedByOther(dir); owner != "" {
		return ok(name, fmt.Sprintf("root; a node over this data directory runs as %s, but for the sensor", owner))
	}
	if t == nil {
		return console.Check{Name: name, Detail: "root, with nobody to become: neither a user behind sudo nor a user " + privilege.ServiceUser,
			Cost:    "everything runs as root, what strangers reach included: whoever takes it over has the machine",
			Command: "useradd --system --home-dir /var/lib/testudo --shell /usr/sbin/nologin " + privilege.ServiceUser}
	}
	if exe, err := os.Executable(); err == nil {
		if info, err := os.Stat(exe); err == nil {
			if owner, known := ownerOf(info); known && (owner != 0 || info.Mode().Perm()&0o022 != 0) {
				return console.Check{Name: name, Detail: fmt.Sprintf("%s can be changed by somebody who is not root (uid %d, mode %04o)", exe, owner, info.Mode().Perm()),
					Cost: "who changes it is root at the next start", Command: "sudo install -m 0755 " + exe + " /usr/local/bin/testudo"}
			}
		}
	}
	return ok(name, fmt.Sprintf("testudo up becomes %v, but for the sensor", t))
}

// wantedMemory is what a node with all its parts and some traffic needs.
const wantedMemory = 512 * bytesize.MiB

func memoryCheck() console.Check {
	free, known := meminfo("MemAvailable")
	switch {
	case !known:
		return ok("memory", "not known on this system")
	case free < wantedMemory:
		return console.Check{Name: "memory", Detail: fmt.Sprintf("%v available", free.Round()),
			Cost:    "the store may be stopped by the system under load",
			Command: "free memory, or bound it: store.memory and edge.limits.connections in testudo.yaml"}
	}
	return ok("memory", fmt.Sprintf("%v available", free.Round()))
}

func meminfo(key string) (bytesize.Size, bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, key+":"); found {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return bytesize.Size(kb) * bytesize.KiB, err == nil
		}
	}
	return 0, false
}

// wantedFiles is two descriptors for each of some thousand connections.
const wantedFiles = 8192

func filesCheck() console.Check {
	limit, known := openFiles()
	if !known || limit >= wantedFiles {
		return ok("open files", fmt.Sprintf("limit %d", limit))
	}
	return console.Check{Name: "open files", Detail: fmt.Sprintf("limit %d", limit),
		Cost:    fmt.Sprintf("the edge can hold about %d connections", limit/3),
		Command: fmt.Sprintf("ulimit -n %d", 65536)}
}

// lowPorts names the check of whether they can be listened on.
const lowPorts = "ports below 1024"

func lowPortsCheck() console.Check {
	if os.Geteuid() == 0 {
		return ok(lowPorts, "can be listened on")
	}
	first := 1024
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			first = n
		}
	}
	if first <= 80 {
		return ok(lowPorts, fmt.Sprintf("can be listened on from %d", first))
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil && mayBindLow(string(status)) {
		return ok(lowPorts, "can be listened on (CAP_NET_BIND_SERVICE)")
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "testudo"
	}
	return console.Check{Name: lowPorts, Detail: fmt.Sprintf("this user may listen from %d on", first),
		Cost:    "the edge cannot take ports 80 and 443 by itself",
		Command: "sudo setcap cap_net_bind_service=+ep " + exe}
}

// mayBindLow reports whether the effective capabilities in a /proc/PID/status hold
// CAP_NET_BIND_SERVICE (10, capabilities(7)).
func mayBindLow(status string) bool {
	for line := range strings.Lines(status) {
		if mask, found := strings.CutPrefix(line, "CapEff:"); found {
			caps, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && caps>>10&1 == 1
		}
	}
	return false
}

// ownedByOther names the user whose folder root looks at, who is neither root nor whom root would become; "" for nobody: then it is for who asks.
func ownedByOther(dir string) string {
	if os.Geteuid() != 0 {
		return ""
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return ""
	}
	owner, known := ownerOf(info)
	if !known || owner == 0 {
		return ""
	}
	if t := privilege.Find(os.Getenv); t != nil && owner == int(t.UID) {
		return ""
	}
	if u, err := user.LookupId(strconv.Itoa(owner)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", owner)
}

func dirCheck(dir string) console.Check {
	info, err := os.Stat(dir)
	if os.IsNotExist(err) {
		return ok("data directory", dir+" will be made")
	}
	if err == nil && os.Geteuid() == 0 {
		// What root starts becomes somebody else, whose directory it may be.
		if t := privilege.Find(os.Getenv); t != nil {
			if owner, known := ownerOf(info); known && owner == int(t.UID) && info.Mode().Perm()&0o077 == 0 {
				return ok("data directory", fmt.Sprintf("%s of %v, mode %04o", dir, t, info.Mode().Perm()))
			}
		}
	}
	if owner := ownedByOther(dir); err == nil && owner != "" {
		if info.Mode().Perm()&0o077 != 0 {
			return console.Check{Name: "data directory", Detail: fmt.Sprintf("%s of %s can be read by others, mode %04o", dir, owner, info.Mode().Perm()),
				Cost: "testudo does not start over it", Command: "chmod 700 " + dir}
		}
		return ok("data directory", fmt.Sprintf("%s of %s, mode %04o: testudo is to be started by that user, as with sudo", dir, owner, info.Mode().Perm()))
	}
	if err == nil {
		err = makePrivate(dir)
	}
	if err != nil {
		return console.Check{Name: "data directory", Detail: err.Error(), Cost: "nothing can be stored: testudo does not start",
			Command: "chmod 700 " + dir}
	}
	probe, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return console.Check{Name: "data directory", Detail: fmt.Sprintf("%s cannot be written: %v", dir, err),
			Cost: "nothing can be stored", Command: "mount the file system writable, or name another folder with --data"}
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return ok("data directory", fmt.Sprintf("%s, mode %04o", dir, info.Mode().Perm()))
}

// wantedDisk leaves room for some days of events.
const wantedDisk = 2 * bytesize.GiB

func diskCheck(dir string) console.Check {
	at := dir
	for {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	free, known := freeDisk(at)
	if !known || free >= wantedDisk {
		return ok("disk space", fmt.Sprintf("%v free at %s", free.Round(), at))
	}
	return console.Check{Name: "disk space", Detail: fmt.Sprintf("%v free at %s", free.Round(), at),
		Cost:    "events are kept for a shorter time, and a full disk stops recording",
		Command: "free some, or set store.lake.max_size in testudo.yaml"}
}

// portCheck says whether an address is free, or taken by a node that already runs.
func portCheck(ctx context.Context, name, address string) console.Check {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err == nil {
		_ = ln.Close()
		return ok(name, address+" is free")
	}
	if answers(ctx, address) {
		return ok(name, address+" is in use, by this node if it runs")
	}
	return console.Check{Name: name, Detail: err.Error(), Cost: "testudo cannot answer there", Command: "ss -ltnp | grep " + portOf(address)}
}

func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return ":" + port
}

func assetsCheck() console.Check {
	if pages, err := ui.New(); err == nil && pages.Built() {
		return ok("console scripts", "built in")
	}
	return console.Check{Name: "console scripts", Detail: "this binary was built without them",
		Cost: "pages work, but are not live and draw no charts", Command: "make build"}
}

func databaseCheck(s *Settings) console.Check {
	if s.Store.State.URL == "" {
		return ok("state", "SQLite in the data directory")
	}
	return ok("state", "PostgreSQL, checked at the start")
}

func busCheck(s *Settings) console.Check {
	if s.Store.Bus.URL == "" {
		return ok("bus", "NATS JetStream inside the process")
	}
	return ok("bus", "external NATS, checked at the start")
}

// wafCheck says what in the firewall's rules its fast engine leaves to Coraza.
func wafCheck(s *Settings) console.Check {
	const name = "firewall"
	if s.WAF.Engine == waf.EngineCoraza {
		return ok(name, "Coraza executes the rules, as waf.engine says")
	}
	list, err := waf.Check(s.WAF)
	switch {
	case err != nil:
		return console.Check{Name: name, Detail: err.Error(), Cost: "testudo does not start with it", Command: "mend waf.before or waf.after in testudo.yaml"}
	case len(list) > 0:
		told := make([]string, len(list))
		for i, u := range list {
			told[i] = u.String()
		}
		return console.Check{Name: name, Detail: "the fast engine does not cover " + strings.Join(told, ", "),
			Cost:    "Coraza executes all rules instead: the same verdicts for ten times the processor time and more",
			Command: "write that otherwise in testudo.yaml: docs/waf.md says what is covered"}
	}
	return ok(name, "its fast engine covers all rules")
}

func clockCheck() console.Check {
	// Before this program was written the clock is wrong: certificates and time limits go by it.
	if time.Now().Year() < 2026 {
		return console.Check{Name: "clock", Detail: time.Now().Format(time.RFC3339), Cost: "blocks, sessions and certificates end at the wrong time",
			Command: "sudo timedatectl set-ntp true"}
	}
	return ok("clock", time.Now().UTC().Format(time.RFC3339))
}
