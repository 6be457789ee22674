// Package kafkaerr turns the error codes of the Kafka protocol into Go errors.
//
// A Code is itself an error, so an owner returns kafkaerr.UnknownTopicOrPartition and a handler
// answers kafkaerr.CodeOf(err). Where the protocol carries a message beside the code, New adds one.
// Floors 3 and up may return these; storage keeps errors of its own, which replica maps once.
package kafkaerr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Code is an error code of the Kafka protocol, as it stands on the wire.
type Code int16

// Error returns the code's Kafka name, as in "UNKNOWN_TOPIC_OR_PARTITION".
func (c Code) Error() string {
	if i := int(c) + 1; i >= 0 && i < len(infos) {
		return infos[i].name
	}
	return "UNKNOWN(" + strconv.Itoa(int(c)) + ")"
}

// Retriable reports whether Kafka's clients retry a request answered with c.
func (c Code) Retriable() bool {
	i := int(c) + 1
	return i >= 0 && i < len(infos) && infos[i].retriable
}

// Error is a code with the message that goes to the client beside it. The message says the cause,
// the setting that decides it and the fix; it never carries a secret.
type Error struct {
	Code    Code
	Message string
}

// New returns a code with a message for the client.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns the code's name and the message.
func (e *Error) Error() string { return e.Code.Error() + ": " + e.Message }

// Unwrap makes errors.Is(err, e.Code) hold.
func (e *Error) Unwrap() error { return e.Code }

// CodeOf returns the code that err carries: None for nil, UnknownServerError for an error that
// carries none (whose text must stay in the log: it may name files or hosts).
func CodeOf(err error) Code {
	if err == nil {
		return None
	}
	var code Code
	if errors.As(err, &code) {
		return code
	}
	return UnknownServerError
}

// maxMessage bounds what MessageOf returns, in bytes. What the client sent may stand in a message, and a string
// of the protocol cannot have more than 32767.
const maxMessage = 2048

// MessageOf returns the message for the client that err carries, or "" where it carries none. One that is
// too long is cut off.
func MessageOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	if len(e.Message) > maxMessage {
		return strings.ToValidUTF8(e.Message[:maxMessage], "") + "..."
	}
	return e.Message
}
