package wire

import (
	"errors"
	"fmt"
	"math"
)

// Key is the number of an API. The constants KeyProduce and so on are the keys this package knows.
type Key int16

// VersionRange is what versions of an API this package encodes and decodes.
type VersionRange struct {
	Min, Max      int16
	FirstFlexible int16 // NoFlexible if there is none
}

// NoFlexible is the FirstFlexible of an API none of whose versions is flexible.
const NoFlexible = math.MaxInt16

// Contains reports whether version is in the range.
func (v VersionRange) Contains(version int16) bool { return v.Min <= version && version <= v.Max }

// Message is a request or a response.
type Message interface {
	// Key returns the API that the message belongs to.
	Key() Key
	// Reset sets every field to Kafka's preset and keeps the capacity of slices.
	Reset()
	// Decode resets the message and reads it; the error is in r, and after one the fields mean nothing.
	Decode(r *Reader, version int16)
	// Encode writes the message; the error is in w.
	Encode(w *Writer, version int16)
}

// Request is what a client sends.
type Request interface {
	Message
	isRequest()
}

// Response is what a broker answers.
type Response interface {
	Message
	isResponse()
}

// Tag is a tagged field that this package does not know at the version at hand.
type Tag struct {
	ID   uint32
	Data []byte // aliases the frame
}

// Tags are the unknown tagged fields of a struct, in the order of the frame. They are kept and encoded
// again, so that a message may pass through.
type Tags []Tag

// Records is the record data of a response: in memory or in a file.
type Records struct {
	Bytes  []byte
	Region Region
}

// Nil reports whether r is null: neither in memory nor in a file.
func (r Records) Nil() bool { return r.Bytes == nil && r.Region == nil }

// Size returns the length in bytes.
func (r Records) Size() int {
	if r.Region != nil {
		return r.Region.Size()
	}
	return len(r.Bytes)
}

// ErrTrailingBytes is in the chain of DecodeRequest's error for a body that is longer than its message.
// The message is decoded all the same.
var ErrTrailingBytes = errors.New("bytes left over after the message")

// DecodeRequest decodes the body that follows a request header into m. Every error but ErrTrailingBytes
// leaves m meaningless. (Kafka's broker overlooks trailing bytes, and so does this one.)
func DecodeRequest(r *Reader, m Request, version int16) error {
	m.Decode(r, version)
	if err := r.Err(); err != nil {
		return fmt.Errorf("decode %v request version %d: %w", m.Key(), version, err)
	}
	if n := r.Remaining(); n > 0 {
		return fmt.Errorf("decode %v request version %d: %w: %d", m.Key(), version, ErrTrailingBytes, n)
	}
	return nil
}

// Add appends an element with Kafka's presets to s and returns it, reusing what s has room for. The
// pointer is valid until the next Add to s.
func Add[T any, P interface {
	*T
	Reset()
}](s *[]T) P {
	if n := len(*s); n < cap(*s) {
		*s = (*s)[:n+1]
	} else {
		var zero T
		*s = append(*s, zero)
	}
	element := P(&(*s)[len(*s)-1])
	element.Reset()
	return element
}

// orEmpty cuts s to nothing and keeps it from being nil, which would be null.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s[:0]
}
