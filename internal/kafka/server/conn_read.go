package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/wire"
)

// minFrame is the smallest size that a request can have: key, version and correlation id.
const minFrame = 8

// How much larger than the bytes that arrived a frame's buffer may be. Each move to a larger one is a copy, so it is much for a peer that
// sends more than a trickle while the budget has room, and little when memory is short and an announcement may be a lie.
const (
	growth      = 4
	ampleGrowth = 16
	trickle     = 8 << 10
)

// streamChunk is what is read beyond the piece that a handler waits for: enough for what lies between two batches and for
// a small one, not so much that the beginning of a large one would have to be moved.
const streamChunk = 16 << 10

// reader cuts a connection's bytes into frames. Bytes [r, w) of buf have been read and not cut yet: at
// most one incomplete frame once the complete ones are cut. Frames stay where they were read; a frame
// that outgrows its buffer moves to one of a larger class, which its own bytes have paid for in part (growth).
// A request that its handler takes while it arrives (Body) is not a frame to it: it reads on for as much as
// the handler asks for.
type reader struct {
	buf   *buffer // nil while nothing is held
	r, w  int
	need  int // bytes from r on that the next frame takes, as far as its first bytes say
	class int // of the buffers to read into: grows and shrinks with what reads bring

	streaming bool // a request is being streamed
	streamed  int  // bytes of it that were taken; else 0

	small int // reads in a row that brought little

	poll   poller // of a plain TCP connection, on platforms that have one
	memory bool   // a connection of netx, which says when it is readable; no other but those with a poller does
	pollFn func(fd uintptr) bool
	n      int   // what the last poll read
	err    error // how it failed
	broke  bool  // it had bytes to read and the budget no buffer
}

func (rd *reader) open(c *Conn) {
	rd.need = 4
	if rd.poll = newPoller(c.raw); rd.poll != nil {
		rd.pollFn = c.readPolled
	}
	_, rd.memory = c.conn.LocalAddr().(netx.Addr)
}

func (rd *reader) close() {
	if rd.buf != nil {
		rd.buf.release()
		rd.buf = nil
	}
}

// isLarge says whether the frame that is being read is known to be a large one. Its bytes are charged as
// such from then on, in a buffer of whatever size: the share of the small ones is not for it.
func (rd *reader) isLarge() bool { return rd.need > classSize(chunkClass) }

// space returns where to read to. A large frame gets a buffer of its own, so that nothing small that
// follows it pins it.
func (rd *reader) space() []byte {
	switch {
	case rd.streaming:
		return rd.buf.b[rd.w:min(rd.r+max(rd.need, streamChunk), len(rd.buf.b))]
	case rd.isLarge():
		return rd.buf.b[rd.w:min(rd.r+rd.need, len(rd.buf.b))]
	}
	return rd.buf.b[rd.w:]
}

// readLoop reads until the connection ends, and returns why: io.EOF when the peer hung up.
func (c *Conn) readLoop() error {
	for {
		if err := c.fill(); err != nil {
			return err
		}
		now := c.srv.now()
		c.lastActive.Store(int64(now))
		for {
			r := c.cut()
			if r == nil {
				break
			}
			r.arrived = now
			if r.body != nil {
				c.enqueue(r)
				c.kick()
				if err := c.stream(r); err != nil {
					return err
				}
				continue
			}
			faulty := r.fault != nil
			// Once it is in the ring, another goroutine may serve and recycle r.
			if room := c.enqueue(r); !room || faulty {
				c.kick()
				if faulty {
					return c.discard()
				}
				if err := c.awaitRoom(); err != nil {
					return err
				}
			}
		}
		c.kick()
	}
}

