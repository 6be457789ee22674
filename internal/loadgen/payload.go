package loadgen

import (
	"encoding/binary"
	"math/rand/v2"
)

// poolBytes is how much of payload is made: more than the largest batch, so that a codec finds no value
// twice in one, and more than a cache holds.
const poolBytes = 16 << 20

// Payloads are the values that records carry, made from a seed before the clock starts. They repeat after
// poolBytes. They are shared: nobody may write to them.
type Payloads struct {
	size   int
	random int // bytes of a value that do not compress
	pool   []byte
}

// NewPayloads makes values of the given size, of which the share redundancy compresses away.
func NewPayloads(seed uint64, size int, redundancy float64) *Payloads {
	count := max(1, poolBytes/size)
	p := &Payloads{size: size, random: size - int(redundancy*float64(size)), pool: make([]byte, count*size)}
	rng := rand.New(rand.NewPCG(seed, uint64(size)))
	for i := range count {
		for random := p.At(int64(i))[:p.random]; len(random) > 0; {
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], rng.Uint64())
			random = random[copy(random, word[:]):]
		}
		// The rest stays zero, which costs a codec next to nothing.
	}
	return p
}

// At returns the value of record i.
func (p *Payloads) At(i int64) []byte {
	start := int(i%int64(len(p.pool)/p.size)) * p.size
	return p.pool[start : start+p.size : start+p.size]
}

// Numbered returns a copy of the value of record i that carries its number.
func (p *Payloads) Numbered(i int64) []byte {
	value := append(make([]byte, 0, p.size), p.At(i)...)
	binary.BigEndian.PutUint64(value, uint64(i))
	return value
}

// number returns what Numbered wrote.
func number(value []byte) (i int64, ok bool) {
	if len(value) < minRecordBytes {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(value)), true
}
