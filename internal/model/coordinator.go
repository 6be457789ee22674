package model

import "unicode/utf8"

// CoordinatorPartition returns the partition of an internal topic with n partitions that coordinates
// key: abs(String.hashCode(key)) % n as Java computes it, with abs(MinInt32) taken as 0.
func CoordinatorPartition(key string, n int32) int32 {
	h := javaHash(key)
	if h < 0 {
		if h == -1<<31 {
			h = 0
		} else {
			h = -h
		}
	}
	return h % n
}

// javaHash is Java's String.hashCode: a base-31 polynomial over UTF-16 code units.
func javaHash(s string) int32 {
	var h int32
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if r >= 0x10000 {
			r -= 0x10000
			h = 31*h + (0xD800 + r>>10)
			r = 0xDC00 + r&0x3FF
		}
		h = 31*h + r
	}
	return h
}
