package server

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/wire"
	"github.com/walser-io/walser/internal/xsync"
)

// Principal is who a connection speaks for, as in "User:alice".
type Principal struct{ Type, Name string }

// anonymous is the principal of a listener that does not authenticate.
var anonymous = Principal{Type: "User", Name: "ANONYMOUS"}

// String returns the principal as Kafka writes it.
func (p Principal) String() string { return p.Type + ":" + p.Name }

// ListenerInfo says what a listener is to the requests that come in by it.
type ListenerInfo struct {
	// Name is the listener's name in `listeners`.
	Name string
	// Protocol says whether connections authenticate. TLS is the net.Listener's business: the server only
	// makes the handshake of a connection that has one.
	Protocol model.SecurityProtocol
	// Ungated listeners serve every request before Deps.Gate is closed: the internal listener, which
	// carries the traffic that opens the gate.
	Ungated bool
}

// ConnInfo says what a single connection is, for ServeConn.
type ConnInfo struct {
	Listener ListenerInfo
	// Principal is who the connection speaks for; the zero value is User:ANONYMOUS.
	Principal Principal
}

// Conn is one connection. Handlers use it for identity only: what concerns one request is on Request.
//
// Three roles touch it. The reader (one goroutine for the connection's life) owns rd. The pump (a token
// in mu, held by the reader or by a goroutine made for it) owns out, dec, decoding and clientID. Anyone may answer
// a request or kill the connection, under mu.
type Conn struct {
	srv        *Server
	conn       net.Conn
	raw        syscall.RawConn // of conn; nil where it is not plain TCP
	listener   ListenerInfo
	principal  Principal
	clientHost string
	remote     string
	opened     time.Duration
	preAuth    atomic.Bool // a SASL listener's connection that has not authenticated

	ctx    context.Context
	cancel context.CancelCauseFunc

	rd reader

	out      *outbox // nil while there is nothing to send
	dec      wire.Reader
	clientID string // the last one seen, so that equal ones are one string
	decoding *Request
	pumpFn   func()         // c.pump, bound once so that `go` does not allocate
	payFn    func(int) bool // c.pay, likewise

	// What the deadlines look at, on the server's clock; 0 is "not now".
	lastActive atomic.Int64
	frameSince atomic.Int64 // since when the reader has held a part of a frame
	frameHave  atomic.Int64 // bytes of that part
	frameCap   atomic.Int64 // bytes of the buffer it lies in
	frameLarge atomic.Bool  // whether these are charged as a large frame's
	frameHeld  atomic.Int64 // since when the budget has kept the reader from reading on
	writeSince atomic.Int64
	writeBytes atomic.Int64
	software   atomic.Pointer[clientSoftware]

	timer struct {
		xsync.Mutex
		handle deadline.Handle
		at     time.Duration // 0: none is scheduled; neverAgain: none will be
	}

	mu struct {
		xsync.Mutex
		ring       ring
		readAhead  int // bytes of requests in [started, tail)
		pumping    bool
		dead       bool
		eof        bool // the reader has read the last byte
		roomWanted bool
		mutedUntil time.Duration
		idle       chan struct{} // closed when the pump stops, if somebody waits for that
	}
	room chan struct{}
}

// clientSoftware is what a client calls itself in ApiVersions (KIP-511).
type clientSoftware struct{ name, version string }

