package netx

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sender sends regions by sendfile(2). It holds what its callbacks work on, so that they are bound once and
// a region costs no allocation.
type sender struct {
	dst       syscall.RawConn
	in        int
	offset    int64
	remaining int
	sendErr   error // sendfile's
	writeErr  error // the connection's

	onSource func(in uintptr)
	onSocket func(out uintptr) bool
}

// send sends a region from the page cache to a TCP connection, whose descriptor raw is. The offset is explicit,
// so readers of one file do not meet; the file's descriptor is only referenced, so its owner may close it
// meanwhile and the kernel keeps it until this returns.
func (s *sender) send(conn net.Conn, raw syscall.RawConn, r *FileRegion) (int64, error) {
	file, ok := r.File.(syscall.Conn)
	if !ok || raw == nil {
		return 0, errNoSendfile
	}
	src, err := file.SyscallConn()
	if err != nil {
		return 0, regionError(r, err)
	}
	if s.onSource == nil {
		s.onSource, s.onSocket = s.holdSource, s.toSocket
	}
	s.dst, s.offset, s.remaining, s.sendErr, s.writeErr = raw, r.Offset, r.Length, nil, nil
	err = src.Control(s.onSource)
	s.dst = nil
	sent := int64(r.Length - s.remaining)
	switch {
	case err != nil:
		return sent, regionError(r, os.ErrClosed) // Control fails for no other reason
	case s.writeErr != nil:
		return sent, &net.OpError{Op: "sendfile", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: unwrapOp(s.writeErr)}
	case s.sendErr == unix.EINVAL || s.sendErr == unix.ENOSYS || s.sendErr == unix.EOPNOTSUPP:
		if sent == 0 {
			return 0, errNoSendfile // a file system without splice
		}
	}
	if s.sendErr != nil {
		return sent, regionError(r, s.sendErr)
	}
	return sent, nil
}

// holdSource runs while the file's descriptor is held.
func (s *sender) holdSource(in uintptr) {
	s.in = int(in)
	s.writeErr = s.dst.Write(s.onSocket)
}

// toSocket is called again whenever the socket takes more, until it returns true.
func (s *sender) toSocket(out uintptr) bool {
	for s.remaining > 0 {
		n, err := unix.Sendfile(int(out), s.in, &s.offset, s.remaining)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			s.sendErr = err
			return true
		case n == 0:
			s.sendErr = io.ErrUnexpectedEOF
			return true
		default:
			s.remaining -= n
		}
	}
	return true
}

// unwrapOp takes the inner error of a net.OpError, so that it is not wrapped twice.
func unwrapOp(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
