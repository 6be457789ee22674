package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"

	"github.com/walser-io/walser/internal/wire"
)

// Why a connection was closed: the cause of its requests' contexts.
var (
	errHangUp       = errors.New("peer hung up")
	errIdle         = errors.New("connection idle for too long")
	errSlowSender   = errors.New("request arrives too slowly")
	errSlowReader   = errors.New("answers are read too slowly")
	errAuthTimeout  = errors.New("authentication takes too long")
	errHandshake    = errors.New("TLS handshake failed")
	errShed         = errors.New("request bytes are out, and this connection holds many and sends few")
	errBudget       = errors.New("request bytes are out")
	errShutdown     = errors.New("server shuts down")
	errHandlerPanic = errors.New("handler panicked")
	errUnanswered   = errors.New("handler said Done without an answer")

	errFrameSize          = errors.New("bad frame size")
	errUnknownKey         = errors.New("unknown api key")
	errUnsupportedVersion = errors.New("unsupported version")
	errNotAuthenticated   = errors.New("request before authentication")
	errMalformed          = errors.New("malformed request")
)

// closeReasons names the causes for the metric, in the order in which they are looked for. The quiet
// ones are everyday business.
var closeReasons = [...]struct {
	cause error
	label string
	quiet bool
}{
	{errHangUp, "hang_up", true},
	{errShutdown, "shutdown", true},
	{ErrClosed, "shutdown", true},
	{context.Canceled, "shutdown", true},
	{errIdle, "idle", true},
	{io.EOF, "hang_up", true},
	{io.ErrUnexpectedEOF, "hang_up", true},
	{io.ErrClosedPipe, "hang_up", true},
	{net.ErrClosed, "hang_up", true},
	{syscall.ECONNRESET, "hang_up", true},
	{syscall.EPIPE, "hang_up", true},
	{syscall.ETIMEDOUT, "hang_up", true},
	{errSlowSender, "slow_sender", false},
	{errSlowReader, "slow_reader", false},
	{errAuthTimeout, "authentication_timeout", false},
	{errHandshake, "tls_handshake", false},
	{errShed, "memory", false},
	{errBudget, "memory", false},
	{errHandlerPanic, "panic", false},
	{errUnanswered, "panic", false},
	{errFrameSize, "frame_size", false},
	{errUnknownKey, "unknown_key", false},
	{errUnsupportedVersion, "unsupported_version", false},
	{errNotAuthenticated, "not_authenticated", false},
	{errMalformed, "malformed", false},
	{os.ErrDeadlineExceeded, "timeout", false},
}

// closeReason returns the metric's label for a cause and whether it is everyday business.
func closeReason(cause error) (label string, quiet bool) {
	for _, r := range closeReasons {
		if errors.Is(cause, r.cause) {
			return r.label, r.quiet
		}
	}
	return "other", false
}

// quiet reports whether a connection that ended for this cause ended in an everyday way.
func quiet(cause error) bool {
	_, quiet := closeReason(cause)
	return quiet
}

// noteClosed counts a connection that was closed, and logs the cause where it is the peer's fault or ours.
func (s *Server) noteClosed(c *Conn, cause error) {
	label, quiet := closeReason(cause)
	s.metrics.closed.WithLabelValues(label).Inc()
	level := slog.LevelDebug
	attrs := []any{"listener", c.listener.Name, "peer", c.remote, "reason", label, "err", cause}
	if !quiet {
		held, ok := s.faults.allow(s.now())
		if !ok {
			return
		}
		level = slog.LevelWarn
		attrs = append(attrs, "held_back", held)
	}
	if e, ok := errors.AsType[*requestError](cause); ok {
		attrs = append(attrs, "api", int(e.key), "version", e.version)
	}
	s.log.Log(context.Background(), level, "connection closed", attrs...)
}

// noteRefused counts and logs a connection that was not let in.
func (s *Server) noteRefused(conn net.Conn, info ListenerInfo, cause error) {
	s.metrics.refused.Inc()
	if held, ok := s.faults.allow(s.now()); ok {
		s.log.Warn("connection refused", "listener", info.Name, "peer", conn.RemoteAddr().String(),
			"err", cause, "held_back", held)
	}
}

// requestError says which request closed the connection, and why. Key and version are -1 where the frame
// did not come to them.
type requestError struct {
	key     wire.Key
	version int16
	err     error
}

func (e *requestError) Error() string { return e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }
