package server

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/wire"
)

// Request is one request being served. Its handler answers it exactly once, by Reply, ReplyLazily,
// NoReply or CloseConnection, from any goroutine, and must not touch it afterwards: it is used again.
//
// []byte fields of Body lie in the frame and are valid until the request is answered, or until
// ReleaseFrame. Whoever keeps one longer clones it. A reply may refer to them: it is encoded before the
// frame goes.
type Request struct {
	Header wire.RequestHeader
	Body   wire.Request
	Conn   *Conn

	api      *api
	clientID string
	arrived  time.Duration // on the server's clock

	// The frame without its size. buf is nil once it is released; frameBytes stays for the accounts.
	frame      []byte
	buf        *buffer
	frameBytes int
	charged    atomic.Int64 // to the budget, for what it was decoded to and what was reserved
	unpaid     int          // bytes that were reserved and not charged yet

	// Of a request that its handler takes while it arrives: what is still to come, and what is closed when its
	// turn has come.
	body *Body
	turn chan struct{}

	// What the handler said. Written before answered is set under Conn.mu, read after.
	verdict   verdict
	reply     wire.Response
	collect   func(resp wire.Response)
	fault     error
	throttle  time.Duration
	afterSend []func()

	own wire.Response // handed out by Response

	// Guarded by Conn.mu.
	started  bool
	handling bool // Handle has not returned
	answered bool
	onCancel cancel
	awaited  bool // a server that drains waits for it, though it has an onCancel
}

// cancel is what ends the wait of a parked request. A zero fn says that nothing does.
type cancel struct {
	fn  func(use uint64)
	use uint64
}

// verdict says how a request ends.
type verdict int8

const (
	unanswered verdict = iota
	answerNow
	answerNothing
	answerByClosing
)

// Version returns the version of the API that the request and its reply are encoded in.
func (r *Request) Version() int16 { return r.Header.Version }

// ClientID returns the client id, "" where the client sent null.
func (r *Request) ClientID() string { return r.clientID }

// Principal returns who asks.
func (r *Request) Principal() Principal { return r.Conn.principal }

// Listener returns the listener that the request came in by.
func (r *Request) Listener() *ListenerInfo { return &r.Conn.listener }

// ClientHost returns the peer's address the way Kafka writes it in group members, as in "/127.0.0.1".
func (r *Request) ClientHost() string { return r.Conn.clientHost }

// Context returns a context that ends when the peer hangs up or the server closes the connection.
func (r *Request) Context() context.Context { return r.Conn.ctx }

// Gone says whether the peer has hung up. A handler that blocks asks it rather than Context: while it runs on
// the reader's own goroutine nobody else would notice.
func (r *Request) Gone() bool {
	c := r.Conn
	gone := c.ctx.Err() != nil
	if !gone && c.rd.poll != nil {
		// An error says that the connection was closed here.
		gone = c.rd.poll.Control(func(fd uintptr) { gone = hungUp(fd) }) != nil || gone
	}
	return gone
}

// Arrived returns when the last byte of the request was read, with a monotonic clock reading.
func (r *Request) Arrived() time.Time { return r.Conn.srv.epoch.Add(r.arrived) }

// FrameSize returns the size of the request in bytes, as quotas count it.
func (r *Request) FrameSize() int { return r.frameBytes }

// Response returns a response of the request's API with every field at its default. It belongs to the
// request and is used again when the reply has been encoded; there is one, so call it once.
func (r *Request) Response() wire.Response {
	if r.own == nil {
		r.own = wire.NewResponse(r.api.Key)
	}
	r.own.Reset()
	return r.own
}

// Reply answers with resp. It does not block and does not encode: resp, and what it refers to, belongs to
// the server until the functions given to AfterSend have run.
func (r *Request) Reply(resp wire.Response) {
	r.reply = resp
	r.Conn.answer(r, answerNow, false)
}

// ReplyLazily answers with Response once collect has filled it. collect runs when the reply's turn to be
// encoded has come, on the goroutine that encodes; it may read a disk. It does not run when the
// connection has gone by then.
func (r *Request) ReplyLazily(collect func(resp wire.Response)) {
	r.collect = collect
	r.Conn.answer(r, answerNow, false)
}

// ReplyHere is ReplyLazily for a goroutine that has the time to collect, encode and send a short answer, which
// costs less than waking another: it does so on the way if it need not wait for anything.
func (r *Request) ReplyHere(collect func(resp wire.Response)) {
	r.collect = collect
	r.Conn.answer(r, answerNow, true)
}

// NoReply ends a request that has no answer: a produce with acks=0.
func (r *Request) NoReply() { r.Conn.answer(r, answerNothing, false) }

// CloseConnection ends a request by closing the connection after the answers to the requests before it:
// a produce with acks=0 that failed, or content that no client of Kafka sends. The cause is logged, at a
// bounded rate.
func (r *Request) CloseConnection(cause error) {
	r.fault = cmp.Or(cause, errors.New("closed by the handler"))
	r.Conn.answer(r, answerByClosing, false)
}

