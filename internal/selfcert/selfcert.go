// Package selfcert makes a TLS server certificate that signs itself: an ECDSA P-256 leaf,
// good for a year and for nothing but the hosts it names, kept in a folder so that it
// outlives restarts, and renewed before it ends.
//
// It is for a server that somebody is to reach before there is a certificate which browsers
// know. People compare the [Fingerprint] once; it stays until the certificate is renewed. A
// key that others could read, a damaged file, or a certificate that lacks a host is made anew.
package selfcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	life  = 365 * 24 * time.Hour
	renew = 30 * 24 * time.Hour // before its end
	look  = time.Minute         // how often Get looks whether it must be renewed
)

// Options says what to make and where to keep it.
type Options struct {
	Dir   string           // an existing folder; "" keeps it in memory: each start makes a new one
	File  string           // name of the files in Dir, without .crt and .key
	Name  string           // common name, for people
	Hosts []string         // host names and addresses it is good for; a name may be a wildcard
	Now   func() time.Time // nil is time.Now
}

// Certificate is a certificate with its key. It is safe for concurrent use.
type Certificate struct {
	options           Options
	certFile, keyFile string // "" in memory

	mu     sync.Mutex
	pair   *tls.Certificate
	looked time.Time
}

// Open reads the certificate, or makes it where there is none that can be used.
func Open(o Options) (*Certificate, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Certificate{options: o}
	if o.Dir != "" {
		c.certFile, c.keyFile = filepath.Join(o.Dir, o.File+".crt"), filepath.Join(o.Dir, o.File+".key")
	}
	if err := c.refresh(); err != nil {
		return nil, err
	}
	return c, nil
}

// Get returns the certificate, renewed where it was time. One that cannot be renewed now is
// returned as long as it lasts, and beyond.
func (c *Certificate) Get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.options.Now(); now.Sub(c.looked) >= look || now.Before(c.looked) {
		_ = c.refresh()
	}
	return c.pair
}

func (c *Certificate) refresh() error {
	c.looked = c.options.Now()
	if c.pair != nil && c.usable(c.pair.Leaf) {
		return nil
	}
	if c.keyFile != "" && CheckKey(c.keyFile) == nil {
		if pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil && c.usable(pair.Leaf) {
			c.pair = &pair
			return nil
		}
	}
	return c.make()
}

// usable reports whether a certificate lasts long enough and names all hosts.
func (c *Certificate) usable(leaf *x509.Certificate) bool {
	now := c.options.Now()
	if leaf == nil || now.Before(leaf.NotBefore) || now.Add(renew).After(leaf.NotAfter) {
		return false
	}
	return !slices.ContainsFunc(c.options.Hosts, func(h string) bool { return !names(leaf, h) })
}

func names(leaf *x509.Certificate, host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return slices.ContainsFunc(leaf.IPAddresses, ip.Equal)
	}
	return slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, host) })
}

func (c *Certificate) make() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := c.options.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: c.options.Name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range c.options.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return err
	}
	if c.keyFile != "" {
		// The key first: a certificate without its key would be made anew, which is harmless.
		if err := replaceFile(c.keyFile, keyPEM); err != nil {
			return fmt.Errorf("keep the key of %s: %w", c.options.Name, err)
		}
		if err := replaceFile(c.certFile, certPEM); err != nil {
			return fmt.Errorf("keep the certificate of %s: %w", c.options.Name, err)
		}
	}
	c.pair = &pair
	return nil
}

// CheckKey refuses a file with a key that others can read, write or run.
func CheckKey(file string) error {
	fi, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if fi.Mode().Perm()&0o037 != 0 {
		return fmt.Errorf("key %s can be read by others (mode %04o): chmod 0600 it", file, fi.Mode().Perm())
	}
	return nil
}

// replaceFile writes a file of mode 0600 that is there whole or not at all.
func replaceFile(name string, body []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// Fingerprint returns the SHA-256 of the leaf as browsers show it: pairs of capital hexadecimal
// digits with colons between.
func Fingerprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}
