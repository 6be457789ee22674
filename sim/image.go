package sim

import (
	"maps"
	"slices"
)

// image is a log as it was read back.
type image struct {
	start, end int64
	records    []placed
}

// placed is one record of an image.
type placed struct {
	value
	offset int64
	epoch  int32 // of the batch that it came in
}

// at returns the value at an offset.
func (g *image) at(offset int64) (value, bool) {
	i, ok := slices.BinarySearchFunc(g.records, offset, func(r placed, offset int64) int { return int(r.offset - offset) })
	if !ok {
		return value{}, false
	}
	return g.records[i].value, true
}

// supersedes reports whether v has the key of an earlier value.
func (v value) supersedes(earlier value) bool {
	return v.producer == earlier.producer && v.n > earlier.n && (v.n-earlier.n)%keysEach == 0
}

// superseded reports whether a later record with the key of v is there, or was.
func (g *image) superseded(v value, want promised) bool {
	for _, later := range want.at {
		if later.supersedes(v) {
			return true
		}
	}
	return slices.ContainsFunc(g.records, func(r placed) bool { return r.supersedes(v) })
}

// supersededLater reports whether another look at the log finds a later record with the key of v, or nothing can be
// said.
func supersededLater(v value, want promised, later func() (*image, bool)) bool {
	again, ok := later()
	return !ok || again.superseded(v, want)
}

// epochEnds returns where each leader epoch ends that another follows.
func (g *image) epochEnds() map[int32]int64 {
	ends := make(map[int32]int64)
	for i := 1; i < len(g.records); i++ {
		if before := g.records[i-1].epoch; before != g.records[i].epoch {
			ends[before] = g.records[i].offset
		}
	}
	return ends
}

// compare holds a log that was read back against what was promised before the reading began. gapless
// are the producers that write every one of their values until they have it acknowledged, in order. later reads
// the log once more, false if it cannot: what was written behind the end while it was read may have had records
// before it compacted away.
func (l *ledger) compare(p partition, want promised, got *image, gapless map[int]bool, later func() (*image, bool)) {
	kind := l.kinds[p.topic]
	deletable := max(want.deletable, l.deletable(p))
	gone := 0
	if got.start > deletable && kind == kept {
		l.violation("%s begins at %d, but deletion was asked for only up to %d", p, got.start, deletable)
	}
	if got.start < want.deleted {
		l.violation("%s begins at %d, but deletion up to %d was acknowledged", p, got.start, want.deleted)
	}
	for _, offset := range slices.Sorted(maps.Keys(want.at)) {
		v := want.at[offset]
		found, ok := got.at(offset)
		switch {
		case offset >= got.end && offset >= got.start:
			l.violation("%s offset %d: value %v is lost, the log ends at %d", p, offset, v, got.end)
		case !ok && offset < got.start && (offset < deletable || v.old), !ok && kind == compacted && got.superseded(v, want):
			gone++
		case !ok && kind == compacted && l.outlived(p, v):
			gone++
		case !ok && kind == compacted && supersededLater(v, want, later):
			gone++
		case !ok:
			l.violation("%s offset %d: value %v is lost, the log begins at %d", p, offset, v, got.start)
		case ok && found != v:
			l.violation("%s offset %d: value %v became %v", p, offset, v, found)
		}
	}
	for group, c := range want.committed {
		if c.acknowledged > got.end {
			l.violation("%s group %s: %d was committed, but the log ends at %d", p, group, c.acknowledged, got.end)
		}
	}
	at := l.inOrder(p, got, gapless)
	for v := range want.anywhere {
		if _, ok := at[v]; !ok && got.start == 0 && (kind != compacted || !got.superseded(v, want)) {
			l.violation("%s value %v was called a duplicate and is not there", p, v)
		}
	}
	l.mu.Lock()
	l.mu.figures.Compared += len(want.at)
	l.mu.figures.Gone += gone
	l.mu.Unlock()
}

// inOrder holds the records of a log against each other, and returns where each value is.
func (l *ledger) inOrder(p partition, got *image, gapless map[int]bool) map[value]int64 {
	dense := l.kinds[p.topic] != compacted
	at := make(map[value]int64)
	last := make(map[int]int)
	for i, r := range got.records {
		if before, ok := at[r.value]; ok {
			l.violation("%s value %v is there twice, at %d and %d", p, r.value, before, r.offset)
		}
		at[r.value] = r.offset
		before, ok := last[r.producer]
		switch gapless := dense && gapless[r.producer]; {
		case ok && r.n < before:
			l.violation("%s offset %d: %v follows %v of the same producer", p, r.offset, r.value, before)
		case gapless && ok && r.n != before+1, gapless && !ok && got.start == 0 && r.n != 0:
			l.violation("%s offset %d: %v, but the value before of this producer was %d", p, r.offset, r.value, before)
		}
		last[r.producer] = r.n
		if i > 0 && r.epoch < got.records[i-1].epoch {
			l.violation("%s offset %d: leader epoch %d follows %d", p, r.offset, r.epoch, got.records[i-1].epoch)
		}
	}
	return at
}
