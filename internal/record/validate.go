package record

import (
	"errors"
	"fmt"

	"github.com/walser-io/walser/internal/kafkaerr"
)

// MaxRecordErrors is how many rejected records a Verdict names. Kafka names all of them; a batch may inflate to millions.
const MaxRecordErrors = 100

// TargetCodec is the compression.type of a topic. The zero value keeps what the producer chose.
type TargetCodec int8

// KeepCodec is compression.type=producer.
const KeepCodec TargetCodec = 0

// TargetOf is the compression.type that asks for c.
func TargetOf(c Codec) TargetCodec { return TargetCodec(c) + 1 }

// ParseTargetCodec reads a compression.type: producer, uncompressed, gzip, snappy, lz4 or zstd.
func ParseTargetCodec(name string) (TargetCodec, error) {
	if name == "producer" {
		return KeepCodec, nil
	}
	c, err := ParseCodec(name)
	if err != nil || name == "none" {
		return KeepCodec, fmt.Errorf("compression.type %q: want producer, uncompressed, gzip, snappy, lz4 or zstd", name)
	}
	return TargetOf(c), nil
}

// Resolve is the codec that a batch of codec source ends up with.
func (t TargetCodec) Resolve(source Codec) Codec {
	if t == KeepCodec {
		return source
	}
	return Codec(t - 1)
}

// Rules are what a topic and the moment ask of a batch.
type Rules struct {
	MaxMessageBytes int // of the whole batch as it lies in the log, max.message.bytes; 0 is no limit

	TimestampType        TimestampType // message.timestamp.type
	TimestampBeforeMaxMs int64         // message.timestamp.before.max.ms; Kafka's default is the largest int64
	TimestampAfterMaxMs  int64         // message.timestamp.after.max.ms
	NowMs                int64

	KeyRequired bool // cleanup.policy contains compact
	TargetCodec TargetCodec
	Level       int // of the target codec; 0 is its default

	AllowControl       bool // a coordinator writes, not a client: control batches, and records with a producer but no sequence
	AllowTransactional bool

	Yield func() // called after every 256 KiB inflated, so that a giant batch does not hold its thread; may be nil
}

// RecordError says why a record was rejected.
type RecordError struct {
	Index   int32 // of the record in its batch
	Message string
}

// Verdict is the outcome of Validate.
type Verdict struct {
	// Batch is the batch to append: the one given, patched in place, or a rebuilt one in memory of its own.
	Batch   Batch
	Rebuilt bool
	// MaxTimestamp is the batch's max timestamp, which is now set.
	MaxTimestamp int64
	// OffsetOfMaxTimestampDelta is the offset delta of the first record that has it; the last record's under LogAppendTime.
	OffsetOfMaxTimestampDelta int32
	// InflatedBytes is the size of the records without compression.
	InflatedBytes int64
	// RecordErrors names the records because of which the batch was rejected, at most MaxRecordErrors.
	RecordErrors []RecordError
	// OverLimits says, beside an error, that the batch asked for more than the Scratch's limits allow: with a larger one it might pass.
	OverLimits bool
}

// Validate decides whether a leader may append the one batch b that a client sent, following Kafka's LogValidator, and makes it ready but
// for offset and epoch: max timestamp and timestamp type are set in place; the batch is rebuilt if the topic asks for another codec, or if
// offset deltas are not 0, 1, 2 and so on (Kafka renumbers compressed batches alone and lets others pass).
//
// It checks what lies in the batch; sequence against producer state, segment size and partition are the log's. Errors carry a code of
// kafkaerr: MESSAGE_TOO_LARGE (tested before the checksum; the header is enough for it), CORRUPT_MESSAGE, UNSUPPORTED_COMPRESSION_TYPE, INVALID_TIMESTAMP, INVALID_RECORD. A rejected
// record rejects the batch; RecordErrors is then set beside the error. Differences from Kafka: a record whose length does not match
// its fields is refused in compressed batches, too, and records that cannot be inflated are INVALID_RECORD, where Kafka says UNKNOWN_SERVER_ERROR.
//
// Memory is bounded by the limits of s, whatever b inflates to; an uncompressed batch that is kept costs no allocation. The header
// fields of b are changed only if the error is nil.
func Validate(b Batch, rules Rules, s *Scratch) (Verdict, error) {
	if err := checkHeader(b, &rules); err != nil {
		return Verdict{}, err
	}
	w := &s.walker
	*w = walker{
		count: b.Count(), baseTime: b.BaseTimestamp(), fixTime: b.MaxTimestamp(), fixed: b.TimestampType() == LogAppendTime,
		keyRequired: rules.KeyRequired, checkRange: rules.TimestampType == CreateTime,
		now: rules.NowMs, beforeMaxMs: rules.TimestampBeforeMaxMs, afterMaxMs: rules.TimestampAfterMaxMs, maxTime: NoTimestamp,
	}
	inflated, err := s.walkBatch(b, rules.Yield)
	if err != nil {
		return Verdict{OverLimits: errors.Is(err, errOverLimits)}, refusal(err)
	}
	if w.errCount > 0 {
		v := Verdict{RecordErrors: w.errs}
		w.errs = nil // the caller's now
		code := kafkaerr.InvalidRecord
		if w.timeFailed {
			code = kafkaerr.InvalidTimestamp
		}
		return v, kafkaerr.New(code, "%d of %d records were rejected; record %d: %s", w.errCount, w.count, v.RecordErrors[0].Index, v.RecordErrors[0].Message)
	}
	v := Verdict{Batch: b, MaxTimestamp: w.maxTime, OffsetOfMaxTimestampDelta: w.maxTimeIndex, InflatedBytes: inflated}
	if rules.TimestampType == LogAppendTime {
		v.MaxTimestamp, v.OffsetOfMaxTimestampDelta = rules.NowMs, b.LastOffsetDelta()
	}
	target := rules.TargetCodec.Resolve(b.Codec())
	// Control records stay as their coordinator wrote them.
	if b.IsControl() && b.Codec() == None {
		target = None
	}
	if target == b.Codec() && !w.gap {
		b.SetMaxTimestamp(v.MaxTimestamp, rules.TimestampType)
		return v, nil
	}
	if v.Batch, err = s.rebuild(b, target, &rules); err != nil {
		return Verdict{OverLimits: errors.Is(err, errOverLimits)}, refusal(err)
	}
	v.Rebuilt = true
	return v, nil
}

