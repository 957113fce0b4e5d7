package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/kernel/privilege"
)

// role is which parts of a machine run.
type role struct{ console, edge, kernel bool }

var (
	roleUp    = role{console: true, edge: true, kernel: true}
	roleEdge  = role{edge: true}
	roleAgent = role{kernel: true}
)

// upFlags are the flags of up and edge.
type upFlags struct {
	protect  string
	document string
	listen   string
	console  string
	scan     []string
	mode     string
	demo     bool
}

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything this machine can: edge, console, scan and store",
		Long: `Run everything this machine can: the edge in front of an application, the console,
a scan of a folder, the processes of this host, and the store, with one data directory.

Started by root, as with sudo, it watches the host by a small child that stays root; everything else
runs as the user behind sudo, else as the user testudo.

What cannot run, because a port is busy or nothing is named, is said; the rest runs.`,
		Example: `  testudo up --protect http://127.0.0.1:3000
  testudo up --protect http://127.0.0.1:3000 --openapi openapi.yaml
  testudo up --protect http://127.0.0.1:3000 --edge :8080 --scan .`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.up(cmd.Context(), f, roleUp)
		},
	}
	cmd.Flags().StringVar(&f.protect, "protect", "", "application to guard, as in http://host:port")
	cmd.Flags().StringVar(&f.listen, "edge", "", "address that the edge listens on (default 127.0.0.1:8080)")
	cmd.Flags().StringVar(&f.console, "console", "", "address that the console listens on (default 127.0.0.1:7443)")
	cmd.Flags().StringArrayVar(&f.scan, "scan", nil, "folder to scan for secrets; may be given several times")
	cmd.Flags().StringVar(&f.mode, "mode", "", "what the edge does with attacks: block or detect")
	cmd.Flags().StringVar(&f.document, "openapi", "", "OpenAPI document that the application is held to")
	cmd.Flags().BoolVar(&f.demo, "demo", false, "print requests to try that fit the demo shop")
	cmd.Flags().BoolVar(&a.noKernel, "no-kernel", false, "do not watch the processes, files and sockets of this host, as root")
	_ = cmd.Flags().MarkHidden("demo")
	return cmd
}

func (a *app) edgeCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Run the edge alone, in front of an application",
		Example: `  testudo edge --listen :8080 --upstream http://127.0.0.1:3000
  testudo edge --listen :8080 --upstream http://127.0.0.1:3000 --mode detect`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.up(cmd.Context(), f, roleEdge)
		},
	}
	cmd.Flags().StringVar(&f.protect, "upstream", "", "application to guard, as in http://host:port")
	cmd.Flags().StringVar(&f.listen, "listen", "", "address to listen on (default 127.0.0.1:8080)")
	cmd.Flags().StringVar(&f.mode, "mode", "", "what to do with attacks: block or detect")
	cmd.Flags().StringVar(&f.document, "openapi", "", "OpenAPI document that the application is held to")
	return cmd
}

// apply lays the flags over the settings.
func (f *upFlags) apply(s *assembly.Settings) error {
	if f.listen != "" {
		if err := checkAddress(f.listen); err != nil {
			return fmt.Errorf("the edge's address: %w", err)
		}
		s.Edge.Listen = []edge.Listener{{Address: f.listen}}
	}
	if f.console != "" {
		if err := checkAddress(f.console); err != nil {
			return fmt.Errorf("the console's address: %w", err)
		}
		s.Console.Listen = f.console
	}
	if f.protect != "" {
		u, err := url.Parse(f.protect)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("%q is not an address such as http://127.0.0.1:3000", f.protect)
		}
		route := edge.DefaultRoute()
		route.Name = "app"
		if f.demo {
			route.Name = "shop"
		}
		route.Upstreams = []edge.Upstream{{URL: f.protect, Weight: 1}}
		s.Edge.Routes = append(s.Edge.Routes, route)
		if f.document != "" {
			described := api.DefaultRoute()
			described.Route, described.Document = route.Name, f.document
			s.API.Routes = append(s.API.Routes, described)
		}
	} else if f.document != "" {
		return errors.New("--openapi describes the application that --protect or --upstream names; name it, or put the document under api.routes in testudo.yaml")
	}
	if f.mode != "" {
		mode := edge.Mode(f.mode)
		if mode != edge.ModeBlock && mode != edge.ModeDetect {
			return fmt.Errorf("--mode is %q: want block or detect", f.mode)
		}
		for i := range s.Edge.Routes {
			s.Edge.Routes[i].Mode = mode
		}
	}
	s.Scan.Paths = append(s.Scan.Paths, f.scan...)
	return nil
}

func checkAddress(address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%q is not host:port, as in 127.0.0.1:8080 or :8080", address)
	}
	return nil
}

