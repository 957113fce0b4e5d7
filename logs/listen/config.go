package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Limits bounds what senders can make the listeners hold.
type Limits struct {
	// Connections is the number of connections at a time of one listener.
	Connections int `yaml:"connections"`
	// ConnectionsPerClient is the number of connections at a time from one address; 0 means any.
	ConnectionsPerClient int `yaml:"connections_per_client"`
	// Message is the longest syslog message; longer ones are passed over and counted.
	Message bytesize.Size `yaml:"message"`
	// Body is the largest OTLP request, as it is sent and as it is after decompression.
	Body bytesize.Size `yaml:"body"`
	// Memory is what all OTLP requests of a listener that are under way may hold together; beyond it
	// senders are told to come again later. It bounds the UDP messages that wait, too, which are dropped beyond it.
	Memory bytesize.Size `yaml:"memory"`
	// Queue is how many UDP messages wait to be judged; further ones are dropped and counted.
	Queue int `yaml:"queue"`
	// IdleTimeout closes a connection that has sent nothing for so long.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MessageTimeout is how long a sender may take for the TLS handshake, for one message once it has
	// begun, and for one request.
	MessageTimeout time.Duration `yaml:"message_timeout"`
}

// DefaultLimits returns what is in force where nothing else is said.
func DefaultLimits() Limits {
	return Limits{Connections: 256, ConnectionsPerClient: 64, Message: 64 * bytesize.KiB, Body: 8 * bytesize.MiB,
		Memory: 128 * bytesize.MiB, Queue: 8192, IdleTimeout: 10 * time.Minute, MessageTimeout: 30 * time.Second}
}

// Validate checks the ranges.
func (l *Limits) Validate() error {
	switch {
	case l.Connections < 1 || l.Connections > 100_000:
		return fmt.Errorf("connections is %d: want 1 to 100000", l.Connections)
	case l.ConnectionsPerClient < 0:
		return fmt.Errorf("connections_per_client is %d: want 0 or more", l.ConnectionsPerClient)
	case l.Message < 480 || l.Message > 16*bytesize.MiB: // RFC 5424 section 6.1: 480 octets at least
		return fmt.Errorf("message is %v: want 480 bytes to 16MiB", l.Message)
	case l.Body < 1024 || l.Body > bytesize.GiB:
		return fmt.Errorf("body is %v: want 1KiB to 1GiB", l.Body)
	case l.Memory < 2*l.Body:
		return fmt.Errorf("memory is %v: want at least twice body, which is %v", l.Memory, l.Body)
	case l.Queue < 1 || l.Queue > 1_000_000:
		return fmt.Errorf("queue is %d: want 1 to 1000000", l.Queue)
	case l.IdleTimeout < time.Second:
		return fmt.Errorf("idle_timeout is %v: want at least 1s", l.IdleTimeout)
	case l.MessageTimeout < 100*time.Millisecond:
		return fmt.Errorf("message_timeout is %v: want at least 100ms", l.MessageTimeout)
	}
	return nil
}

// TLS names the certificate of a listener.
type TLS struct {
	// Cert is the PEM file with the certificate, its chain behind it. It is read again when it changes.
	Cert string `yaml:"cert"`
	// Key is the PEM file with the private key.
	Key string `yaml:"key"`
	// ClientCA is a PEM file with the authorities one of which must have signed a sender's certificate. Empty takes
	// records from anybody who can connect.
	ClientCA string `yaml:"client_ca"`
}

func (t *TLS) on() bool { return t.Cert != "" || t.Key != "" }

// Syslog is one address that takes syslog messages.
type Syslog struct {
	// Address is host:port to listen on.
	Address string `yaml:"address"`
	// Transport is udp (RFC 5426), tcp (RFC 6587, messages counted or ended by a line feed) or tls (RFC 5425).
	Transport string `yaml:"transport"`
	// TLS names the certificate for the transport tls.
	TLS TLS `yaml:"tls"`
	// Plain lets a listener without TLS have an address that is not this machine's own: everybody on the
	// way can read the messages, and anybody can send some.
	Plain bool `yaml:"plain"`
}

// Validate checks what can be checked without listening.
func (s *Syslog) Validate() error {
	switch s.Transport {
	case "udp", "tcp":
		if s.TLS.on() {
			return fmt.Errorf("tls is set and transport is %s: want transport tls", s.Transport)
		}
	case "tls":
		if s.TLS.Cert == "" || s.TLS.Key == "" {
			return errors.New("transport is tls: want tls.cert and tls.key")
		}
	default:
		return fmt.Errorf("transport is %q: want udp, tcp or tls", s.Transport)
	}
	return checkAddress(s.Address, s.Plain, s.Transport == "tls")
}

// OTLP is one address that takes OpenTelemetry logs, over HTTP and over gRPC alike.
type OTLP struct {
	// Address is host:port to listen on. Senders expect port 4317 for gRPC and 4318 for HTTP; each address
	// takes both.
	Address string `yaml:"address"`
	// TLS names the certificate; without one the listener speaks plain HTTP.
	TLS TLS `yaml:"tls"`
	// Plain lets a listener without TLS have an address that is not this machine's own.
	Plain bool `yaml:"plain"`
	// TokenFile holds a token, which senders then must send as "Authorization: Bearer TOKEN".
	TokenFile string `yaml:"token_file"`
}

// Validate checks what can be checked without listening.
func (o *OTLP) Validate() error {
	if (o.TLS.Cert == "") != (o.TLS.Key == "") {
		return errors.New("tls: want both cert and key")
	}
	return checkAddress(o.Address, o.Plain, o.TLS.on())
}

func checkAddress(address string, plain, tls bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address is %q: want host:port, as in 127.0.0.1:5514", address)
	}
	if !tls && !plain && !loopback(host) {
		return fmt.Errorf("address %s can be reached from elsewhere, and there is no TLS: anybody could send records. Set tls, or plain: true if the network is trusted", address)
	}
	return nil
}

// loopback reports whether only this machine can reach the host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
