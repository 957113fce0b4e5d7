package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	plane "github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/internal/addrset"

	"github.com/testudo-sec/testudo/bench/node"
	"github.com/testudo-sec/testudo/bench/proc"
)

// A proxy that is measured answers to three lines: "settle" waits until what follows from the requests
// so far is done, "profile" begins a CPU profile where a file was given for it, "check" says what came of
// the requests, or fails.
type proxy struct {
	settle  func() error
	check   func() (string, error)
	profile string
}

func (p *proxy) converse(talk *proc.Talk, address string) error {
	if err := talk.Say("%s", address); err != nil {
		return err
	}
	endProfile := func() {}
	defer func() { endProfile() }()
	for {
		line, ok := talk.Hear()
		if !ok {
			return nil
		}
		answer, err := "done", error(nil)
		switch line {
		case "settle":
			err = p.settle()
		case "profile":
			endProfile, err = proc.Profile(p.profile)
		case "check":
			answer, err = p.check()
		default:
			err = fmt.Errorf("no such question: %q", line)
		}
		if err != nil {
			err = talk.Fail(err)
		} else {
			err = talk.Say("%s", answer)
		}
		if err != nil {
			return err
		}
	}
}

// serveBare is the role of the peer: httputil.ReverseProxy as its documentation has it, on a server
// with defaults, with the edge's own settings of the transport, so that connections to the
// upstream are kept alike. Its arguments are the upstream and the profile's file.
func serveBare(_ context.Context, talk *proc.Talk, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("bare wants an upstream and a profile, got %q", args)
	}
	target, err := url.Parse("http://" + args[0])
	if err != nil {
		return err
	}
	rp := httputil.NewSingleHostReverseProxy(target)
	rp.Transport = &http.Transport{
		MaxIdleConns: 1024, MaxIdleConnsPerHost: 512, IdleConnTimeout: 90 * time.Second,
		DisableCompression: true, ReadBufferSize: 16 << 10,
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: rp}
	go func() { _ = server.Serve(ln) }()
	defer server.Close()
	p := &proxy{settle: func() error { return nil }, check: func() (string, error) { return "", nil }, profile: args[1]}
	return p.converse(talk, ln.Addr().String())
}

// blocklist fits the table of blocked addresses to the edge.
type blocklist struct{ table *addrset.Table }

func (b blocklist) Lookup(a netip.Addr, now time.Time) (id string, blocked bool) {
	e, ok := b.table.Lookup(a, now)
	return e.ID, ok
}

// blocked is how many addresses the edge refuses while it is measured; none of them asks.
const blocked = 5000

// serveEdge is the role of the edge as it stands in `testudo up`, without the web application
// firewall: every request and every answer is judged by the rules that ship, recorded, and
// archived. Its arguments are the upstream, the profile's file and an empty folder.
func serveEdge(ctx context.Context, talk *proc.Talk, args []string) (err error) {
	if len(args) != 3 {
		return fmt.Errorf("edge wants an upstream, a profile and a folder, got %q", args)
	}
	n, err := node.Open(ctx, args[2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	table := addrset.New(2 * blocked)
	for i := range blocked {
		a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		if err := table.Add(netip.PrefixFrom(a, 32), time.Now().Add(time.Hour), "bench"); err != nil {
			return err
		}
	}
	route := plane.DefaultRoute()
	route.Name, route.WAF, route.Mode = "shop", false, plane.ModeBlock
	route.Upstreams = []plane.Upstream{{URL: "http://" + args[0], Weight: 1}}
	cfg := plane.Default()
	cfg.Listen = []plane.Listener{{Address: "127.0.0.1:0"}}
	cfg.Routes = []plane.Route{route}
	ed, err := plane.New(cfg, plane.Deps{Sink: n, Blocklist: blocklist{table}, Registerer: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	if err := ed.Listen(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- ed.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-stopped)
	}()
	p := &proxy{profile: args[1], settle: func() error { return n.Settle(ctx) }, check: func() (string, error) {
		recorder, _ := n.Store.Stats()
		if hits := n.Hits(); hits > 0 {
			return "", fmt.Errorf("harmless requests fired rules %d times", hits)
		}
		return fmt.Sprint(recorder.Recorded), n.Lost()
	}}
	return p.converse(talk, ed.Addrs()[0].String())
}
