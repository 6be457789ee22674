package record

import (
	"encoding/binary"
	"fmt"
)

// walker reads the records of a batch as Validate needs them: structure, offset deltas, timestamps and whether there is a key; the
// contents are skipped. It accepts a record exactly if Record.parse does (a fuzz target holds them together).
type walker struct {
	count int32 // of records the header announces
	index int32 // of the next record

	baseTime int64
	fixTime  int64 // timestamp of all records where fixed is set
	fixed    bool  // the batch is of type LogAppendTime

	keyRequired  bool
	checkRange   bool // the topic is of type CreateTime
	now          int64
	beforeMaxMs  int64
	afterMaxMs   int64
	gap          bool // an offset delta was not the record's index
	maxTime      int64
	maxTimeIndex int32

	errs       []RecordError
	errCount   int
	timeFailed bool
}

// run walks the whole records at the start of b and returns the bytes they take. It stops before a record that ends beyond b,
// after the last record, and at a fault.
func (w *walker) run(b []byte) (consumed int, fault string) {
	start := 0
	for w.index < w.count {
		if next, ok := w.quick(b, start); ok {
			start = next
			continue
		}
		size, pos := readVarint(b, start)
		if pos < 0 || size < 0 {
			if pos == varintShort {
				return start, ""
			}
			return start, faultLength
		}
		if int(size) > len(b)-pos {
			return start, ""
		}
		body := b[pos : pos+int(size)]
		next := pos + int(size)

		delta, pos := readVarlong(body, 1) // after the attributes, which nothing uses
		if pos < 0 {
			return start, faultField
		}
		offset, pos := readVarint(body, pos)
		if pos < 0 {
			return start, faultField
		}
		keySize, pos := readVarint(body, pos)
		if pos < 0 || int(keySize) > len(body)-pos {
			return start, faultField
		}
		pos += max(int(keySize), 0)
		valueSize, pos := readVarint(body, pos)
		if pos < 0 || int(valueSize) > len(body)-pos {
			return start, faultField
		}
		pos += max(int(valueSize), 0)
		headers, pos := readVarint(body, pos)
		if pos < 0 {
			return start, faultField
		}
		if headers != 0 {
			if pos, fault = skipHeaders(body, pos, headers); fault != "" {
				return start, fault
			}
		}
		if pos != len(body) {
			return start, faultTrailing
		}
		w.see(delta, offset, keySize >= 0)
		start = next
	}
	return start, ""
}

// quick walks the record at start if it is as nearly all are: no headers, no number of more than three bytes, eight bytes of b behind
// each of them. It keeps to run's rules, and run sees to the rest. The numbers come from two or three loads instead of a call and
// a loop each: the walk of 100-byte records takes half the time.
func (w *walker) quick(b []byte, start int) (next int, ok bool) {
	if len(b)-start < 8 {
		return 0, false
	}
	head := binary.LittleEndian.Uint64(b[start:])
	size, n := lowVarint(head)
	head >>= uint(8*n+8) & 63 // the number and the attributes
	delta, m := lowVarint(head)
	if n == 0 || m == 0 {
		return 0, false
	}
	next = start + n + int(size>>1)
	pos := start + n + 1 + m

	if len(b)-pos < 8 {
		return 0, false
	}
	head = binary.LittleEndian.Uint64(b[pos:])
	offset, n := lowVarint(head)
	key, m := lowVarint(head >> (uint(8*n) & 63))
	if n == 0 || m == 0 {
		return 0, false
	}
	pos += n + m
	if key&1 == 0 {
		pos += int(key >> 1)
	}

	if len(b)-pos < 8 {
		return 0, false
	}
	value, n := lowVarint(binary.LittleEndian.Uint64(b[pos:]))
	if n == 0 {
		return 0, false
	}
	pos += n
	if value&1 == 0 {
		pos += int(value >> 1)
	}
	// All numbers lie in the record if its end is where it says; one of them that is wrong leads elsewhere.
	if size&1 != 0 || pos+1 != next || next > len(b) || b[pos] != 0 {
		return 0, false
	}
	w.see(int64(delta>>1)^-int64(delta&1), int32(offset>>1)^-int32(offset&1), key&1 == 0)
	return next, true
}

// lowVarint reads an unsigned number of at most three bytes from the low end of word. Where it has more, n is 0.
func lowVarint(word uint64) (u uint64, n int) {
	switch {
	case word&0x80 == 0:
		return word & 0x7f, 1
	case word&0x8000 == 0:
		return word&0x7f | word>>1&0x3f80, 2
	case word&0x800000 == 0:
		return word&0x7f | word>>1&0x3f80 | word>>2&0x1fc000, 3
	}
	return 0, 0
}

func skipHeaders(body []byte, pos int, n int32) (next int, fault string) {
	if n < 0 || int(n) > len(body)-pos {
		return 0, faultHeaderCount
	}
	for range n {
		var size int32
		if size, pos = readVarint(body, pos); pos < 0 {
			return 0, faultField
		}
		if size < 0 {
			return 0, faultHeaderKey
		}
		if int(size) > len(body)-pos {
			return 0, faultField
		}
		if size, pos = readVarint(body, pos+int(size)); pos < 0 || int(size) > len(body)-pos {
			return 0, faultField
		}
		pos += max(int(size), 0)
	}
	return pos, ""
}

