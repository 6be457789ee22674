package netx

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/walser-io/walser/internal/vfs"
)

const (
	// SendfileBytes is the size from which a run of a file is worth a sendfile(2) of its own. Shorter runs
	// are copied into one write with what stands around them: for 4 KiB pieces sendfile costs three times
	// the CPU of that.
	SendfileBytes = 32 << 10
	// scratchBytes is the size of the buffer that copies go through.
	scratchBytes = 64 << 10
)

// errNoSendfile says that this connection, file or platform cannot sendfile, and that nothing was sent.
var errNoSendfile = errors.New("sendfile is not supported here")

// FileRegion is a run of bytes in a file. It is the Region that PieceWriter can send.
type FileRegion struct {
	File   vfs.File
	Offset int64
	Length int
	// Release gives back the reference that keeps File open; nil where there is none. PieceWriter does not
	// call it: whoever holds the pieces does, once, when they were sent or dropped (ReleasePieces).
	Release func()
}

// Size returns the length in bytes.
func (r *FileRegion) Size() int { return r.Length }

// ReleasePieces releases the file regions among pieces and forgets them, so that a second call does
// nothing.
func ReleasePieces(pieces []Piece) {
	for i := range pieces {
		if region, ok := pieces[i].Region.(*FileRegion); ok && region.Release != nil {
			region.Release()
		}
		pieces[i] = Piece{}
	}
}

// PieceWriter writes pieces to connections, one call at a time. It keeps a buffer of up to 64 KiB once it
// had to copy, so it belongs to whoever is writing, not to an idle connection. The zero value is ready.
type PieceWriter struct {
	pending  net.Buffers // memory that waits for the next write
	vector   net.Buffers // what net.Buffers.WriteTo consumes
	scratch  []byte      // what pending may point into; nil until needed
	used     int         // bytes of scratch that pending points to
	vectored bool        // conn takes a vector in one system call
	raw      syscall.RawConn
	sender   sender
	attempt  attempt
}

// WritePieces writes pieces to conn with a PieceWriter of its own.
func WritePieces(conn net.Conn, pieces []Piece) (int64, error) {
	var w PieceWriter
	return w.Write(conn, RawOf(conn), pieces)
}

// RawOf returns the descriptor of a TCP connection, nil of any other. It is made anew by each call, so whoever
// writes often keeps it.
func RawOf(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil // closed already, which the first read or write says too
	}
	return raw
}

