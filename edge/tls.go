package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/internal/selfcert"
)

// certificates chooses a certificate by server name. Reading the given ones is lock-free;
// reload replaces the whole set or, where one file is bad, nothing.
type certificates struct {
	own    *selfcert.Certificate // nil where some are given
	files  []Certificate
	log    *slog.Logger
	stamps []time.Time
	set    atomic.Pointer[[]tls.Certificate]
}

// certificateInterval is how often the files are looked at.
const certificateInterval = 10 * time.Second

func newCertificates(files []Certificate, own selfcert.Options, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	if len(files) > 0 {
		c.stamps = c.stat()
		return c, c.load()
	}
	var err error
	if c.own, err = selfcert.Open(own); err != nil && own.Dir != "" {
		log.Warn("edge: the certificate of the edge's own cannot be kept: the next start shows another one", "err", err)
		own.Dir = ""
		c.own, err = selfcert.Open(own)
	}
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return c, nil
}

func (c *certificates) load() error {
	set := make([]tls.Certificate, 0, len(c.files))
	for _, f := range c.files {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
		set = append(set, pair)
	}
	c.set.Store(&set)
	return nil
}

func (c *certificates) stat() []time.Time {
	stamps := make([]time.Time, 0, 2*len(c.files))
	for _, f := range c.files {
		for _, name := range [...]string{f.Cert, f.Key} {
			var t time.Time
			if st, err := os.Stat(name); err == nil {
				t = st.ModTime()
			}
			stamps = append(stamps, t)
		}
	}
	return stamps
}

// run reloads the files when they change, until ctx ends.
func (c *certificates) run(ctx context.Context, every time.Duration) {
	if len(c.files) == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.refresh()
		}
	}
}

// refresh reads the files again where one has changed. A pair that is half replaced
// is an error now and whole at the next look.
func (c *certificates) refresh() {
	stamps := c.stat()
	same := true
	for i := range stamps {
		same = same && stamps[i].Equal(c.stamps[i])
	}
	if same {
		return
	}
	if err := c.load(); err != nil {
		c.log.Error("edge: certificates changed and cannot be used; the former ones stay", "err", err)
		return
	}
	c.stamps = stamps
	c.log.Info("edge: certificates read again")
}

func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.own != nil {
		return c.own.Get(), nil
	}
	set := *c.set.Load()
	for i := range set {
		if hello.SupportsCertificate(&set[i]) == nil {
			return &set[i], nil
		}
	}
	return &set[0], nil
}

func (ed *Edge) tlsConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: ed.certs.get}
	if ed.cfg.TLS.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// certificateHosts lists what an own certificate is good for: this machine and the hosts of all routes.
func certificateHosts(routes []Route) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, r := range routes {
		for _, h := range r.Hosts {
			hosts = append(hosts, strings.TrimSuffix(strings.ToLower(h), "."))
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}