// see takes note of a record that is well formed. At most one error per record is kept: a missing key before a timestamp.
func (w *walker) see(timeDelta int64, offsetDelta int32, hasKey bool) {
	ts := w.baseTime + timeDelta
	if w.fixed {
		ts = w.fixTime
	}
	if offsetDelta != w.index {
		w.gap = true
	}
	if ts > w.maxTime {
		w.maxTime, w.maxTimeIndex = ts, w.index
	}
	// In Kafka, too, the differences wrap: the bounds default to the largest int64.
	diff := w.now - ts
	switch {
	case w.keyRequired && !hasKey:
		w.reject(false, "a record of a compacted topic needs a key")
	case w.checkRange && ts != NoTimestamp:
		if diff > w.beforeMaxMs || -diff > w.afterMaxMs {
			w.rejectTime(ts)
		}
	case w.fixed:
		w.reject(true, "a producer must not send timestamps of type LogAppendTime")
	}
	w.index++
}

func (w *walker) rejectTime(ts int64) {
	w.reject(true, "")
	if n := len(w.errs); n == w.errCount {
		w.errs[n-1].Message = fmt.Sprintf("timestamp %d is out of range: the topic takes %d to %d", ts, w.now-w.beforeMaxMs, w.now+w.afterMaxMs)
	}
}

func (w *walker) reject(time bool, message string) {
	w.errCount++
	w.timeFailed = w.timeFailed || time
	if len(w.errs) < MaxRecordErrors {
		w.errs = append(w.errs, RecordError{Index: w.index, Message: message})
	}
}

// walk walks the inflated records of st to their end.
func (w *walker) walk(st *stream) error {
	for w.index < w.count {
		n, fault := w.run(st.win[st.r:st.w])
		st.r += n
		switch {
		case fault != "":
			return fmt.Errorf("%w: record %d: %s", ErrCorrupt, w.index, fault)
		case w.index == w.count, st.fill():
			continue
		case st.err != nil:
			return st.err
		case st.eof:
			return errTruncated
		}
		// The window is full, and the record does not end in it.
		if err := w.large(st); err != nil {
			return err
		}
	}
	return st.expectEnd()
}

// large walks one record that is larger than the window, field by field, as it is inflated.
func (w *walker) large(st *stream) error {
	c := cursor{st: st, left: maxVarint32}
	size := c.varint()
	if c.err == nil && size < 0 {
		c.fault(faultLength)
	}
	c.left = int(size)
	c.skip(1)
	timeDelta := c.varlong()
	offsetDelta := c.varint()
	keySize := c.varint()
	c.skip(keySize)
	c.skip(c.varint())
	headers := c.varint()
	if c.err == nil && (headers < 0 || int(headers) > c.left) {
		c.fault(faultHeaderCount)
	}
	for i := int32(0); i < headers && c.err == nil; i++ {
		n := c.varint()
		if c.err == nil && n < 0 {
			c.fault(faultHeaderKey)
		}
		c.skip(n)
		c.skip(c.varint())
	}
	if c.err == nil && c.left != 0 {
		c.fault(faultTrailing)
	}
	if c.err != nil {
		return fmt.Errorf("record %d: %w", w.index, c.err)
	}
	w.see(timeDelta, offsetDelta, keySize >= 0)
	return nil
}

// cursor reads the fields of one record from a stream. After a fault every method returns zero.
type cursor struct {
	st   *stream
	left int // bytes of the record
	err  error
}

func (c *cursor) fault(f string) { c.err = fmt.Errorf("%w: %s", ErrCorrupt, f) }

// ahead makes the next bytes visible, as many as there are up to n and to the record's end.
func (c *cursor) ahead(n int) []byte {
	st := c.st
	n = min(n, c.left)
	for st.w-st.r < n && st.fill() {
	}
	if st.err != nil {
		c.err = st.err
		return nil
	}
	return st.win[st.r:min(st.w, st.r+n)]
}

func (c *cursor) varint() int32 { return int32(c.number(maxVarint32, true)) }

func (c *cursor) varlong() int64 { return c.number(maxVarint64, false) }

func (c *cursor) number(maxBytes int, short bool) int64 {
	if c.err != nil {
		return 0
	}
	b := c.ahead(maxBytes)
	if c.err != nil {
		return 0
	}
	var v int64
	var n int
	if short {
		var v32 int32
		v32, n = readVarint(b, 0)
		v = int64(v32)
	} else {
		v, n = readVarlong(b, 0)
	}
	if n < 0 {
		c.fault(faultField)
		return 0
	}
	c.st.r += n
	c.left -= n
	return v
}

// skip passes n bytes by; a negative n is a null field.
func (c *cursor) skip(n int32) {
	if c.err != nil || n <= 0 {
		return
	}
	if int(n) > c.left {
		c.fault(faultField)
		return
	}
	c.left -= int(n)
	st := c.st
	for rest := int(n); ; {
		step := min(rest, st.w-st.r)
		st.r += step
		rest -= step
		switch {
		case rest == 0:
			return
		case st.fill():
			continue
		case st.err != nil:
			c.err = st.err
		default:
			c.err = errTruncated
		}
		return
	}
}
