package record

import (
	"errors"
	"fmt"
	"math"
)

// ErrEmpty says that a Builder was asked for a batch without records, which no log takes.
var ErrEmpty = errors.New("batch has no records")

// BuilderOptions are the header fields of a batch to build. The zero value builds an uncompressed batch without producer.
type BuilderOptions struct {
	Codec       Codec
	Level       int // of the codec, in its own numbers; 0 is the codec's default
	BaseOffset  int64
	LeaderEpoch int32

	// The producer fields count if one of Idempotent, Transactional, Control or ProducerID > 0 says that there is a producer;
	// only producer id 0 outside a transaction needs Idempotent said. Without a producer all three are -1 in the batch.
	Idempotent    bool
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32 // NoSequence in control batches and in what coordinators write for a producer
	Transactional bool
	Control       bool

	TimestampType TimestampType
	LogAppendMs   int64 // the batch's max timestamp under LogAppendTime

	// MaxBytes bounds the batch; 0 is no bound. Beyond it Build fails with ErrTooLarge, and memory stops growing.
	MaxBytes int
	// Scratch lends its compressors, one batch at a time per codec; nil makes new ones. Iterating with it at the same time is fine.
	Scratch *Scratch
}

func (o *BuilderOptions) hasProducer() bool {
	return o.Idempotent || o.Transactional || o.Control || o.ProducerID > 0
}

// optionsOf are the options that build a batch with the header fields of b.
func optionsOf(b Batch, s *Scratch) BuilderOptions {
	o := BuilderOptions{
		Codec: b.Codec(), BaseOffset: b.BaseOffset(), LeaderEpoch: b.PartitionLeaderEpoch(),
		Idempotent: b.HasProducer(), ProducerID: NoProducerID, ProducerEpoch: NoProducerEpoch, BaseSequence: NoSequence,
		Transactional: b.IsTransactional(), Control: b.IsControl(),
		TimestampType: b.TimestampType(), LogAppendMs: b.MaxTimestamp(), Scratch: s,
	}
	if o.Idempotent {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence = b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()
	}
	return o
}

// Builder writes one batch. Compressed batches are compressed as they grow, so that the inflated records are never held whole.
// Not for concurrent use.
type Builder struct {
	opts BuilderOptions

	raw        []byte // encoded records; with a codec, those not yet compressed
	compressor compressor
	packed     capped

	count     int32
	lastDelta int32
	baseTime  int64
	maxTime   int64
	horizon   bool // base timestamp is a delete horizon
	err       error
}

// packBytes is how many bytes of records a Builder gathers before it hands them to the compressor.
const packBytes = 64 << 10

// NewBuilder returns a builder for one batch.
func NewBuilder(opts BuilderOptions) *Builder {
	bl := &Builder{}
	bl.Reset(opts)
	return bl
}

// Reset makes the builder ready for the next batch, keeping its memory.
func (bl *Builder) Reset(opts BuilderOptions) {
	raw, packed := bl.raw[:0], bl.packed.b[:0]
	if cap(raw) > keepBytes {
		raw = nil
	}
	if cap(packed) > keepBytes {
		packed = nil
	}
	*bl = Builder{opts: opts, raw: raw, packed: capped{b: packed}, lastDelta: -1, maxTime: NoTimestamp}
	if !opts.Codec.Known() {
		bl.err = fmt.Errorf("build batch: %w: %d", ErrUnknownCodec, opts.Codec)
		return
	}
	if !opts.hasProducer() && (opts.ProducerEpoch > 0 || opts.BaseSequence > 0) {
		bl.err = errors.New("build batch: a sequence or epoch without a producer: set Idempotent")
		return
	}
	if opts.Codec != None {
		bl.packed.limit = math.MaxInt32 - HeaderSize
		if opts.MaxBytes > 0 {
			bl.packed.limit = max(opts.MaxBytes-HeaderSize, 0)
		}
		if bl.opts.Scratch == nil {
			bl.opts.Scratch = NewScratch(Limits{})
		}
		bl.compressor, bl.err = bl.opts.Scratch.compressorFor(opts.Codec, opts.Level, &bl.packed)
	}
}

// Append adds a record at the next offset. The bytes are copied. A fault shows in Build.
func (bl *Builder) Append(ts int64, key, value []byte, headers []Header) {
	if bl.lastDelta == math.MaxInt32 {
		bl.setErr(fmt.Errorf("%w: offset delta beyond 31 bits", ErrTooLarge))
		return
	}
	bl.AppendAt(bl.lastDelta+1, ts, key, value, headers)
}

