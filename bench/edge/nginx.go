package edge

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"

	"github.com/testudo-sec/testudo/edge/waf"

	"github.com/testudo-sec/testudo/bench/proc"
)

// modules are where Debian has nginx's.
const modules = "/usr/lib/nginx/modules"

// findNginx returns nginx with ModSecurity 3, or what to install.
func findNginx() (string, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not in everybody's PATH
		_, err = os.Stat(program)
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(modules, "ngx_http_modsecurity_module.so"))
	}
	if err != nil {
		return "", fmt.Errorf("%w: install Debian's packages nginx-light and libnginx-mod-http-modsecurity", err)
	}
	return program, nil
}

// startNginx starts nginx with a worker for each processor in front of the upstream, with ModSecurity as the edge has its own firewall: the rules and settings of
// the Core Rule Set that ships, paranoia level 1, refusing, the bodies of requests and responses inspected to the same lengths and of the same types.
func startNginx(ctx context.Context, program, dir, address, upstream string) (*proc.Child, error) {
	rules, err := writeRules(dir)
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`
load_module %[1]s/ngx_http_modsecurity_module.so;
daemon off;
worker_processes %[2]d;
pid %[3]s/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[3]s/body;
	proxy_temp_path %[3]s/proxy;
	fastcgi_temp_path %[3]s/fastcgi;
	uwsgi_temp_path %[3]s/uwsgi;
	scgi_temp_path %[3]s/scgi;
	keepalive_requests 1000000000;
	upstream app { server %[4]s; keepalive %[6]d; keepalive_requests 1000000000; }
	modsecurity on;
	modsecurity_rules_file %[7]s;
	server {
		listen %[5]s;
		location / {
			proxy_pass http://app;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		}
	}
}
`, modules, runtime.NumCPU(), dir, upstream, address, 4*connections, rules)
	if os.Getuid() == 0 {
		conf = "user root;\n" + conf // the folder is of who measures
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	c, err := proc.Start(ctx, nil, program, "-p", dir, "-c", file, "-e", "stderr")
	if err != nil {
		return nil, err
	}
	go c.Drain()
	if err := answers(ctx, c, address); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// writeRules writes the Core Rule Set that ships, with its data, into a folder, and what loads it as the edge does.
func writeRules(dir string) (string, error) {
	folder := filepath.Join(dir, "rules")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", err
	}
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*")
	if err != nil {
		return "", err
	}
	for _, name := range append(names, "@crs-setup.conf.example") {
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			return "", err
		}
		to := path.Base(name)
		if name == "@crs-setup.conf.example" {
			to = "crs-setup.conf"
		}
		if path.Ext(to) == ".conf" {
			// ModSecurity takes the line behind a rule without actions for its actions. The module has the rules without the comments between them.
			text = ruleStart.ReplaceAll(text, []byte("\n#\n$0"))
		}
		if err := os.WriteFile(filepath.Join(folder, to), text, 0o644); err != nil {
			return "", err
		}
	}
	cfg := waf.DefaultConfig()
	main := filepath.Join(dir, "modsecurity.conf")
	return main, os.WriteFile(main, fmt.Appendf(nil, `SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit %[1]d
SecRequestBodyNoFilesLimit %[1]d
SecRequestBodyLimitAction ProcessPartial
SecRequestBodyJsonDepthLimit 512
SecArgumentsLimit 1000
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+[+])?json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body.'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:200003,phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation.'"
SecResponseBodyAccess On
SecResponseBodyMimeType %[2]s
SecResponseBodyLimit %[3]d
SecResponseBodyLimitAction ProcessPartial
SecTmpDir %[4]s
SecDataDir %[4]s
SecAuditEngine Off
SecDebugLogLevel 0
Include %[5]s/crs-setup.conf
Include %[5]s/R*.conf
`, int64(cfg.RequestBody)+1, strings.Join(cfg.ResponseTypes, " "), int64(cfg.ResponseBody)+1, dir, folder), 0o644)
}

// ruleStart is where a directive begins that is not the second of a chain.
var ruleStart = regexp.MustCompile(`(?m)^Sec`)
