package server

import (
	"context"
	"net"
	"time"
)

// What the tests of the parts need.
const (
	Classes    = classes
	FirstLarge = firstLarge
)

var (
	ClassSize = classSize
	ClassFor  = classFor

	ClassWithin = classWithin

	ClientHost = clientHost

	ErrTooMany      = errTooMany
	ErrTooManyPerIP = errTooManyPerIP
)

// Budget is a budget with its buffers.
type Budget struct {
	*budget
	pool *bufferPool
}

func NewBudget(total, reserve int64) Budget {
	b := newBudget(total, reserve)
	return Budget{b, newBufferPool(b)}
}

func (b Budget) Try(n int64, large bool) bool { return b.tryCharge(n, large) }

func (b Budget) Wait(ctx context.Context, n int64, large bool, patience time.Duration, shed func()) error {
	return b.charge(ctx, n, large, patience, shed)
}

func (b Budget) Give(n int64, large bool) { b.discharge(n, large) }

func (b Budget) Used() (all, large int64) { return b.used.Load(), b.large.Load() }

// Held returns the bytes that requests of all connections take.
func (s *Server) Held() int64 { return s.budget.used.Load() }

// Ring is a ring of requests told apart by their sizes.
type Ring struct{ ring }

func (q *Ring) Push(n int) { q.push(&Request{frameBytes: n}) }

func (q *Ring) Pop() int {
	n := q.oldest().frameBytes
	q.pop()
	return n
}

func (q *Ring) Start() int {
	n := q.next().frameBytes
	q.started++
	return n
}

func (q *Ring) InFlight() bool { return q.oldest() != nil }
func (q *Ring) Waiting() bool  { return q.next() != nil }
func (q *Ring) Len() int       { return q.len() }

func (q *Ring) Drain() (sizes []int) {
	for r := range q.drain() {
		sizes = append(sizes, r.frameBytes)
	}
	return sizes
}

// Admission is the counting of connections.
type Admission struct{ a *admission }

func NewAdmission(limits Limits) Admission { return Admission{newAdmission(limits)} }

func (a Admission) SetLimits(limits Limits) { a.a.setLimits(limits) }

// Enter returns how long the connection waits, and what it calls when it leaves.
func (a Admission) Enter(remote net.Addr, now time.Duration) (wait time.Duration, leave func(), err error) {
	t, wait, err := a.a.enter(remote, now)
	return wait, func() { a.a.leave(t) }, err
}

// Counted returns how many addresses are remembered.
func (a Admission) Counted() int {
	a.a.mu.Lock()
	defer a.a.mu.Unlock()
	return len(a.a.mu.perIP)
}

// Writing returns the bytes of the answers whose writes wait for a peer to read, or are about to.
func (s *Server) Writing() (bytes int64) {
	for _, c := range s.connections() {
		if c.writeSince.Load() != 0 {
			bytes += c.writeBytes.Load()
		}
	}
	return bytes
}

// Rests says whether nobody serves the connection of a request that is parked.
func (r *Request) Rests() bool {
	r.Conn.mu.Lock()
	defer r.Conn.mu.Unlock()
	return !r.Conn.mu.pumping
}
