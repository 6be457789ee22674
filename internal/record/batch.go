package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	// HeaderSize is the size of a batch header in bytes, and so that of the smallest batch.
	HeaderSize = 61
	// LogOverhead is the size of the two fields that the batch length does not count: base offset and length.
	LogOverhead = 12
	// Magic is the only batch version there is since Kafka 4.
	Magic = 2

	// NoProducerID, NoProducerEpoch and NoSequence fill the producer fields of a batch that has no producer.
	NoProducerID    int64 = -1
	NoProducerEpoch int16 = -1
	NoSequence      int32 = -1
	// NoTimestamp is the timestamp of a record that has none.
	NoTimestamp int64 = -1
	// NoLeaderEpoch is the partition leader epoch of a batch that no leader has stamped.
	NoLeaderEpoch int32 = -1
)

// Where the header's fields lie.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posCount           = 57
)

// Bits of the attributes.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

var (
	// ErrShort says that the bytes end before the batch does. At the end of a fetch answer that is legal.
	ErrShort = errors.New("batch is cut off")
	// ErrBadMagic says that the bytes are a message set of an older version, 0 or 1.
	ErrBadMagic = errors.New("batch magic is not 2")
	// ErrCorrupt says that the bytes contradict themselves.
	ErrCorrupt = errors.New("batch is corrupt")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// TimestampType says what the timestamps of a batch mean.
type TimestampType int8

const (
	// CreateTime: each record carries the time its producer gave it.
	CreateTime TimestampType = 0
	// LogAppendTime: all records have the time of the append, which is the batch's max timestamp.
	LogAppendTime TimestampType = 1
)

// String returns the value of message.timestamp.type.
func (t TimestampType) String() string {
	if t == LogAppendTime {
		return "LogAppendTime"
	}
	return "CreateTime"
}

// Batch is one whole record batch, header and records: a view that reads and patches the bytes in place.
//
// Its methods may be called on what ParseBatch or a Builder returned; on fewer than HeaderSize bytes they panic.
// The header's values are the sender's word: ParseBatch has checked bounds and magic, CheckCRC the bytes, Validate the rest.
type Batch []byte

// ParseBatch cuts the first batch off b. It checks bounds and magic, nothing else. Batch and rest alias b, and the
// batch cannot be appended into the rest. The errors are ErrShort (more bytes may complete it), ErrBadMagic and ErrCorrupt.
func ParseBatch(b []byte) (batch Batch, rest []byte, err error) {
	if len(b) <= posMagic {
		return nil, b, fmt.Errorf("%w: %d bytes hold no header", ErrShort, len(b))
	}
	switch magic := int8(b[posMagic]); {
	case magic < 0 || magic > Magic:
		return nil, b, fmt.Errorf("%w: no batch has magic %d", ErrCorrupt, magic)
	case magic < Magic:
		return nil, b, fmt.Errorf("%w: it is %d", ErrBadMagic, magic)
	}
	length := int64(int32(binary.BigEndian.Uint32(b[posLength:])))
	if length < HeaderSize-LogOverhead {
		return nil, b, fmt.Errorf("%w: length field says %d, the header alone has %d", ErrCorrupt, length, HeaderSize-LogOverhead)
	}
	size := LogOverhead + length
	if size > int64(len(b)) {
		return nil, b, fmt.Errorf("%w: %d bytes of %d", ErrShort, len(b), size)
	}
	return Batch(b[:size:size]), b[size:], nil
}

// BaseOffset is the offset of the batch's first record, also after compaction has removed that record.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b[posBaseOffset:])) }

// LastOffset is the offset of the batch's last record as it was written, also after compaction.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// Length is the batch length field: bytes after it.
func (b Batch) Length() int32 { return int32(binary.BigEndian.Uint32(b[posLength:])) }

// Size is the size of the whole batch in bytes as its length field says, which is len(b) for every parsed batch.
func (b Batch) Size() int { return LogOverhead + int(b.Length()) }

// PartitionLeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) PartitionLeaderEpoch() int32 {
	return int32(binary.BigEndian.Uint32(b[posLeaderEpoch:]))
}

// Magic is the version of the format: always 2 in a parsed batch.
func (b Batch) Magic() int8 { return int8(b[posMagic]) }

// CRC is the checksum the batch carries.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[posCRC:]) }

// Attributes is the attribute field as it stands.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[posAttributes:])) }

// Codec is the compression of the records. Three bits name it, so it may be one that does not exist: see Codec.Known.
func (b Batch) Codec() Codec { return Codec(b.Attributes() & attrCodec) }

