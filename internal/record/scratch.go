package record

import (
	"errors"
	"fmt"
)

var (
	// ErrTooLarge says that a batch or a record is beyond a limit.
	ErrTooLarge = errors.New("too large")
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
	// MaxWindowBytes is the largest zstd window. Default 32 MiB.
	MaxWindowBytes int
}

// Scratch holds the decompressors, compressors and buffers that batches are read and built with. One worker
// owns it; nothing in it is safe for concurrent use, and what an Iterator returned from it holds until it is used again.
type Scratch struct {
	limits Limits
	it     Iterator
}

// NewScratch returns an empty Scratch. It allocates when it is first needed for a codec.
func NewScratch(limits Limits) *Scratch {
	return &Scratch{limits: limits}
}

// Records returns an iterator over b. It lives in s, so one walk per Scratch at a time. s may be nil, at the price of
// the memory for one walk.
func (b Batch) Records(s *Scratch) *Iterator {
	it := &Iterator{}
	if s != nil {
		it = &s.it
	}
	*it = Iterator{batch: b, headers: it.headers[:0], count: b.Count(), logTime: b.TimestampType() == LogAppendTime}
	if b.Codec() != None {
		it.err = fmt.Errorf("%w: %v", ErrUnknownCodec, b.Codec())
		return it
	}
	it.rest = b.RecordBytes()
	switch {
	case it.count < 0:
		it.err = fmt.Errorf("%w: record count %d", ErrCorrupt, it.count)
	case it.count == 0 && len(it.rest) > 0:
		it.err = fmt.Errorf("%w: %d bytes of records in an empty batch", ErrCorrupt, len(it.rest))
	}
	return it
}
