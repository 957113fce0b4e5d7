// Package workload is what the responders share that act on processes and containers: kill, freeze and isolate. It
// declares the hand that they need, which the privileged side of the kernel plane is, plans what all of them plan alike, and knows
// what is protected.
//
// A target is a process or a container. A process is named by its key (process.uid), which no other process ever has, or by
// its number alone where a person names one that runs now; a container by its id, as its runtime names it, or the first 12 digits of it.
package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/testudo-sec/testudo/respond"
)

// Verbs of an [Order].
const (
	Kill    = "kill"
	Freeze  = "freeze"
	Thaw    = "thaw"
	Isolate = "isolate"
	Join    = "join"
	Radius  = "radius" // says what another one would touch, and changes nothing
)

// Order asks the hand for something.
type Order struct {
	Verb   string
	For    string // of Radius: of which verb
	ID     string // of the action
	Target string
	Keep   []netip.AddrPort // of Isolate: what stays reachable
}

// Done is what an order did, or would do.
type Done struct {
	Target      string    // in its one canonical form
	Container   Container // that it is about or in; zero for none
	Processes   []Process // the first of them
	Count       int       // of processes in all
	Connections int       // established ones of theirs
	Sharing     []Process // others in the same network
	Refusal     string    // why it must not be done, "" where it may
	Detail      string    // a sentence for people
}

// Process is one that an order touches.
type Process struct {
	PID       uint32
	Name, Exe string
}

// Container is what is known of one. All of it may be an attacker's words.
type Container struct{ ID, Name, Image, Pod, Namespace string }

// A Hand carries orders out: the root child of the kernel plane. Its errors wrap ErrGone where the target has ended, and
// respond.ErrUnavailable where the hand itself does not answer. To ask for the same twice is no error, nor to undo what was never done.
type Hand interface {
	Do(ctx context.Context, o Order) (Done, error)
}

// ErrGone is wrapped where a target has ended.
var ErrGone = errors.New("it has ended")

// Protection lists what rules leave alone and people must insist on, and containers that nobody touches.
type Protection struct {
	// Executables lists paths of programs of the host that rules do not act on, and people only with force; a name within a container
	// does not count, as anybody can give it.
	Executables []string `yaml:"executables"`
	// Containers lists ids, names, images (without their tag) or namespaces of containers that nobody acts on.
	Containers []string `yaml:"containers"`
}

// DefaultProtection protects what a machine is reached and run by.
func DefaultProtection() Protection {
	return Protection{
		Executables: []string{"/usr/lib/systemd/*", "/lib/systemd/*", "/usr/sbin/sshd", "/usr/lib/openssh/*", "/usr/bin/dbus-*", "/usr/bin/dockerd", "/usr/bin/containerd*",
			"/usr/local/bin/containerd*", "/usr/bin/crio", "/usr/bin/conmon", "/usr/bin/kubelet", "/usr/local/bin/k3s"},
		Containers: []string{"kube-system"},
	}
}

// Validate names the first entry that makes no sense.
func (p *Protection) Validate() error {
	for _, e := range p.Executables {
		if _, err := path.Match(e, "/"); err != nil || !strings.HasPrefix(e, "/") {
			return fmt.Errorf("executables: %q is no absolute path, with * for any letters of one folder", e)
		}
	}
	for _, c := range p.Containers {
		if c == "" || strings.TrimSpace(c) != c {
			return fmt.Errorf("containers: %q is no id, name, image or namespace", c)
		}
	}
	return nil
}

// Planner plans alike for all of them.
type Planner struct {
	Hand    Hand
	Protect Protection
	// MaxProcesses bounds what a rule touches at once.
	MaxProcesses int
	Kind         string // of the responder, for its settings' names
}

// Plan asks the hand for the radius of a verb, and says what is protected. The caller adds the summary. What has ended is a refusal, not an
// error: rules ask for what they saw a moment ago.
func (p *Planner) Plan(ctx context.Context, r *respond.Request, verb string) (respond.Plan, Done, error) {
	d, err := p.Hand.Do(ctx, Order{Verb: Radius, For: verb, Target: r.Target})
	if errors.Is(err, ErrGone) {
		plan := respond.Plan{Target: r.Target, Refusal: ErrGone.Error()}
		plan.Radius.Summary = "Touches nothing: " + plan.Refusal + "."
		return plan, Done{}, nil
	}
	if err != nil {
		return respond.Plan{}, Done{}, err
	}
	plan := respond.Plan{Target: d.Target, Group: d.Container.ID, Refusal: d.Refusal}
	if plan.Refusal == "" {
		plan.Refusal = p.container(&d.Container)
	}
	if plan.Refusal == "" {
		plan.Refusal, plan.Forceable = p.bounds(r, &d), true
	}
	if plan.Refusal == "" {
		plan.Forceable = false
	}
	return plan, d, nil
}

// container says why nobody acts on a container, "" where one may.
func (p *Planner) container(c *Container) string {
	if c.ID == "" {
		return ""
	}
	for _, never := range p.Protect.Containers {
		if never == c.Name || never == c.Image || never == c.Namespace || len(never) >= 12 && strings.HasPrefix(c.ID, never) || never == c.ID {
			return fmt.Sprintf("the configuration lists %q under respond.protect.containers", never)
		}
	}
	return ""
}

// bounds says what a person must insist on.
func (p *Planner) bounds(r *respond.Request, d *Done) string {
	if d.Container.ID == "" {
		for _, one := range d.Processes {
			if i := slices.IndexFunc(p.Protect.Executables, func(e string) bool { ok, _ := path.Match(e, one.Exe); return ok }); i >= 0 {
				return fmt.Sprintf("%s is among them, and respond.protect.executables lists %s", Describe(one), p.Protect.Executables[i])
			}
		}
	}
	if r.Automatic() && d.Count > p.MaxProcesses {
		return fmt.Sprintf("it is %d processes, and respond.%s.max_processes lets rules touch %d at once", d.Count, p.Kind, p.MaxProcesses)
	}
	return ""
}

// Describe names a process for people.
func Describe(p Process) string {
	if p.Exe != "" && path.Base(p.Exe) != p.Name {
		return fmt.Sprintf("%s (%d, %s)", Printable(p.Name), p.PID, Printable(p.Exe))
	}
	return fmt.Sprintf("%s (%d)", Printable(p.Name), p.PID)
}

// named bounds how many processes a sentence names.
const named = 5

// List names processes for people, the first of them.
func List(all []Process, count int) string {
	var texts []string
	for _, p := range all[:min(len(all), named)] {
		texts = append(texts, Describe(p))
	}
	text := strings.Join(texts, ", ")
	if count > len(texts) {
		text += fmt.Sprintf(" and %d more", count-len(texts))
	}
	return text
}

// String names a container for people.
func (c Container) String() string {
	name := Printable(c.Name)
	id := c.ID[:min(len(c.ID), 12)]
	switch {
	case c.ID == "":
		return "no container"
	case name == "":
		name = id
	default:
		name += " (" + id + ")"
	}
	if c.Image != "" {
		name += " of " + Printable(c.Image)
	}
	if c.Pod != "" {
		name += " in pod " + Printable(c.Namespace) + "/" + Printable(c.Pod)
	}
	return name
}

// Printable is a text of somebody else's that is safe in a terminal and short.
func Printable(s string) string {
	const most = 80
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// Plural is a number of things.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
