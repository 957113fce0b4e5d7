package bus

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config chooses the bus: empty, the server inside the process.
type Config struct {
	// URL is the address of an external NATS server with JetStream, as in
	// tls://nats.example:4222, several joined by commas; empty for the server inside the process.
	URL string `yaml:"url"`
	// Credentials is a NATS credentials file for the external server.
	Credentials string `yaml:"credentials"`
	// CA is a file of certificates that the external server's must descend from; empty for the system's.
	CA string `yaml:"ca"`
	// Certificate and Key are files of this node's certificate where the external server asks for one.
	Certificate string `yaml:"certificate"`
	// Key is the file of the certificate's key.
	Key string `yaml:"key"`
	// Stream is the name of the stream. Nodes that share a server need one each.
	Stream string `yaml:"stream"`
	// MaxSize bounds the batches that wait to be moved into the lake; a full stream refuses more.
	MaxSize bytesize.Size `yaml:"max_size"`
	// Timeout bounds one request to the server.
	Timeout time.Duration `yaml:"timeout"`
}

// DefaultConfig is the server inside the process.
func DefaultConfig() Config {
	return Config{Stream: "TESTUDO_EVENTS", MaxSize: 2 * bytesize.GiB, Timeout: 5 * time.Second}
}

// Validate says what is wrong with the configuration.
func (c *Config) Validate() error {
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`).MatchString(c.Stream) {
		return fmt.Errorf("stream: %q: want letters, digits, _ and -, at most 64", c.Stream)
	}
	if c.MaxSize < 16*bytesize.MiB {
		return fmt.Errorf("max_size: %s: want at least 16MiB", c.MaxSize)
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute {
		return fmt.Errorf("timeout: %s: want 100ms to 1m", c.Timeout)
	}
	if (c.Certificate == "") != (c.Key == "") {
		return fmt.Errorf("certificate and key: give both or neither")
	}
	if c.URL == "" {
		if c.Credentials != "" || c.CA != "" || c.Certificate != "" {
			return fmt.Errorf("credentials, ca and certificate are for an external server: set url")
		}
		return nil
	}
	for _, one := range strings.Split(c.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" {
			return fmt.Errorf("url: want nats://host:4222 or tls://host:4222")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("url: scheme %q: want nats, tls, ws or wss", u.Scheme)
		}
		if u.User != nil {
			return fmt.Errorf("url: holds a password: put it into a credentials file")
		}
	}
	return nil
}