var errNotWhole = kafkaerr.New(kafkaerr.InvalidRecord, "not one whole record batch of version 2")

// checkHeader is the part of Validate that needs no record.
func checkHeader(b Batch, rules *Rules) error {
	if len(b) < HeaderSize || b.Magic() != Magic {
		return errNotWhole
	}
	if base := b.BaseOffset(); base != 0 {
		return kafkaerr.New(kafkaerr.InvalidRecord, "base offset is %d, a producer must send 0", base)
	}
	if limit := rules.MaxMessageBytes; limit > 0 && b.Size() > limit {
		return tooLarge(b.Size(), limit)
	}
	if b.Size() != len(b) {
		return errNotWhole
	}
	if !b.CheckCRC() {
		return kafkaerr.New(kafkaerr.CorruptMessage, "checksum of the batch does not hold")
	}
	if !b.Codec().Known() {
		return kafkaerr.New(kafkaerr.UnsupportedCompressionType, "compression codec %d does not exist", b.Codec())
	}
	count, last := b.Count(), b.LastOffsetDelta()
	switch {
	case last < 0:
		return kafkaerr.New(kafkaerr.InvalidRecord, "last offset delta is %d", last)
	case count <= 0:
		return kafkaerr.New(kafkaerr.InvalidRecord, "record count is %d", count)
	case int64(count) != int64(last)+1:
		return kafkaerr.New(kafkaerr.InvalidRecord, "record count is %d but last offset delta is %d", count, last)
	case b.IsControl() && !rules.AllowControl:
		return kafkaerr.New(kafkaerr.InvalidRecord, "clients must not write control batches")
	case b.IsTransactional() && !rules.AllowTransactional:
		return kafkaerr.New(kafkaerr.InvalidRecord, "transactional batches are not taken here")
	case b.HasProducer() && b.BaseSequence() < 0 && !rules.AllowControl:
		return kafkaerr.New(kafkaerr.InvalidRecord, "producer %d sent base sequence %d", b.ProducerID(), b.BaseSequence())
	}
	return nil
}

// walkBatch walks b with s.walker and returns the size of its inflated records.
func (s *Scratch) walkBatch(b Batch, yield func()) (inflated int64, err error) {
	w := &s.walker
	records := b.RecordBytes()
	if b.Codec() == None {
		n, fault := w.run(records)
		switch {
		case fault != "":
			return 0, fmt.Errorf("%w: record %d: %s", ErrCorrupt, w.index, fault)
		case w.index < w.count:
			return 0, fmt.Errorf("%w: record %d of %d ends beyond the batch", ErrCorrupt, w.index, w.count)
		case n < len(records):
			return 0, fmt.Errorf("%w: %d bytes after the last record", ErrCorrupt, len(records)-n)
		}
		return int64(n), nil
	}
	if err := s.stream.open(b, s.limits, yield); err != nil {
		return 0, err
	}
	defer s.stream.close()
	err = w.walk(&s.stream)
	return s.stream.inflated, err
}

// rebuild writes the records of b, which were walked, into a new batch with offset deltas in order.
func (s *Scratch) rebuild(b Batch, codec Codec, rules *Rules) (Batch, error) {
	opts := optionsOf(b, s)
	opts.Codec = codec
	opts.TimestampType, opts.LogAppendMs = rules.TimestampType, rules.NowMs
	opts.MaxBytes = rules.MaxMessageBytes
	if rules.TargetCodec != KeepCodec {
		opts.Level = rules.Level
	}
	bl := &s.builder
	bl.Reset(opts)
	it := b.Records(s)
	it.setYield(rules.Yield)
	for r, ok := it.Next(); ok && bl.err == nil; r, ok = it.Next() {
		bl.Append(r.Timestamp, r.Key, r.Value, r.Headers)
	}
	s.stream.close()
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("rebuild batch: %w", err)
	}
	return bl.Build(nil)
}

// refusal gives an error of a walk or of a build the code a producer gets for it.
func refusal(err error) error {
	code := kafkaerr.UnknownServerError
	switch {
	case errors.Is(err, ErrTooLarge):
		code = kafkaerr.MessageTooLarge
	case errors.Is(err, ErrCorrupt):
		code = kafkaerr.InvalidRecord
	case errors.Is(err, ErrUnknownCodec):
		code = kafkaerr.UnsupportedCompressionType
	}
	return kafkaerr.New(code, "%v", err)
}

func tooLarge(size, limit int) error {
	return kafkaerr.New(kafkaerr.MessageTooLarge, "batch of %d bytes, max.message.bytes is %d", size, limit)
}
