package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// The part of the LZ4 frame format that Kafka uses: one frame of independent blocks, no dictionary. Reader and writer are our own
// because memory must be bounded by the frame's block size, a reader must not wander into a second frame that Java would not see, and
// neither may allocate per batch.
const (
	lz4Magic            = 0x184D2204
	lz4Version          = 0x40 // of FLG, bits 6-7
	lz4Independent      = 0x20
	lz4BlockChecksum    = 0x10
	lz4ContentSize      = 0x08
	lz4ContentChecksum  = 0x04
	lz4Reserved         = 0x83 // version other than 1, the reserved bit, and a dictionary id, which Kafka refuses, too
	lz4Stored           = 1 << 31
	lz4WriteBlock       = 64 << 10
	lz4WriteBlockFormat = 4 << 4 // BD of 64 KiB blocks
)

// lz4Reader inflates one frame. A content checksum is verified: Kafka skips it, but pierrec's reader, and so Go's consumers, do not.
type lz4Reader struct {
	src       []byte
	pending   []byte // inflated, not yet read
	block     *[]byte
	blockSize int
	flags     byte
	sum       xxh32
}

// reset turns to the frame in src, whose header it reads.
func (z *lz4Reader) reset(src []byte, block *[]byte) error {
	*z = lz4Reader{src: src, block: block}
	return z.readFrameHeader()
}

// Read inflates into p; blocks that fit p go straight into it.
func (z *lz4Reader) Read(p []byte) (int, error) {
	if len(z.pending) == 0 {
		packed, stored, err := z.nextBlock()
		if err != nil {
			return 0, err
		}
		room := z.roomFor(len(packed))
		switch {
		case stored:
			z.pending = packed
		case len(p) >= room:
			n, err := lz4.UncompressBlock(packed, p[:room])
			if err != nil {
				return 0, fmt.Errorf("lz4 block: %w", err)
			}
			return n, z.hash(p[:n])
		default:
			dst := sized(z.block, room)
			n, err := lz4.UncompressBlock(packed, dst)
			if err != nil {
				return 0, fmt.Errorf("lz4 block: %w", err)
			}
			z.pending = dst[:n]
		}
		if err := z.hash(z.pending); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.pending)
	z.pending = z.pending[n:]
	return n, nil
}

// roomFor returns what a block of the given size can inflate to: no byte of it stands for more than 255, so that a
// small block needs no large buffer.
func (z *lz4Reader) roomFor(packed int) int { return min(z.blockSize, packed*255+16) }

// room returns what the next block can inflate to, before anything of it was checked.
func (z *lz4Reader) room() int {
	if len(z.src) < 4 || z.src[3]&(lz4Stored>>24) != 0 {
		return 0
	}
	return z.roomFor(min(int(binary.LittleEndian.Uint32(z.src)), len(z.src)))
}

func (z *lz4Reader) hash(b []byte) error {
	if z.flags&lz4ContentChecksum != 0 {
		z.sum.write(b)
	}
	return nil
}

