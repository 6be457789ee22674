package netx

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendFile sends a region from the page cache to a TCP connection. The offset is explicit, so readers of
// one file do not meet; the descriptor is only referenced, so its owner may close it meanwhile and the
// kernel keeps it until this returns.
func sendFile(conn net.Conn, r *FileRegion) (int64, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, errNoSendfile
	}
	file, ok := r.File.(syscall.Conn)
	if !ok {
		return 0, errNoSendfile
	}
	src, err := file.SyscallConn()
	if err != nil {
		return 0, regionError(r, err)
	}
	dst, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	offset, remaining := r.Offset, r.Length
	var sendErr, writeErr error
	err = src.Control(func(in uintptr) {
		// Write calls back whenever the socket takes more, until it gets true.
		writeErr = dst.Write(func(out uintptr) bool {
			for remaining > 0 {
				n, err := unix.Sendfile(int(out), int(in), &offset, remaining)
				switch {
				case err == unix.EINTR:
				case err == unix.EAGAIN:
					return false
				case err != nil:
					sendErr = err
					return true
				case n == 0:
					sendErr = io.ErrUnexpectedEOF
					return true
				default:
					remaining -= n
				}
			}
			return true
		})
	})
	sent := int64(r.Length - remaining)
	switch {
	case err != nil:
		return sent, regionError(r, os.ErrClosed) // Control fails for no other reason
	case writeErr != nil:
		return sent, &net.OpError{Op: "sendfile", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: unwrapOp(writeErr)}
	case sendErr == unix.EINVAL || sendErr == unix.ENOSYS || sendErr == unix.EOPNOTSUPP:
		if sent == 0 {
			return 0, errNoSendfile // a file system without splice
		}
	}
	if sendErr != nil {
		return sent, regionError(r, sendErr)
	}
	return sent, nil
}

// unwrapOp takes the inner error of a net.OpError, so that it is not wrapped twice.
func unwrapOp(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
