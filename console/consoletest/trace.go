package consoletest

import (
	"context"
	"fmt"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// Traced is the request whose trace the world knows: a command that was put into a page of the shop.
const Traced = "01a20000-0000-7000-8000-000000007431"

// Trace knows of one request what it caused.
func (n node) Trace(_ context.Context, request string) (console.Trace, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.Trace{}, err
	}
	if request != Traced {
		return console.Trace{}, fmt.Errorf("request %s: %w", request, console.ErrNotFound)
	}
	at := n.w.Now()
	return console.Trace{Request: Traced, Lines: append([]console.TraceLine{
		{Kind: "request", Text: "GET shop.example/diag/ping?host=***", Detail: "from 203.0.113.7", At: at, Decision: signal.Alert, Rules: []string{"edge.waf-attack"}},
		{Depth: 1, Kind: "service", Text: "shop", Detail: "read from 127.0.0.1:40000 at 127.0.0.1:8081, goroutine 17", PID: 4100, Joined: "socket"},
		{Depth: 2, Kind: "process", Text: `sh -c "ping -c 1 127.0.0.1; cat /etc/passwd"`, Detail: "/bin/dash", PID: 4107, At: at, Event: n.w.shellEvent(), Decision: signal.Deny, Rules: []string{"host-shell-of-a-service"}},
		{Depth: 3, Kind: "process", Text: "cat /etc/passwd", Detail: "/bin/cat", PID: 4108, At: at},
		{Depth: 4, Kind: "file", Text: "Open /etc/passwd", At: at},
		{Depth: 3, Kind: "network", Text: "open 198.51.100.9:80", Detail: "tcp", At: at},
	}, n.w.MoreTrace...)}, nil
}
