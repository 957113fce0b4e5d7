package guard

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Resolver is what Address needs of a net.Resolver.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Address turns what the user gave to --listen into the one loopback address to
// bind, and refuses everything else with an error that says what to give. A name
// is accepted only if it is localhost (or under .localhost) and all that it
// resolves to is loopback; the address, not the name, is then bound, so that the
// name cannot change its meaning between the two.
func Address(ctx context.Context, r Resolver, listen string) (netip.AddrPort, error) {
	const give = "the shop is deliberately vulnerable and listens on loopback only: give 127.0.0.1:PORT, [::1]:PORT or localhost:PORT"
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen address %q is not HOST:PORT; %s", listen, give)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen address %q has no port from 0 to 65535; %s", listen, give)
	}
	if host == "" {
		return netip.AddrPort{}, fmt.Errorf("listen address %q means every interface of this machine; %s", listen, give)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !loopback(a) {
			return netip.AddrPort{}, fmt.Errorf("listen address %q can be reached from other machines; %s", listen, give)
		}
		return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
	}
	if !loopbackName(host) {
		return netip.AddrPort{}, fmt.Errorf("listen address %q is a name other than localhost; %s", listen, give)
	}
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return netip.AddrPort{}, fmt.Errorf("listen name %q does not resolve (%v); give 127.0.0.1:PORT", host, err)
	}
	for _, a := range addrs {
		if !loopback(a) {
			return netip.AddrPort{}, fmt.Errorf("listen name %q resolves to %s, which other machines can reach; %s", host, a, give)
		}
	}
	best := addrs[0].Unmap()
	for _, a := range addrs {
		// An edge told http://localhost:8081 tries IPv4 as well; one told 127.0.0.1 tries nothing else.
		if a.Unmap().Is4() {
			best = a.Unmap()
			break
		}
	}
	return netip.AddrPortFrom(best, uint16(port)), nil
}
