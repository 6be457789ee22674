package netx

import "net"

// WaitReadable waits until a Read of conn would not wait: bytes, the end of the stream, or an error that
// Read will return. An idle connection so costs a goroutine and no buffer. It honours the read deadline
// and returns net.ErrClosed when conn is closed here.
//
// It can wait on TCP connections of unix systems and on those that have a WaitReadable method, as the ones
// of this package. On any other (TLS, which may hold decrypted bytes that the socket does not show) it
// returns nil at once, and the caller's Read waits.
func WaitReadable(conn net.Conn) error {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return waitReadable(conn)
	case interface{ WaitReadable() error }:
		return conn.WaitReadable()
	}
	return nil
}
