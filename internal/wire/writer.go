package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/walser-io/walser/internal/model"
)

// ErrUnencodable is in the chain of every error of a Writer: the message holds something that the
// version cannot carry. It is a fault of the caller, never of a peer.
var ErrUnencodable = errors.New("unencodable message")

// copyBelow is the size in bytes below which record data is copied into the buffer: a piece of its own
// costs more than the copy.
const copyBelow = 32 << 10

// Region is a run of bytes that lies in a file. The network layer knows how to send the concrete type.
type Region interface {
	// Size returns the length of the run in bytes.
	Size() int
}

// Piece is a part of an encoding: exactly one of its fields is set.
type Piece struct {
	Bytes  []byte
	Region Region
}

// Writer encodes. Its first fault sticks; what was written then is not to be sent. Record data of 32 KiB
// and more, and every Region, is not copied but cuts the encoding into pieces. The zero value is ready;
// Reset keeps the memory for the next message.
type Writer struct {
	buf     []byte
	cuts    []cut
	cutSize int // bytes of all cuts
	err     error
}

// cut is a piece that stands between buf[:at] and buf[at:].
type cut struct {
	at    int
	piece Piece
}

// Reset forgets what was written and keeps the memory. Pieces and Bytes given out before are invalid.
func (w *Writer) Reset() {
	clear(w.cuts)
	*w = Writer{buf: w.buf[:0], cuts: w.cuts[:0]}
}

// Err returns the first fault, or nil.
func (w *Writer) Err() error { return w.err }

// Size returns how many bytes were written, those of all pieces included.
func (w *Writer) Size() int { return len(w.buf) + w.cutSize }

// Buffered returns how many bytes of memory the encoding takes: all but its cuts.
func (w *Writer) Buffered() int { return len(w.buf) }

// Bytes returns the whole encoding, valid until the next call of Reset or a method that writes. It
// copies where record data was cut out, and returns nil where a Region was written.
func (w *Writer) Bytes() []byte {
	if len(w.cuts) == 0 {
		return w.buf
	}
	if slices.ContainsFunc(w.cuts, func(c cut) bool { return c.piece.Region != nil }) {
		return nil
	}
	whole := make([]byte, 0, w.Size())
	for _, p := range w.Pieces(nil) {
		whole = append(whole, p.Bytes...)
	}
	return whole
}

// Pieces appends the encoding to dst, in order. The pieces are valid until Reset.
func (w *Writer) Pieces(dst []Piece) []Piece {
	from := 0
	for _, c := range w.cuts {
		if c.at > from {
			dst = append(dst, Piece{Bytes: w.buf[from:c.at:c.at]})
		}
		dst = append(dst, c.piece)
		from = c.at
	}
	if from < len(w.buf) {
		dst = append(dst, Piece{Bytes: w.buf[from:len(w.buf):len(w.buf)]})
	}
	return dst
}

func (w *Writer) fault(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: "+format, append([]any{ErrUnencodable}, args...)...)
	}
}

// Int8 writes one byte.
func (w *Writer) Int8(v int8) { w.buf = append(w.buf, byte(v)) }

// Int16 writes two bytes, big-endian as everything here.
func (w *Writer) Int16(v int16) { w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(v)) }

// Uint16 writes two bytes.
func (w *Writer) Uint16(v uint16) { w.buf = binary.BigEndian.AppendUint16(w.buf, v) }

// Int32 writes four bytes.
func (w *Writer) Int32(v int32) { w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(v)) }

// Int64 writes eight bytes.
func (w *Writer) Int64(v int64) { w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(v)) }

// Float64 writes eight bytes of IEEE 754.
func (w *Writer) Float64(v float64) { w.Int64(int64(math.Float64bits(v))) }

// Bool writes one byte, 0 or 1.
func (w *Writer) Bool(v bool) {
	if v {
		w.buf = append(w.buf, 1)
	} else {
		w.buf = append(w.buf, 0)
	}
}

// UUID writes sixteen bytes.
func (w *Writer) UUID(v model.UUID) { w.buf = append(w.buf, v[:]...) }

// Uvarint writes an unsigned varint.
func (w *Writer) Uvarint(v uint32) { w.buf = binary.AppendUvarint(w.buf, uint64(v)) }

// Varint writes a zigzag varint of 32 bits.
func (w *Writer) Varint(v int32) { w.buf = binary.AppendVarint(w.buf, int64(v)) }

