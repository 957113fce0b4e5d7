package upstream

import (
	"crypto/tls"
	"net"
	"net/netip"
)

// Passage is a request's use of a connection to a server.
type Passage struct {
	Local, Remote netip.AddrPort
	Conn          uint64 // names the connection among those to the server
	From          uint64 // the number of the request's first byte in the connection, below TLS
	Shared        bool   // another request is on it at the same time (HTTP/2)

	conn *idleConn
}

// Begin returns the passage of a request that is about to be written to a connection, as httptrace.ClientTrace.GotConn gives it; false for
// a connection that no [Server] made, or one without ports. Every passage is ended by End.
func Begin(c net.Conn) (Passage, bool) {
	many := false
	if t, ok := c.(*tls.Conn); ok {
		many = t.ConnectionState().NegotiatedProtocol == "h2"
		c = t.NetConn()
	}
	i, ok := c.(*idleConn)
	if !ok {
		return Passage{}, false
	}
	local, ok := i.LocalAddr().(*net.TCPAddr)
	remote, also := i.RemoteAddr().(*net.TCPAddr)
	if !ok || !also {
		return Passage{}, false
	}
	users := i.users.Add(1)
	return Passage{Local: plain(local), Remote: plain(remote), Conn: i.number, From: i.written.Load(), Shared: many && users > 1, conn: i}, true
}

// End ends the passage. The zero Passage has no end.
func (p *Passage) End() {
	if p.conn != nil {
		p.conn.users.Add(-1)
		p.conn = nil
	}
}

func plain(a *net.TCPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().WithZone("").Unmap(), p.Port())
}