// Write writes all pieces in order and returns how many bytes went out. It honours the write deadline of
// conn. After an error an unknown part of the answer is with the peer: the connection must be closed. A
// file that ends before its region does is such an error (io.ErrUnexpectedEOF), since the size was
// announced before. The memory of the pieces is the caller's again on return. raw is RawOf(conn).
func (w *PieceWriter) Write(conn net.Conn, raw syscall.RawConn, pieces []Piece) (int64, error) {
	if len(pieces) == 1 && pieces[0].Region == nil {
		n, err := conn.Write(pieces[0].Bytes)
		return int64(n), err
	}
	_, w.vectored = conn.(*net.TCPConn)
	w.raw = raw
	w.reserve(w.copied(pieces))
	defer w.forget()
	var sent int64
	for i := range pieces {
		n, err := w.add(conn, &pieces[i])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	n, err := w.flush(conn)
	return sent + n, err
}

// TryWrite writes pieces of together at most 64 KiB without waiting: as much as the socket takes at once. It
// returns the bytes that are left, which lie in w or in the pieces until either is used again, and are written by
// conn.Write. raw is RawOf(conn), and not nil. Errors are those of Write.
func (w *PieceWriter) TryWrite(raw syscall.RawConn, pieces []Piece) (left []byte, err error) {
	b, err := w.gather(pieces)
	if err != nil {
		return nil, err
	}
	n, err := w.attempt.write(raw, b)
	return b[n:], err
}

// gather returns the bytes of all pieces, copied to scratch unless they are one piece of memory.
func (w *PieceWriter) gather(pieces []Piece) ([]byte, error) {
	if len(pieces) == 1 && pieces[0].Region == nil {
		return pieces[0].Bytes, nil
	}
	w.vectored = false
	size := w.copied(pieces)
	if size > scratchBytes {
		return nil, fmt.Errorf("gather %d bytes: more than %d", size, scratchBytes)
	}
	w.reserve(size)
	at := 0
	for i := range pieces {
		if pieces[i].Region == nil {
			at += copy(w.scratch[at:], pieces[i].Bytes)
			continue
		}
		region, ok := pieces[i].Region.(*FileRegion)
		if !ok {
			return nil, regionTypeError(pieces[i].Region)
		}
		if err := region.readAt(w.scratch[at:at+region.Length], 0); err != nil {
			return nil, err
		}
		at += region.Length
	}
	return w.scratch[:at], nil
}

// copied returns how many bytes of pieces will go through scratch, as far as can be told.
func (w *PieceWriter) copied(pieces []Piece) (n int) {
	for i := range pieces {
		switch region := pieces[i].Region; {
		case region != nil && (!w.vectored || region.Size() < SendfileBytes):
			n += region.Size()
		case region == nil && !w.vectored:
			n += len(pieces[i].Bytes)
		}
	}
	return n
}

// reserve makes scratch, of which nothing is in use, as large as n needs.
func (w *PieceWriter) reserve(n int) {
	if n = min(n, scratchBytes); n > len(w.scratch) {
		w.scratch = make([]byte, n)
	}
}

// add queues one piece or sends it, and returns what it sent, which may be earlier pieces.
func (w *PieceWriter) add(conn net.Conn, p *Piece) (int64, error) {
	if p.Region == nil {
		return w.addBytes(conn, p.Bytes)
	}
	region, ok := p.Region.(*FileRegion)
	if !ok {
		return 0, regionTypeError(p.Region)
	}
	if region.Length < SendfileBytes {
		return w.copyRegion(conn, region)
	}
	sent, err := w.flush(conn)
	if err != nil {
		return sent, err
	}
	n, err := w.sender.send(conn, w.raw, region)
	if errors.Is(err, errNoSendfile) {
		w.reserve(region.Length)
		n, err = w.copyRegion(conn, region)
	}
	return sent + n, err
}

// addBytes queues memory. Where conn takes no vector, short pieces are gathered, so that each does not
// become a write, or a TLS record, of its own.
func (w *PieceWriter) addBytes(conn net.Conn, b []byte) (int64, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if w.vectored {
		w.pending = append(w.pending, b)
		return 0, nil
	}
	if len(b) <= len(w.scratch)-w.used {
		copy(w.grab(len(b)), b)
		return 0, nil
	}
	sent, err := w.flush(conn)
	if err != nil {
		return sent, err
	}
	if len(b) < scratchBytes/2 {
		copy(w.grab(len(b)), b)
		return sent, nil
	}
	n, err := conn.Write(b)
	return sent + int64(n), err
}

// copyRegion queues a region by way of scratch, which holds at least one byte of it.
func (w *PieceWriter) copyRegion(conn net.Conn, r *FileRegion) (int64, error) {
	var sent int64
	for at := 0; at < r.Length; {
		if w.used == len(w.scratch) {
			n, err := w.flush(conn)
			sent += n
			if err != nil {
				return sent, err
			}
		}
		step := min(len(w.scratch)-w.used, r.Length-at)
		if err := r.readAt(w.grab(step), at); err != nil {
			return sent, err
		}
		at += step
	}
	return sent, nil
}

// readAt fills b with bytes of the region from a position in it on.
func (r *FileRegion) readAt(b []byte, at int) error {
	n, err := r.File.ReadAt(b, r.Offset+int64(at))
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return regionError(r, err)
}

// grab takes n bytes of scratch and queues them, in one piece with scratch bytes queued right before.
func (w *PieceWriter) grab(n int) []byte {
	b := w.scratch[w.used : w.used+n]
	last := len(w.pending) - 1
	if last >= 0 && w.used > 0 && &w.pending[last][len(w.pending[last])-1] == &w.scratch[w.used-1] {
		w.pending[last] = w.pending[last][:len(w.pending[last])+n]
	} else {
		w.pending = append(w.pending, b)
	}
	w.used += n
	return b
}

// flush writes what is queued: one writev on TCP.
func (w *PieceWriter) flush(conn net.Conn) (n int64, err error) {
	if w.vectored {
		w.vector = w.pending // WriteTo cuts the slice it is called on, and clears its elements
		n, err = w.vector.WriteTo(conn)
	} else {
		// NB: not net.Buffers here. Given a type that embeds *net.TCPConn it finds the promoted writev and
		// goes past that type's own Write, which may encrypt or count.
		for _, b := range w.pending {
			var m int
			m, err = conn.Write(b)
			n += int64(m)
			if err != nil {
				break
			}
		}
	}
	w.pending, w.used = w.pending[:0], 0
	return n, err
}

// forget drops the references to the caller's memory after an error.
func (w *PieceWriter) forget() {
	clear(w.pending[:cap(w.pending)]) // also what flush left behind its length
	w.pending, w.vector, w.used, w.raw = w.pending[:0], nil, 0, nil
}

func regionTypeError(r Region) error {
	return fmt.Errorf("write a region of type %T: only *netx.FileRegion can be sent", r)
}

func regionError(r *FileRegion, err error) error {
	return fmt.Errorf("send %d bytes at %d of %s: %w", r.Length, r.Offset, r.File.Name(), err)
}
