package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
	"github.com/walser-io/walser/internal/xsync"
)

// ErrClosed is returned by ServeConn when the server no longer accepts.
var ErrClosed = errors.New("kafka server closed")

// Deps is what the server needs of its node.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Wall is the wall clock. Nothing but the expiry of credentials looks at it.
	Wall func() time.Time
	// Features returns what ApiVersions says of features, as of now. Its slices are not changed after.
	Features func() Features
	// ClusterID and NodeID are what a client may ask to be connected to (KIP-1242).
	ClusterID func() string
	NodeID    model.BrokerID
	// Gate is closed when the node knows the cluster. Until then every request but ApiVersions v0 to v2
	// and SASL waits unanswered, on listeners that are not Ungated. nil is open.
	Gate <-chan struct{}
}

// Server serves the Kafka protocol. Run must be running while it does: it drives the deadlines.
type Server struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	epoch time.Time // the server's clock counts from here

	apis       []*api // by key; nil where there is none
	advertised []advertisedAPI

	budget    *budget
	buffers   *bufferPool
	outboxes  sync.Pool
	deadlines *deadline.Queue
	admission *admission
	metrics   *metrics
	faults    logLimit // lines about what peers did

	background *background

	gated    atomic.Bool
	draining atomic.Bool

	mu struct {
		xsync.Mutex
		listeners map[net.Listener]struct{}
		conns     map[*Conn]struct{}
		stopped   bool          // accepts no more
		closed    bool          // serves no more
		emptied   chan struct{} // closed when the last connection has gone, if somebody waits for that
	}
}

// api is a row of the table with what serving it needs.
type api struct {
	API
	requests sync.Pool
	metrics  apiMetrics
}

// newRequest returns a request of the API from the pool.
func (a *api) newRequest() *Request {
	if r, ok := a.requests.Get().(*Request); ok {
		return r
	}
	return &Request{Body: wire.NewRequest(a.Key), api: a}
}

