package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/walser-io/walser/internal/model"
)

// ErrMalformed is in the chain of every error that a Reader reports for bytes that are not a message:
// the peer is answered by closing its connection.
var ErrMalformed = errors.New("malformed message")

// ErrMemory is in the chain of the error for a message whose memory nobody pays for; see ChargeTo.
var ErrMemory = errors.New("no memory for the message")

// ErrUnsupportedVersion is in the chain of the error for a version outside a message's range.
var ErrUnsupportedVersion = errors.New("unsupported version")

const (
	maxStringSize = math.MaxInt16
	tagSize       = int(unsafe.Sizeof(Tag{}))
	pointeeSize   = int(unsafe.Sizeof(""))

	// What decoding a frame may allocate: heapPerByte × frame + heapSlack. The structs of the protocol
	// need up to 29 bytes per byte (topics with empty names).
	heapPerByte = 32
	heapSlack   = 64 << 10
)

// Reader decodes one frame. Its first fault sticks: every later call returns zero values, so decoders
// run straight on and their caller checks Err once. It never allocates by a size that the frame
// announces but does not hold. The zero value is an empty frame; a Reader is reused with Reset.
type Reader struct {
	buf  []byte
	off  int
	end  int // of the frame, or of the tagged field that is being read
	heap int // bytes that may still be allocated
	free int // the part of them that nobody is asked to pay for
	pay  func(bytes int) bool
	err  error
}

// Reset makes b the frame. What is decoded from it may alias it.
func (r *Reader) Reset(b []byte) {
	*r = Reader{buf: b, end: len(b), heap: heapPerByte*len(b) + heapSlack, free: heapSlack}
}

// ChargeTo has pay asked for what is about to be allocated beyond 64 KiB, before it is, a multiple of 64 KiB at a
// time. Where it returns false the message does not decode: ErrMemory. Reset ends it.
func (r *Reader) ChargeTo(pay func(bytes int) bool) { r.pay = pay }

// Err returns the first fault, or nil.
func (r *Reader) Err() error { return r.err }

// Remaining returns how many bytes are left; 0 after a fault.
func (r *Reader) Remaining() int { return r.end - r.off }

// fault records the first error and leaves nothing to read.
func (r *Reader) fault(kind error, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format+" (at byte %d)", append(append([]any{kind}, args...), r.off)...)
	}
	r.buf, r.off, r.end = nil, 0, 0
}

// short records that n bytes were wanted and are not there.
func (r *Reader) short(n int) {
	r.fault(ErrMalformed, "%d bytes wanted, %d left", n, r.end-r.off)
}

// span returns the next n bytes, or nil after a fault. Its capacity is cut, so that an append by the
// holder cannot reach into the frame.
func (r *Reader) span(n int) []byte {
	if n < 0 || n > r.end-r.off {
		r.short(n)
		return nil
	}
	b := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// charge accounts for n elements of size bytes that are about to be allocated.
func (r *Reader) charge(n, size int) bool {
	if r.heap -= n * size; r.heap < 0 { // n is bounded by the frame, so the product does not overflow
		r.fault(ErrMalformed, "needs %d bytes of memory more than its size allows", -r.heap)
		return false
	}
	if r.free -= n * size; r.free < 0 && r.pay != nil {
		due := (-r.free + heapSlack - 1) / heapSlack * heapSlack
		if !r.pay(due) {
			r.fault(ErrMemory, "%d bytes", due)
			return false
		}
		r.free += due
	}
	return true
}

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if r.end-r.off < 1 {
		r.short(1)
		return 0
	}
	r.off++
	return int8(r.buf[r.off-1])
}

// Int16 reads two bytes, big-endian as everything here.
func (r *Reader) Int16() int16 { return int16(r.Uint16()) }

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if r.end-r.off < 2 {
		r.short(2)
		return 0
	}
	r.off += 2
	return binary.BigEndian.Uint16(r.buf[r.off-2:])
}

// Int32 reads four bytes.
func (r *Reader) Int32() int32 {
	if r.end-r.off < 4 {
		r.short(4)
		return 0
	}
	r.off += 4
	return int32(binary.BigEndian.Uint32(r.buf[r.off-4:]))
}

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if r.end-r.off < 8 {
		r.short(8)
		return 0
	}
	r.off += 8
	return int64(binary.BigEndian.Uint64(r.buf[r.off-8:]))
}

// Float64 reads eight bytes of IEEE 754.
func (r *Reader) Float64() float64 { return math.Float64frombits(uint64(r.Int64())) }

// Bool reads one byte; any value but 0 is true.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// UUID reads sixteen bytes.
func (r *Reader) UUID() model.UUID {
	if b := r.span(16); b != nil {
		return model.UUID(b)
	}
	return model.UUID{}
}

// Uvarint reads an unsigned varint of at most 5 bytes and 32 bits.
func (r *Reader) Uvarint() uint32 {
	v := r.uvarint(5)
	if v > math.MaxUint32 {
		r.fault(ErrMalformed, "varint %d exceeds 32 bits", v)
		return 0
	}
	return uint32(v)
}

