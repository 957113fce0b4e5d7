// Command shop is testudo's demo shop: a small web shop that is deliberately
// vulnerable, so that an edge in front of it has something to protect. It is a
// program of its own and shares no code with testudo.
//
// It serves this machine alone (package guard), gives up root (package
// privilege), and bounds what an attack can start (package shell). See
// docs/demo-shop.md for its weaknesses and how to try them.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/testudo-sec/testudo/examples/shop/catalogue"
	"github.com/testudo-sec/testudo/examples/shop/guard"
	"github.com/testudo-sec/testudo/examples/shop/privilege"
	"github.com/testudo-sec/testudo/examples/shop/shell"
	"github.com/testudo-sec/testudo/examples/shop/web"
)

//go:embed banner.txt
var banner string

// Exit codes.
const (
	exitOK     = 0
	exitBroken = 1
	exitUsage  = 2 // also: refused because it would not be safe
)

const (
	maxConns  = 256
	drainTime = shell.MaxTime + 3*time.Second // a shell in flight may take its time
)

func main() {
	shell.Child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// refusal is an error that ends the shop with exitUsage.
type refusal struct{ error }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8081", "loopback `address:port` to listen on; any other is refused")
	user := flags.String("user", "", "ordinary `user` to become when started as root (default nobody)")
	verbose := flags.Bool("verbose", false, "log every shell that is started and every request that is refused")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "shop is testudo's demo shop. It is DELIBERATELY VULNERABLE and serves this machine alone.\n\nUsage: shop [--listen 127.0.0.1:8081] [--user nobody] [--verbose]")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "shop: %q is not understood; it takes options only, see shop --help\n", flags.Arg(0))
		return exitUsage
	}
	level := slog.LevelError
	if *verbose {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	err := serve(ctx, *listen, *user, log, stdout)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "shop: %v\n", err)
	if _, ok := errors.AsType[refusal](err); ok {
		return exitUsage
	}
	return exitBroken
}

func serve(ctx context.Context, listen, user string, log *slog.Logger, stdout io.Writer) (err error) {
	l, err := bind(ctx, listen)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := becomeOrdinary(user); err != nil {
		return err
	}

	// From here on everything, the folder included, belongs to the ordinary user.
	dir, err := os.MkdirTemp("", "testudo-shop-") // mode 0700
	if err != nil {
		return fmt.Errorf("no temporary folder: %w; set TMPDIR to a folder that uid %d may write to", err, os.Getuid())
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// The folder that the shop was started in may not be the new user's to enter.
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("entering the temporary folder: %w", err)
	}
	defer os.Chdir("/")

	store, err := catalogue.Open(ctx, filepath.Join(dir, "shop.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	manuals := filepath.Join(dir, "manuals")
	if err := catalogue.WriteManuals(manuals); err != nil {
		return err
	}
	shells, err := shell.New(dir)
	if err != nil {
		return err
	}
	shop, err := web.New(web.Config{Store: store, Shell: shells, Manuals: manuals, Log: log})
	if err != nil {
		return err
	}

	// Requests outlive ctx while they drain; what is left then is cut off.
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler: guard.Handler(shop, func(r *http.Request, reason string) {
			log.Warn("refused", "reason", reason, "method", r.Method, "path", r.URL.Path)
		}),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelInfo),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(l, maxConns)) }()
	fmt.Fprintf(stdout, "\n%s  The demo shop of testudo. It is open to attack on purpose and serves this\n"+
		"  machine alone. Do not give it real data, and stop it when you are done.\n\n"+
		"  listening on http://%s as uid %d (stop with Ctrl-C)\n\n", banner, l.Addr(), os.Getuid())

	select {
	case err := <-served:
		shop.Close()
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	shop.Close()
	drain, cancel := context.WithTimeout(requests, drainTime)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		log.Error("requests were cut off", "error", err)
		cut()
		srv.Close()
	}
	<-served
	return nil
}

// bind listens, on loopback or not at all.
func bind(ctx context.Context, listen string) (net.Listener, error) {
	addr, err := guard.Address(ctx, net.DefaultResolver, listen)
	if err != nil {
		return nil, refusal{err}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use: stop the program that listens there, or give another port with --listen 127.0.0.1:PORT", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		l.Close()
		return nil, refusal{fmt.Errorf("the system bound %s instead of %s, which is not loopback", l.Addr(), addr)}
	}
	return l, nil
}

func becomeOrdinary(name string) error {
	if !privilege.IsRoot() {
		if name != "" {
			return refusal{fmt.Errorf("only root can become another user: leave --user %s away", name)}
		}
		return nil
	}
	if name == "" {
		name = "nobody"
	}
	id, err := privilege.Lookup(name)
	if err != nil {
		return refusal{err}
	}
	if err := privilege.Drop(id); err != nil {
		return refusal{fmt.Errorf("%w; the shop does not run as root", err)}
	}
	return nil
}
