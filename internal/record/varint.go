package record

// Zigzag varints as Kafka writes them: groups of seven bits, lowest first. An int32 takes at most 5 bytes and an
// int64 at most 10; bits beyond the type are dropped, as Kafka's own reader does.
//
// The readers take a position and return the next one, or one of the two values below. They are split into a
// part for one byte, which the compiler inlines, and the rest. The walk over a batch has a way of its own (walker.quick).

const (
	varintShort    = -1 // the bytes end inside the number
	varintOverlong = -2 // the number does not end where its type must

	maxVarint32 = 5 // bytes
	maxVarint64 = 10
)

func readVarint(b []byte, pos int) (v int32, next int) {
	if uint(pos) < uint(len(b)) {
		if c := b[pos]; c < 0x80 {
			return int32(c>>1) ^ -int32(c&1), pos + 1
		}
	}
	return readVarintLong(b, pos)
}

func readVarintLong(b []byte, pos int) (v int32, next int) {
	var u uint32
	for shift := uint(0); shift < 35; shift += 7 {
		if uint(pos) >= uint(len(b)) {
			return 0, varintShort
		}
		c := b[pos]
		pos++
		u |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return int32(u>>1) ^ -int32(u&1), pos
		}
	}
	return 0, varintOverlong
}

func readVarlong(b []byte, pos int) (v int64, next int) {
	if uint(pos) < uint(len(b)) {
		if c := b[pos]; c < 0x80 {
			return int64(c>>1) ^ -int64(c&1), pos + 1
		}
	}
	return readVarlongLong(b, pos)
}

func readVarlongLong(b []byte, pos int) (v int64, next int) {
	var u uint64
	for shift := uint(0); shift < 70; shift += 7 {
		if uint(pos) >= uint(len(b)) {
			return 0, varintShort
		}
		c := b[pos]
		pos++
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1), pos
		}
	}
	return 0, varintOverlong
}

func appendVarint(b []byte, v int32) []byte {
	u := uint32(v<<1) ^ uint32(v>>31)
	for u >= 0x80 {
		b = append(b, byte(u)|0x80)
		u >>= 7
	}
	return append(b, byte(u))
}

func appendVarlong(b []byte, v int64) []byte {
	u := uint64(v<<1) ^ uint64(v>>63)
	for u >= 0x80 {
		b = append(b, byte(u)|0x80)
		u >>= 7
	}
	return append(b, byte(u))
}

func sizeVarint(v int32) int {
	n := 1
	for u := uint32(v<<1) ^ uint32(v>>31); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

func sizeVarlong(v int64) int {
	n := 1
	for u := uint64(v<<1) ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
