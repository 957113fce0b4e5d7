package selfcert

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const day = 24 * time.Hour

func open(t *testing.T, o Options) *Certificate {
	t.Helper()
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serial(c *tls.Certificate) string { return c.Leaf.SerialNumber.String() }

// TestKept follows a certificate through restarts: what may change it and what may not.
func TestKept(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := Options{Dir: t.TempDir(), File: "own", Name: "testudo test", Hosts: []string{"localhost", "*.shop.example", "127.0.0.1", "::1"}, Now: func() time.Time { return now }}
	cert, key := filepath.Join(o.Dir, "own.crt"), filepath.Join(o.Dir, "own.key")
	last := serial(open(t, o).Get())
	for _, c := range []struct {
		name   string
		change func() error
		anew   bool
	}{
		{"a restart", func() error { return nil }, false},
		{"300 days", func() error { now = now.Add(300 * day); return nil }, false},
		{"25 days to go", func() error { now = now.Add(40 * day); return nil }, true},
		{"a clock set back before it began", func() error { now = now.Add(-2 * day); return nil }, true},
		{"a further host", func() error { o.Hosts = append(o.Hosts, "new.example"); return nil }, true},
		{"a further address", func() error { o.Hosts = append(o.Hosts, "192.0.2.1"); return nil }, true},
		{"a host less", func() error { o.Hosts = o.Hosts[:2]; return nil }, false},
		{"other letters", func() error { o.Hosts = []string{"LOCALHOST", "*.Shop.Example"}; return nil }, false},
		{"a host under the wildcard", func() error { o.Hosts = []string{"a.shop.example"}; return nil }, true},
		{"a key that others can read", func() error { return os.Chmod(key, 0o644) }, true},
		{"a damaged certificate", func() error { return os.WriteFile(cert, []byte("damaged"), 0o600) }, true},
		{"a damaged key", func() error { return os.WriteFile(key, []byte("damaged"), 0o600) }, true},
		{"no key", func() error { return os.Remove(key) }, true},
		{"no certificate", func() error { return os.Remove(cert) }, true},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		got := serial(open(t, o).Get())
		if (got != last) != c.anew {
			t.Errorf("%s: made anew %v, want %v", c.name, got != last, c.anew)
		}
		last = got
		if fi, err := os.Stat(key); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: the key: %v, %v", c.name, fi.Mode(), err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(o.Dir, "*")); len(files) != 2 {
		t.Errorf("files: %v", files)
	}
}

// TestLeaf reads the certificate as a client does.
func TestLeaf(t *testing.T) {
	c := open(t, Options{Name: "testudo test", Hosts: []string{"localhost", "*.shop.example", "192.0.2.7"}})
	leaf := c.Get().Leaf
	for host, good := range map[string]bool{"localhost": true, "a.shop.example": true, "192.0.2.7": true, "shop.example": false, "192.0.2.8": false} {
		if err := leaf.VerifyHostname(host); (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.PublicKeyAlgorithm != x509.ECDSA || leaf.NotAfter.Sub(leaf.NotBefore) > 367*day {
		t.Errorf("CA %v, usage %v, %v, until %v", leaf.IsCA, leaf.KeyUsage, leaf.PublicKeyAlgorithm, leaf.NotAfter)
	}
	if f := Fingerprint(c.Get()); !regexp.MustCompile(`^([0-9A-F]{2}:){31}[0-9A-F]{2}$`).MatchString(f) {
		t.Errorf("fingerprint %s", f)
	}
	// A handshake against it, with the leaf as the only root.
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	near, far := net.Pipe()
	defer near.Close()
	server := tls.Server(far, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Get(), nil }})
	var wg sync.WaitGroup
	wg.Go(func() { server.Handshake() })
	if err := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: "a.shop.example"}).Handshake(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// TestRenewal renews while it serves, keeps what it has where that cannot be written, and
// catches up later.
func TestRenewal(t *testing.T) {
	for _, kept := range []bool{false, true} {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		o := Options{File: "own", Name: "testudo test", Hosts: []string{"localhost"}, Now: func() time.Time { return now }}
		if kept {
			o.Dir = filepath.Join(t.TempDir(), "sub")
			if err := os.Mkdir(o.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		c := open(t, o)
		first := serial(c.Get())
		if now = now.Add(340 * day); kept {
			if err := os.Rename(o.Dir, o.Dir+"-away"); err != nil {
				t.Fatal(err)
			}
			if got := serial(c.Get()); got != first {
				t.Error("another certificate is shown than the one that is kept")
			}
			if err := os.Rename(o.Dir+"-away", o.Dir); err != nil {
				t.Fatal(err)
			}
			if got := serial(c.Get()); got != first {
				t.Error("looked twice within a minute")
			}
			now = now.Add(look)
		}
		second := serial(c.Get())
		if second == first {
			t.Errorf("kept %v: not renewed", kept)
		}
		if kept && serial(open(t, o).Get()) != second {
			t.Error("what was renewed is not kept")
		}
	}
}

func TestOpenErrors(t *testing.T) {
	_, err := Open(Options{Dir: filepath.Join(t.TempDir(), "missing"), File: "own", Name: "testudo test"})
	if err == nil || !strings.Contains(err.Error(), "keep the key of testudo test") {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err := Open(Options{Name: "testudo test", Hosts: []string{"käse.example"}}); err == nil {
		t.Error("a name that no certificate can hold is accepted")
	}
}

func TestCheckKey(t *testing.T) {
	key := filepath.Join(t.TempDir(), "k")
	if err := CheckKey(key); err == nil {
		t.Error("a missing file passes")
	}
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o660: false, 0o604: false} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		if err := CheckKey(key); (err == nil) != good {
			t.Errorf("%04o: %v", mode, err)
		}
	}
}
