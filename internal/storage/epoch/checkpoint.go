package epoch

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// FileName is the name of the checkpoint file in a partition's directory.
const FileName = "leader-epoch-checkpoint"

// ErrCorrupt is wrapped by every error of Decode.
var ErrCorrupt = errors.New("corrupt leader epoch checkpoint")

// Append appends the cache in the form of leader-epoch-checkpoint: a line "0" (the version), a line
// with the count, and one line "epoch startOffset" per entry.
func (c *Cache) Append(dst []byte) []byte {
	dst = append(dst, "0\n"...)
	dst = strconv.AppendInt(dst, int64(len(c.entries)), 10)
	dst = append(dst, '\n')
	for _, e := range c.entries {
		dst = strconv.AppendInt(dst, int64(e.Epoch), 10)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, e.Start, 10)
		dst = append(dst, '\n')
	}
	return dst
}

// Decode reads what Append wrote, and what Kafka writes. The text carries no checksum, so everything
// that can be checked is: the count must match the lines, the last line must end, and entries must be
// strictly increasing in both numbers (a cache never writes others). The result owns its memory.
func Decode(text []byte) (Cache, error) {
	next := func() (line []byte, ok bool) {
		line, text, ok = bytes.Cut(text, []byte{'\n'})
		return line, ok
	}
	version, ok := next()
	if !ok || string(version) != "0" {
		return Cache{}, fmt.Errorf("%w: version %.20q, want \"0\"", ErrCorrupt, version)
	}
	countText, ok := next()
	count, err := strconv.Atoi(string(countText))
	// The shortest entry is "0 0\n": a count the text cannot hold is refused before it is allocated.
	if !ok || err != nil || count < 0 || count > len(text)/4 {
		return Cache{}, fmt.Errorf("%w: count %.20q with %d bytes of entries", ErrCorrupt, countText, len(text))
	}
	entries := make([]Entry, 0, count)
	for i := range count {
		line, ok := next()
		left, right, both := bytes.Cut(line, []byte{' '})
		epoch, epochErr := strconv.ParseInt(string(left), 10, 32)
		start, startErr := strconv.ParseInt(string(right), 10, 64)
		if !ok || !both || epochErr != nil || startErr != nil || epoch < 0 || start < 0 {
			return Cache{}, fmt.Errorf("%w: line %d is %.40q, want \"epoch offset\"", ErrCorrupt, i+3, line)
		}
		e := Entry{Epoch: int32(epoch), Start: start}
		if i > 0 && (e.Epoch <= entries[i-1].Epoch || e.Start <= entries[i-1].Start) {
			return Cache{}, fmt.Errorf("%w: line %d: %v does not follow %v", ErrCorrupt, i+3, e, entries[i-1])
		}
		entries = append(entries, e)
	}
	if len(text) > 0 {
		return Cache{}, fmt.Errorf("%w: %d bytes after the last entry", ErrCorrupt, len(text))
	}
	return Cache{entries: entries}, nil
}