// up runs a machine until it is told to stop.
func (a *app) up(ctx context.Context, f upFlags, r role) error {
	started := time.Now()
	if err := f.apply(&a.settings); err != nil {
		return err
	}
	if r == roleEdge && len(a.settings.Edge.Routes) == 0 {
		return errors.New("nothing to guard: name the application with --upstream http://host:port, or routes in testudo.yaml")
	}
	dir, err := a.dataDir()
	if err != nil {
		return err
	}
	log := a.logger()
	m, err := assembly.New(ctx, a.settings, assembly.Options{Version: buildVersion(), Dir: dir, Logger: log, Console: r.console, Edge: r.edge,
		Scan: a.settings.Scan.Paths, Keeper: a.entered.Keeper, Watch: r.kernel && !a.noKernel, Root: a.entered.Root, Settled: a.entered.Changed})
	if err != nil {
		return err
	}
	if err := privilege.Settle(); err != nil {
		log.Warn("a privilege that is not needed any more stays", "error", err)
	}
	up := time.Since(started)
	var greeting sync.WaitGroup
	greeting.Go(func() { a.greet(ctx, m, dir, f, r, up) })
	err = m.Run(ctx)
	greeting.Wait()
	return err
}

// greet says where everything is, what to try, and what is missing.
func (a *app) greet(ctx context.Context, m *assembly.Machine, dir string, f upFlags, r role, up time.Duration) {
	watched := m.Kernel(ctx) // waits until the sensor runs
	_, color, terminal := isTerminal(a.stdout)
	bold := func(s string) string {
		if color {
			return "\x1b[1m" + s + "\x1b[0m"
		}
		return s
	}
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "\n%s is up, %.2f s after its start\n\n", bold("testudo"), up.Seconds())
	if url := m.EdgeURL(); url != "" {
		route := a.settings.Edge.Routes[0]
		line("edge", "%s  guards %s, mode %s", bold(url), upstreams(route), route.Mode)
	}
	if url := m.ConsoleURL(); url != "" {
		line("console", "%s", bold(url))
		if terminal {
			if link, expires, err := m.Link(ctx); err != nil {
				line("sign in", "no link could be made: %v", err)
			} else {
				line("sign in", "%s", bold(link))
				line("", "once, until %s; another one: testudo console link --data %s", expires.Local().Format("15:04"), dir)
			}
		} else {
			line("sign in", "testudo console link --data %s", dir)
		}
	}
	for _, path := range a.settings.Scan.Paths {
		line("scan", "%s", path)
	}
	if r.kernel && !a.noKernel {
		line("kernel", "%s", watched)
	}
	line("data", "%s", dir)
	if url := m.EdgeURL(); url != "" && r.console {
		fmt.Fprintf(&b, "\n  try\n")
		for _, request := range tries(url, f.demo) {
			fmt.Fprintf(&b, "    %s\n", request)
		}
	}
	var lacks []string
	for _, n := range m.Notes() {
		lacks = append(lacks, fmt.Sprintf("%s: %s", n.What, n.Text))
	}
	for _, c := range m.Doctor(ctx) {
		// What this kernel has not got is a long list, and the same every day: doctor prints it.
		if !c.OK && !strings.HasPrefix(c.Name, assembly.KernelCheck+" ") {
			lacks = append(lacks, fmt.Sprintf("%s: %s; %s. Mend it: %s", c.Name, c.Detail, c.Cost, c.Command))
		}
	}
	if len(lacks) > 0 {
		fmt.Fprintf(&b, "\n  %s\n", bold("missing here"))
		for _, l := range lacks {
			fmt.Fprintf(&b, "    %s\n", l)
		}
	}
	b.WriteByte('\n')
	fmt.Fprint(a.stdout, b.String())
	privilege.Trim() // most of what the start took is never used again
}

func upstreams(r edge.Route) string {
	all := make([]string, len(r.Upstreams))
	for i, u := range r.Upstreams {
		all[i] = u.URL
	}
	return strings.Join(all, ", ")
}

// tries returns one honest request and two attacks; the attacks come from an address of their
// own, so that it is that one which gets blocked.
func tries(edgeURL string, demo bool) []string {
	if demo {
		return []string{
			"curl '" + edgeURL + "/search?q=lantern'",
			"curl --interface 127.0.0.66 '" + edgeURL + "/download?file=../../../../../../etc/passwd'",
			"curl --interface 127.0.0.66 -G " + edgeURL + "/search --data-urlencode \"q=zzz' UNION SELECT id, name, password, note, role FROM users -- \"",
		}
	}
	return []string{
		"curl '" + edgeURL + "/'",
		"curl --interface 127.0.0.66 '" + edgeURL + "/?file=../../../../../../etc/passwd'",
		"curl --interface 127.0.0.66 -G " + edgeURL + "/ --data-urlencode \"q=1' UNION SELECT password FROM users -- \"",
	}
}
