package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// certificates chooses a certificate by server name. Reading is lock-free; reload
// replaces the whole set or, where one file is bad, nothing.
type certificates struct {
	files  []Certificate
	log    *slog.Logger
	stamps []time.Time
	set    atomic.Pointer[[]tls.Certificate]
}

// certificateInterval is how often the files are looked at.
const certificateInterval = 10 * time.Second

func newCertificates(files []Certificate, hosts []string, now time.Time, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	if len(files) == 0 {
		own, err := selfMade(hosts, now)
		if err != nil {
			return nil, fmt.Errorf("make a certificate: %w", err)
		}
		c.set.Store(&[]tls.Certificate{own})
		return c, nil
	}
	c.stamps = c.stat()
	return c, c.load()
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
	set := *c.set.Load()
	for i := range set {
		if hello.SupportsCertificate(&set[i]) == nil {
			return &set[i], nil
		}
	}
	return &set[0], nil
}

// selfMade returns a certificate for localhost and the hosts, signed by itself, in
// memory only.
func selfMade(hosts []string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "testudo edge, made by itself"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              append([]string{"localhost"}, hosts...),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func (ed *Edge) tlsConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: ed.certs.get}
	if ed.cfg.TLS.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// certificateHosts lists the hosts of all routes for the self-made certificate.
func certificateHosts(routes []Route) []string {
	var hosts []string
	for _, r := range routes {
		for _, h := range r.Hosts {
			hosts = append(hosts, strings.ToLower(h))
		}
	}
	return hosts
}
