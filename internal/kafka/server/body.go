package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/walser-io/walser/internal/wire"
)

// Body is the rest of a large request, after its header, which a handler (API.Stream) takes while it
// arrives. It belongs to the handler until that returns, on the goroutine that called it.
//
// What Peek returns lies in the connection's buffer: it holds until the next call, and may be changed. So a
// request needs memory for the largest piece that its handler asks for, whatever its own size.
type Body struct {
	request *Request
	left    int   // bytes that were not taken
	err     error // of the connection, once it failed

	// While the handler works on a piece the clock of the request stands still: when it was handed out, and
	// since when it had been running by then.
	handed, since time.Duration
}

// Left returns how many bytes have not been taken.
func (b *Body) Left() int { return b.left }

// Peek waits until n bytes are there, and returns these and what came with them. Asked for more than is
// left it returns what is left. An error is the connection's, which is lost then.
func (b *Body) Peek(n int) ([]byte, error) {
	n = min(n, b.left)
	rd := &b.request.Conn.rd
	if rd.w-rd.r < n {
		if b.err = b.await(n); b.err != nil {
			return nil, b.err
		}
	}
	if n == 0 {
		return nil, nil
	}
	have := min(rd.w-rd.r, b.left)
	return rd.buf.b[rd.r : rd.r+have : rd.r+have], nil
}

// await reads until n bytes are there.
func (b *Body) await(n int) error {
	c := b.request.Conn
	rd := &c.rd
	if now := c.srv.now(); b.since != 0 {
		c.frameSince.Store(int64(b.since + now - b.handed))
		c.checkWithin(now, c.srv.cfg.HeaderTimeout)
	}
	for rd.w-rd.r < n {
		rd.need = n
		if err := c.fill(); err != nil {
			return err
		}
	}
	b.handed = c.srv.now()
	b.since = time.Duration(c.frameSince.Swap(0))
	c.lastActive.Store(int64(b.handed))
	return nil
}

// Take takes n bytes, which Peek has returned.
func (b *Body) Take(n int) {
	rd := &b.request.Conn.rd
	rd.r += n
	rd.streamed += n
	if b.left -= n; b.left == 0 {
		b.request.arrived = b.request.Conn.srv.now()
	}
}

// Skip takes n bytes as they come, without holding them, or what is left.
func (b *Body) Skip(n int) error {
	for n = min(n, b.left); n > 0; {
		piece, err := b.Peek(1)
		if err != nil {
			return err
		}
		step := min(n, len(piece))
		b.Take(step)
		n -= step
	}
	return nil
}

// Decode runs decode over the next bytes, which must not be many: more and more of them, up to
// maxDecoded, until they are enough, and takes those that it read. What it decoded may point to them.
func (b *Body) Decode(decode func(*wire.Reader)) error {
	const first = 256
	for n := first; ; n *= 4 {
		piece, err := b.Peek(n)
		if err != nil {
			return err
		}
		var r wire.Reader
		r.Reset(piece)
		decode(&r)
		if err = r.Err(); err == nil {
			b.Take(len(piece) - r.Remaining())
			return nil
		}
		if len(piece) == b.left || len(piece) >= maxDecoded {
			return b.Malformed("%w", err)
		}
	}
}

// Malformed returns the error for a body that is no request, to close the connection with.
func (b *Body) Malformed(format string, args ...any) error {
	return &requestError{
		key: b.request.Header.Key, version: b.request.Header.Version,
		err: fmt.Errorf("%w: %w", errMalformed, fmt.Errorf(format, args...)),
	}
}

// maxDecoded bounds what lies between two pieces of data in a request: a name, a few tagged fields.
const maxDecoded = 64 << 10

// streams says whether a request of the API is taken while it arrives.
func (a *api) streams(size, above int) bool { return a.Stream != nil && size > above }

// stream serves a request that its handler takes while it arrives, once its turn has come. An error ends
// the connection.
func (c *Conn) stream(r *Request) error {
	body := r.body
	select {
	case <-r.turn:
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	c.rd.streaming = true
	outcome, panicked := c.handleStream(r, body)
	failed, left := body.err, body.left
	c.rd.need, c.rd.streaming, c.rd.streamed = 4, false, 0
	// From here on another goroutine may recycle r.
	c.handled(r, outcome, panicked)
	c.kick()
	switch {
	case failed != nil:
		return failed
	case left > 0: // it closes the connection: what follows is not looked at
		return c.discard()
	}
	return nil
}

// handleStream decodes the header and runs the handler, and says whether it panicked.
func (c *Conn) handleStream(r *Request, body *Body) (outcome Outcome, panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			panicked = true
			c.notePanic(r, "handler panicked", v, debug.Stack())
		}
	}()
	if err := body.Decode(r.Header.Decode); err != nil {
		r.CloseConnection(err)
		return Done, false
	}
	r.clientID = string(r.Header.ClientID)
	r.Header.ClientID = nil
	return r.api.Stream(r, body), false
}
