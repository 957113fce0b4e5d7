package console

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Config is the console section of testudo.yaml.
type Config struct {
	// Listen is the address of the console, HTTPS only. Other addresses than loopback
	// show the sign-in page to the network.
	Listen string `yaml:"listen"`
	// Names are further host names under which people reach the console. Requests for
	// other names are refused, which stops DNS rebinding; loopback names, the host of
	// listen and the machine's own addresses are always known.
	Names []string `yaml:"names"`
	// Certificate is a PEM file with the certificate chain. Without it the console makes a
	// certificate of its own and keeps it in the data directory.
	Certificate string `yaml:"certificate"`
	// Key is the PEM file of the certificate's key. It must not be readable by others.
	Key string `yaml:"key"`
	// MaxConnections bounds the connections open at once.
	MaxConnections int `yaml:"max_connections"`
	// MaxConnectionsPerAddress bounds the connections of one client address.
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address"`
	// MaxStreams bounds the live streams open at once.
	MaxStreams int `yaml:"max_streams"`
	// MaxStreamsPerIdentity bounds the live streams of one person or token.
	MaxStreamsPerIdentity int `yaml:"max_streams_per_identity"`
}

// Default returns the configuration of a console that nobody configured.
func Default() Config {
	return Config{
		Listen:                   "127.0.0.1:7443",
		MaxConnections:           512,
		MaxConnectionsPerAddress: 128,
		MaxStreams:               128,
		MaxStreamsPerIdentity:    16,
	}
}

// Validate says what is wrong with the configuration, naming the key.
func (c *Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port, as in 127.0.0.1:7443", c.Listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("listen: %q is not a port from 0 to 65535", port)
	}
	if host != "" && !validHost(host) {
		return fmt.Errorf("listen: %q is not an address or host name", host)
	}
	for _, n := range c.Names {
		if !validHost(n) {
			return fmt.Errorf("names: %q is not a host name; give it without scheme and port", n)
		}
	}
	if (c.Certificate == "") != (c.Key == "") {
		return fmt.Errorf("certificate and key: give both or none")
	}
	for _, b := range []struct {
		key string
		n   int
	}{
		{"max_connections", c.MaxConnections}, {"max_connections_per_address", c.MaxConnectionsPerAddress},
		{"max_streams", c.MaxStreams}, {"max_streams_per_identity", c.MaxStreamsPerIdentity},
	} {
		if b.n < 1 || b.n > 65536 {
			return fmt.Errorf("%s: %d is not from 1 to 65536", b.key, b.n)
		}
	}
	return nil
}

// validHost reports whether s is an address, or a host name of letters, digits and hyphens.
func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