// Varint reads a zigzag varint of at most 5 bytes and 32 bits.
func (r *Reader) Varint() int32 {
	v := r.Uvarint()
	return int32(v>>1) ^ -int32(v&1)
}

// Varlong reads a zigzag varint of at most 10 bytes and 64 bits.
func (r *Reader) Varlong() int64 {
	v := r.uvarint(10)
	return int64(v>>1) ^ -int64(v&1)
}

func (r *Reader) uvarint(maxBytes int) uint64 {
	if r.off < r.end && r.buf[r.off] < 0x80 { // nearly all of them
		r.off++
		return uint64(r.buf[r.off-1])
	}
	var v uint64
	for i := range min(maxBytes, r.end-r.off) {
		b := r.buf[r.off+i]
		if i == 9 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.off += i + 1
			return v
		}
	}
	r.fault(ErrMalformed, "varint does not end within %d bytes", min(maxBytes, r.end-r.off))
	return 0
}

// String reads a string with an int16 length.
func (r *Reader) String() string { return r.text(false) }

// NullableString reads a string with an int16 length, -1 for null.
func (r *Reader) NullableString() *string { return r.textOrNil(false, true) }

// CompactString reads a string of a flexible version.
func (r *Reader) CompactString() string { return r.text(true) }

// CompactNullableString reads a string of a flexible version that may be null.
func (r *Reader) CompactNullableString() *string { return r.textOrNil(true, true) }

// Bytes reads bytes with an int32 length. They alias the frame.
func (r *Reader) Bytes() []byte { return r.blob(false, false) }

// NullableBytes reads bytes with an int32 length, -1 for null. They alias the frame.
func (r *Reader) NullableBytes() []byte { return r.blob(false, true) }

// CompactBytes reads bytes of a flexible version. They alias the frame.
func (r *Reader) CompactBytes() []byte { return r.blob(true, false) }

// CompactNullableBytes reads bytes of a flexible version that may be null. They alias the frame.
func (r *Reader) CompactNullableBytes() []byte { return r.blob(true, true) }

// ArrayLen reads the count of an array whose elements take at least minSize bytes each: -1 for null,
// which is a fault unless nullable. A count that the remaining bytes cannot hold is a fault.
func (r *Reader) ArrayLen(nullable bool, minSize int) int {
	return r.arrayLen(false, nullable, minSize)
}

// CompactArrayLen is ArrayLen for a flexible version.
func (r *Reader) CompactArrayLen(nullable bool, minSize int) int {
	return r.arrayLen(true, nullable, minSize)
}

// Tags reads the tagged fields at the end of a struct, all of them unknown, into dst's capacity.
func (r *Reader) Tags(dst Tags) Tags { return r.tags(dst, true) }

// tags is Tags in a flexible version and nothing in others.
func (r *Reader) tags(dst Tags, flexible bool) Tags {
	dst = dst[:0]
	n := r.tagCount(flexible)
	for range n {
		id, outer := r.beginTag()
		dst = r.keepTag(dst, id, n)
		r.endTag(outer)
	}
	return dst
}

// length turns a length or count as read into one in range, with -1 for null.
func (r *Reader) length(v int64, nullable bool, what string, limit int) int {
	switch {
	case r.err != nil:
		return 0
	case v == -1 && nullable:
		return -1
	case v == -1:
		r.fault(ErrMalformed, "null %s where the version does not allow it", what)
		return 0
	case v < 0 || v > int64(limit):
		r.fault(ErrMalformed, "%s of length %d where at most %d is possible", what, v, limit)
		return 0
	}
	return int(v)
}

// nameLen reads the length of a string: an int16, or in flexible versions a varint one above it.
func (r *Reader) nameLen(flexible, nullable bool) int {
	var v int64
	if flexible {
		v = int64(r.Uvarint()) - 1
	} else {
		v = int64(r.Int16())
	}
	return r.length(v, nullable, "string", min(maxStringSize, r.Remaining()))
}

// text copies a string that is never null.
func (r *Reader) text(flexible bool) string {
	n := r.nameLen(flexible, false)
	if !r.charge(n, 1) {
		return ""
	}
	return string(r.span(n))
}

// textOrNil copies a string that may be null where the version says so.
func (r *Reader) textOrNil(flexible, nullable bool) *string {
	n := r.nameLen(flexible, nullable)
	if r.err != nil || n < 0 || !r.charge(1, pointeeSize+n) {
		return nil
	}
	s := string(r.span(n))
	return &s
}

// name reads a string without copying it; nil is null.
func (r *Reader) name(flexible, nullable bool) []byte {
	if n := r.nameLen(flexible, nullable); n >= 0 {
		return r.span(n)
	}
	return nil
}

