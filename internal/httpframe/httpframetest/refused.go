// Package httpframetest holds messages that must be refused, for the tests of the framer and of
// whatever stands behind it.
package httpframetest

import (
	"strings"

	"github.com/testudo-sec/testudo/internal/httpframe"
)

// A Case is a message, or the beginning of one, that is refused for the reason.
type Case struct{ Name, Raw, Reason string }

// Refused returns messages for the host "shop" that two parsers could read differently. Heads are
// shorter than 4 KiB.
func Refused() []Case {
	const h = "Host: shop\r\n"
	long := strings.Repeat("a", 1000)
	return []Case{
		{"both lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", httpframe.BothLengths},
		{"both lengths, other order", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX", httpframe.BothLengths},
		{"two lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", httpframe.Length},
		{"the same length twice", "POST / HTTP/1.1\r\n" + h + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", httpframe.Length},
		{"length list", "POST / HTTP/1.1\r\n" + h + "Content-Length: 1, 1\r\n\r\na", httpframe.Length},
		{"signed length", "POST / HTTP/1.1\r\n" + h + "Content-Length: +1\r\n\r\na", httpframe.Length},
		{"hexadecimal length", "POST / HTTP/1.1\r\n" + h + "Content-Length: 0x1\r\n\r\na", httpframe.Length},
		{"empty length", "POST / HTTP/1.1\r\n" + h + "Content-Length: \r\n\r\n", httpframe.Length},
		{"huge length", "POST / HTTP/1.1\r\n" + h + "Content-Length: 18446744073709551617\r\n\r\na", httpframe.Length},
		{"xchunked", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", httpframe.Transfer},
		{"chunked, identity", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", httpframe.Transfer},
		{"gzip, chunked", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", httpframe.Transfer},
		{"vertical tab before chunked", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", httpframe.Transfer},
		{"chunked twice", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", httpframe.Transfer},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", httpframe.Transfer},
		{"space before colon", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", httpframe.FieldName},
		{"folded line", "GET / HTTP/1.1\r\n" + h + "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n", httpframe.ObsFold},
		{"folded with tab", "GET / HTTP/1.1\r\n" + h + "X-A: b\r\n\tc\r\n\r\n", httpframe.ObsFold},
		{"folded first field", "GET / HTTP/1.1\r\n X-A: b\r\n" + h + "\r\n", httpframe.ObsFold},
		{"bare line feed", "GET / HTTP/1.1\n" + h + "\r\n", httpframe.BareLF},
		{"bare line feed in the head", "GET / HTTP/1.1\r\n" + h + "X-A: b\nX-C: d\r\n\r\n", httpframe.BareLF},
		{"bare line feed at the end", "GET / HTTP/1.1\r\n" + h + "\n", httpframe.BareLF},
		{"bare carriage return", "GET / HTTP/1.1\r\n" + h + "X-A: b\rX-C: d\r\n\r\n", httpframe.BareCR},
		{"carriage return in the target", "GET /a\rb HTTP/1.1\r\n" + h + "\r\n", httpframe.BareCR},
		{"NUL in a value", "GET / HTTP/1.1\r\n" + h + "X-A: b\x00c\r\n\r\n", httpframe.NUL},
		{"NUL in a name", "GET / HTTP/1.1\r\n" + h + "X\x00A: b\r\n\r\n", httpframe.NUL},
		{"name with a space", "GET / HTTP/1.1\r\n" + h + "X A: b\r\n\r\n", httpframe.FieldName},
		{"empty name", "GET / HTTP/1.1\r\n" + h + ": b\r\n\r\n", httpframe.FieldName},
		{"no colon", "GET / HTTP/1.1\r\n" + h + "Gibberish\r\n\r\n", httpframe.FieldName},
		{"bad chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\nZ\r\nabc\r\n0\r\n\r\n", httpframe.Chunk},
		{"signed chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", httpframe.Chunk},
		{"prefixed chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", httpframe.Chunk},
		{"negative chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", httpframe.Chunk},
		{"overflowing chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", httpframe.Chunk},
		{"chunk longer than said", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", httpframe.Chunk},
		{"bare line feed behind a chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", httpframe.BareLF},
		{"bare line feed in a chunk extension", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3;x\nabc\r\n0\r\n\r\n", httpframe.BareLF},
		{"bare line feed behind chunk data", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", httpframe.BareLF},
		{"long chunk extension", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n3;" + long + "\r\nabc\r\n0\r\n\r\n", httpframe.Chunk},
		{"folded trailer", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n c\r\n\r\n", httpframe.ObsFold},
		{"target of another host", "GET http://other/ HTTP/1.1\r\n" + h + "\r\n", httpframe.HostMismatch},
		{"user in the target", "GET http://shop@other/ HTTP/1.1\r\n" + h + "\r\n", httpframe.Host},
		{"two hosts", "GET / HTTP/1.1\r\n" + h + "Host: other\r\n\r\n", httpframe.Host},
		{"host with a path", "GET / HTTP/1.1\r\nHost: shop/x\r\n\r\n", httpframe.Host},
		{"host with a user", "GET / HTTP/1.1\r\nHost: a@shop\r\n\r\n", httpframe.Host},
		{"host with a bad port", "GET / HTTP/1.1\r\nHost: shop:80a\r\n\r\n", httpframe.Host},
	}
}