// cut returns the next frame as a request that is not decoded yet, or nil when it is not complete. A
// frame that must close the connection comes as a request that has a fault.
func (c *Conn) cut() *Request {
	rd := &c.rd
	if rd.buf == nil {
		return nil
	}
	b := rd.buf.b[rd.r:rd.w]
	if len(b) < 4 {
		rd.need = 4 + minFrame
		return nil
	}
	size := int(int32(binary.BigEndian.Uint32(b)))
	if size < minFrame || size > c.srv.cfg.SocketRequestMaxBytes {
		return c.refuse(&requestError{key: -1, version: -1, err: frameSizeError(b, size)})
	}
	if len(b) < 8 {
		rd.need = 4 + minFrame
		return nil
	}
	key := wire.Key(binary.BigEndian.Uint16(b[4:]))
	version := int16(binary.BigEndian.Uint16(b[6:]))
	api, err := c.admit(key, version, size)
	if err != nil {
		return c.refuse(&requestError{key: key, version: version, err: err})
	}
	if api.streams(size, c.srv.cfg.StreamAbove) {
		return c.begin(api, key, version, size)
	}
	rd.need = 4 + size
	if len(b) < rd.need {
		return nil
	}
	r := api.newRequest()
	r.Conn = c
	r.Header.Key, r.Header.Version = key, version
	r.frame = b[4:rd.need:rd.need]
	r.frameBytes = size
	r.buf = rd.buf
	r.buf.retain()
	rd.r += rd.need
	rd.need = 4
	c.frameSince.Store(0)
	return r
}

// begin returns a request whose handler takes it while it arrives.
func (c *Conn) begin(api *api, key wire.Key, version int16, size int) *Request {
	r := api.newRequest()
	r.Conn = c
	r.Header.Key, r.Header.Version = key, version
	r.frameBytes = size
	r.body = &Body{request: r, left: size}
	r.turn = make(chan struct{})
	c.rd.r += 4
	c.frameSince.Store(0) // it may have to wait for its turn
	return r
}

// frameSizeError says what a size that cannot be one looks like.
func frameSizeError(b []byte, size int) error {
	switch {
	case b[0] == 0x16 && b[1] == 3:
		return fmt.Errorf("%w %d: a TLS handshake on a listener without TLS", errFrameSize, size)
	case string(b[:4]) == "GET " || string(b[:4]) == "POST" || string(b[:4]) == "HEAD" || string(b[:4]) == "PUT ":
		return fmt.Errorf("%w %d: an HTTP request on a Kafka listener", errFrameSize, size)
	}
	return fmt.Errorf("%w %d", errFrameSize, size)
}

// admit says whether a request is served here at all, from its first bytes.
func (c *Conn) admit(key wire.Key, version int16, size int) (*api, error) {
	api := c.srv.api(key)
	if api == nil {
		return nil, errUnknownKey
	}
	limit := api.FrameCap
	if c.preAuth.Load() {
		switch key {
		case wire.KeyAPIVersions, wire.KeySaslHandshake, wire.KeySaslAuthenticate:
		default:
			return nil, errNotAuthenticated
		}
		limit = min(limit, c.srv.cfg.PreAuthFrameCap)
	}
	if size > limit {
		return nil, fmt.Errorf("%w %d above the cap %d", errFrameSize, size, limit)
	}
	if (version < api.Min || version > api.Max) && key != wire.KeyAPIVersions {
		return nil, fmt.Errorf("%w, v%d to v%d are served", errUnsupportedVersion, api.Min, api.Max)
	}
	return api, nil
}

// refuse returns a request that closes the connection when its turn comes.
func (c *Conn) refuse(fault *requestError) *Request {
	return &Request{
		Conn:   c,
		Header: wire.RequestHeader{Key: fault.key, Version: fault.version},
		fault:  fault,
	}
}

// enqueue adds a request to the ring and says whether there is room for another.
func (c *Conn) enqueue(r *Request) bool {
	c.mu.Lock()
	if c.mu.dead {
		c.mu.Unlock()
		r.abandon()
		return false
	}
	defer c.mu.Unlock()
	c.mu.ring.push(r)
	c.mu.readAhead += r.frameBytes
	return c.hasRoomLocked()
}

