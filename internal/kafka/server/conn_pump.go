package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/walser-io/walser/internal/wire"
)

// step is what the pump does next.
type step int8

const (
	stepRest   step = iota // nothing to do: give the token back
	stepEncode             // the oldest request in flight is answered
	stepStart              // the next request may start
	stepFlush              // write what is encoded
	stepClose              // the oldest request closes the connection
	stepHangUp             // the peer has gone and nothing is left that could be done
	stepDrain              // the server drains and nothing is in flight
)

// Answers are written when nothing more can be started, and earlier when one of these is reached: what is
// held in memory stays small, and a fast answer does not wait for slow requests behind it.
const (
	flushBytes = 256 << 10
	flushAfter = 500 * time.Microsecond
)

// maxHere is the bytes of answers that a goroutine sends for another's connection: they are copied.
const maxHere = 32 << 10

// pump serves requests and sends answers until there is nothing to do. The caller holds the token
// (mu.pumping), and pump gives it back.
func (c *Conn) pump() {
	for {
		what, r := c.nextStep()
		if what == stepRest {
			return
		}
		c.do(what, r)
	}
}

// pumpHere is pump on a goroutine that has other things to do than to wait for this connection: it sends what
// the socket takes at once, and leaves the rest to a goroutine of its own.
func (c *Conn) pumpHere() {
	for {
		switch what, r := c.nextStep(); {
		case what == stepRest:
			return
		case what == stepStart, what == stepFlush && !c.tryFlush():
			go func() {
				c.do(what, r)
				c.pump()
			}()
			return
		case what == stepEncode:
			c.encode(r) // and flush sees to the budget, which may have to be waited for
		case what != stepFlush:
			c.do(what, r)
		}
	}
}

// do takes a step.
func (c *Conn) do(what step, r *Request) {
	switch what {
	case stepRest:
	case stepStart:
		c.serve(r)
	case stepEncode:
		c.encode(r)
		c.payForAnswers()
	case stepFlush:
		c.flush()
	case stepClose:
		c.kill(r.fault)
		r.abandon()
	case stepHangUp:
		c.kill(errHangUp)
	case stepDrain:
		c.kill(errShutdown)
	}
}

// nextStep decides what the pump does next, and gives the token back where that is nothing.
func (c *Conn) nextStep() (step, *Request) {
	flushable := c.out != nil
	full := flushable && c.out.full(c.srv)

	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.mu
	if full || flushable && m.dead {
		return stepFlush, nil // which, on a dead connection, lets go of what would have been sent
	}
	if r := m.ring.oldest(); r != nil && r.answered && !r.handling {
		if r.verdict == answerByClosing && flushable {
			return stepFlush, nil
		}
		m.ring.pop()
		c.offerRoomLocked()
		if r.verdict == answerByClosing {
			return stepClose, r
		}
		return stepEncode, r
	}
	if r := m.ring.next(); r != nil && c.mayStartLocked(r) {
		m.ring.started++
		m.readAhead -= r.frameBytes
		c.offerRoomLocked()
		r.started, r.handling = true, true
		if r.body == nil {
			return stepStart, r
		}
		close(r.turn) // the reader serves it
	}
	switch {
	case flushable:
		return stepFlush, nil
	case m.dead:
	case m.eof:
		return stepHangUp, nil
	case c.srv.draining.Load() && m.ring.oldest().mayBeCutLocked():
		return stepDrain, nil
	}
	m.pumping = false
	if m.idle != nil {
		close(m.idle)
		m.idle = nil
	}
	return stepRest, nil
}

// mayBeCutLocked says whether a server that stops need not wait for r, the oldest request in flight: there
// is none, or it waits for something that may never come (records, other members) and can be asked again.
func (r *Request) mayBeCutLocked() bool {
	return r == nil || r.onCancel.fn != nil && !r.awaited && !r.handling
}

// mayStartLocked says whether r, the oldest request that has not been started, may start now.
func (c *Conn) mayStartLocked(r *Request) bool {
	m := &c.mu
	switch {
	case m.dead, c.srv.draining.Load():
		return false
	case m.mutedUntil != 0 && c.srv.now() < m.mutedUntil:
		return false
	case c.srv.gated.Load() && !c.listener.Ungated && !r.passesGate():
		return false
	}
	ahead := m.ring.oldest()
	return ahead == nil || r.order() == Pipelined && ahead.order() == Pipelined
}

