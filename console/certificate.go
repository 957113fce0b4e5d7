package console

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	certLife  = 365 * 24 * time.Hour
	certRenew = 30 * 24 * time.Hour // before its end
	certLook  = time.Minute         // how often a handshake looks whether there is a newer one
)

// certificate is the one that the console shows: given, and read again when its files
// change, or made here and renewed before it ends.
type certificate struct {
	certFile, keyFile string
	own               bool
	hosts             []string // that an own one is made for
	now               func() time.Time

	mu     sync.Mutex
	leaf   *tls.Certificate
	looked time.Time
	stamp  string // of a given one's files
}

func newCertificate(cfg Config, dir string, hosts []string, now func() time.Time) (*certificate, error) {
	c := &certificate{certFile: cfg.Certificate, keyFile: cfg.Key, hosts: hosts, now: now}
	if c.certFile == "" {
		if dir == "" {
			return nil, errors.New("no data directory to keep a certificate in, and none is given")
		}
		c.own = true
		c.certFile, c.keyFile = filepath.Join(dir, "console.crt"), filepath.Join(dir, "console.key")
	}
	if err := c.refresh(); err != nil {
		return nil, err
	}
	return c, nil
}

// get is tls.Config's GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certLook || now.Before(c.looked) {
		// One that cannot be renewed now is shown as long as it lasts.
		_ = c.refreshLocked()
	}
	return c.leaf, nil
}

func (c *certificate) refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refreshLocked()
}

func (c *certificate) refreshLocked() error {
	c.looked = c.now()
	if !c.own {
		return c.loadGiven()
	}
	if c.leaf != nil && c.usable(c.leaf.Leaf) {
		return nil
	}
	if err := private(c.keyFile); err == nil {
		if pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil && c.usable(pair.Leaf) {
			c.leaf = &pair
			return nil
		}
	}
	return c.make()
}

func (c *certificate) loadGiven() error {
	stamp := ""
	for _, f := range []string{c.certFile, c.keyFile} {
		fi, err := os.Stat(f)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		stamp += fmt.Sprint(fi.ModTime().UnixNano(), fi.Size(), ";")
	}
	if stamp == c.stamp {
		return nil
	}
	if err := private(c.keyFile); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.leaf, c.stamp = &pair, stamp
	return nil
}

// private refuses a key that others can read.
func private(keyFile string) error {
	fi, err := os.Stat(keyFile)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if fi.Mode().Perm()&0o037 != 0 {
		return fmt.Errorf("key %s can be read by others (mode %04o): chmod 0600 it", keyFile, fi.Mode().Perm())
	}
	return nil
}

// usable reports whether an own certificate lasts long enough and names all hosts.
func (c *certificate) usable(leaf *x509.Certificate) bool {
	now := c.now()
	if leaf == nil || now.Before(leaf.NotBefore) || now.Add(certRenew).After(leaf.NotAfter) {
		return false
	}
	for _, h := range c.hosts {
		if leaf.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

func (c *certificate) make() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := c.now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "testudo console"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range c.hosts {
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
	// The key first: a certificate without its key would be made anew, which is harmless.
	if err := replaceFile(c.keyFile, keyPEM); err != nil {
		return fmt.Errorf("keep the console's key: %w", err)
	}
	if err := replaceFile(c.certFile, certPEM); err != nil {
		return fmt.Errorf("keep the console's certificate: %w", err)
	}
	c.leaf = &pair
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

// fingerprint is the SHA-256 of the certificate, as browsers show it.
func (c *certificate) fingerprint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := sha256.Sum256(c.leaf.Certificate[0])
	var b bytes.Buffer
	for i, pair := range slices.Collect(slices.Chunk([]byte(hex.EncodeToString(sum[:])), 2)) {
		if i > 0 {
			b.WriteByte(':')
		}
		b.Write(bytes.ToUpper(pair))
	}
	return b.String()
}
