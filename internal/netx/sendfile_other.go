//go:build !linux

package netx

import (
	"net"
	"syscall"
)

// sender says that this platform copies.
type sender struct{}

func (*sender) send(net.Conn, syscall.RawConn, *FileRegion) (int64, error) { return 0, errNoSendfile }