// order returns what the request may overlap with; one that closes the connection waits for all others.
func (r *Request) order() Order {
	if r.api == nil {
		return Barrier
	}
	return r.api.Order
}

// passesGate says whether the request is served before the node knows the cluster: ApiVersions up to v2,
// which carries no finalised features, and newer than ours, which gets no more than our range.
func (r *Request) passesGate() bool {
	if r.fault != nil {
		return true
	}
	switch r.Header.Key {
	case wire.KeyAPIVersions:
		return r.Header.Version <= 2 || r.Header.Version > r.api.Max
	case wire.KeySaslHandshake, wire.KeySaslAuthenticate:
		return true
	}
	return false
}

// offerRoomLocked wakes the reader if it waits for room that is there now.
func (c *Conn) offerRoomLocked() {
	if c.mu.roomWanted && c.hasRoomLocked() {
		c.mu.roomWanted = false
		select {
		case c.room <- struct{}{}:
		default:
		}
	}
}

func (c *Conn) isDead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.dead
}

// serve decodes one request and runs its handler.
func (c *Conn) serve(r *Request) {
	outcome, panicked := c.handle(r)
	c.handled(r, outcome, panicked)
}

// handled notes that a handler has returned.
func (c *Conn) handled(r *Request, outcome Outcome, panicked bool) {
	c.mu.Lock()
	r.handling = false
	r.answered = r.answered || panicked
	answered, dead := r.answered, c.mu.dead
	c.mu.Unlock()
	if dead {
		r.settle() // kill left that to whoever was handling it
	}
	switch {
	case panicked && !dead:
		c.kill(errHandlerPanic)
	case dead && answered:
		r.abandon()
	case !dead && !answered && outcome == Done:
		r.CloseConnection(fmt.Errorf("%v v%d: %w", r.Header.Key, r.Header.Version, errUnanswered))
	}
}

// handle runs the handler, and says whether it panicked.
func (c *Conn) handle(r *Request) (outcome Outcome, panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			panicked = true
			c.notePanic(r, "handler panicked", v, debug.Stack())
		}
	}()
	if r.fault != nil {
		r.CloseConnection(r.fault)
		return Done, false
	}
	if err := c.decode(r); err != nil {
		r.CloseConnection(&requestError{key: r.Header.Key, version: r.Header.Version, err: err})
		return Done, false
	}
	return r.api.Handle(r), false
}

func (c *Conn) notePanic(r *Request, what string, cause any, stack []byte) {
	c.srv.metrics.panics.Inc()
	c.srv.log.Error(what, "api", r.Header.Key, "version", r.Header.Version,
		"client", r.clientID, "peer", c.remote, "panic", cause, "stack", string(stack))
}

// decode fills the request from its frame.
func (c *Conn) decode(r *Request) error {
	d := &c.dec
	defer d.Reset(nil)
	d.Reset(r.frame)
	d.ChargeTo(c.payFn)
	c.decoding = r
	r.Header.Decode(d)
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: header: %w", decodeFault(err), err)
	}
	r.clientID = c.intern(r.Header.ClientID)
	if !r.api.serves(r.Header.Version) {
		return nil // ApiVersions only: its handler answers without looking at the body
	}
	// What is left over behind the message is overlooked, as in Kafka's broker: a client that writes some works there.
	if err := wire.DecodeRequest(d, r.Body, r.Header.Version); err != nil && !errors.Is(err, wire.ErrTrailingBytes) {
		return fmt.Errorf("%w: %w", decodeFault(err), err)
	}
	return nil
}

// decodeFault says whose fault it is that a request did not decode.
func decodeFault(err error) error {
	if errors.Is(err, wire.ErrMemory) {
		return errBudget
	}
	return errMalformed
}

// servingFactor is what a request is charged for each byte that its fields take in memory: that of the
// handler's own view of it and of the answer too, which grow with it.
const servingFactor = 4

// pay charges the budget for the fields of the request that is being decoded, waiting for it as for a buffer. A
// frame that would take more than there is gets nothing.
func (c *Conn) pay(bytes int) bool {
	n := servingFactor * int64(bytes)
	if !c.charge(n) {
		return false
	}
	c.decoding.charged.Add(n)
	return true
}

