package epoch

import (
	"slices"
	"sort"
)

// Undefined is the epoch, and UndefinedOffset the end offset, of an answer that knows neither.
const (
	Undefined       int32 = -1
	UndefinedOffset int64 = -1
)

// Entry says that Epoch's first record, if it wrote any, has offset Start.
type Entry struct {
	Epoch int32
	Start int64
}

// Cache is the list of leader epochs of one log. The zero value is empty and ready.
type Cache struct {
	entries []Entry
}

// Entries returns the entries, oldest first. The slice is the cache's: read it before the next change.
func (c *Cache) Entries() []Entry { return c.entries }

// Latest returns the newest entry, and false if there is none.
func (c *Cache) Latest() (Entry, bool) {
	if len(c.entries) == 0 {
		return Entry{}, false
	}
	return c.entries[len(c.entries)-1], true
}

// Assign records that epoch begins at start and reports whether that changed anything. Entries that a
// new one contradicts (an epoch or a start at or past its own) are dropped: an epoch that began where
// the new one begins wrote nothing. Negative values and an epoch that is known with a start at or
// before this one change nothing.
func (c *Cache) Assign(epoch int32, start int64) bool {
	if epoch < 0 || start < 0 {
		return false
	}
	if last, ok := c.Latest(); ok && last.Epoch == epoch && last.Start <= start {
		return false
	}
	n := len(c.entries)
	for n > 0 && (c.entries[n-1].Epoch >= epoch || c.entries[n-1].Start >= start) {
		n--
	}
	c.entries = append(c.entries[:n], Entry{Epoch: epoch, Start: start})
	return true
}

// EndOffsetFor answers OffsetForLeaderEpoch: the largest known epoch at or below the requested one and
// the offset at which the epoch after it begins. For the newest epoch that is logEnd; for an epoch
// older than all known ones it is the requested epoch and the first known start; for Undefined and for
// epochs newer than all known ones it is Undefined and UndefinedOffset.
func (c *Cache) EndOffsetFor(requested int32, logEnd int64) (epoch int32, end int64) {
	last, ok := c.Latest()
	switch {
	case requested < 0, !ok, requested > last.Epoch:
		return Undefined, UndefinedOffset
	case requested == last.Epoch:
		return requested, logEnd
	}
	// The newest epoch is above the requested one, so there is always an entry at next.
	next := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Epoch > requested })
	if next == 0 {
		return requested, c.entries[0].Start
	}
	return c.entries[next-1].Epoch, c.entries[next].Start
}

// ForOffset returns the epoch that wrote offset, Undefined if offset lies before the first entry.
func (c *Cache) ForOffset(offset int64) int32 {
	i := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Start > offset })
	if i == 0 {
		return Undefined
	}
	return c.entries[i-1].Epoch
}

// TruncateFromEnd forgets the epochs that begin at or past end, and reports whether there were any.
func (c *Cache) TruncateFromEnd(end int64) bool {
	n := len(c.entries)
	for n > 0 && c.entries[n-1].Start >= end {
		n--
	}
	changed := n < len(c.entries)
	c.entries = c.entries[:n]
	return changed
}

// TruncateFromStart forgets what lies before start: of the epochs that begin at or before it only the
// newest stays, and now begins at start. It reports whether anything changed.
func (c *Cache) TruncateFromStart(start int64) bool {
	i := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Start > start })
	if i == 0 || i == 1 && c.entries[0].Start == start {
		return false
	}
	c.entries[i-1].Start = start
	c.entries = slices.Delete(c.entries, 0, i-1)
	return true
}

// Clear forgets every epoch.
func (c *Cache) Clear() { c.entries = c.entries[:0] }
