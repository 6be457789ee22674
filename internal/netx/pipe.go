package netx

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/walser-io/walser/internal/xsync"
)

// PipeBytes is how much each direction of a connection in memory holds before Write waits.
const PipeBytes = 64 << 10

// Addr is the address of one end of a connection in memory, in the form host:port.
type Addr string

// Network returns "memory".
func (a Addr) Network() string { return "memory" }

// String returns host:port.
func (a Addr) String() string { return string(a) }

// Pipe returns the two ends of a connection in memory, a's and b's. It behaves as TCP on loopback: each
// direction buffers PipeBytes; what was written before Close is still read by the peer, then io.EOF; a
// write to a closed peer returns syscall.EPIPE; deadlines wake what waits. Each end also has CloseWrite.
func Pipe(a, b Addr) (net.Conn, net.Conn) {
	ab, ba := &stream{}, &stream{}
	return &pipeConn{in: ba, out: ab, local: a, remote: b}, &pipeConn{in: ab, out: ba, local: b, remote: a}
}

// pipeConn is one end. The zero deadlines never expire.
type pipeConn struct {
	in, out       *stream
	local, remote Addr
	readDeadline  expiry
	writeDeadline expiry
}

var _ net.Conn = (*pipeConn)(nil)

func (c *pipeConn) Read(p []byte) (int, error) {
	n, err := c.in.read(p, &c.readDeadline)
	return n, c.wrap("read", err)
}

func (c *pipeConn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, &c.writeDeadline)
	return n, c.wrap("write", err)
}

// WaitReadable waits until Read would not wait; see the function of that name.
func (c *pipeConn) WaitReadable() error {
	return c.wrap("read", c.in.waitReadable(&c.readDeadline))
}

// Close ends both directions. It waits for nothing and returns net.ErrClosed the second time.
func (c *pipeConn) Close() error {
	c.readDeadline.stop()
	c.writeDeadline.stop()
	wasOpen := c.in.closeReader()
	c.out.closeWriter(net.ErrClosed)
	if !wasOpen {
		return c.wrap("close", net.ErrClosed)
	}
	return nil
}

// CloseWrite ends the direction to the peer, which reads io.EOF after what is buffered.
func (c *pipeConn) CloseWrite() error {
	c.out.closeWriter(syscall.EPIPE)
	return nil
}

func (c *pipeConn) LocalAddr() net.Addr  { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.readDeadline.set(t)
	c.writeDeadline.set(t)
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.readDeadline.set(t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline.set(t)
	return nil
}

func (c *pipeConn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// stream is one direction: a bounded queue of bytes.
type stream struct {
	mu struct {
		xsync.Mutex
		ring      []byte // len is the capacity; nil while nothing was written since the reader went idle
		head, n   int    // where the queued bytes begin, and how many they are
		readerErr error  // why reading is over here: this end closed
		writerErr error  // why writing is over at the other end
		peerGone  bool   // the reader closed: writes come to nothing
		readers   wakeup
		writers   wakeup
	}
}

// wakeup lets any number of goroutines wait for a change. It is guarded by the lock of what changes.
type wakeup struct{ ch chan struct{} }

// waitLocked returns the channel that the next wakeLocked closes.
func (w *wakeup) waitLocked() <-chan struct{} {
	if w.ch == nil {
		w.ch = make(chan struct{})
	}
	return w.ch
}

func (w *wakeup) wakeLocked() {
	if w.ch != nil {
		close(w.ch)
		w.ch = nil
	}
}

func (s *stream) read(p []byte, deadline *expiry) (int, error) {
	for {
		n, changed, err := s.tryRead(p)
		if n > 0 || err != nil {
			return n, err
		}
		expired := deadline.channel()
		if isClosed(expired) {
			return 0, os.ErrDeadlineExceeded
		}
		if changed == nil {
			return 0, nil // an empty p with nothing wrong
		}
		select {
		case <-changed:
		case <-expired:
		}
	}
}

// tryRead takes what is there; if that is nothing it returns what to wait for.
func (s *stream) tryRead(p []byte) (int, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.readerErr != nil:
		return 0, nil, s.mu.readerErr
	case len(p) == 0:
		return 0, nil, nil
	case s.mu.n > 0:
		n := copy(p, s.mu.ring[s.mu.head:min(s.mu.head+s.mu.n, len(s.mu.ring))])
		if rest := min(s.mu.n, len(p)) - n; rest > 0 {
			n += copy(p[n:], s.mu.ring[:rest])
		}
		s.mu.n -= n
		s.mu.head = (s.mu.head + n) % len(s.mu.ring)
		s.mu.writers.wakeLocked()
		return n, nil, nil
	case s.mu.writerErr != nil:
		return 0, nil, io.EOF
	}
	return 0, s.mu.readers.waitLocked(), nil
}

func (s *stream) waitReadable(deadline *expiry) error {
	for {
		s.mu.Lock()
		if s.mu.readerErr != nil || s.mu.n > 0 || s.mu.writerErr != nil {
			err := s.mu.readerErr
			s.mu.Unlock()
			return err
		}
		s.mu.ring, s.mu.head = nil, 0 // idle: the next write takes a new one
		changed := s.mu.readers.waitLocked()
		s.mu.Unlock()
		expired := deadline.channel()
		if isClosed(expired) {
			return os.ErrDeadlineExceeded
		}
		select {
		case <-changed:
		case <-expired:
		}
	}
}

func (s *stream) write(p []byte, deadline *expiry) (int, error) {
	done := 0
	for {
		expired := deadline.channel()
		if isClosed(expired) {
			return done, os.ErrDeadlineExceeded
		}
		n, changed, err := s.tryWrite(p[done:])
		done += n
		if err != nil || done == len(p) {
			return done, err
		}
		select {
		case <-changed:
		case <-expired:
		}
	}
}

func (s *stream) tryWrite(p []byte) (int, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.writerErr != nil:
		return 0, nil, s.mu.writerErr
	case s.mu.peerGone:
		return 0, nil, syscall.EPIPE
	}
	var room <-chan struct{}
	if free := PipeBytes - s.mu.n; len(p) > free {
		p, room = p[:free], s.mu.writers.waitLocked()
	}
	if len(p) > 0 {
		s.growLocked(s.mu.n + len(p))
		tail := (s.mu.head + s.mu.n) % len(s.mu.ring)
		if k := copy(s.mu.ring[tail:], p); k < len(p) {
			copy(s.mu.ring, p[k:])
		}
		s.mu.n += len(p)
		s.mu.readers.wakeLocked()
	}
	return len(p), room, nil
}