// blob reads bytes without copying them; nil is null.
func (r *Reader) blob(flexible, nullable bool) []byte {
	var v int64
	if flexible {
		v = int64(r.Uvarint()) - 1
	} else {
		v = int64(r.Int32())
	}
	if n := r.length(v, nullable, "bytes", r.Remaining()); n >= 0 {
		return r.span(n)
	}
	return nil
}

func (r *Reader) records(flexible, nullable bool) Records {
	return Records{Bytes: r.blob(flexible, nullable)}
}

func (r *Reader) arrayLen(flexible, nullable bool, minSize int) int {
	var v int64
	if flexible {
		v = int64(r.Uvarint()) - 1
	} else {
		v = int64(r.Int32())
	}
	return r.length(v, nullable, "array", r.Remaining()/minSize)
}

// present reads the byte that precedes a nullable struct: 1, or -1 for null. As in Kafka any negative
// value is null.
func (r *Reader) present() bool { return r.Int8() >= 0 && r.err == nil }

// tagCount reads the count of tagged fields, each of which takes two bytes at least; versions that are
// not flexible have none.
func (r *Reader) tagCount(flexible bool) int {
	if !flexible {
		return 0
	}
	return r.length(int64(r.Uvarint()), false, "list of tagged fields", r.Remaining()/2)
}

// beginTag reads the id and size of a tagged field and narrows the reader to it. endTag(outer) ends it.
func (r *Reader) beginTag() (id uint32, outer int) {
	id = r.Uvarint()
	size := r.length(int64(r.Uvarint()), false, "tagged field", r.Remaining())
	outer = r.end
	r.end = r.off + size
	return id, outer
}

func (r *Reader) endTag(outer int) {
	if r.err != nil {
		return
	}
	if r.off != r.end {
		r.fault(ErrMalformed, "%d bytes left over in a tagged field", r.end-r.off)
		return
	}
	r.end = outer
}

// keepTag keeps the tagged field that beginTag opened, whose meaning this version does not know. The
// struct has n tagged fields in all: room for so many is made at once, since growing by appends would
// allocate a multiple of what is charged.
func (r *Reader) keepTag(tags Tags, id uint32, n int) Tags {
	data := r.span(r.Remaining())
	if len(tags) == 0 && r.charge(n, tagSize) {
		tags = slices.Grow(tags, n)
	}
	if r.err != nil {
		return tags
	}
	return append(tags, Tag{ID: id, Data: data})
}

// refuseTag faults a known tagged field in a version that does not have it, as Kafka does.
func (r *Reader) refuseTag(id uint32, version int16) {
	r.fault(ErrMalformed, "tagged field %d, which version %d does not have", id, version)
}

// checkVersion faults the reader unless lo <= version <= hi.
func (r *Reader) checkVersion(message string, version, lo, hi int16) bool {
	if version < lo || version > hi {
		r.fault(ErrUnsupportedVersion, "%s version %d, known are %d to %d", message, version, lo, hi)
		return false
	}
	return true
}

// pointee allocates what a nullable struct points to.
// It is never nil, so that decoders run on after a fault.
func pointee[T any](r *Reader) *T {
	var v T
	r.charge(1, int(unsafe.Sizeof(v)))
	return &v
}

// array reads a count and returns s with that many elements, or nil for null. Elements that s already
// had keep what they hold, slices above all: the caller decodes into them.
func array[T any](r *Reader, s []T, flexible, nullable bool, minSize int) []T {
	n := r.arrayLen(flexible, nullable, minSize)
	if n < 0 {
		return nil
	}
	var element T
	if !r.charge(n, int(unsafe.Sizeof(element))) {
		return s[:0]
	}
	switch {
	case s == nil:
		return make([]T, n) // not nil even where n is 0
	case n <= cap(s):
		return s[:n]
	}
	grown := make([]T, n)
	copy(grown, s[:cap(s)])
	return grown
}

func (r *Reader) int8s(s []int8, flexible, nullable bool) []int8 {
	s = array(r, s, flexible, nullable, 1)
	for i := range s {
		s[i] = r.Int8()
	}
	return s
}

func (r *Reader) int16s(s []int16, flexible, nullable bool) []int16 {
	s = array(r, s, flexible, nullable, 2)
	for i := range s {
		s[i] = r.Int16()
	}
	return s
}

func (r *Reader) int32s(s []int32, flexible, nullable bool) []int32 {
	s = array(r, s, flexible, nullable, 4)
	b := r.span(4 * len(s))
	for i := range len(b) / 4 {
		s[i] = int32(binary.BigEndian.Uint32(b[4*i:]))
	}
	return s
}

func (r *Reader) int64s(s []int64, flexible, nullable bool) []int64 {
	s = array(r, s, flexible, nullable, 8)
	for i := range s {
		s[i] = r.Int64()
	}
	return s
}

func (r *Reader) texts(s []string, flexible, nullable bool) []string {
	minSize := 2
	if flexible {
		minSize = 1
	}
	s = array(r, s, flexible, nullable, minSize)
	for i := range s {
		s[i] = r.text(flexible)
	}
	return s
}