func (z *lz4Reader) readFrameHeader() error {
	if len(z.src) < 7 {
		return io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(z.src) != lz4Magic {
		return errors.New("not an lz4 frame")
	}
	flags, format := z.src[4], z.src[5]
	end := 6
	if flags&lz4ContentSize != 0 {
		end += 8 // says nothing that the blocks do not
	}
	if len(z.src) <= end {
		return io.ErrUnexpectedEOF
	}
	code := format >> 4
	switch {
	case flags&lz4Reserved != 0 || flags&lz4Version == 0:
		return fmt.Errorf("lz4 frame flags %#x are not supported", flags)
	case flags&lz4Independent == 0:
		return errors.New("lz4 frame has linked blocks")
	case format&0x0f != 0 || code < 4 || code > 7:
		return fmt.Errorf("lz4 frame has block size code %#x", format)
	case z.src[end] != byte(xxh32Of(z.src[4:end])>>8):
		return errors.New("lz4 frame header checksum does not hold")
	}
	z.flags = flags
	z.blockSize = 1 << (8 + 2*code)
	z.src = z.src[end+1:]
	z.sum.reset()
	return nil
}

// nextBlock returns the next block's bytes and whether they are stored as they are, or io.EOF after the end mark.
func (z *lz4Reader) nextBlock() (b []byte, stored bool, err error) {
	if z.blockSize == 0 {
		return nil, false, io.EOF
	}
	for {
		if len(z.src) < 4 {
			return nil, false, io.ErrUnexpectedEOF
		}
		head := binary.LittleEndian.Uint32(z.src)
		z.src = z.src[4:]
		if head == 0 {
			return nil, false, z.finish()
		}
		size := int64(head &^ lz4Stored)
		need := size
		if z.flags&lz4BlockChecksum != 0 {
			need += 4
		}
		switch {
		case size > int64(z.blockSize):
			return nil, false, fmt.Errorf("lz4 block of %d bytes in a frame of %d byte blocks", size, z.blockSize)
		case need > int64(len(z.src)):
			return nil, false, io.ErrUnexpectedEOF
		}
		b = z.src[:size]
		if need > size && binary.LittleEndian.Uint32(z.src[size:]) != xxh32Of(b) {
			return nil, false, errors.New("lz4 block checksum does not hold")
		}
		z.src = z.src[need:]
		if size > 0 { // a stored block of no bytes says nothing
			return b, head&lz4Stored != 0, nil
		}
	}
}

// finish checks what follows the end mark.
func (z *lz4Reader) finish() error {
	z.blockSize = 0
	if z.flags&lz4ContentChecksum != 0 {
		if len(z.src) < 4 {
			return io.ErrUnexpectedEOF
		}
		if binary.LittleEndian.Uint32(z.src) != z.sum.sum() {
			return errors.New("lz4 content checksum does not hold")
		}
		z.src = z.src[4:]
	}
	if len(z.src) > 0 {
		return fmt.Errorf("%d bytes after the lz4 frame", len(z.src))
	}
	return io.EOF
}

// lz4Writer writes one frame of independent 64 KiB blocks without checksums, as Kafka's own clients do.
type lz4Writer struct {
	dst    *capped
	level  lz4.CompressionLevel // 0 is the fast compressor
	fast   lz4.Compressor
	slow   lz4.CompressorHC
	block  []byte // gathered, not yet written
	packed []byte
	begun  bool
}

func (z *lz4Writer) reset(dst *capped, level int) {
	z.dst, z.block, z.begun = dst, z.block[:0], false
	// Kafka's default level, 9, stands for the fast compressor as well.
	z.level = 0
	if level != 0 && level != lz4DefaultLevel {
		z.level = lz4.CompressionLevel(1 << (8 + min(level, 9)))
	}
	z.slow.Level = z.level
}

func (z *lz4Writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		c := min(lz4WriteBlock-len(z.block), len(p))
		z.block = append(z.block, p[:c]...)
		p = p[c:]
		if len(z.block) == lz4WriteBlock {
			if err := z.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (z *lz4Writer) Close() error {
	if err := z.flush(); err != nil {
		return err
	}
	_, err := z.dst.Write([]byte{0, 0, 0, 0})
	return err
}

func (z *lz4Writer) flush() error {
	if !z.begun {
		z.begun = true
		head := [7]byte{4: lz4Version | lz4Independent, 5: lz4WriteBlockFormat}
		binary.LittleEndian.PutUint32(head[:], lz4Magic)
		head[6] = byte(xxh32Of(head[4:6]) >> 8)
		if _, err := z.dst.Write(head[:]); err != nil {
			return err
		}
	}
	if len(z.block) == 0 {
		return nil
	}
	packed := sized(&z.packed, lz4.CompressBlockBound(len(z.block)))
	var n int
	var err error
	if z.level == 0 {
		n, err = z.fast.CompressBlock(z.block, packed)
	} else {
		n, err = z.slow.CompressBlock(z.block, packed)
	}
	if err != nil {
		return fmt.Errorf("lz4 block: %w", err)
	}
	data, size := packed[:n], uint32(n)
	if n == 0 || n >= len(z.block) {
		data, size = z.block, uint32(len(z.block))|lz4Stored
	}
	var head [4]byte
	binary.LittleEndian.PutUint32(head[:], size)
	if _, err := z.dst.Write(head[:]); err != nil {
		return err
	}
	_, err = z.dst.Write(data)
	z.block = z.block[:0]
	return err
}