// TimestampType says what the record timestamps mean.
func (b Batch) TimestampType() TimestampType {
	if b.Attributes()&attrLogAppendTime != 0 {
		return LogAppendTime
	}
	return CreateTime
}

// IsTransactional reports whether the batch is part of a transaction (data or its marker).
func (b Batch) IsTransactional() bool { return b.Attributes()&attrTransactional != 0 }

// IsControl reports whether the batch holds a control record, which no application sees.
func (b Batch) IsControl() bool { return b.Attributes()&attrControl != 0 }

// HasDeleteHorizon reports whether the base timestamp is the time from which on compaction may drop the
// batch's tombstones and markers (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&attrDeleteHorizon != 0 }

// DeleteHorizon is the time in ms from which on tombstones and markers of the batch may go; ok is false where none is set.
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	if !b.HasDeleteHorizon() {
		return 0, false
	}
	return b.BaseTimestamp(), true
}

// LastOffsetDelta is the distance from the base offset to the last offset; it is that of the sequences, too.
func (b Batch) LastOffsetDelta() int32 {
	return int32(binary.BigEndian.Uint32(b[posLastOffsetDelta:]))
}

// BaseTimestamp is what the records' timestamp deltas count from, in ms.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posBaseTimestamp:])) }

// MaxTimestamp is the largest timestamp of the records, in ms; with LogAppendTime, that of all of them.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posMaxTimestamp:])) }

// ProducerID is the idempotent producer's id, or NoProducerID.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[posProducerID:])) }

// HasProducer reports whether the batch comes from an idempotent producer.
func (b Batch) HasProducer() bool { return b.ProducerID() > NoProducerID }

// ProducerEpoch is the epoch of the producer id, or NoProducerEpoch.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[posProducerEpoch:])) }

// BaseSequence is the producer's sequence number of the first record, or NoSequence.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[posBaseSequence:])) }

// LastSequence is the sequence number of the last record, or NoSequence. Sequences wrap from 2147483647 to 0.
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base == NoSequence {
		return NoSequence
	}
	return AddSequence(base, b.LastOffsetDelta())
}

// AddSequence is the sequence number n records after seq; both must be non-negative. It wraps from 2147483647 to 0.
func AddSequence(seq, n int32) int32 { return int32((int64(seq) + int64(n)) & math.MaxInt32) }

// Count is the number of records in the batch. It is a claim until the records were walked.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[posCount:])) }

// RecordBytes is the records as they stand, compressed or not. It aliases b.
func (b Batch) RecordBytes() []byte { return b[HeaderSize:] }

// SetBaseOffset gives the batch its place in a log. The CRC does not cover it.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(offset))
}

// SetPartitionLeaderEpoch stamps the epoch of the leader that appends. The CRC does not cover it.
func (b Batch) SetPartitionLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// SetMaxTimestamp sets max timestamp and timestamp type, and computes the CRC anew where that changed the batch.
func (b Batch) SetMaxTimestamp(ms int64, t TimestampType) {
	if b.MaxTimestamp() == ms && b.TimestampType() == t {
		return
	}
	attrs := b.Attributes() &^ attrLogAppendTime
	if t == LogAppendTime {
		attrs |= attrLogAppendTime
	}
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(attrs))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
	b.sealCRC()
}

// CheckCRC reports whether the checksum holds for the bytes from the attributes to the end.
func (b Batch) CheckCRC() bool { return b.CRC() == crc32.Checksum(b[posAttributes:], castagnoli) }

func (b Batch) sealCRC() {
	binary.BigEndian.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:], castagnoli))
}

// header is the header in decoded form, for those who write one.
type header struct {
	baseOffset      int64
	leaderEpoch     int32
	attributes      int16
	lastOffsetDelta int32
	baseTimestamp   int64
	maxTimestamp    int64
	producerID      int64
	producerEpoch   int16
	baseSequence    int32
	count           int32
}

// putHeader writes h, the length and the CRC over the first bytes of b, whose records must be in place.
func (b Batch) putHeader(h *header) {
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(h.baseOffset))
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-LogOverhead))
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(h.leaderEpoch))
	b[posMagic] = Magic
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(h.attributes))
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(h.lastOffsetDelta))
	binary.BigEndian.PutUint64(b[posBaseTimestamp:], uint64(h.baseTimestamp))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(h.maxTimestamp))
	binary.BigEndian.PutUint64(b[posProducerID:], uint64(h.producerID))
	binary.BigEndian.PutUint16(b[posProducerEpoch:], uint16(h.producerEpoch))
	binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(h.baseSequence))
	binary.BigEndian.PutUint32(b[posCount:], uint32(h.count))
	b.sealCRC()
}