// newConn returns a connection that is known to the server but not read yet.
func (s *Server) newConn(ctx context.Context, conn net.Conn, info ConnInfo) *Conn {
	c := &Conn{
		srv:        s,
		conn:       conn,
		raw:        netx.RawOf(conn),
		listener:   info.Listener,
		principal:  info.Principal,
		clientHost: clientHost(conn.RemoteAddr()),
		remote:     conn.RemoteAddr().String(),
		opened:     s.now(),
		room:       make(chan struct{}, 1),
	}
	if c.principal == (Principal{}) {
		c.principal = anonymous
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.pumpFn, c.payFn = c.pump, c.pay
	c.preAuth.Store(info.Principal == Principal{} && authenticates(info.Listener.Protocol))
	c.rd.open(c)
	c.lastActive.Store(int64(c.opened))
	return c
}

// authenticates says whether connections of the protocol start out unauthenticated.
//
// TODO(sasl): handlers of SaslHandshake and SaslAuthenticate, owned by the server, clear preAuth and set
// the principal. Until they stand, such a listener answers ApiVersions and closes at HandshakeTimeout.
func authenticates(p model.SecurityProtocol) bool {
	return p == model.SASLPlaintext || p == model.SASLSSL
}

// clientHost writes an address the way Java prints an InetAddress without a name: one of IPv6 with all its zeros,
// each group without those it begins with, and the zone by its name.
func clientHost(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "/127.0.0.1"
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if !ip.Is6() {
		return "/" + ip.String()
	}
	b := ip.As16()
	groups := make([]string, 0, 8)
	for i := 0; i < len(b); i += 2 {
		groups = append(groups, strconv.FormatUint(uint64(b[i])<<8|uint64(b[i+1]), 16))
	}
	host := "/" + strings.Join(groups, ":")
	if zone := ip.Zone(); zone != "" {
		host += "%" + zone
	}
	return host
}

// Remote returns the peer's address.
func (c *Conn) Remote() string { return c.remote }

// Principal returns who the connection speaks for.
func (c *Conn) Principal() Principal { return c.principal }

// ClientSoftware returns the name and the version that the client gave in ApiVersions, or "" twice.
func (c *Conn) ClientSoftware() (name, version string) {
	if s := c.software.Load(); s != nil {
		return s.name, s.version
	}
	return "", ""
}

// run serves the connection until it ends, and returns after everything it started has ended, parked
// requests that nobody completes excepted.
func (c *Conn) run() error {
	c.checkWithin(c.opened, c.firstDeadline())
	err := c.readLoop()
	if errors.Is(err, io.EOF) {
		c.hangUp()
		err = errHangUp
	}
	c.kill(err)
	c.awaitPump()
	c.rd.close()
	c.stopChecks()
	return context.Cause(c.ctx)
}

func (c *Conn) firstDeadline() time.Duration {
	if c.preAuth.Load() {
		return min(c.srv.cfg.HandshakeTimeout, c.srv.cfg.ConnectionsMaxIdle)
	}
	return c.srv.cfg.ConnectionsMaxIdle
}

// intern returns id as a string, without allocating where the connection's last request had the same.
func (c *Conn) intern(id []byte) string {
	if string(id) != c.clientID {
		c.clientID = string(id)
	}
	return c.clientID
}

// answer marks r as answered. If that gives the pump something to do and nobody pumps, a goroutine does, or
// the caller as far as it may (here).
func (c *Conn) answer(r *Request, v verdict, here bool) {
	c.mu.Lock()
	if r.answered {
		c.mu.Unlock()
		c.srv.log.Error("request answered twice", "api", r.Header.Key, "peer", c.remote)
		return
	}
	r.verdict = v
	r.answered = true
	r.onCancel = cancel{}
	if c.mu.dead {
		handling := r.handling
		c.mu.Unlock()
		if !handling {
			r.abandon()
		}
		return
	}
	start := !c.mu.pumping && c.mu.ring.oldest() == r
	if start {
		c.mu.pumping = true
	}
	c.mu.Unlock()
	switch {
	case start && here && c.raw != nil:
		c.pumpHere()
	case start:
		go c.pumpFn()
	}
}

// abandon ends an answered request of a dead connection. It is not used again.
func (r *Request) abandon() {
	r.sent()
	r.releaseFrame()
}

// wake pumps on a new goroutine if there is something to pump and nobody does: a mute or the start-up
// gate has ended, or the server drains.
func (c *Conn) wake() {
	c.mu.Lock()
	start := !c.mu.pumping && !c.mu.dead && (c.mu.ring.len() > 0 || c.srv.draining.Load())
	if start {
		c.mu.pumping = true
	}
	c.mu.Unlock()
	if start {
		go c.pumpFn()
	}
}

// hangUp lets the pump finish what it can without waiting, and waits for that.
func (c *Conn) hangUp() {
	c.mu.Lock()
	c.mu.eof = true
	c.mu.Unlock()
	c.kick()
	c.awaitPump()
}

// kick pumps on this goroutine if nobody does.
func (c *Conn) kick() {
	c.mu.Lock()
	start := !c.mu.pumping && !c.mu.dead
	if start {
		c.mu.pumping = true
	}
	c.mu.Unlock()
	if start {
		c.pump()
	}
}

// awaitPump returns when nobody pumps.
func (c *Conn) awaitPump() {
	c.mu.Lock()
	if !c.mu.pumping {
		c.mu.Unlock()
		return
	}
	if c.mu.idle == nil {
		c.mu.idle = make(chan struct{})
	}
	idle := c.mu.idle
	c.mu.Unlock()
	<-idle
}

// kill closes the connection: the socket, the context of its requests, what they parked. The first cause
// counts. Requests that are being handled, or are parked, end when their owner lets go of them.
func (c *Conn) kill(cause error) {
	c.mu.Lock()
	if c.mu.dead {
		c.mu.Unlock()
		return
	}
	c.mu.dead = true
	var cancels []cancel
	var ended []*Request
	var charged int64
	for r := range c.mu.ring.drain() {
		if r.onCancel.fn != nil {
			cancels = append(cancels, r.onCancel)
			r.onCancel = cancel{}
		}
		if r.answered && !r.handling || !r.started {
			ended = append(ended, r)
		}
		if !r.handling {
			charged += r.charged.Swap(0) // what is parked may never be answered
		}
	}
	c.mu.readAhead = 0
	c.mu.Unlock()
	if charged > 0 {
		c.srv.budget.discharge(charged, true)
	}

	c.srv.noteClosed(c, cause)
	c.cancel(cause)
	closeNow(c.conn)
	for _, by := range cancels {
		by.fn(by.use)
	}
	for _, r := range ended {
		r.abandon()
	}
}

// closeNow closes a connection without waiting for the peer, as a TLS connection would to say goodbye.
func closeNow(conn net.Conn) { underTLS(conn).Close() }

// underTLS returns the connection that a TLS connection goes over, and any other as it is.
func underTLS(conn net.Conn) net.Conn {
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return tls.NetConn()
	}
	return conn
}

