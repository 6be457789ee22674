package record

import (
	"encoding/binary"
	"math/bits"
)

// xxh32 is the checksum of LZ4 frames (xxHash, 32 bits, seed 0). The zero value is not ready; call reset.
type xxh32 struct {
	v     [4]uint32
	total uint64
	buf   [16]byte
	n     int // bytes in buf
}

const (
	xxhPrime1 uint32 = 2654435761
	xxhPrime2 uint32 = 2246822519
	xxhPrime3 uint32 = 3266489917
	xxhPrime4 uint32 = 668265263
	xxhPrime5 uint32 = 374761393
)

func (x *xxh32) reset() {
	*x = xxh32{}
	p1, p2 := xxhPrime1, xxhPrime2 // variables: the sums wrap
	x.v = [4]uint32{p1 + p2, p2, 0, -p1}
}

func (x *xxh32) write(b []byte) {
	x.total += uint64(len(b))
	if x.n > 0 {
		c := copy(x.buf[x.n:], b)
		x.n += c
		b = b[c:]
		if x.n < len(x.buf) {
			return
		}
		x.blocks(x.buf[:])
		x.n = 0
	}
	whole := len(b) &^ 15
	x.blocks(b[:whole])
	x.n = copy(x.buf[:], b[whole:])
}

func (x *xxh32) blocks(b []byte) {
	v0, v1, v2, v3 := x.v[0], x.v[1], x.v[2], x.v[3]
	for ; len(b) >= 16; b = b[16:] {
		v0 = bits.RotateLeft32(v0+binary.LittleEndian.Uint32(b[0:4])*xxhPrime2, 13) * xxhPrime1
		v1 = bits.RotateLeft32(v1+binary.LittleEndian.Uint32(b[4:8])*xxhPrime2, 13) * xxhPrime1
		v2 = bits.RotateLeft32(v2+binary.LittleEndian.Uint32(b[8:12])*xxhPrime2, 13) * xxhPrime1
		v3 = bits.RotateLeft32(v3+binary.LittleEndian.Uint32(b[12:16])*xxhPrime2, 13) * xxhPrime1
	}
	x.v = [4]uint32{v0, v1, v2, v3}
}

func (x *xxh32) sum() uint32 {
	h := x.v[2] + xxhPrime5
	if x.total >= 16 {
		h = bits.RotateLeft32(x.v[0], 1) + bits.RotateLeft32(x.v[1], 7) + bits.RotateLeft32(x.v[2], 12) + bits.RotateLeft32(x.v[3], 18)
	}
	h += uint32(x.total)
	b := x.buf[:x.n]
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*xxhPrime3, 17) * xxhPrime4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*xxhPrime5, 11) * xxhPrime1
	}
	h ^= h >> 15
	h *= xxhPrime2
	h ^= h >> 13
	h *= xxhPrime3
	return h ^ h>>16
}

// xxh32Of is the checksum of b.
func xxh32Of(b []byte) uint32 {
	var x xxh32
	x.reset()
	x.write(b)
	return x.sum()
}
