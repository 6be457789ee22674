package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// windowBytes is the size of the window through which records are inflated. It grows to a frame's first lz4 block, and for an
	// Iterator, which hands out whole records.
	windowBytes = 128 << 10
	// keepBytes is the largest window or block buffer that a Scratch keeps when it turns to the next batch.
	keepBytes = 4 << 20
	// yieldBytes is the amount of inflated bytes after which the owner is called.
	yieldBytes = 256 << 10
)

var errTruncated = fmt.Errorf("%w: the compressed records end inside a record", ErrCorrupt)

// stream is the inflated records of one compressed batch, seen through a window. Memory follows what was really inflated,
// never what a length field announces.
type stream struct {
	src         io.Reader
	win         []byte
	r, w        int // win[r:w] is inflated and not yet consumed
	err         error
	eof         bool
	inflated    int64
	nextYield   int64
	yield       func()
	maxRecord   int
	maxInflated int64

	in     bytes.Reader
	gzip   *gzip.Reader
	zstd   *zstd.Decoder
	lz4    lz4Reader
	snappy snappyReader
	block  []byte // inflated block of lz4 or snappy
}

// open sets the stream to the records of b, whose codec is not None. yield may be nil.
func (st *stream) open(b Batch, limits Limits, yield func()) error {
	if len(st.win) == 0 || len(st.win) > keepBytes {
		st.win = make([]byte, windowBytes)
	}
	if cap(st.block) > keepBytes {
		st.block = nil
	}
	st.r, st.w, st.err, st.eof = 0, 0, nil, false
	st.inflated, st.nextYield, st.yield = 0, yieldBytes, yield
	st.maxRecord, st.maxInflated = limits.maxRecordBytes(), limits.maxInflatedBytes()
	packed := b.RecordBytes()
	st.in.Reset(packed)
	switch b.Codec() {
	case Gzip:
		if st.gzip == nil {
			st.gzip = new(gzip.Reader)
		}
		st.src = st.gzip
		if err := st.gzip.Reset(&st.in); err != nil {
			return st.fail(err)
		}
	case Snappy:
		st.snappy.reset(packed, &st.block, limits.maxBlockBytes())
		st.src = &st.snappy
	case LZ4:
		st.src = &st.lz4
		if err := st.lz4.reset(packed, &st.block); err != nil {
			return st.fail(err)
		}
		if room := st.lz4.room(); room > len(st.win) { // else the block would be inflated beside the window and copied
			st.win = make([]byte, room)
		}
	case Zstd:
		if st.zstd == nil {
			// Concurrency 1 decodes in this goroutine; without it the decoder would start its own.
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(uint64(limits.maxWindowBytes())), zstd.WithDecodeBuffersBelow(0))
			if err != nil {
				return fmt.Errorf("open zstd decoder: %w", err)
			}
			st.zstd = d
		}
		st.src = st.zstd
		if err := st.zstd.Reset(&st.in); err != nil {
			return st.fail(err)
		}
	default:
		st.err = fmt.Errorf("%w: %v", ErrUnknownCodec, b.Codec())
		return st.err
	}
	return nil
}

// close lets go of the batch's memory.
func (st *stream) close() {
	st.in.Reset(nil)
	st.lz4.src, st.lz4.pending = nil, nil
	st.snappy.src, st.snappy.pending = nil, nil
	st.yield = nil
}

func (st *stream) fail(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge):
		st.err = err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		st.err = fmt.Errorf("%w: %w", errOverLimits, err)
	default:
		st.err = fmt.Errorf("%w: inflate records: %w", ErrCorrupt, err)
	}
	return st.err
}

// fill inflates more into the window, which it may shift. It returns false at the end, at a fault (then st.err is set), and when the window is full.
func (st *stream) fill() bool {
	if st.err != nil || st.eof {
		return false
	}
	if st.r > 0 {
		st.w = copy(st.win, st.win[st.r:st.w])
		st.r = 0
	}
	if st.w == len(st.win) {
		return false
	}
	for range 100 {
		n, err := st.src.Read(st.win[st.w:])
		st.w += n
		if st.inflated += int64(n); st.inflated > st.maxInflated {
			_ = st.fail(fmt.Errorf("%w: records of more than %d bytes", errOverLimits, st.maxInflated))
			return false
		}
		if st.inflated >= st.nextYield {
			st.nextYield = st.inflated + yieldBytes
			if st.yield != nil {
				st.yield()
			}
		}
		switch {
		case err == io.EOF:
			st.eof = true
			return n > 0
		case err != nil:
			_ = st.fail(err)
			return false
		case n > 0:
			return true
		}
	}
	_ = st.fail(io.ErrNoProgress)
	return false
}

// nextRecord returns the next record's bytes after its length prefix, whole. They hold until the next call.
func (st *stream) nextRecord() ([]byte, error) {
	for {
		size, pos := readVarint(st.win[st.r:st.w], 0)
		switch {
		case pos == varintOverlong, pos > 0 && size < 0:
			return nil, fmt.Errorf("%w: %s", ErrCorrupt, faultLength)
		case pos > 0 && int(size) > st.maxRecord:
			return nil, fmt.Errorf("%w: record of %d bytes, the limit is %d", errOverLimits, size, st.maxRecord)
		case pos > 0 && int(size) <= st.w-st.r-pos:
			start := st.r + pos
			st.r = start + int(size)
			return st.win[start:st.r:st.r], nil
		}
		if st.fill() {
			continue
		}
		switch {
		case st.err != nil:
			return nil, st.err
		case st.eof:
			return nil, errTruncated
		}
		// The window is full of this one record's bytes: only now does it grow.
		grown := make([]byte, min(2*len(st.win), st.maxRecord+2*maxVarint32))
		st.w = copy(grown, st.win[st.r:st.w])
		st.r = 0
		st.win = grown
	}
}

// expectEnd makes sure that nothing follows, and so that the codec's own checks at the end were made.
func (st *stream) expectEnd() error {
	if st.r == st.w {
		st.fill()
	}
	switch {
	case st.err != nil:
		return st.err
	case st.r < st.w:
		return fmt.Errorf("%w: bytes after the last record", ErrCorrupt)
	}
	return nil
}

// sized returns a slice of n bytes in the buffer b, which it replaces where that is too small.
func sized(b *[]byte, n int) []byte {
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	return *b
}