// growLocked makes room for n bytes, in powers of two.
func (s *stream) growLocked(n int) {
	if n <= len(s.mu.ring) {
		return
	}
	size := max(512, len(s.mu.ring))
	for size < n {
		size *= 2
	}
	ring := make([]byte, size)
	k := copy(ring, s.mu.ring[s.mu.head:min(s.mu.head+s.mu.n, len(s.mu.ring))])
	copy(ring[k:s.mu.n], s.mu.ring)
	s.mu.ring, s.mu.head = ring, 0
}

// closeReader drops what is queued and says whether the reader was still open.
func (s *stream) closeReader() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	wasOpen := s.mu.readerErr == nil
	s.mu.readerErr, s.mu.peerGone = net.ErrClosed, true
	s.mu.ring, s.mu.head, s.mu.n = nil, 0, 0
	s.mu.readers.wakeLocked()
	s.mu.writers.wakeLocked()
	return wasOpen
}

// closeWriter makes later writes return err and lets the reader see the end.
func (s *stream) closeWriter(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.writerErr = err
	s.mu.readers.wakeLocked()
	s.mu.writers.wakeLocked()
}

// expiry is a deadline that can be waited for and moved. The zero value never comes.
type expiry struct {
	mu struct {
		xsync.Mutex
		expired chan struct{} // closed when the deadline has come; replaced when it then moves on
		timer   *time.Timer
		setting int // counts calls of set, so that a timer of an earlier one does nothing
	}
}

// channel returns what is closed when the deadline that now holds comes. Moving the deadline keeps the
// channel, so that a waiter follows the new one.
func (e *expiry) channel() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.channelLocked()
}

func (e *expiry) channelLocked() chan struct{} {
	if e.mu.expired == nil {
		e.mu.expired = make(chan struct{})
	}
	return e.mu.expired
}

func (e *expiry) set(t time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.setting++
	if e.mu.timer != nil {
		e.mu.timer.Stop()
		e.mu.timer = nil
	}
	if isClosed(e.channelLocked()) {
		e.mu.expired = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		close(e.mu.expired)
		return
	}
	setting := e.mu.setting
	e.mu.timer = time.AfterFunc(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.mu.setting == setting {
			close(e.mu.expired)
		}
	})
}

func (e *expiry) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.setting++
	if e.mu.timer != nil {
		e.mu.timer.Stop()
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
