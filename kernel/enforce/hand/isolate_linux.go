package hand

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

const (
	maxKeep       = 64
	maxNamespaces = 4096
	maxListings   = 10 // of a container whose processes end while it is isolated
	// before is the priority of our chains: in front of connection tracking (-200) and of everything that is usual.
	before = nftables.ChainPriority(-450)
)

// namespace is one of the network: two processes share one where the numbers are equal.
type namespace struct {
	dev, inode uint64
}

func namespaceOf(path string) (namespace, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return namespace{}, err
	}
	return namespace{st.Dev, st.Ino}, nil
}

func netOf(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/ns/net" }

// table is the name of an action's table.
func table(id string) string { return "testudo_" + strings.ReplaceAll(id, "-", "_") }

// members returns the cgroup of an order and the network namespaces of its processes: of a process that is in
// no cgroup of its own, that of the process alone.
func (h *Hand) members(o *kernel.Order) (g group, pids []uint32, spaces map[namespace]string, err error) {
	g, err = h.groupOf(o)
	if err != nil {
		return g, nil, nil, err
	}
	if o.PID != 0 && g.path == "/" {
		pids = []uint32{o.PID}
	} else if _, err = g.procs(func(pid uint32) { pids = append(pids, pid) }); err != nil {
		return g, nil, nil, err
	}
	spaces = map[namespace]string{}
	for _, pid := range pids {
		ns, err := namespaceOf(netOf(pid))
		if _, known := spaces[ns]; err == nil && !known { // the first is the oldest, and the last to end
			spaces[ns] = netOf(pid)
		}
	}
	return g, pids, spaces, nil
}

// isolationRefusal says why the network of these must not be cut, "" where it may.
func (h *Hand) isolationRefusal(spaces map[namespace]string) string {
	if len(spaces) == 0 {
		return "no process of it runs any more"
	}
	// Ours is the host's, or as good as that: what cuts testudo off cannot be undone. That of process 1 is not everybody's to see.
	for _, pid := range append(h.ancestors(), h.self, 1) {
		ns, err := namespaceOf(netOf(pid))
		if err != nil && pid == h.self {
			return fmt.Sprintf("testudo's own network cannot be told: %v", err)
		}
		if _, shared := spaces[ns]; shared && err == nil {
			return "it has no network of its own, but the host's: to cut that would cut everybody off; kill or freeze it, or block its peers"
		}
	}
	return ""
}

// isolate cuts the network namespaces of a container off, but for loopback and what the order keeps. A namespace is entered by a process
// in it: where that one ended since it was listed, the container is listed again.
func (h *Hand) isolate(ctx context.Context, o *kernel.Order) (kernel.Done, error) {
	for again := 0; ; again++ {
		done, err := h.isolateListed(ctx, o)
		if again == maxListings || !errors.Is(err, os.ErrNotExist) {
			return done, err
		}
	}
}

func (h *Hand) isolateListed(ctx context.Context, o *kernel.Order) (kernel.Done, error) {
	g, pids, spaces, err := h.members(o)
	if err != nil {
		return kernel.Done{}, fmt.Errorf("isolate: %w", err)
	}
	if why := h.isolationRefusal(spaces); why != "" {
		return kernel.Done{}, fmt.Errorf("isolate: %s", why)
	}
	done := h.describe(g, pids)
	done.Sharing = sharing(pids, spaces)
	cutOff := 0
	err = inEach(func(in func(path string)) {
		for _, pid := range pids {
			in(netOf(pid))
		}
	}, func(ns namespace, path string) error {
		if _, judged := spaces[ns]; !judged {
			return nil
		}
		err := ctx.Err()
		if err == nil {
			err = within(path, func(c *nftables.Conn) error { return cut(c, table(o.ID), o.Keep) })
		}
		if err == nil {
			cutOff++
		}
		return err
	})
	if err == nil && cutOff < len(spaces) {
		err = fmt.Errorf("%d of %d networks: %w", len(spaces)-cutOff, len(spaces), os.ErrNotExist)
	}
	if err != nil {
		_, undo := h.join(context.WithoutCancel(ctx), o)
		return kernel.Done{}, errors.Join(fmt.Errorf("isolate: %w", err), undo)
	}
	done.Detail = fmt.Sprintf("nothing goes in or out of the network of %d processes", done.Count)
	if len(o.Keep) > 0 {
		done.Detail += fmt.Sprintf(", but to %v", o.Keep)
	}
	return done, nil
}

// join takes an action's tables out of every namespace that has one: the container may have ended, and its network live on in a pod.
func (h *Hand) join(_ context.Context, o *kernel.Order) (kernel.Done, error) {
	removed := 0
	failed := inEach(everyNetwork, func(_ namespace, path string) error {
		err := within(path, func(c *nftables.Conn) error {
			tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
			if err != nil {
				return err
			}
			for _, t := range tables {
				if t.Name == table(o.ID) {
					removed++
					c.DelTable(t)
					return c.Flush()
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("join: the tables of %s: %w", path, err)
		}
		return nil
	})
	if removed > 0 { // what else went wrong is no matter of this action
		failed = nil
	}
	return kernel.Done{Detail: fmt.Sprintf("%d networks are joined again", removed)}, failed
}

// everyNetwork names every network namespace that a process is in, or that is mounted, once or more.
func everyNetwork(in func(path string)) {
	_ = eachProcess(func(pid uint32) { in(netOf(pid)) })
	for _, dir := range []string{"/run/netns", "/run/docker/netns"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			in(filepath.Join(dir, e.Name()))
		}
	}
}

// inEach calls f once in each network namespace of paths, and returns its first error. Where who was in a namespace has ended
// (os.ErrNotExist), the next path of the same one is tried.
func inEach(paths func(in func(path string)), f func(ns namespace, path string) error) (first error) {
	been := map[namespace]bool{}
	paths(func(path string) {
		ns, err := namespaceOf(path)
		if err != nil || been[ns] || len(been) >= maxNamespaces {
			return
		}
		if err = f(ns, path); errors.Is(err, os.ErrNotExist) {
			return
		}
		been[ns] = true
		if first == nil {
			first = err
		}
	})
	return first
}

// within asks nftables in a network namespace.
func within(path string, f func(*nftables.Conn) error) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(ns.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		return os.ErrNotExist // a name that is not mounted any more
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.CloseLasting())
}

// cut writes the table, all at once: a table of the same name is replaced.
func cut(c *nftables.Conn, name string, keep []netip.AddrPort) error {
	t := &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
	c.AddTable(t)
	c.DelTable(t)
	c.AddTable(t)
	drop := nftables.ChainPolicyDrop
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		prio := before
		return c.AddChain(&nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &prio, Policy: &drop})
	}
	in, out := chain("in", nftables.ChainHookInput), chain("out", nftables.ChainHookOutput)
	chain("through", nftables.ChainHookForward)
	accept := func(chain *nftables.Chain, match ...expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictAccept})})
	}
	accept(in, device(expr.MetaKeyIIFNAME)...)
	accept(out, device(expr.MetaKeyOIFNAME)...)
	six := false
	for _, k := range keep {
		six = six || k.Addr().Unmap().Is6()
		for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			accept(in, peer(k, protocol, true)...)
			accept(out, peer(k, protocol, false)...)
			if k.Port() == 0 {
				break // any protocol
			}
		}
	}
	if six { // who has that address on the link? (RFC 4861)
		for _, kind := range []byte{135, 136} {
			accept(in, neighbour(kind)...)
			accept(out, neighbour(kind)...)
		}
	}
	return c.Flush()
}

func device(key expr.MetaKey) []expr.Any {
	name := make([]byte, 16)
	copy(name, "lo")
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}

func is(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

// peer matches packets from (or to) an address and port; port 0 is any.
func peer(k netip.AddrPort, protocol byte, from bool) []expr.Any {
	addr := k.Addr().Unmap()
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16) // destination, RFC 791
	if addr.Is6() {
		family, offset = unix.NFPROTO_IPV6, 24 // RFC 8200
	}
	length := uint32(addr.BitLen() / 8)
	port := uint32(2)
	if from {
		offset, port = offset-length, 0
	}
	match := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, is(family),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}, is(addr.AsSlice()...),
	}
	if k.Port() == 0 {
		return match
	}
	return append(match,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, is(protocol),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2}, is(binaryutil.BigEndian.PutUint16(k.Port())...))
}

func neighbour(kind byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, is(unix.IPPROTO_ICMPV6),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1}, is(kind),
	}
}

// probeTables asks nftables of this namespace for its generation.
func probeTables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	_, err = c.ListTablesOfFamily(nftables.TableFamilyINet)
	return err
}
