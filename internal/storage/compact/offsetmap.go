package compact

import (
	"crypto/sha256"
	"encoding/binary"
)

// entryBytes is the memory of one key.
const entryBytes = 24

const (
	firstEntries = 1 << 10
	growth       = 8
	// fullPercent is how much of the table is used: past it, probes grow long.
	fullPercent = 90
)

// OffsetMap holds the last offset of each key, in bounded memory. It keeps no key but 128 bits of its
// SHA-256: no client can find two keys that it takes for one. Not safe for concurrent use.
type OffsetMap struct {
	entries []entry
	used    int
	largest int // entries that the budget allows
}

type entry struct {
	hi, lo uint64
	offset int64 // plus one: 0 is an empty entry
}

// NewOffsetMap returns an empty map that never takes more than budgetBytes; it takes at least room for one
// key. Memory is taken as keys come.
func NewOffsetMap(budgetBytes int64) *OffsetMap {
	// While the table grows the one before it, an eighth of its size, is still there.
	return &OffsetMap{largest: int(max(budgetBytes/entryBytes*growth/(growth+1), 2))}
}

// Len returns the number of keys.
func (m *OffsetMap) Len() int { return m.used }

// Bytes returns the memory taken.
func (m *OffsetMap) Bytes() int64 { return int64(len(m.entries)) * entryBytes }

// Reset forgets all keys, and keeps the memory.
func (m *OffsetMap) Reset() {
	clear(m.entries)
	m.used = 0
}

// Put notes that key occurs at offset, which is not below the one noted before. It returns false where the
// key is new and there is no room for it.
func (m *OffsetMap) Put(key []byte, offset int64) bool {
	hi, lo := hash(key)
	e := m.find(hi, lo)
	if e != nil && e.offset != 0 {
		e.offset = offset + 1
		return true
	}
	if m.used >= capacity(len(m.entries)) {
		if !m.grow() {
			return false
		}
		e = m.find(hi, lo)
	}
	*e = entry{hi, lo, offset + 1}
	m.used++
	return true
}

// Get returns the last offset of key.
func (m *OffsetMap) Get(key []byte) (offset int64, ok bool) {
	e := m.find(hash(key))
	if e == nil || e.offset == 0 {
		return 0, false
	}
	return e.offset - 1, true
}

// capacity is how many of n entries may be used: never all, so that every probe ends.
func capacity(n int) int { return min(n*fullPercent/100, n-1) }

// find returns the entry of a key, or the empty one where it would stand; nil while there is no table.
func (m *OffsetMap) find(hi, lo uint64) *entry {
	n := uint64(len(m.entries))
	if n == 0 {
		return nil
	}
	for i := hi % n; ; {
		e := &m.entries[i]
		if e.offset == 0 || e.hi == hi && e.lo == lo {
			return e
		}
		if i++; i == n {
			i = 0
		}
	}
}

func (m *OffsetMap) grow() bool {
	next := min(max(firstEntries, len(m.entries)*growth), m.largest)
	if next <= len(m.entries) {
		return false
	}
	old := m.entries
	m.entries = make([]entry, next)
	for _, e := range old {
		if e.offset != 0 {
			*m.find(e.hi, e.lo) = e
		}
	}
	return true
}

func hash(key []byte) (hi, lo uint64) {
	sum := sha256.Sum256(key)
	return binary.LittleEndian.Uint64(sum[:8]), binary.LittleEndian.Uint64(sum[8:16])
}