// New returns a server of the table. It reports every fault of the table and of the config: a key that
// stands twice, versions that have no messages, a row without a handler.
func New(table []API, cfg Config, deps Deps) (*Server, error) {
	errs := []error{cfg.Validate()}
	s := &Server{
		cfg:    cfg.withDefaults(),
		deps:   deps,
		log:    deps.Logger,
		epoch:  time.Now(),
		faults: logLimit{perSecond: 10},

		background: newBackground(),
	}
	s.metrics = newMetrics(deps.Registerer)
	s.addAPI(s.apiVersions())
	for _, row := range table {
		switch err := row.validate(); {
		case err != nil:
			errs = append(errs, err)
		case s.api(row.Key) != nil:
			errs = append(errs, fmt.Errorf("api %v: stands in the table twice", row.Key))
		default:
			s.addAPI(row)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("kafka server: %w", err)
	}
	s.advertised = s.advertise()
	s.budget = newBudget(s.cfg.QueuedMaxRequestBytes, s.cfg.SmallFrameReserve)
	s.buffers = newBufferPool(s.budget)
	s.deadlines = deadline.New()
	s.admission = newAdmission(DefaultLimits())
	s.gated.Store(deps.Gate != nil)
	s.mu.listeners = make(map[net.Listener]struct{})
	s.mu.conns = make(map[*Conn]struct{})
	if err := s.metrics.register(s); err != nil {
		return nil, fmt.Errorf("kafka server: register metrics: %w", err)
	}
	return s, nil
}

// addAPI puts a row into the table by key.
func (s *Server) addAPI(row API) {
	if row.FrameCap == 0 {
		row.FrameCap = s.cfg.FrameCap
		if row.Key == wire.KeyProduce {
			row.FrameCap = s.cfg.SocketRequestMaxBytes
		}
	}
	for int(row.Key) >= len(s.apis) {
		s.apis = append(s.apis, nil)
	}
	s.apis[row.Key] = &api{API: row, metrics: s.metrics.forAPI(&row)}
}

// api returns the row of a key, nil where there is none.
func (s *Server) api(key wire.Key) *api {
	if key < 0 || int(key) >= len(s.apis) {
		return nil
	}
	return s.apis[key]
}

// now returns the server's clock: monotonic, positive.
func (s *Server) now() time.Duration { return time.Since(s.epoch) + 1 }

// SetLimits replaces the limits on connections, for those that come from now on.
func (s *Server) SetLimits(limits Limits) { s.admission.setLimits(limits) }

// Run drives the deadlines of all connections and opens the start-up gate, until ctx ends. It returns when
// what handlers do in the background has ended.
func (s *Server) Run(ctx context.Context) error {
	defer s.background.stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.deps.Gate != nil {
		wg.Go(func() {
			select {
			case <-s.deps.Gate:
				s.gated.Store(false)
				for _, c := range s.connections() {
					c.wake()
				}
			case <-ctx.Done():
			}
		})
	}
	return s.deadlines.Run(ctx)
}

// Serve accepts connections from l and serves them. It returns when l has been closed, by StopAccepting
// or because ctx ended, and the last of its connections has gone; the end of ctx closes those. That is no
// error, and nor is a stop that came before Serve did. l may be of TCP, TLS or memory: a connection with
// a handshake makes it on its own goroutine, in bounded time.
func (s *Server) Serve(ctx context.Context, l net.Listener, info ListenerInfo) error {
	if !s.track(l) {
		l.Close()
		return nil
	}
	defer s.untrack(l)
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()

	var backoff time.Duration
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) || s.isStopped() {
				return nil
			}
			// Out of descriptors, or a peer that went away first: neither is a reason to stop.
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			s.metrics.acceptErrors.Inc()
			if held, ok := s.faults.allow(s.now()); ok {
				s.log.Warn("accept failed", "listener", info.Name, "err", err, "retry", backoff, "held_back", held)
			}
			select {
			case <-time.After(backoff):
			case <-ctx.Done():
			}
			continue
		}
		backoff = 0
		ticket, wait, err := s.admission.enter(conn.RemoteAddr(), s.now())
		if err != nil {
			conn.Close()
			s.noteRefused(conn, info, err)
			continue
		}
		wg.Go(func() {
			defer s.admission.leave(ticket)
			if wait > 0 && !sleep(ctx, wait) {
				conn.Close()
				return
			}
			s.serve(ctx, conn, ConnInfo{Listener: info})
		})
	}
}

// ServeConn serves one connection that somebody else accepted, until it ends, and closes it. It returns
// why it ended, nil where the peer hung up or the server or ctx ended it.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn, info ConnInfo) error {
	ticket, _, err := s.admission.enter(conn.RemoteAddr(), s.now())
	if err != nil {
		conn.Close()
		s.noteRefused(conn, info.Listener, err)
		return err
	}
	defer s.admission.leave(ticket)
	return s.serve(ctx, conn, info)
}

// serve makes the handshake, if there is one, and serves the connection to its end.
func (s *Server) serve(ctx context.Context, conn net.Conn, info ConnInfo) error {
	c := s.newConn(ctx, conn, info)
	if !s.addConn(c) {
		c.cancel(ErrClosed)
		conn.Close()
		return ErrClosed
	}
	defer s.removeConn(c)
	stop := context.AfterFunc(ctx, func() { c.kill(errShutdown) })
	defer stop()
	if err := c.handshake(); err != nil {
		c.kill(fmt.Errorf("%w: %w", errHandshake, err))
	} else {
		c.configure()
	}
	if err := c.run(); !quiet(err) {
		return err
	}
	return nil
}

// StopAccepting closes the listeners. Connections are served on.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	s.mu.stopped = true
	listeners := make([]net.Listener, 0, len(s.mu.listeners))
	for l := range s.mu.listeners {
		listeners = append(listeners, l)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
}

