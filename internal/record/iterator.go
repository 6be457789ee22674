package record

import "fmt"

// Header is one header of a record. A nil Value is null.
type Header struct {
	Key   []byte
	Value []byte
}

// Record is one record of a batch. Key, Value and Headers alias the batch or the Scratch it was inflated in,
// and hold until the iterator's next call. A nil Key or Value is null.
type Record struct {
	Attributes     int8 // unused by Kafka, kept as it stands
	TimestampDelta int64
	OffsetDelta    int32
	Timestamp      int64 // ms; the batch's max timestamp where that is of type LogAppendTime
	Offset         int64
	Size           int // bytes of the encoded, inflated record with its length prefix
	Key, Value     []byte
	Headers        []Header
}

// Iterator walks the records of a batch. The bytes may be anything: a fault ends the walk and stays in Err.
type Iterator struct {
	batch   Batch
	logTime bool
	count   int32
	index   int32
	rest    []byte  // uncompressed batches: what was not read yet
	stream  *stream // compressed batches: nil otherwise
	headers []Header
	err     error
}

// Next returns the next record, or false at the end or at a fault. After the last record it also makes sure that no bytes are left over.
func (it *Iterator) Next() (Record, bool) {
	if it.err != nil || it.index >= it.count {
		return Record{}, false
	}
	body, ok := it.nextBody()
	if !ok {
		return Record{}, false
	}
	var r Record
	if fault := r.parse(body, it.headers[:0]); fault != "" {
		it.fail(fault)
		return Record{}, false
	}
	it.headers = r.Headers
	r.Size = len(body) + sizeVarint(int32(len(body)))
	r.Offset = it.batch.BaseOffset() + int64(r.OffsetDelta)
	if it.logTime {
		r.Timestamp = it.batch.MaxTimestamp()
	} else {
		r.Timestamp = it.batch.BaseTimestamp() + r.TimestampDelta
	}
	it.index++
	if it.index == it.count && !it.atEnd() {
		return Record{}, false
	}
	return r, true
}

// Err is nil after a walk that read every record and found nothing behind the last; else it says what was wrong and wraps
// ErrCorrupt, ErrTooLarge (a limit of the Scratch) or ErrUnknownCodec.
func (it *Iterator) Err() error { return it.err }

// setYield makes the walk call yield as it inflates.
func (it *Iterator) setYield(yield func()) {
	if it.stream != nil {
		it.stream.yield = yield
	}
}

func (it *Iterator) nextBody() ([]byte, bool) {
	if it.stream != nil {
		body, err := it.stream.nextRecord()
		if err != nil {
			it.err = fmt.Errorf("record %d: %w", it.index, err)
			return nil, false
		}
		return body, true
	}
	size, pos := readVarint(it.rest, 0)
	switch {
	case pos < 0 || size < 0:
		it.fail(faultLength)
		return nil, false
	case int64(size) > int64(len(it.rest)-pos):
		it.fail(faultBeyondEnd)
		return nil, false
	}
	end := pos + int(size)
	body := it.rest[pos:end:end]
	it.rest = it.rest[end:]
	return body, true
}

func (it *Iterator) atEnd() bool {
	if it.stream != nil {
		if err := it.stream.expectEnd(); err != nil {
			it.err = fmt.Errorf("after record %d: %w", it.index-1, err)
			return false
		}
		return true
	}
	if len(it.rest) > 0 {
		it.err = fmt.Errorf("%w: %d bytes after the last record", ErrCorrupt, len(it.rest))
		return false
	}
	return true
}

func (it *Iterator) fail(fault string) {
	it.err = fmt.Errorf("%w: record %d: %s", ErrCorrupt, it.index, fault)
}

// What can be wrong with a record's bytes.
const (
	faultLength      = "its length is not a number"
	faultBeyondEnd   = "it ends beyond the batch"
	faultField       = "a field ends beyond the record"
	faultHeaderCount = "its header count is impossible"
	faultHeaderKey   = "a header has no key"
	faultTrailing    = "its length does not match its fields"
)

// parse decodes the record whose bytes after the length prefix are body, and returns "" or what is wrong with it.
// Headers are appended to the given slice. It accepts exactly what walker.run accepts.
func (r *Record) parse(body []byte, headers []Header) (fault string) {
	if len(body) == 0 {
		return faultField
	}
	r.Attributes = int8(body[0])
	var pos int
	if r.TimestampDelta, pos = readVarlong(body, 1); pos < 0 {
		return faultField
	}
	if r.OffsetDelta, pos = readVarint(body, pos); pos < 0 {
		return faultField
	}
	if r.Key, pos = readBytes(body, pos); pos < 0 {
		return faultField
	}
	if r.Value, pos = readBytes(body, pos); pos < 0 {
		return faultField
	}
	var n int32
	if n, pos = readVarint(body, pos); pos < 0 {
		return faultField
	}
	// A header has two lengths at least, so a count above the remaining bytes cannot be met.
	if n < 0 || int(n) > len(body)-pos {
		return faultHeaderCount
	}
	for range n {
		var h Header
		var next int
		if h.Key, next = readBytes(body, pos); next < 0 {
			return faultField
		}
		if h.Key == nil {
			return faultHeaderKey
		}
		if h.Value, pos = readBytes(body, next); pos < 0 {
			return faultField
		}
		headers = append(headers, h)
	}
	r.Headers = headers
	if pos != len(body) {
		return faultTrailing
	}
	return ""
}

// readBytes reads a length and as many bytes. A negative length is null, nil; Kafka's reader takes any negative one.
func readBytes(b []byte, pos int) (v []byte, next int) {
	n, pos := readVarint(b, pos)
	if pos < 0 {
		return nil, pos
	}
	if n < 0 {
		return nil, pos
	}
	if int(n) > len(b)-pos {
		return nil, varintShort
	}
	end := pos + int(n)
	return b[pos:end:end], end
}
