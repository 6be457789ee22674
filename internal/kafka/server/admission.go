package server

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/walser-io/walser/internal/xsync"
)

// Why a connection was refused at accept.
var (
	errTooMany      = errors.New("max.connections reached")
	errTooManyPerIP = errors.New("max.connections.per.ip reached")
)

// Limits bound who may connect. They can change while the server serves (SetLimits): connections that are
// open stay, whatever the new limits say. As in Kafka 0 is a bound and lets nobody in.
type Limits struct {
	// MaxConnections bounds all connections (max.connections). One more is closed at once.
	MaxConnections int
	// MaxConnectionsPerIP bounds the connections of one address (max.connections.per.ip). Loopback has no
	// bound.
	MaxConnectionsPerIP int
	// MaxConnectionsPerIPOverrides replaces the bound for some addresses
	// (max.connections.per.ip.overrides). Whoever sets it does not change it after.
	MaxConnectionsPerIPOverrides map[netip.Addr]int
	// MaxConnectionCreationRate bounds new connections per second (max.connection.creation.rate). Those
	// above it wait, loopback excepted. At 0 one a second comes in: Kafka delays none for longer.
	MaxConnectionCreationRate int
}

// DefaultLimits are those of a server that was not told any.
func DefaultLimits() Limits {
	return Limits{MaxConnections: 20_000, MaxConnectionsPerIP: math.MaxInt32, MaxConnectionCreationRate: math.MaxInt32}
}

// admission counts connections and says who may have another one. Loopback and in-memory peers are bound
// by the global cap only: the node's own services, benches and fleets behind one address come from there.
type admission struct {
	mu struct {
		xsync.Mutex
		limits   Limits
		total    int
		perIP    map[netip.Addr]int
		nextSlot time.Duration // when the creation rate admits the next connection
	}
}

func newAdmission(limits Limits) *admission {
	a := &admission{}
	a.mu.limits = limits
	a.mu.perIP = make(map[netip.Addr]int)
	return a
}

// setLimits is obeyed by the next connection. What waits for a slot of an older rate keeps it, and the new
// rate begins with a second's worth: it must not inherit a queue that the old one let grow.
func (a *admission) setLimits(limits Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if limits.MaxConnectionCreationRate != a.mu.limits.MaxConnectionCreationRate {
		a.mu.nextSlot = 0
	}
	a.mu.limits = limits
}

// ticket is the place of one connection. It is given back once.
type ticket struct {
	addr    netip.Addr
	counted bool // against its address
}

// enter gives a connection its place, and says how long it waits for the creation rate.
func (a *admission) enter(remote net.Addr, now time.Duration) (ticket, time.Duration, error) {
	t := ticket{addr: addrOf(remote)}
	t.counted = t.addr.IsValid() && !t.addr.IsLoopback()

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.total >= a.mu.limits.MaxConnections {
		return ticket{}, 0, errTooMany
	}
	if !t.counted {
		a.mu.total++
		return t, 0, nil
	}
	if a.mu.perIP[t.addr] >= a.boundLocked(t.addr) {
		return ticket{}, 0, errTooManyPerIP
	}
	a.mu.total++
	a.mu.perIP[t.addr]++
	return t, a.waitLocked(now), nil
}

// leave gives a place back.
func (a *admission) leave(t ticket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.total--
	if !t.counted {
		return
	}
	if a.mu.perIP[t.addr]--; a.mu.perIP[t.addr] == 0 {
		delete(a.mu.perIP, t.addr)
	}
}

func (a *admission) boundLocked(addr netip.Addr) int {
	if bound, ok := a.mu.limits.MaxConnectionsPerIPOverrides[addr]; ok {
		return bound
	}
	return a.mu.limits.MaxConnectionsPerIP
}

// waitLocked takes the next slot of the creation rate. A second's worth may come at once.
func (a *admission) waitLocked(now time.Duration) time.Duration {
	rate := max(a.mu.limits.MaxConnectionCreationRate, 1)
	a.mu.nextSlot = max(a.mu.nextSlot, now-time.Second) + time.Second/time.Duration(rate)
	return max(0, a.mu.nextSlot-now)
}

// addrOf returns the address without a port and without the mapping of v4 into v6, invalid for peers that
// have none.
func addrOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	at, err := netip.ParseAddrPort(addr.String()) // of memory: a test's stranger
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}
