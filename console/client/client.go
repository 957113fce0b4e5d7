// Package client talks to a running node over its control socket. The commands hunt,
// rule, block, ledger and console use it; they open the data directory themselves where
// Dial says that no node runs.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// ErrNoNode says that nobody answers on the socket: no node is running there.
var ErrNoNode = errors.New("no testudo is running")

// Error is what the node answered instead of doing it. Its Status tells 404, 409, 422 apart.
type Error struct{ console.Problem }

func (e *Error) Error() string {
	text := e.Detail
	if text == "" {
		text = strings.ToLower(e.Title)
	}
	if e.Field != "" {
		return e.Field + ": " + text
	}
	return text
}

// Client is a connection to a node. It is safe for concurrent use. Close it at the end.
type Client struct {
	socket string
	http   *http.Client
}

const (
	dialTime  = 3 * time.Second
	maxAnswer = 64 << 20
)

// Dial asks whether a node answers on the socket. The error is ErrNoNode where there is
// no socket or nobody listens on it; another one where somebody may be there who
// cannot be asked.
func Dial(ctx context.Context, socket string) (*Client, error) {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", socket)
		},
		Proxy: nil, DisableCompression: true, ResponseHeaderTimeout: 2 * time.Minute,
	}
	c := &Client{socket: socket, http: &http.Client{Transport: tr}}
	ctx, cancel := context.WithTimeout(ctx, 2*dialTime)
	defer cancel()
	if _, err := c.Me(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close lets the connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends one request and returns the answer, whose body the caller closes.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	u := "http://testudo" + path // the host is not looked at on the socket
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		rd = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u, rd)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	p := console.Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err != nil {
		p.Detail = "the node answered " + resp.Status
	}
	return nil, &Error{p}
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil && errors.Is(err, cerr) {
		return cerr
	}
	// A transport's errors name a URL that nobody typed.
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		err = op.Err
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("%w: nobody answers on %s", ErrNoNode, c.socket)
		}
	}
	return fmt.Errorf("control socket %s: %w", c.socket, err)
}

// call sends a request and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	resp, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("the node's answer to %s %s: %w", method, path, err)
	}
	return nil
}

// ask is call for answers that are returned as they are.
func ask[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	err := c.call(ctx, method, path, query, body, &out)
	return out, err
}
