package people

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Wrong passwords that are free, before each further one doubles the delay.
const (
	freePerPair    = 5  // of one name from one address
	freePerAddress = 20 // of any names from one address: an office may share one
	maxDelay       = 15 * time.Minute
	forgetAfter    = time.Hour
	maxLimits      = 8192 // of each table
)

// limiter delays who guesses. Its tables are bounded; an attacker with more
// addresses than they hold is slowed by the hashing slots alone.
type limiter struct {
	mu        sync.Mutex
	pairs     *lru[attempts]
	addresses *lru[attempts]
}

type attempts struct {
	wrong int
	last  time.Time
	until time.Time
	known bool // this name has signed in from this address
}

func newLimiter() *limiter {
	return &limiter{pairs: newLRU[attempts](maxLimits), addresses: newLRU[attempts](maxLimits)}
}

func (a *attempts) charge(now time.Time, free int) {
	if now.Sub(a.last) > forgetAfter {
		a.wrong = 0
	}
	a.wrong++
	a.last = now
	if over := a.wrong - free; over > 0 {
		delay := maxDelay
		if over < 11 {
			delay = min(maxDelay, time.Second<<(over-1))
		}
		a.until = now.Add(delay)
	}
}

// attempt is one that has begun: it counts as wrong until it succeeds, so that
// many at once get no more tries than one after another.
type attempt struct {
	l             *limiter
	pair, address string
	known         bool
}

// begin charges an attempt, or says how long to wait.
func (l *limiter) begin(name, addr string, now time.Time) (attempt, time.Duration) {
	a := attempt{l: l, address: canonical(addr)}
	a.pair = name + " " + a.address
	l.mu.Lock()
	defer l.mu.Unlock()
	pair, _ := l.pairs.get(a.pair)
	address, _ := l.addresses.get(a.address)
	wait := pair.until.Sub(now)
	if !pair.known {
		// Who has signed in from here before does not pay for those who share
		// the address.
		wait = max(wait, address.until.Sub(now))
	}
	if wait > 0 {
		return attempt{}, wait
	}
	a.known = pair.known
	pair.charge(now, freePerPair)
	address.charge(now, freePerAddress)
	l.pairs.put(a.pair, pair)
	l.addresses.put(a.address, address)
	return a, 0
}

// succeed forgives the pair, and the address this one attempt: somebody with
// an account of their own must not be able to clear the address between guesses.
func (a attempt) succeed() { a.settle(true) }

// cancel is for an attempt in which no guess was looked at.
func (a attempt) cancel() { a.settle(false) }

// remember makes an address known for a name without an attempt.
func (l *limiter) remember(name, addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pairs.put(name+" "+canonical(addr), attempts{known: true})
}

func (a attempt) settle(success bool) {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	if pair, ok := a.l.pairs.get(a.pair); ok {
		if success {
			pair = attempts{known: true}
		} else {
			pair.refund(freePerPair)
		}
		a.l.pairs.put(a.pair, pair)
	}
	if address, ok := a.l.addresses.get(a.address); ok {
		address.refund(freePerAddress)
		a.l.addresses.put(a.address, address)
	}
}

func (a *attempts) refund(free int) {
	a.wrong = max(0, a.wrong-1)
	if a.wrong <= free {
		a.until = time.Time{}
	}
}

// canonical makes one key of what one attacker holds: an IPv4 address, or an
// IPv6 /64. A port is ignored.
func canonical(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		addr = host
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return "local" // a Unix socket; never something of the sender's choosing
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}