// AppendAt adds a record at BaseOffset + offsetDelta, which must be above that of the record before.
func (bl *Builder) AppendAt(offsetDelta int32, ts int64, key, value []byte, headers []Header) {
	if bl.err != nil {
		return
	}
	if offsetDelta <= bl.lastDelta {
		bl.setErr(fmt.Errorf("append record: offset delta %d follows %d", offsetDelta, bl.lastDelta))
		return
	}
	if bl.count == 0 && !bl.horizon {
		bl.baseTime = ts
	}
	timeDelta := ts - bl.baseTime
	size := 1 + sizeVarlong(timeDelta) + sizeVarint(offsetDelta) + sizeBytes(key) + sizeBytes(value) + sizeVarint(int32(len(headers)))
	for _, h := range headers {
		size += sizeVarint(int32(len(h.Key))) + len(h.Key) + sizeBytes(h.Value)
	}
	if size > math.MaxInt32-HeaderSize {
		bl.setErr(fmt.Errorf("%w: record of %d bytes", ErrTooLarge, size))
		return
	}
	bl.raw = appendVarint(bl.raw, int32(size))
	bl.raw = append(bl.raw, 0)
	bl.raw = appendVarlong(bl.raw, timeDelta)
	bl.raw = appendVarint(bl.raw, offsetDelta)
	bl.raw = appendBytes(bl.raw, key)
	bl.raw = appendBytes(bl.raw, value)
	bl.raw = appendVarint(bl.raw, int32(len(headers)))
	for _, h := range headers {
		bl.raw = appendVarint(bl.raw, int32(len(h.Key)))
		bl.raw = append(bl.raw, h.Key...)
		bl.raw = appendBytes(bl.raw, h.Value)
	}
	bl.count++
	bl.lastDelta = offsetDelta
	bl.maxTime = max(bl.maxTime, ts)
	bl.pack(packBytes)
}

// Count is the number of records appended.
func (bl *Builder) Count() int32 { return bl.count }

// Size is the size of the batch so far: exact without a codec, else an estimate from above (what waits to be compressed counts in full).
func (bl *Builder) Size() int { return HeaderSize + len(bl.packed.b) + len(bl.raw) }

// Build appends the batch to dst and returns it; it aliases the grown dst. The builder must be Reset before it is used again.
func (bl *Builder) Build(dst []byte) (Batch, error) {
	grown, err := bl.AppendTo(dst)
	if err != nil {
		return nil, err
	}
	return Batch(grown[len(dst):]), nil
}

// AppendTo appends the batch to dst and returns the grown dst, for several batches in a row.
func (bl *Builder) AppendTo(dst []byte) ([]byte, error) {
	if bl.err == nil && bl.count == 0 {
		bl.setErr(ErrEmpty)
	}
	records := bl.raw
	if bl.opts.Codec != None && bl.err == nil {
		bl.pack(0)
		if bl.err == nil {
			bl.setErr(bl.compressor.Close())
		}
		records = bl.packed.b
	}
	if bl.err == nil {
		if limit := bl.opts.MaxBytes; limit > 0 && HeaderSize+len(records) > limit {
			bl.setErr(fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, HeaderSize+len(records), limit))
		}
	}
	if bl.err != nil {
		return dst, bl.err
	}
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst = append(dst, records...)
	Batch(dst[start:]).putHeader(bl.header())
	return dst, nil
}

func (bl *Builder) header() *header {
	o := &bl.opts
	h := &header{
		baseOffset: o.BaseOffset, leaderEpoch: o.LeaderEpoch, attributes: int16(o.Codec),
		lastOffsetDelta: bl.lastDelta, baseTimestamp: bl.baseTime, maxTimestamp: bl.maxTime,
		producerID: NoProducerID, producerEpoch: NoProducerEpoch, baseSequence: NoSequence, count: bl.count,
	}
	if o.hasProducer() {
		h.producerID, h.producerEpoch, h.baseSequence = o.ProducerID, o.ProducerEpoch, o.BaseSequence
	}
	if o.Transactional {
		h.attributes |= attrTransactional
	}
	if o.Control {
		h.attributes |= attrControl
	}
	if bl.horizon {
		h.attributes |= attrDeleteHorizon
	}
	if o.TimestampType == LogAppendTime {
		h.attributes |= attrLogAppendTime
		h.maxTimestamp = o.LogAppendMs
	}
	return h
}

// pack hands the gathered records to the compressor once there are more than atLeast bytes of them.
func (bl *Builder) pack(atLeast int) {
	if bl.opts.Codec == None {
		if limit := bl.opts.MaxBytes; limit > 0 && HeaderSize+len(bl.raw) > limit {
			bl.setErr(fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit))
		}
		return
	}
	if len(bl.raw) <= atLeast {
		return
	}
	if _, err := bl.compressor.Write(bl.raw); err != nil {
		bl.setErr(err)
	}
	bl.raw = bl.raw[:0]
}

func (bl *Builder) setErr(err error) {
	if bl.err == nil && err != nil {
		bl.err = fmt.Errorf("build batch: %w", err)
	}
}

func sizeBytes(b []byte) int {
	if b == nil {
		return 1
	}
	return sizeVarint(int32(len(b))) + len(b)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return appendVarint(dst, -1)
	}
	return append(appendVarint(dst, int32(len(b))), b...)
}
