//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package netx

import "net"

// waitReadable leaves the waiting to Read.
func waitReadable(*net.TCPConn) error { return nil }