// Varlong writes a zigzag varint of 64 bits.
func (w *Writer) Varlong(v int64) { w.buf = binary.AppendVarint(w.buf, v) }

// String writes a string with an int16 length.
func (w *Writer) String(s string) { w.text(s, false) }

// NullableString writes a string with an int16 length, -1 for nil.
func (w *Writer) NullableString(s *string) { w.textOrNil(s, false, true) }

// CompactString writes a string of a flexible version.
func (w *Writer) CompactString(s string) { w.text(s, true) }

// CompactNullableString writes a string of a flexible version; nil is null.
func (w *Writer) CompactNullableString(s *string) { w.textOrNil(s, true, true) }

// Blob writes bytes with an int32 length; nil is empty.
func (w *Writer) Blob(b []byte) { w.blob(b, false, false) }

// NullableBlob writes bytes with an int32 length, -1 for nil.
func (w *Writer) NullableBlob(b []byte) { w.blob(b, false, true) }

// CompactBlob writes bytes of a flexible version; nil is empty.
func (w *Writer) CompactBlob(b []byte) { w.blob(b, true, false) }

// CompactNullableBlob writes bytes of a flexible version; nil is null.
func (w *Writer) CompactNullableBlob(b []byte) { w.blob(b, true, true) }

// ArrayLen writes the count of an array, -1 for null.
func (w *Writer) ArrayLen(n int) { w.count(n, false) }

// CompactArrayLen writes the count of an array of a flexible version, -1 for null.
func (w *Writer) CompactArrayLen(n int) { w.count(n, true) }

// Tags writes the tagged fields at the end of a struct that has none of its own.
func (w *Writer) Tags(tags Tags) { w.tags(tags, true) }

// SetInt32 overwrites the four bytes at offset at, for a size that is known only afterwards. They must
// lie before the first piece that was cut out.
func (w *Writer) SetInt32(at int, v int32) {
	if at < 0 || at+4 > len(w.buf) || len(w.cuts) > 0 && at+4 > w.cuts[0].at {
		w.fault("no four bytes at %d to overwrite", at)
		return
	}
	binary.BigEndian.PutUint32(w.buf[at:], uint32(v))
}

// count writes a length or count, -1 for null: an int32, or in flexible versions a varint one above it.
func (w *Writer) count(n int, flexible bool) {
	if n > math.MaxInt32-1 {
		w.fault("%d elements or bytes", n)
		return
	}
	if flexible {
		w.Uvarint(uint32(n + 1))
	} else {
		w.Int32(int32(n))
	}
}

// nameLen writes the length of a string, -1 for null. Kafka's limit holds in every version: its readers
// refuse longer strings in flexible ones too.
func (w *Writer) nameLen(n int, flexible bool) {
	switch {
	case n > maxStringSize:
		w.fault("string of %d bytes, at most %d are possible", n, maxStringSize)
	case flexible:
		w.Uvarint(uint32(n + 1))
	default:
		w.Int16(int16(n))
	}
}

func (w *Writer) text(s string, flexible bool) {
	w.nameLen(len(s), flexible)
	w.buf = append(w.buf, s...)
}

func (w *Writer) textOrNil(s *string, flexible, nullable bool) {
	switch {
	case s != nil:
		w.text(*s, flexible)
	case nullable:
		w.nameLen(-1, flexible)
	default:
		w.fault("null string where the version does not allow it")
	}
}

func (w *Writer) name(b []byte, flexible, nullable bool) {
	if b == nil && nullable {
		w.nameLen(-1, flexible)
		return
	}
	w.nameLen(len(b), flexible)
	w.buf = append(w.buf, b...)
}

func (w *Writer) blob(b []byte, flexible, nullable bool) {
	if b == nil && nullable {
		w.count(-1, flexible)
		return
	}
	w.count(len(b), flexible)
	w.buf = append(w.buf, b...)
}

// records writes record data: small data into the buffer, the rest as a piece of its own.
func (w *Writer) records(v Records, flexible, nullable bool) {
	if v.Nil() && nullable {
		w.count(-1, flexible)
		return
	}
	w.count(v.Size(), flexible)
	switch {
	case v.Region != nil:
		w.cut(Piece{Region: v.Region}, v.Size())
	case len(v.Bytes) >= copyBelow:
		w.cut(Piece{Bytes: v.Bytes}, len(v.Bytes))
	default:
		w.buf = append(w.buf, v.Bytes...)
	}
}

func (w *Writer) cut(p Piece, size int) {
	if size == 0 {
		return
	}
	w.cuts = append(w.cuts, cut{at: len(w.buf), piece: p})
	w.cutSize += size
}

