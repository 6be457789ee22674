package server

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator may set before the start; what can change later is in Limits. The zero value
// of a field stands for its default.
type Config struct {
	// SocketRequestMaxBytes caps a Produce request (socket.request.max.bytes; default 100 MiB).
	SocketRequestMaxBytes int
	// FrameCap caps every other request (default 16 MiB, at most SocketRequestMaxBytes). Kafka has one
	// cap for all; no other request of a well-behaved client comes near this one.
	FrameCap int
	// PreAuthFrameCap caps a request on a SASL listener before authentication (default 512 KiB, Kafka's
	// sasl.server.max.receive.size).
	PreAuthFrameCap int
	// QueuedMaxRequestBytes bounds the request bytes held by all connections (queued.max.request.bytes;
	// default 256 MiB: the node sets a quarter of its memory limit).
	QueuedMaxRequestBytes int64
	// SmallFrameReserve is the part of QueuedMaxRequestBytes that buffers above 64 KiB cannot take
	// (default a quarter, at most 32 MiB). A frame that grows holds two buffers for a moment: the largest
	// one that can be served is about a third of the rest.
	SmallFrameReserve int64
	// StreamAbove is the size above which a request of an API that has a Stream is decoded while it arrives
	// (default 1 MiB).
	StreamAbove int
	// MaxInFlight bounds the requests of one connection that are read and not yet answered (default 256).
	// At the bound the server stops reading the connection.
	MaxInFlight int
	// ReadAheadBytes bounds the bytes of one connection's requests that are read and not yet started
	// (default 1 MiB; one request may exceed it).
	ReadAheadBytes int

	// ConnectionsMaxIdle closes a connection that neither asks nor waits for an answer
	// (connections.max.idle.ms; default 10 min).
	ConnectionsMaxIdle time.Duration
	// HandshakeTimeout bounds a TLS handshake, and on SASL listeners the whole authentication (default
	// 10 s).
	HandshakeTimeout time.Duration
	// HeaderTimeout is the time a request may take beyond what MinBodyRate allows for its bytes (default
	// 10 s).
	HeaderTimeout time.Duration
	// MinBodyRate is the rate in bytes per second below which neither request nor answer may fall for
	// longer than HeaderTimeout or WriteTimeout (default 4 KiB/s).
	MinBodyRate int
	// WriteTimeout is the time the write of answers may take beyond what MinBodyRate allows (default 30 s).
	WriteTimeout time.Duration
	// SendBuffer and RecvBuffer are the socket buffers in bytes (socket.send.buffer.bytes,
	// socket.receive.buffer.bytes; 0 or -1 leaves them to the system, but the send buffer to a peer on this machine is 256 KiB then).
	SendBuffer, RecvBuffer int
}

// withDefaults returns the config with every unset field at its default.
func (c Config) withDefaults() Config {
	set(&c.SocketRequestMaxBytes, 100<<20)
	set(&c.FrameCap, min(16<<20, c.SocketRequestMaxBytes))
	set(&c.PreAuthFrameCap, 512<<10)
	set(&c.QueuedMaxRequestBytes, 256<<20)
	set(&c.SmallFrameReserve, min(c.QueuedMaxRequestBytes/4, 32<<20))
	set(&c.StreamAbove, 1<<20)
	set(&c.MaxInFlight, 256)
	set(&c.ReadAheadBytes, 1<<20)
	set(&c.ConnectionsMaxIdle, 10*time.Minute)
	set(&c.HandshakeTimeout, 10*time.Second)
	set(&c.HeaderTimeout, 10*time.Second)
	set(&c.MinBodyRate, 4<<10)
	set(&c.WriteTimeout, 30*time.Second)
	return c
}

func set[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate returns every fault, joined: field, value, bound.
func (c Config) Validate() error {
	var errs []error
	atLeast := func(field string, value, bound int64) {
		if value < bound {
			errs = append(errs, fmt.Errorf("%s is %d, must be at least %d", field, value, bound))
		}
	}
	c = c.withDefaults()
	atLeast("SocketRequestMaxBytes", int64(c.SocketRequestMaxBytes), minFrame)
	atLeast("FrameCap", int64(c.FrameCap), minFrame)
	atLeast("PreAuthFrameCap", int64(c.PreAuthFrameCap), minFrame)
	atLeast("QueuedMaxRequestBytes", c.QueuedMaxRequestBytes, 1<<20)
	atLeast("SmallFrameReserve", c.SmallFrameReserve, 64<<10)
	atLeast("StreamAbove", int64(c.StreamAbove), minFrame)
	atLeast("MaxInFlight", int64(c.MaxInFlight), 1)
	atLeast("ReadAheadBytes", int64(c.ReadAheadBytes), 1)
	atLeast("ConnectionsMaxIdle", int64(c.ConnectionsMaxIdle), int64(time.Millisecond))
	atLeast("HandshakeTimeout", int64(c.HandshakeTimeout), int64(time.Millisecond))
	atLeast("HeaderTimeout", int64(c.HeaderTimeout), int64(time.Millisecond))
	atLeast("MinBodyRate", int64(c.MinBodyRate), 1)
	atLeast("WriteTimeout", int64(c.WriteTimeout), int64(time.Millisecond))
	if c.SmallFrameReserve > c.QueuedMaxRequestBytes {
		errs = append(errs, fmt.Errorf("SmallFrameReserve is %d, must be at most QueuedMaxRequestBytes %d",
			c.SmallFrameReserve, c.QueuedMaxRequestBytes))
	}
	if c.FrameCap > c.SocketRequestMaxBytes {
		errs = append(errs, fmt.Errorf("FrameCap is %d, must be at most SocketRequestMaxBytes %d",
			c.FrameCap, c.SocketRequestMaxBytes))
	}
	return errors.Join(errs...)
}