// OnCancel registers the function to call when the peer hangs up, or the server closes the connection,
// before the request is answered. fn runs at once if that has happened. It runs on any goroutine, must
// not block, and may run while another goroutine answers, so it names what it cancels by something other
// than the request: it is called with use, by which a handler that uses what it parks again and again tells
// that a call comes late. A cancelled request need not be answered; if it is, nothing is sent.
//
// A handler may call it until it returns, even where the request is answered by then: that does nothing.
// So it first parks what waits, and then says how to cancel that; the other way round, a connection that
// goes in between cancels what is not there yet.
func (r *Request) OnCancel(fn func(use uint64), use uint64) { r.cancelBy(cancel{fn, use}, false) }

// OnHangUp is OnCancel for a request that does not wait for something that may never come: a server that drains
// has it answered.
func (r *Request) OnHangUp(fn func(use uint64), use uint64) { r.cancelBy(cancel{fn, use}, true) }

func (r *Request) cancelBy(by cancel, awaited bool) {
	c := r.Conn
	c.mu.Lock()
	dead, answered := c.mu.dead, r.answered
	if !dead && !answered {
		r.onCancel, r.awaited = by, awaited
	}
	c.mu.Unlock()
	if dead && !answered {
		by.fn(by.use)
	}
}

// ReleaseFrame gives up the request's bytes: []byte fields of Body are invalid from here on. A request
// that parks for long calls it, so that waiting costs nothing of what the budget bounds. As with OnCancel, a handler
// may call it until it returns: where the request is answered by then, the reply may need the bytes, and they stay.
func (r *Request) ReleaseFrame() {
	r.Conn.mu.Lock()
	answered := r.answered
	r.Conn.mu.Unlock()
	if !answered {
		r.releaseFrame()
	}
}

func (r *Request) releaseFrame() {
	r.settle()
	if r.buf != nil {
		r.frame = nil
		r.buf.release()
		r.buf = nil
	}
}

// Reserve charges the budget for memory that the answer takes, where that grows by more than a few times the
// request: a handler calls it before it lays out what a short field asks for. False means that there is no room; the
// handler then ends the request by CloseConnection. The first 64 KiB are free. It is not for two goroutines at a time.
func (r *Request) Reserve(bytes int) bool {
	return r.reserve(bytes, func(n int64) bool { return r.Conn.srv.budget.tryCharge(n, true) })
}

// ReserveWaiting is Reserve for the goroutine that a handler was called on: it may wait there until there is room.
func (r *Request) ReserveWaiting(bytes int) bool { return r.reserve(bytes, r.Conn.charge) }

func (r *Request) reserve(bytes int, charge func(n int64) bool) bool {
	if r.unpaid += bytes; r.unpaid < freeAnswer {
		return true
	}
	n := int64(r.unpaid)
	r.unpaid = 0
	if !charge(n) {
		return false
	}
	r.charged.Add(n)
	return true
}

// freeAnswer is the bytes of an answer that are not charged.
const freeAnswer = 64 << 10

// ErrNoMemory is why a handler closes a connection when Reserve returns false.
var ErrNoMemory = errBudget

// settle gives back what the budget was charged for the request.
func (r *Request) settle() {
	if n := r.charged.Swap(0); n > 0 {
		r.Conn.srv.budget.discharge(n, true)
	}
}

// AfterSend registers a function to call when the reply has left, or never will because the connection
// has gone: the place to let go of what a region of a file refers to (the server calls no Release of a
// netx.FileRegion). Call it before answering, or in the function given to ReplyLazily.
func (r *Request) AfterSend(fn func()) { r.afterSend = append(r.afterSend, fn) }

// Throttle mutes the connection for d after the reply has been sent: nothing is served and, past the
// read-ahead, nothing is read. Call it before answering, with the same duration in the reply's
// throttle time (KIP-219).
func (r *Request) Throttle(d time.Duration) { r.throttle = d }

// sent runs what was registered with AfterSend.
func (r *Request) sent() {
	for i, fn := range r.afterSend {
		fn()
		r.afterSend[i] = nil
	}
	r.afterSend = r.afterSend[:0]
}

// recycle gives the request back for the next one of its API. Nobody else may hold it.
func (r *Request) recycle() {
	invariants.Assertf(len(r.afterSend) == 0, "%v recycled before its AfterSend ran", r.Header.Key)
	r.releaseFrame()
	api := r.api
	if api == nil || r.frameBytes > poolableFrame && r.Header.Key != wire.KeyProduce {
		return // decoded structs of unusual size go to the garbage collector
	}
	*r = Request{Body: r.Body, own: r.own, api: api, afterSend: r.afterSend}
	api.requests.Put(r)
}

// poolableFrame is the size of a request, in bytes, above which its decoded form is not kept.
const poolableFrame = 256 << 10
