package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/walser-io/walser/internal/model"
)

// ErrMalformed is a batch or snapshot that no encoder of ours wrote.
var ErrMalformed = errors.New("malformed metadata")

// encoder appends the primitives of the format: integers as zigzag varints, counts and lengths as
// unsigned varints, UUIDs as 16 bytes, booleans as one byte 0 or 1.
type encoder struct {
	buf []byte
}

func (e *encoder) uvarint(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *encoder) int64(v int64)    { e.buf = binary.AppendVarint(e.buf, v) }
func (e *encoder) int32(v int32)    { e.int64(int64(v)) }
func (e *encoder) int16(v int16)    { e.int64(int64(v)) }
func (e *encoder) count(n int)      { e.uvarint(uint64(n)) }

func (e *encoder) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	e.buf = append(e.buf, b)
}

func (e *encoder) string(s string) {
	e.count(len(s))
	e.buf = append(e.buf, s...)
}

func (e *encoder) uuid(u model.UUID) { e.buf = append(e.buf, u[:]...) }

func (e *encoder) uuids(list []model.UUID) {
	e.count(len(list))
	for _, u := range list {
		e.uuid(u)
	}
}

func (e *encoder) brokers(list []model.BrokerID) {
	e.count(len(list))
	for _, id := range list {
		e.int32(int32(id))
	}
}

// decoder reads what encoder writes. Its error is sticky, and after a fault every method returns zero.
// A count is checked against the bytes left before anything is allocated for it. What it returns never
// aliases its buffer. Empty lists decode to nil.
type decoder struct {
	buf []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	d.buf = nil
}

func (d *decoder) take(n int) []byte {
	if n > len(d.buf) {
		d.fail("%d bytes wanted, %d left", n, len(d.buf))
		return nil
	}
	taken := d.buf[:n]
	d.buf = d.buf[n:]
	return taken
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 {
		d.fail("bad varint")
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) int64() int64 {
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.fail("bad varint")
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) int32() int32 {
	v := d.int64()
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.fail("%d does not fit 32 bits", v)
		return 0
	}
	return int32(v)
}

func (d *decoder) int16() int16 {
	v := d.int64()
	if v < math.MinInt16 || v > math.MaxInt16 {
		d.fail("%d does not fit 16 bits", v)
		return 0
	}
	return int16(v)
}

// count reads a number of things that take at least minBytes each.
func (d *decoder) count(minBytes int) int {
	v := d.uvarint()
	if v > uint64(len(d.buf)/minBytes) {
		d.fail("%d elements of at least %d bytes announced, %d bytes left", v, minBytes, len(d.buf))
		return 0
	}
	return int(v)
}

func (d *decoder) bool() bool {
	b := d.take(1)
	if len(b) == 1 && b[0] > 1 {
		d.fail("boolean %d", b[0])
	}
	return d.err == nil && b[0] == 1
}

func (d *decoder) string() string { return string(d.take(d.count(1))) }

func (d *decoder) uuid() (u model.UUID) {
	copy(u[:], d.take(len(u)))
	return u
}

func (d *decoder) uuids() []model.UUID {
	n := d.count(len(model.UUID{}))
	if n == 0 {
		return nil
	}
	list := make([]model.UUID, n)
	for i := range list {
		list[i] = d.uuid()
	}
	return list
}

func (d *decoder) brokers() []model.BrokerID {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	list := make([]model.BrokerID, n)
	for i := range list {
		list[i] = model.BrokerID(d.int32())
	}
	return list
}