// present writes the byte that precedes a nullable struct.
func (w *Writer) present(ok bool) {
	if ok {
		w.Int8(1)
	} else {
		w.Int8(-1)
	}
}

// tags ends a struct that has no tagged fields of its own.
func (w *Writer) tags(tags Tags, flexible bool) {
	if !flexible {
		if len(tags) > 0 {
			w.fault("tagged fields in a version that has none")
		}
		return
	}
	w.Uvarint(uint32(len(tags)))
	for _, t := range tags {
		w.tag(t)
	}
}

func (w *Writer) tag(t Tag) {
	w.Uvarint(t.ID)
	w.Uvarint(uint32(len(t.Data)))
	w.buf = append(w.buf, t.Data...)
}

// beginTags writes how many tagged fields end a struct: the unknown ones and as many as known has true.
func (w *Writer) beginTags(unknown Tags, flexible bool, known ...bool) Tags {
	if !flexible {
		w.tags(unknown, false)
		return nil
	}
	n := len(unknown)
	for _, set := range known {
		if set {
			n++
		}
	}
	w.Uvarint(uint32(n))
	return unknown
}

// beginTag opens the known tagged field id: what is written next is its content, until endTag(mark). The
// unknown ones that come before it are taken from rest and written first, so that all are in order.
func (w *Writer) beginTag(id uint32, rest *Tags) (mark int) {
	for len(*rest) > 0 && (*rest)[0].ID <= id {
		if (*rest)[0].ID == id {
			w.fault("tag %d stands among the unknown tags of a version that knows it", id)
		}
		w.tag((*rest)[0])
		*rest = (*rest)[1:]
	}
	w.Uvarint(id)
	w.buf = append(w.buf, 0) // the size, if it turns out to need one byte
	return len(w.buf) - 1
}

func (w *Writer) endTag(mark int) {
	size := len(w.buf) - mark - 1
	if len(w.cuts) > 0 && w.cuts[len(w.cuts)-1].at > mark {
		w.fault("record data within a tagged field")
		return
	}
	var prefix [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(prefix[:], uint64(size))
	w.buf = append(w.buf, prefix[1:n]...) // grow by what the size needs beyond the byte held free
	copy(w.buf[mark+n:], w.buf[mark+1:mark+1+size])
	copy(w.buf[mark:], prefix[:n])
}

// endTags writes the unknown tagged fields that come after the last known one.
func (w *Writer) endTags(rest Tags) {
	for _, t := range rest {
		w.tag(t)
	}
}

// refuseNull records that field is null at a version where it must not be.
func (w *Writer) refuseNull(field string, version int16) {
	w.fault("%s is null, which version %d does not allow", field, version)
}

// refuseSet records that field is set at a version that has no such field and may not drop it.
func (w *Writer) refuseSet(field string, version int16) {
	w.fault("%s is set, which version %d cannot carry", field, version)
}

// checkVersion faults the writer unless lo <= version <= hi.
func (w *Writer) checkVersion(message string, version, lo, hi int16) bool {
	if version < lo || version > hi {
		w.fault("%s version %d, known are %d to %d: %w", message, version, lo, hi, ErrUnsupportedVersion)
		return false
	}
	return true
}

// arrayHeader writes the count of s; nil is null where nullable, else empty.
func arrayHeader[T any](w *Writer, s []T, flexible, nullable bool) {
	n := len(s)
	if s == nil && nullable {
		n = -1
	}
	w.count(n, flexible)
}

func (w *Writer) int8s(s []int8, flexible, nullable bool) {
	arrayHeader(w, s, flexible, nullable)
	for _, v := range s {
		w.Int8(v)
	}
}

func (w *Writer) int16s(s []int16, flexible, nullable bool) {
	arrayHeader(w, s, flexible, nullable)
	for _, v := range s {
		w.Int16(v)
	}
}

func (w *Writer) int32s(s []int32, flexible, nullable bool) {
	arrayHeader(w, s, flexible, nullable)
	for _, v := range s {
		w.Int32(v)
	}
}

func (w *Writer) int64s(s []int64, flexible, nullable bool) {
	arrayHeader(w, s, flexible, nullable)
	for _, v := range s {
		w.Int64(v)
	}
}

func (w *Writer) texts(s []string, flexible, nullable bool) {
	arrayHeader(w, s, flexible, nullable)
	for _, v := range s {
		w.text(v, flexible)
	}
}