// holding is what a connection's incomplete frame has of the budget. The time that the budget kept it
// waiting does not count.
type holding struct {
	conn  *Conn
	bytes int64
	large bool          // charged as a large frame's
	age   time.Duration // of its first byte
	rate  float64       // in bytes per second, so far
	waits bool          // for more of the budget
}

// holding returns what the connection's incomplete frame holds, false if it has none.
func (c *Conn) holding(now time.Duration) (holding, bool) {
	since := time.Duration(c.frameSince.Load())
	if since == 0 {
		return holding{}, false
	}
	h := holding{conn: c, bytes: c.frameCap.Load(), large: c.frameLarge.Load()}
	if held := time.Duration(c.frameHeld.Load()); held != 0 {
		now, h.waits = held, true
	}
	h.age = max(now-since, time.Millisecond)
	h.rate = float64(c.frameHave.Load()) / h.age.Seconds()
	return h, true
}

// handshake makes the TLS handshake of a connection that has one.
func (c *Conn) handshake() error {
	tls, ok := c.conn.(interface {
		HandshakeContext(ctx context.Context) error
	})
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(c.ctx, c.srv.cfg.HandshakeTimeout, errAuthTimeout)
	defer cancel()
	return tls.HandshakeContext(ctx)
}

// localSendBuffer is the send buffer of a connection within the machine, in bytes: such a path has no delay that a larger one would fill.
// 1 KiB records that sendfile sends cost 0.17 s of CPU a GiB, at 2.0 GiB/s, with this; 0.27 at 1.4 where the kernel sizes the buffer, up to
// 4 MiB; 0.22 at 1.6 with 100 KiB; 0.30 at 0.6 with 48.
const localSendBuffer = 256 << 10

