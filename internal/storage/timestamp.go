package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/segment"
)

// TimestampOffset is a record found by its timestamp.
type TimestampOffset struct {
	Timestamp int64 // ms
	Offset    int64
}

// OffsetForTimestamp returns the first record below upTo with a timestamp at or above ts; false if there
// is none. Batches are read and inflated until it is found.
func (l *Log) OffsetForTimestamp(ts int64, upTo int64) (TimestampOffset, bool, error) {
	found, ok, err := l.lookAgain(func(segs []*segment.Segment) (TimestampOffset, bool, error) {
		start := l.start.Load()
		for i, seg := range segs {
			if i+1 < len(segs) && segs[i+1].Base() <= start {
				continue
			}
			largest, err := seg.LargestTimestamp()
			if err != nil {
				return TimestampOffset{}, false, err
			}
			if largest.Timestamp < ts {
				continue
			}
			found, ok, err := l.searchTimestamp(seg, ts, start)
			if ok || err != nil {
				return found, ok, err
			}
		}
		return TimestampOffset{}, false, nil
	})
	if err != nil || !ok || found.Offset >= upTo {
		return TimestampOffset{}, false, err
	}
	return found, true, nil
}

// OffsetOfMaxTimestamp returns the first record that carries the largest timestamp of the log; false if
// none carries one.
func (l *Log) OffsetOfMaxTimestamp() (TimestampOffset, bool, error) {
	return l.lookAgain(func(segs []*segment.Segment) (TimestampOffset, bool, error) {
		var best *segment.Segment
		largest := int64(-1)
		for _, seg := range segs {
			e, err := seg.LargestTimestamp()
			if err != nil {
				return TimestampOffset{}, false, err
			}
			if e.Timestamp > largest {
				best, largest = seg, e.Timestamp
			}
		}
		if best == nil {
			return TimestampOffset{}, false, nil
		}
		return l.searchTimestamp(best, largest, l.start.Load())
	})
}

// lookAgain repeats a search over the segments when one of them was deleted or truncated under it.
func (l *Log) lookAgain(search func([]*segment.Segment) (TimestampOffset, bool, error)) (TimestampOffset, bool, error) {
	for {
		if err := l.Err(); err != nil {
			return TimestampOffset{}, false, err
		}
		before, end := l.segments.Load(), l.end.Load()
		found, ok, err := search(l.list())
		if l.closed.Load() {
			continue // what was read may be another log's of this name
		}
		if err != nil && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrClosed) || errors.Is(err, segment.ErrCorrupt)) {
			if l.segments.Load() != before || l.end.Load() < end {
				continue
			}
		}
		return found, ok, err
	}
}

// searchTimestamp returns the first record at or above start with a timestamp at or above ts.
func (l *Log) searchTimestamp(seg *segment.Segment, ts, start int64) (TimestampOffset, bool, error) {
	h, err := seg.Acquire()
	if err != nil {
		return TimestampOffset{}, false, err
	}
	defer h.Release()
	st := seg.State()
	from, err := seg.TimeFloor(h, st, ts)
	if err != nil {
		return TimestampOffset{}, false, err
	}
	p, ok, err := seg.Locate(h, st, max(from.Offset, start))
	for err == nil && ok {
		if p, ok, err = seg.FirstAtOrAfter(h, st, p, ts); err != nil || !ok {
			break
		}
		raw := make([]byte, p.Size)
		if n, err := h.File.ReadAt(raw, p.Position); int64(n) < p.Size {
			return TimestampOffset{}, false, fmt.Errorf("read segment %d: %w: %w", seg.Base(), segment.ErrCorrupt, err)
		}
		found, ok, err := l.dir.inflate.firstAtOrAfter(record.Batch(raw), ts, start)
		if ok || err != nil {
			return found, ok, err
		}
		p, _, err = seg.Locate(h, st, p.LastOffset+1)
		if err != nil || p.Size == 0 {
			return TimestampOffset{}, false, err
		}
	}
	return TimestampOffset{}, false, err
}

// inflaters lends the memory for reading compressed batches.
type inflaters struct{ pool sync.Pool }

func (x *inflaters) firstAtOrAfter(b record.Batch, ts, start int64) (TimestampOffset, bool, error) {
	s, ok := x.pool.Get().(*record.Scratch)
	if !ok {
		s = record.NewScratch(record.Limits{})
	}
	defer x.pool.Put(s)
	it := b.Records(s)
	for r, ok := it.Next(); ok; r, ok = it.Next() {
		if r.Timestamp >= ts && r.Offset >= start {
			return TimestampOffset{r.Timestamp, r.Offset}, true, nil
		}
	}
	return TimestampOffset{}, false, it.Err()
}
