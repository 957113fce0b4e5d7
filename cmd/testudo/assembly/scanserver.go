package assembly

import (
	"errors"
	"net/netip"
	"net/url"
	"time"
)

// ScanServer is a console that scans are sent to.
type ScanServer struct {
	// URL is the address of the console, as in https://testudo.example.com:7443. Empty sends scans nowhere. It is https unless the host is
	// this machine's own.
	URL string `yaml:"url"`
	// TokenFile holds a token of the role scanner, which sends scans and does nothing else; an operator's does too.
	TokenFile string `yaml:"token_file"`
	// CAFile is a certificate in PEM that the server's is checked against. Empty takes those of the system.
	CAFile string `yaml:"ca_file"`
	// Timeout bounds the sending.
	Timeout time.Duration `yaml:"timeout"`
	// Required makes it an error if a scan could not be sent; else it is a warning.
	Required bool `yaml:"required"`
}

// DefaultScanServer sends nothing.
func DefaultScanServer() ScanServer { return ScanServer{Timeout: 30 * time.Second} }

// Validate names the first setting that makes no sense.
func (c *ScanServer) Validate() error {
	if c.Timeout <= 0 {
		return errors.New("timeout: want more than 0, as in 30s")
	}
	if c.URL == "" {
		return nil
	}
	// The address is not repeated: it may hold a password.
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("url: want an address alone, as in https://testudo.example.com:7443")
	}
	switch addr, _ := netip.ParseAddr(u.Hostname()); {
	case u.Scheme == "https", u.Scheme == "http" && (addr.IsLoopback() || u.Hostname() == "localhost"):
		return nil
	}
	return errors.New("url: want https; http is for this machine alone: a token would be there for all to read")
}
