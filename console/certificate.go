package console

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/internal/selfcert"
)

// certLook is how often a handshake looks whether a given certificate's files have changed.
const certLook = time.Minute

// certificate is the one that the console shows: one of its own, or one that was given and is
// read again when its files change.
type certificate struct {
	own *selfcert.Certificate // nil where one is given

	certFile, keyFile string
	now               func() time.Time

	mu     sync.Mutex
	leaf   *tls.Certificate
	looked time.Time
	stamp  string
}

func newCertificate(cfg Config, dir string, hosts []string, now func() time.Time) (*certificate, error) {
	c := &certificate{certFile: cfg.Certificate, keyFile: cfg.Key, now: now}
	if c.certFile != "" {
		return c, c.load()
	}
	if dir == "" {
		return nil, errors.New("no data directory to keep a certificate in, and none is given")
	}
	var err error
	c.own, err = selfcert.Open(selfcert.Options{Dir: dir, File: "console", Name: "testudo console", Hosts: hosts, Now: now})
	return c, err
}

func (c *certificate) get() *tls.Certificate {
	if c.own != nil {
		return c.own.Get()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certLook || now.Before(c.looked) {
		_ = c.load() // the former one is shown until the new one is whole
	}
	return c.leaf
}

func (c *certificate) load() error {
	c.looked = c.now()
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
	if err := selfcert.CheckKey(c.keyFile); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.leaf, c.stamp = &pair, stamp
	return nil
}
