package server

import (
	"encoding/binary"
	"net"
	"syscall"
	"time"

	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/wire"
)

// outbox is the encoded answers of one write. A connection has one only while it has answers to send.
type outbox struct {
	w        wire.Writer
	requests []*Request // whose answers it holds, in order
	starts   []int      // where their sizes stand in the encoding
	began    time.Duration
	checked  int   // requests when full last looked at the clock
	charged  int64 // to the budget, for the answers and what they were made of

	pieces []wire.Piece
	writer netx.PieceWriter
	rest   []byte // what tryWriteTo could not send; nil where it was not tried, or sent all
}

// poolableOutbox is the bytes of answers above which an outbox is left to the garbage collector, unless
// record data made them: that is cut out of the encoding and takes none of the outbox's memory.
const poolableOutbox = 1 << 20

// add encodes the answer of r behind the others. After an error the outbox cannot be sent.
func (o *outbox) add(r *Request) error {
	start := o.w.Size()
	o.w.Int32(0) // the size, known when the rest is written
	wire.EncodeResponseHeader(&o.w, r.Header.Key, r.replyVersion(), r.Header.CorrelationID)
	r.reply.Encode(&o.w, r.replyVersion())
	if err := o.w.Err(); err != nil {
		return err
	}
	if len(o.requests) == 0 {
		o.began = r.Conn.srv.now()
	}
	o.starts = append(o.starts, start)
	o.requests = append(o.requests, r)
	return nil
}

// size returns the bytes of all answers.
func (o *outbox) size() int { return o.w.Size() }

// full says whether it is time to write.
func (o *outbox) full(s *Server) bool {
	if o.size() >= flushBytes {
		return true
	}
	if o.checked == len(o.requests) {
		return false
	}
	o.checked = len(o.requests)
	return s.now()-o.began > flushAfter
}

// owed returns what the answers take and the budget has not been charged for, below 0 where that is nothing.
func (o *outbox) owed() int64 { return int64(o.w.Buffered()-freeAnswer) - o.charged }

// tryWriteTo sends the answers, which are short, as far as the socket takes them at once. False means that writeTo has to send
// the rest.
func (o *outbox) tryWriteTo(raw syscall.RawConn) (sent bool, err error) {
	o.pieces = o.w.Pieces(o.pieces[:0])
	o.putSizes()
	o.rest, err = o.writer.TryWrite(raw, o.pieces)
	return len(o.rest) == 0, err
}

// writeTo sends the answers, or what tryWriteTo has left of them.
func (o *outbox) writeTo(conn net.Conn, raw syscall.RawConn) error {
	if o.rest != nil {
		_, err := conn.Write(o.rest)
		return err
	}
	o.pieces = o.w.Pieces(o.pieces[:0])
	o.putSizes()
	_, err := o.writer.Write(conn, raw, o.pieces)
	return err
}

// putSizes writes each answer's size in front of it. A size never lies across two pieces: only record
// data cuts the encoding.
func (o *outbox) putSizes() {
	at, i := 0, 0
	for n, start := range o.starts {
		end := o.w.Size()
		if n+1 < len(o.starts) {
			end = o.starts[n+1]
		}
		for start >= at+pieceSize(o.pieces[i]) {
			at += pieceSize(o.pieces[i])
			i++
		}
		binary.BigEndian.PutUint32(o.pieces[i].Bytes[start-at:], uint32(end-start-4))
	}
}

func pieceSize(p wire.Piece) int {
	if p.Region != nil {
		return p.Region.Size()
	}
	return len(p.Bytes)
}

func (s *Server) takeOutbox() *outbox {
	if o, ok := s.outboxes.Get().(*outbox); ok {
		return o
	}
	return new(outbox)
}

// returnOutbox lets go of the requests whose answers were sent, or never will be.
func (s *Server) returnOutbox(o *outbox) {
	for i, r := range o.requests {
		r.sent()
		r.recycle()
		o.requests[i] = nil
	}
	if o.charged > 0 {
		s.budget.discharge(o.charged, true)
		o.charged = 0
	}
	big := o.size() > poolableOutbox && len(o.pieces) <= 1
	o.w.Reset()
	if big {
		return
	}
	clear(o.pieces)
	o.rest = nil
	o.requests, o.starts, o.began, o.checked = o.requests[:0], o.starts[:0], 0, 0
	o.pieces = o.pieces[:0]
	s.outboxes.Put(o)
}