// configure sets the socket's buffers. What the system refuses stays as it was, as in Kafka.
func (c *Conn) configure() {
	tcp, ok := underTLS(c.conn).(*net.TCPConn)
	if !ok {
		return
	}
	switch n := c.srv.cfg.SendBuffer; {
	case n > 0:
		_ = tcp.SetWriteBuffer(n)
	case isLocal(tcp):
		_ = tcp.SetWriteBuffer(localSendBuffer)
	}
	if n := c.srv.cfg.RecvBuffer; n > 0 {
		_ = tcp.SetReadBuffer(n)
	}
}

// isLocal says whether both ends of a connection are on this machine.
func isLocal(conn *net.TCPConn) bool {
	local, remote := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	return remote.IP.IsLoopback() || remote.IP.Equal(local.IP)
}

// checkWithin sees to it that the connection's deadlines are looked at not later than d from now.
func (c *Conn) checkWithin(now, d time.Duration) {
	at := now + d
	c.timer.Lock()
	defer c.timer.Unlock()
	if c.timer.at != 0 && c.timer.at <= at {
		return
	}
	moved := c.timer.at != 0 && c.srv.deadlines.Reschedule(c.timer.handle, c.srv.epoch.Add(at))
	c.timer.at = at
	if !moved {
		c.timer.handle = c.srv.deadlines.Schedule(c.srv.epoch.Add(at), c.check)
	}
}

func (c *Conn) stopChecks() {
	c.timer.Lock()
	defer c.timer.Unlock()
	if c.timer.at > 0 {
		c.srv.deadlines.Cancel(c.timer.handle)
	}
	c.timer.at = neverAgain
}

// neverAgain stands for a check that comes before any other, so none is scheduled.
const neverAgain = -1

// check closes the connection if one of its deadlines has passed, and else comes back at the next one.
// There is one scheduled check per connection, so that traffic sets no timers: a read or a write that
// starts only makes sure that the check is near enough.
func (c *Conn) check(time.Time) {
	now := c.srv.now()
	c.timer.Lock()
	superseded := c.timer.at <= 0 || c.timer.at > now // while it was on its way
	if !superseded {
		c.timer.at = 0
	}
	c.timer.Unlock()
	if superseded {
		return
	}

	cfg := &c.srv.cfg
	next := now + cfg.ConnectionsMaxIdle
	overdue := func(since, allowed time.Duration) bool {
		next = min(next, since+allowed)
		return now >= since+allowed
	}
	atMinRate := func(bytes *atomic.Int64) time.Duration {
		return time.Duration(float64(bytes.Load()) / float64(cfg.MinBodyRate) * float64(time.Second))
	}

	c.mu.Lock()
	dead, busy := c.mu.dead, c.mu.ring.len() > 0
	c.mu.Unlock()
	writeSince, frameSince := time.Duration(c.writeSince.Load()), time.Duration(c.frameSince.Load())
	switch {
	case dead:
		return
	case c.preAuth.Load() && overdue(c.opened, cfg.HandshakeTimeout):
		c.kill(errAuthTimeout)
		return
	case writeSince != 0 && overdue(writeSince, cfg.WriteTimeout+atMinRate(&c.writeBytes)):
		c.kill(errSlowReader)
		return
	case frameSince != 0 && c.frameHeld.Load() == 0 && overdue(frameSince, cfg.HeaderTimeout+atMinRate(&c.frameHave)):
		c.kill(errSlowSender)
		return
	case !busy && frameSince == 0 && overdue(time.Duration(c.lastActive.Load()), cfg.ConnectionsMaxIdle):
		c.kill(errIdle)
		return
	}
	c.checkWithin(now, next-now)
}
