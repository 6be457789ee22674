//go:build !linux

package netx

import "net"

// sendFile says that this platform copies.
func sendFile(net.Conn, *FileRegion) (int64, error) { return 0, errNoSendfile }