// Drain starts no further request, waits until what is in flight has been answered, and closes each
// connection that has nothing in flight. It does not wait for requests that a hang-up cancels (OnCancel):
// a long poll would hold it up for as long as it pleases. It returns ctx's error if that ends first; Close ends the rest.
// A client sees its unanswered requests fail with the connection and sends them elsewhere.
func (s *Server) Drain(ctx context.Context) error {
	s.StopAccepting()
	s.draining.Store(true)
	for _, c := range s.connections() {
		c.wake()
	}
	s.mu.Lock()
	if len(s.mu.conns) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.mu.emptied == nil {
		s.mu.emptied = make(chan struct{})
	}
	emptied := s.mu.emptied
	s.mu.Unlock()
	select {
	case <-emptied:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain kafka connections: %w", context.Cause(ctx))
	}
}

// Close closes listeners and connections at once. Serve and ServeConn return after it.
func (s *Server) Close() {
	s.StopAccepting()
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	for _, c := range s.connections() {
		c.kill(errShutdown)
	}
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped {
		return false
	}
	s.mu.listeners[l] = struct{}{}
	return true
}

func (s *Server) untrack(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.listeners, l)
}

func (s *Server) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.stopped
}

func (s *Server) addConn(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || s.draining.Load() {
		return false
	}
	s.mu.conns[c] = struct{}{}
	s.metrics.accepted.Inc()
	return true
}

func (s *Server) removeConn(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	if len(s.mu.conns) == 0 && s.mu.emptied != nil {
		close(s.mu.emptied)
		s.mu.emptied = nil
	}
}

func (s *Server) connections() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*Conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	return conns
}

// shedSlowest closes the connection whose incomplete large frame has come most slowly. One that waits for
// the budget itself is closed only if nothing but such frames holds the budget: they then wait for one
// another, where otherwise a complete frame will be served and free its bytes.
func (s *Server) shedSlowest() {
	var flowing, waiting *holding
	var incomplete int64
	for h := range s.holdings() {
		if !h.large {
			continue
		}
		incomplete += h.bytes
		slowest := &flowing
		if h.waits {
			slowest = &waiting
		}
		if *slowest == nil || h.rate < (*slowest).rate {
			*slowest = &h
		}
	}
	switch {
	case flowing != nil:
		flowing.conn.kill(errShed)
	case waiting != nil && incomplete >= s.budget.large.Load():
		waiting.conn.kill(errShed)
	}
}

// shedStalled closes connections that hold bytes of a frame of any size that should long be complete, the
// slowest first, until shedShare of the budget is free. It is for small frames, whose bytes run out only
// where very many peers send the first part of a frame and not the rest: one at a time, as large ones are
// closed, would not keep up with those that come back.
func (s *Server) shedStalled() {
	var stalled []holding
	for h := range s.holdings() {
		if h.age >= stalledAfter {
			stalled = append(stalled, h)
		}
	}
	slices.SortFunc(stalled, func(a, b holding) int { return cmp.Compare(a.rate, b.rate) })
	for free := int64(0); len(stalled) > 0 && free < s.budget.total/shedShare; stalled = stalled[1:] {
		free += stalled[0].bytes
		stalled[0].conn.kill(errShed)
	}
}

const (
	// stalledAfter is the age at which a small frame that is not complete may be given up for others, if memory
	// is out: a network that takes longer for 64 KiB is not one that thousands of honest clients share.
	stalledAfter = 250 * time.Millisecond
	// shedShare is the part of the budget that shedStalled frees at a time.
	shedShare = 64
)

// holdings yields what incomplete frames hold.
func (s *Server) holdings() iter.Seq[holding] {
	return func(yield func(holding) bool) {
		now := s.now()
		for _, c := range s.connections() {
			if h, ok := c.holding(now); ok && !yield(h) {
				return
			}
		}
	}
}

// sleep waits, and says whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
