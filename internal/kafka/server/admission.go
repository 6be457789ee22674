package server

import (
	"errors"
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

// admission counts connections and says who may have another one. Loopback and in-memory peers are bound
// by the global cap only: the node's own services, benches and fleets behind one address come from there.
type admission struct {
	cfg *Config

	mu struct {
		xsync.Mutex
		total    int
		perIP    map[netip.Addr]int
		nextSlot time.Duration // when the creation rate admits the next connection
	}
}

func newAdmission(cfg *Config) *admission {
	a := &admission{cfg: cfg}
	a.mu.perIP = make(map[netip.Addr]int)
	return a
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
	if a.mu.total >= a.cfg.MaxConnections {
		return ticket{}, 0, errTooMany
	}
	if !t.counted {
		a.mu.total++
		return t, 0, nil
	}
	if bound, bounded := a.perIP(t.addr); bounded && a.mu.perIP[t.addr] >= bound {
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

func (a *admission) perIP(addr netip.Addr) (bound int, bounded bool) {
	if bound, ok := a.cfg.MaxConnectionsPerIPOverrides[addr]; ok {
		return bound, true
	}
	return a.cfg.MaxConnectionsPerIP, a.cfg.MaxConnectionsPerIP > 0
}

// waitLocked takes the next slot of the creation rate. A second's worth may come at once.
func (a *admission) waitLocked(now time.Duration) time.Duration {
	rate := a.cfg.MaxConnectionCreationRate
	if rate == 0 {
		return 0
	}
	a.mu.nextSlot = max(a.mu.nextSlot, now-time.Second) + time.Second/time.Duration(rate)
	return max(0, a.mu.nextSlot-now)
}

// addrOf returns the address without a port and without the mapping of v4 into v6, invalid for peers that
// have none.
func addrOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
