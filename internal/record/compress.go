package record

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// lz4DefaultLevel is compression.lz4.level's default; Kafka's fast compressor answers to it.
const lz4DefaultLevel = 9

// zstdWriteWindow is the window of what we write, as zstd's level 3 has it: each reader has to take that much memory.
const zstdWriteWindow = 2 << 20

// compressor is an encoder of one codec, set to its destination by compressorFor.
type compressor interface {
	io.WriteCloser
}

// compressors holds one encoder for each codec and level that was ever asked for.
type compressors struct {
	gzip   map[int]*gzip.Writer
	zstd   map[zstd.EncoderLevel]*zstd.Encoder
	lz4    *lz4Writer
	snappy *snappyWriter
}

// CheckLevel reports whether level is one of the codec's: gzip -1 and 1 to 9, lz4 1 to 17, zstd -131072 to 22 (KIP-390). 0 is every codec's default.
func (c Codec) CheckLevel(level int) error {
	lo, hi := 0, 0
	switch c {
	case Gzip:
		lo, hi = -1, 9
	case LZ4:
		hi = 17
	case Zstd:
		lo, hi = -131072, 22
	case None, Snappy:
	default:
		return fmt.Errorf("%w: %v", ErrUnknownCodec, c)
	}
	if level < lo || level > hi {
		return fmt.Errorf("%v level %d: want %d to %d", c, level, lo, hi)
	}
	return nil
}

// compressorFor returns the encoder of a codec other than None, ready to write to dst.
func (s *Scratch) compressorFor(codec Codec, level int, dst *capped) (compressor, error) {
	if err := codec.CheckLevel(level); err != nil {
		return nil, err
	}
	c := &s.compressors
	switch codec {
	case Gzip:
		if level == 0 {
			level = gzip.DefaultCompression
		}
		if w := c.gzip[level]; w != nil {
			w.Reset(dst)
			return w, nil
		}
		w, err := gzip.NewWriterLevel(dst, level)
		if err != nil {
			return nil, fmt.Errorf("gzip level %d: %w", level, err)
		}
		if c.gzip == nil {
			c.gzip = make(map[int]*gzip.Writer)
		}
		c.gzip[level] = w
		return w, nil
	case Snappy:
		if c.snappy == nil {
			c.snappy = &snappyWriter{}
		}
		c.snappy.reset(dst)
		return c.snappy, nil
	case LZ4:
		if c.lz4 == nil {
			c.lz4 = &lz4Writer{}
		}
		c.lz4.reset(dst, level)
		return c.lz4, nil
	case Zstd:
		l := zstd.SpeedDefault
		if level != 0 {
			l = zstd.EncoderLevelFromZstd(level)
		}
		if w := c.zstd[l]; w != nil {
			w.Reset(dst)
			return w, nil
		}
		w, err := zstd.NewWriter(dst, zstd.WithEncoderLevel(l), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(zstdWriteWindow), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, fmt.Errorf("zstd level %d: %w", level, err)
		}
		if c.zstd == nil {
			c.zstd = make(map[zstd.EncoderLevel]*zstd.Encoder)
		}
		c.zstd[l] = w
		return w, nil
	default:
		return nil, fmt.Errorf("%w: %v", ErrUnknownCodec, codec)
	}
}

// capped gathers what is written to it, up to a limit of bytes.
type capped struct {
	b     []byte
	limit int
}

func (c *capped) Write(p []byte) (int, error) {
	if len(p) > c.limit-len(c.b) {
		return 0, fmt.Errorf("%w: more than %d bytes of compressed records", ErrTooLarge, c.limit)
	}
	c.b = append(c.b, p...)
	return len(p), nil
}
