package compact

import (
	"cmp"
	"math"
)

// Policy is what a topic's configuration says of its compaction.
type Policy struct {
	MinDirtyRatio     float64 // min.cleanable.dirty.ratio
	MinLagMs          int64   // min.compaction.lag.ms
	MaxLagMs          int64   // max.compaction.lag.ms
	DeleteRetentionMs int64   // delete.retention.ms
	SegmentBytes      int64   // segment.bytes
	IndexBytes        int64   // segment.index.bytes
}

// Segment is a sealed segment.
type Segment struct {
	Base, Next int64 // first offset, and that of the segment after it
	Size       int64 // bytes
	// IndexBytes is the size of the larger of its indexes.
	IndexBytes int64
	// FirstTimestamp is the first batch's, LargestTimestamp the segment's, both in ms; -1 where there is
	// none, or where the policy does not ask.
	FirstTimestamp, LargestTimestamp int64
}

// Log is what the planner knows of a log.
type Log struct {
	// Segments are the sealed segments whose content is final, oldest first: durable and committed.
	Segments []Segment
	// Cleaned is the offset up to which the log was compacted; Start is the log's first.
	Cleaned, Start int64
	Policy         Policy
}

// Dirt is how much a log has to gain from a round.
type Dirt struct {
	// From and To bound the dirty part; they are equal where there is none.
	From, To int64
	// CleanBytes lie before it, DirtyBytes in it.
	CleanBytes, DirtyBytes int64
	// Overdue: a dirty record is older than max.compaction.lag.ms.
	Overdue bool
}

// Measure finds the dirty part of a log: from where the last round ended to the first segment that holds
// a record younger than min.compaction.lag.ms.
func (l *Log) Measure(nowMs int64) Dirt {
	d := Dirt{From: max(l.Cleaned, l.Start)}
	d.To = d.From
	for _, s := range l.Segments {
		if s.Next <= d.From {
			d.CleanBytes += s.Size
			continue
		}
		if l.Policy.MinLagMs > 0 && s.LargestTimestamp > nowMs-l.Policy.MinLagMs {
			break
		}
		d.To = s.Next
		d.DirtyBytes += s.Size
		// Subtracting cannot overflow: neither is negative.
		if s.FirstTimestamp >= 0 && nowMs-s.FirstTimestamp > l.Policy.MaxLagMs {
			d.Overdue = true
		}
	}
	return d
}

// Ratio returns the share of the dirty part in what a round reads.
func (d Dirt) Ratio() float64 {
	if d.DirtyBytes == 0 {
		return 0
	}
	return float64(d.DirtyBytes) / float64(d.CleanBytes+d.DirtyBytes)
}

// Due says whether the log should be compacted now.
func (d Dirt) Due(p Policy) bool {
	return d.To > d.From && d.DirtyBytes > 0 && (d.Overdue || d.Ratio() > p.MinDirtyRatio)
}

// Compare orders logs by urgency: overdue ones first, then the dirtiest.
func Compare(a, b Dirt) int {
	if a.Overdue != b.Overdue {
		if a.Overdue {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.Ratio(), a.Ratio()), cmp.Compare(b.DirtyBytes, a.DirtyBytes))
}

// Groups says which neighbours are rewritten into one segment, as counts, for the segments that begin
// below upTo: as many as fit segment.bytes, its index and the 32 bits of a relative offset even if
// nothing is dropped.
func (l *Log) Groups(upTo int64) []int {
	var groups []int
	var size, index, base int64
	for _, s := range l.Segments {
		if s.Base >= upTo {
			break
		}
		if n := len(groups); n > 0 && size+s.Size <= l.Policy.SegmentBytes && index+s.IndexBytes <= l.Policy.IndexBytes && s.Next-1-base <= math.MaxInt32 {
			groups[n-1]++
			size += s.Size
			index += s.IndexBytes
			continue
		}
		groups = append(groups, 1)
		size, index, base = s.Size, s.IndexBytes, s.Base
	}
	return groups
}
