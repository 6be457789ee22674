package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
)

// Snappy has no frame of its own in Kafka. Java's clients wrap blocks as snappy-java does ("xerial": a magic and two version numbers, then
// each block behind its length); some other clients send one bare block. Readers must take both, and tell them apart by the magic.
const (
	xerialMagic     = "\x82SNAPPY\x00"
	xerialHeader    = 16
	xerialMagicHead = 0x82534e41 // what a block length reads as where another wrapped stream begins
	xerialBlock     = 32 << 10   // snappy-java's default
)

// snappyReader inflates either form, block by block.
type snappyReader struct {
	src      []byte
	pending  []byte
	block    *[]byte
	maxBlock int
	wrapped  bool
	started  bool
}

func (z *snappyReader) reset(src []byte, block *[]byte, maxBlock int) {
	*z = snappyReader{src: src, block: block, maxBlock: maxBlock}
}

// Read inflates into p; blocks that fit p go straight into it.
func (z *snappyReader) Read(p []byte) (int, error) {
	if len(z.pending) == 0 {
		packed, err := z.nextBlock()
		if err != nil {
			return 0, err
		}
		size, err := snappy.DecodedLen(packed)
		switch {
		case err != nil:
			return 0, fmt.Errorf("snappy block: %w", err)
		case int64(size) > 32*int64(len(packed)):
			// A copy makes at most 64 bytes out of 3: what announces more is a lie, found before memory is taken for it.
			return 0, fmt.Errorf("snappy block of %d bytes announces %d", len(packed), size)
		case size > z.maxBlock:
			return 0, fmt.Errorf("%w: snappy block of %d bytes, the limit is %d", errOverLimits, size, z.maxBlock)
		}
		direct := len(p) >= size
		dst := p
		if !direct {
			dst = sized(z.block, size)
		}
		// Strict: the fast decoder also takes S2 blocks, which no other consumer can read.
		out, err := snappy.DecodeStrict(dst[:0:size], packed)
		if err != nil {
			return 0, fmt.Errorf("snappy block: %w", err)
		}
		if direct {
			return len(out), nil
		}
		z.pending = out
	}
	n := copy(p, z.pending)
	z.pending = z.pending[n:]
	return n, nil
}

func (z *snappyReader) nextBlock() ([]byte, error) {
	if !z.started {
		z.started = true
		if err := z.header(); err != nil {
			return nil, err
		}
		if !z.wrapped {
			packed := z.src
			z.src = nil
			return packed, nil
		}
	}
	for {
		switch {
		case len(z.src) == 0:
			return nil, io.EOF
		case len(z.src) < 4:
			return nil, io.ErrUnexpectedEOF
		}
		size := binary.BigEndian.Uint32(z.src)
		if size == xerialMagicHead {
			if err := z.header(); err != nil {
				return nil, err
			}
			if !z.wrapped {
				return nil, errors.New("xerial header is damaged")
			}
			continue
		}
		z.src = z.src[4:]
		if int64(size) > int64(len(z.src)) {
			return nil, fmt.Errorf("snappy block of %d bytes in %d", size, len(z.src))
		}
		packed := z.src[:size]
		z.src = z.src[size:]
		return packed, nil
	}
}

func (z *snappyReader) header() error {
	z.wrapped = len(z.src) >= xerialHeader && bytes.HasPrefix(z.src, []byte(xerialMagic))
	if !z.wrapped {
		return nil
	}
	if v := int32(binary.BigEndian.Uint32(z.src[8:])); v < 1 {
		return fmt.Errorf("xerial version %d", v)
	}
	z.src = z.src[xerialHeader:]
	return nil
}

// snappyWriter writes the wrapped form.
type snappyWriter struct {
	dst    *capped
	block  []byte
	packed []byte
	begun  bool
}

func (z *snappyWriter) reset(dst *capped) { z.dst, z.block, z.begun = dst, z.block[:0], false }

func (z *snappyWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		c := min(xerialBlock-len(z.block), len(p))
		z.block = append(z.block, p[:c]...)
		p = p[c:]
		if len(z.block) == xerialBlock {
			if err := z.Close(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// Close writes the block gathered so far.
func (z *snappyWriter) Close() error {
	if !z.begun {
		z.begun = true
		head := [xerialHeader]byte{11: 1, 15: 1}
		copy(head[:], xerialMagic)
		if _, err := z.dst.Write(head[:]); err != nil {
			return err
		}
	}
	if len(z.block) == 0 {
		return nil
	}
	packed := s2.EncodeSnappy(sized(&z.packed, s2.MaxEncodedLen(len(z.block))), z.block)
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(packed)))
	if _, err := z.dst.Write(head[:]); err != nil {
		return err
	}
	z.block = z.block[:0]
	_, err := z.dst.Write(packed)
	return err
}
