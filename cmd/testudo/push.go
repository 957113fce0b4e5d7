package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/scan"
)

// serverConfig is a server that scans are sent to or that is asked.
type serverConfig assembly.ScanServer

func (c *serverConfig) validate() error { return (*assembly.ScanServer)(c).Validate() }

// maxServerAnswer bounds what is read of an answer.
const maxServerAnswer = 16 << 20

// call sends a request with the token, and reads the answer into out. Redirects are refused: they would carry a scan to
// somebody else.
func (c *serverConfig) call(ctx context.Context, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if c.TokenFile == "" {
		return errors.New("no token: name a file that holds one (token_file, --token-file)")
	}
	token, err := readToken(c.TokenFile)
	if err != nil {
		return err
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s: holds no certificate in PEM", c.CAFile)
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	h := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := h.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("%s: %w", c.URL, err)
	}
	defer resp.Body.Close()
	answer := io.LimitReader(resp.Body, maxServerAnswer)
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("%s: answers with a redirect, which is not followed: name the address itself", c.URL)
	case resp.StatusCode >= 400:
		var p console.Problem
		_ = json.NewDecoder(io.LimitReader(answer, 64<<10)).Decode(&p)
		text := p.Detail
		if text == "" {
			text = http.StatusText(resp.StatusCode)
		}
		if p.Field != "" {
			text = p.Field + ": " + text
		}
		return fmt.Errorf("%s: %d: %s", c.URL, resp.StatusCode, scan.Printable(text))
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("%s: the answer to %s: %w", c.URL, method, err)
	}
	return nil
}

// readToken reads a token from a file that others cannot read.
func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(token) > 512 || strings.ContainsAny(token, " \t\r\n\x00") {
		return "", fmt.Errorf("%s: want a token alone", name)
	}
	return token, nil
}

// push sends a scan to the server of the configuration, where there is one. A failure is said, and an error where the
// configuration requires it to succeed.
func (a *app) push(ctx context.Context, name string, o *scanned) error {
	server := serverConfig(a.settings.Scan.Server)
	if server.URL == "" {
		return nil
	}
	err := server.validate()
	var receipt console.ScanReceipt
	if err == nil {
		receipt, err = server.push(ctx, scanReport(ctx, name, o))
	}
	switch {
	case err == nil:
		fmt.Fprintf(a.stderr, "sent to %s: %d findings, %d packages; %d are gone\n", server.URL, receipt.Findings, receipt.Packages, receipt.Resolved)
		return nil
	case server.Required:
		return fmt.Errorf("scan.server: %w", err)
	}
	fmt.Fprintf(a.stderr, "testudo: warning: the scan was not sent to the server: %v\n", err)
	return nil
}

func (c *serverConfig) push(ctx context.Context, s console.ScanReport) (console.ScanReceipt, error) {
	var receipt console.ScanReceipt
	body, err := json.Marshal(s)
	if err != nil {
		return receipt, err
	}
	if len(body) > console.MaxScanBody {
		return receipt, fmt.Errorf("the scan has %d MiB, the server takes %d", len(body)>>20, console.MaxScanBody>>20)
	}
	return receipt, c.call(ctx, http.MethodPost, "/api/v1/scans", body, &receipt)
}

// scanReport is a scan as servers take it.
func scanReport(ctx context.Context, name string, o *scanned) console.ScanReport {
	r := &o.request
	s := console.ScanReport{Asset: console.ScanAsset{Kind: "repository", Name: name}, Findings: o.result.Findings, Packages: []console.ScanPackage{}}
	if o.plan.Image != nil {
		s.Asset.Kind = "image"
	} else {
		s.Asset.Revision = gitLine(ctx, r.Target, "rev-parse", "--verify", "HEAD")
	}
	if s.Asset.Name == "" {
		s.Asset.Name = assetName(ctx, r.Target, o)
	}
	stats := &o.result.Stats
	whole := o.plan.Kind == assembly.ScanTree || o.plan.Kind == assembly.ScanImage
	s.Complete = whole && len(r.For) == 0 && o.plan.Vuln != nil && !stats.Incomplete() && stats.Dropped == 0 && o.inventory != nil && len(r.Baseline) == 0
	if o.inventory != nil {
		for i := range o.inventory.Packages {
			p := &o.inventory.Packages[i]
			s.Packages = append(s.Packages, console.ScanPackage{PURL: p.PURL, Ecosystem: p.Ecosystem, Name: p.Name, Version: p.Version, Path: p.Path, Line: p.Line,
				Relation: string(p.Relation), Dev: p.Dev, Licenses: p.Licenses, Layer: p.Layer})
		}
	}
	return s
}

// assetName is what a target is called among others: the repository's name at its remote, else the folder's.
func assetName(ctx context.Context, target string, o *scanned) string {
	if o.plan.Image != nil {
		return scan.Printable(target)
	}
	if name := remoteName(gitLine(ctx, target, "config", "--local", "--get", "remote.origin.url")); name != "" {
		return name
	}
	if abs, err := filepath.Abs(target); err == nil {
		return scan.Printable(filepath.Base(abs))
	}
	return scan.Printable(target)
}

// remoteName takes "acme/shop" out of the address of a repository: with neither host nor credentials.
func remoteName(remote string) string {
	if remote == "" {
		return ""
	}
	path := remote
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		path = u.Path
	} else if host, after, ok := strings.Cut(remote, ":"); ok && !strings.Contains(host, "/") {
		path = after // scp's form
	} else {
		path = filepath.Base(remote)
	}
	return scan.Printable(strings.TrimSuffix(strings.Trim(path, "/"), ".git"))
}

// gitLine asks git for one line; empty where it has none. Nothing that the repository configures is run by these.
func gitLine(ctx context.Context, dir string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1")
	out, err := cmd.Output()
	if err != nil || len(out) > 4096 {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
