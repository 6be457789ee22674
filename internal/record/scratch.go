package record

import (
	"errors"
	"fmt"
	"math"
)

var (
	// ErrTooLarge says that a batch, a record or what its compression demands is beyond a limit.
	ErrTooLarge = errors.New("too large")
	// errOverLimits says that it is a limit of the Scratch, where another one might do.
	errOverLimits = fmt.Errorf("%w for the memory it may take", ErrTooLarge)
	// ErrUnknownCodec says that a batch names a codec that does not exist.
	ErrUnknownCodec = errors.New("unknown codec")
)

// Limits bound the memory that compressed batches can make a Scratch take. A zero field takes the default.
type Limits struct {
	// MaxRecordBytes is the largest inflated record that an Iterator hands out whole. Default 64 MiB.
	// Validate holds no record whole unless it rebuilds the batch.
	MaxRecordBytes int
	// MaxBlockBytes is the largest inflated snappy block; such a block cannot be streamed. Default 32 MiB.
	MaxBlockBytes int
	// MaxWindowBytes is the largest zstd window. Default 32 MiB; zstd's levels up to 19 need at most 8 MiB.
	MaxWindowBytes int
	// MaxInflatedBytes bounds what the records of one batch may inflate to in all. Default: nothing does, since memory does not follow it.
	MaxInflatedBytes int64
}

func (l Limits) maxRecordBytes() int { return orDefault(l.MaxRecordBytes, 64<<20) }
func (l Limits) maxBlockBytes() int  { return orDefault(l.MaxBlockBytes, 32<<20) }
func (l Limits) maxWindowBytes() int { return orDefault(l.MaxWindowBytes, 32<<20) }

func (l Limits) maxInflatedBytes() int64 {
	if l.MaxInflatedBytes > 0 {
		return l.MaxInflatedBytes
	}
	return math.MaxInt64
}

func orDefault(v, byDefault int) int {
	if v > 0 {
		return v
	}
	return byDefault
}

// Scratch holds the decompressors, compressors and buffers that batches are read and built with. One worker
// owns it; nothing in it is safe for concurrent use, and what an Iterator returned from it holds until it is used again.
//
// It allocates when it first meets a codec and keeps what it took, at most a few MiB for everyday batches and the
// limits' sum for the worst.
type Scratch struct {
	limits      Limits
	it          Iterator
	stream      stream
	compressors compressors
	walker      walker
	builder     Builder
	kept        []byte // a bit per record, for FilterTo
}

// NewScratch returns an empty Scratch.
func NewScratch(limits Limits) *Scratch {
	return &Scratch{limits: limits}
}

// Records returns an iterator over b. It lives in s, so one walk per Scratch at a time. s may be nil, at the price of
// new memory for this walk.
func (b Batch) Records(s *Scratch) *Iterator {
	if s == nil {
		s = NewScratch(Limits{})
	}
	it := &s.it
	*it = Iterator{batch: b, headers: it.headers[:0], count: b.Count(), logTime: b.TimestampType() == LogAppendTime}
	records := b.RecordBytes()
	switch {
	case it.count < 0:
		it.err = fmt.Errorf("%w: record count %d", ErrCorrupt, it.count)
	case it.count == 0 && len(records) > 0:
		it.err = fmt.Errorf("%w: %d bytes of records in an empty batch", ErrCorrupt, len(records))
	case it.count == 0:
	case b.Codec() == None:
		it.rest = records
	default:
		it.stream = &s.stream
		it.err = s.stream.open(b, s.limits, nil)
	}
	return it
}