// charge charges the budget, waiting for it.
func (c *Conn) charge(n int64) bool {
	b := c.srv.budget
	if n > b.total-b.reserve {
		return false
	}
	if !b.tryCharge(n, true) {
		ctx, cancel := context.WithTimeoutCause(c.ctx, c.srv.cfg.HeaderTimeout, errBudget)
		defer cancel()
		c.srv.metrics.budgetWaits.Inc()
		if b.charge(ctx, n, true, shedPatience, c.srv.shedSlowest) != nil {
			return false
		}
	}
	return true
}

// encode adds the answer of a request to what is to be sent. It runs in the order of arrival.
func (c *Conn) encode(r *Request) {
	if r.throttle > 0 {
		c.mute(r.throttle)
	}
	if r.verdict == answerNothing {
		c.srv.metrics.served(r, c.srv.now())
		r.sent()
		r.recycle()
		return
	}
	if c.out == nil {
		c.out = c.srv.takeOutbox()
	}
	if err := c.tryEncode(r); err != nil {
		c.kill(err)
		r.abandon()
	}
}

// tryEncode fills the reply if that is still to be done, and encodes it.
func (c *Conn) tryEncode(r *Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errHandlerPanic
			c.notePanic(r, "reply panicked", v, debug.Stack())
		}
	}()
	if r.collect != nil {
		r.reply = r.Response()
		r.collect(r.reply)
	}
	if err := c.out.add(r); err != nil {
		c.srv.log.Error("reply does not encode", "api", r.Header.Key, "version", r.Header.Version,
			"client", r.clientID, "peer", c.remote, "err", err)
		return fmt.Errorf("encode reply to %v v%d: %w", r.Header.Key, r.Header.Version, err)
	}
	c.out.charged += r.charged.Swap(0)
	r.releaseFrame()
	if c.out.w.Buffered() > poolableFrame {
		r.own, r.reply = nil, nil // a large answer is held once while it is sent
	}
	return nil
}

// payForAnswers has the budget hold what the answers of the outbox take until they are sent, however slowly the
// peer reads.
func (c *Conn) payForAnswers() {
	if c.out == nil {
		return
	}
	n := c.out.owed()
	if n <= 0 || c.isDead() {
		return
	}
	if !c.charge(n) {
		c.kill(fmt.Errorf("%d bytes of answers: %w", c.out.w.Buffered(), errBudget))
		return
	}
	c.out.charged += n
}

// flush writes what is encoded with one call and lets go of it.
func (c *Conn) flush() {
	c.payForAnswers() // for what pumpHere has encoded
	out := c.out
	c.out = nil
	if !c.isDead() {
		now := c.srv.now()
		c.writeBytes.Store(int64(out.size()))
		c.writeSince.Store(int64(now))
		c.checkWithin(now, c.srv.cfg.WriteTimeout)
		err := out.writeTo(c.conn, c.raw)
		c.writeSince.Store(0)
		now = c.srv.now()
		c.lastActive.Store(int64(now))
		if err != nil {
			c.kill(fmt.Errorf("write: %w", err))
		} else {
			c.srv.metrics.sent(out, now)
		}
	}
	c.srv.returnOutbox(out)
}

// tryFlush is flush for short answers that the socket takes at once. False means that flush has something left to do.
func (c *Conn) tryFlush() bool {
	out := c.out
	if out.size() > maxHere || c.isDead() {
		return false
	}
	sent, err := out.tryWriteTo(c.raw)
	switch {
	case err != nil:
		c.kill(fmt.Errorf("write: %w", err))
	case !sent:
		return false
	default:
		now := c.srv.now()
		c.lastActive.Store(int64(now))
		c.srv.metrics.sent(out, now)
	}
	c.out = nil
	c.srv.returnOutbox(out)
	return true
}

// mute holds back the connection's next requests for d (KIP-219).
func (c *Conn) mute(d time.Duration) {
	until := c.srv.now() + d
	c.mu.Lock()
	c.mu.mutedUntil = max(until, c.mu.mutedUntil)
	c.mu.Unlock()
	c.srv.deadlines.Schedule(c.srv.epoch.Add(until), func(time.Time) { c.wake() })
}