func (c *Conn) hasRoomLocked() bool {
	cfg := &c.srv.cfg
	return c.mu.ring.len() < cfg.MaxInFlight && c.mu.readAhead < cfg.ReadAheadBytes
}

// awaitRoom returns when the ring has room for another request. Until then the connection is not read.
func (c *Conn) awaitRoom() error {
	for {
		c.mu.Lock()
		if c.mu.dead {
			c.mu.Unlock()
			return context.Cause(c.ctx)
		}
		if c.hasRoomLocked() {
			c.mu.Unlock()
			return nil
		}
		c.mu.roomWanted = true
		c.mu.Unlock()
		select {
		case <-c.room:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// discard reads on without looking, so that a peer that hangs up is seen while the requests before the
// faulty one are served.
func (c *Conn) discard() error {
	c.rd.close()
	c.frameSince.Store(0)
	var sink [512]byte
	for {
		if _, err := c.conn.Read(sink[:]); err != nil {
			return err
		}
	}
}

// fill reads once. It waits for bytes, holding no more than those that came before.
func (c *Conn) fill() error {
	if err := c.makeRoom(); err != nil {
		return err
	}
	c.noteFrame()
	n, err := c.read()
	if err != nil {
		return err
	}
	rd := &c.rd
	rd.w += n
	rd.adapt(n)
	c.srv.metrics.requestBytes.Add(float64(n))
	return nil
}

// noteFrame tells the deadlines, and those who look for memory, what there is of an incomplete frame.
func (c *Conn) noteFrame() {
	rd := &c.rd
	have := rd.w - rd.r
	if have == 0 {
		return
	}
	c.frameHave.Store(int64(rd.streamed + have))
	c.frameCap.Store(int64(len(rd.buf.b)))
	c.frameLarge.Store(rd.buf.large)
	if c.frameSince.Load() == 0 {
		now := c.srv.now()
		c.frameSince.Store(int64(now))
		c.checkWithin(now, c.srv.cfg.HeaderTimeout)
	}
}

// adapt chooses the class to read into next: larger when a read filled what was offered, smaller when
// reads keep bringing little.
func (rd *reader) adapt(n int) {
	const patience = 32
	switch {
	case rd.w == len(rd.buf.b) && rd.class < chunkClass:
		rd.class, rd.small = rd.class+1, 0
	case rd.class > smallestClass && n < classSize(rd.class-1)/4:
		if rd.small++; rd.small == patience {
			rd.class, rd.small = rd.class-1, 0
		}
	default:
		rd.small = 0
	}
}

// makeRoom sees to it that the incomplete frame fits its buffer, or that the buffer has space and is not
// much larger than what has arrived; and that a frame that turned out to be large is charged as one.
func (c *Conn) makeRoom() error {
	rd := &c.rd
	if rd.buf == nil {
		return nil
	}
	have := rd.w - rd.r
	switch {
	case have == 0 && rd.streaming && !rd.buf.shared():
		rd.r, rd.w = 0, 0 // the next piece is often like the last one
		if rd.need <= len(rd.buf.b) {
			return nil
		}
	case have == 0:
		rd.close() // to be taken again when there is something to read
		return nil
	case rd.r+rd.need <= len(rd.buf.b):
		return nil // it fits
	case rd.r == 0 && rd.w < len(rd.buf.b) && rd.buf.large == rd.isLarge():
		return nil // this buffer is not full yet
	}
	factor := growth
	if have >= trickle && c.srv.budget.ample() {
		factor = ampleGrowth
	}
	class := max(rd.class, min(classFor(rd.need), classWithin(factor*have)))
	if class <= rd.buf.class && rd.buf.large == rd.isLarge() && !rd.buf.shared() {
		copy(rd.buf.b, rd.buf.b[rd.r:rd.w])
		rd.r, rd.w = 0, have
		return nil
	}
	larger, err := c.acquire(class)
	if err != nil {
		return err
	}
	rd.moveTo(larger)
	return nil
}

// moveTo moves the incomplete frame to another buffer.
func (rd *reader) moveTo(other *buffer) {
	have := copy(other.b, rd.buf.b[rd.r:rd.w])
	rd.buf.release()
	rd.buf, rd.r, rd.w = other, 0, have
}

// shrink moves the incomplete frame to a buffer of about its size, or gives the buffer up if there is
// nothing in it: the connection is about to wait.
func (c *Conn) shrink() {
	rd := &c.rd
	have := rd.w - rd.r
	if have == 0 {
		rd.close()
		return
	}
	if class := classFor(2 * have); class+1 < rd.buf.class {
		if smaller := c.srv.buffers.tryGet(class, rd.isLarge()); smaller != nil {
			rd.moveTo(smaller)
		}
	}
}

// read reads once into the buffer's space. It waits without a buffer if nothing has been read and the
// connection can say when there is something; for others (TLS) it waits with a small one.
func (c *Conn) read() (int, error) {
	rd := &c.rd
	if rd.poll == nil {
		return c.readPlain()
	}
	for {
		rd.n, rd.err, rd.broke = 0, nil, false
		if err := rd.poll.Read(rd.pollFn); err != nil {
			return 0, err
		}
		if !rd.broke {
			return rd.n, rd.err
		}
		buf, err := c.acquire(rd.class)
		if err != nil {
			return 0, err
		}
		rd.buf, rd.r, rd.w = buf, 0, 0
	}
}

// readPlain reads by the connection's own means.
func (c *Conn) readPlain() (int, error) {
	rd := &c.rd
	if rd.buf == nil {
		class := smallestClass
		if rd.memory {
			if err := netx.WaitReadable(c.conn); err != nil {
				return 0, err
			}
			class = rd.class
		}
		buf, err := c.acquire(class)
		if err != nil {
			return 0, err
		}
		rd.buf, rd.r, rd.w = buf, 0, 0
	}
	n, err := c.conn.Read(rd.space())
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// readPolled tries to read without waiting. It returns false when there is nothing to read: the poller
// then waits, without a buffer if nothing has been read, and calls it again.
func (c *Conn) readPolled(fd uintptr) (done bool) {
	rd := &c.rd
	if rd.buf == nil {
		if rd.buf = c.srv.buffers.tryGet(rd.class, false); rd.buf == nil {
			rd.broke = true
			return true
		}
		rd.r, rd.w = 0, 0
	}
	n, again, err := readFD(fd, rd.space())
	switch {
	case again:
		c.shrink()
		return false
	case err != nil:
		rd.err = err
	case n == 0:
		rd.err = io.EOF
	default:
		rd.n = n
	}
	return true
}

// acquire returns a buffer of the class, waiting for the budget if it is out. While it waits, the clock
// of the incomplete frame stands still: it is the server that keeps the peer waiting.
func (c *Conn) acquire(class int) (*buffer, error) {
	large := c.rd.isLarge()
	if buf := c.srv.buffers.tryGet(class, large); buf != nil {
		return buf, nil
	}
	patience, shed := stallPatience, c.srv.shedStalled
	if large {
		patience, shed = shedPatience, c.srv.shedSlowest
	}
	c.noteFrame()
	began := c.srv.now()
	c.frameHeld.Store(int64(began))
	ctx, cancel := context.WithTimeoutCause(c.ctx, c.srv.cfg.HeaderTimeout, errBudget)
	defer cancel()
	c.srv.metrics.budgetWaits.Inc()
	err := c.srv.budget.charge(ctx, int64(classSize(class)), large, patience, shed)
	if since := c.frameSince.Load(); since != 0 {
		c.frameSince.Store(since + int64(c.srv.now()-began))
	}
	c.frameHeld.Store(0)
	if err != nil {
		return nil, err
	}
	return c.srv.buffers.charged(class, large), nil
}

// How long readers wait for the budget before holders are closed for them: for a large frame, which may
// wait its turn, and for a small one, which must not.
const (
	shedPatience  = 100 * time.Millisecond
	stallPatience = time.Millisecond
)
