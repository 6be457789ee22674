package storage

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/storage/compact"
	"github.com/walser-io/walser/internal/storage/segment"
)

var (
	// ErrSegmentsChanged: retention or a truncation changed what was being compacted. Nothing was
	// replaced; the next look shows the log as it is.
	ErrSegmentsChanged = errors.New("segments changed while they were compacted")
	// ErrCorruptSegment: what stands in a segment is no sound batch.
	ErrCorruptSegment = segment.ErrCorrupt
)

// Compaction is one look at the sealed segments of a log, of which some may be rewritten. It holds nothing
// open; the log goes on meanwhile, and Rewrite.Commit finds out whether the look still holds.
type Compaction struct {
	log         *Log
	segs        []*segment.Segment // those of the plan; nil once replaced
	plan        compact.Log
	truncations uint64
}

// Compaction looks at the segments that may be compacted: sealed ones whose records are committed,
// decided and durable, below the recovery point in the checkpoint file. Above it recovery takes a gap for
// lost records.
func (l *Log) Compaction() (*Compaction, error) {
	l.mu.Lock()
	err := l.Err()
	truncations := l.truncations.Load()
	segs := l.list()
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	cfg := l.config.Load()
	c := &Compaction{log: l, truncations: truncations, plan: compact.Log{
		Start: l.start.Load(), Cleaned: l.cleaned.Load(),
		Policy: compact.Policy{
			MinDirtyRatio: cfg.MinCleanableDirtyRatio, MinLagMs: cfg.MinCompactionLagMs, MaxLagMs: cfg.MaxCompactionLagMs,
			DeleteRetentionMs: cfg.DeleteRetentionMs, SegmentBytes: int64(cfg.SegmentBytes), IndexBytes: int64(cfg.SegmentIndexBytes),
		},
	}}
	bound := min(l.lastStable.Load(), l.savedRecoveryPoint.Load(), l.flushed.Load())
	for i, seg := range segs {
		if i+1 == len(segs) || segs[i+1].Base() > bound || !seg.IndexSynced() {
			break
		}
		s, err := describe(seg, segs[i+1].Base(), &c.plan.Policy)
		if err != nil {
			return nil, l.compactionError(fmt.Errorf("look at segment %d: %w", seg.Base(), err), c)
		}
		c.segs = append(c.segs, seg)
		c.plan.Segments = append(c.plan.Segments, s)
	}
	return c, nil
}

func describe(seg *segment.Segment, next int64, p *compact.Policy) (s compact.Segment, err error) {
	index, times := seg.IndexBytes()
	s = compact.Segment{Base: seg.Base(), Next: next, Size: seg.State().Size, IndexBytes: max(index, times), FirstTimestamp: -1, LargestTimestamp: -1}
	if p.MinLagMs > 0 {
		largest, err := seg.LargestTimestamp()
		if err != nil {
			return s, err
		}
		s.LargestTimestamp = largest.Timestamp
	}
	if p.MaxLagMs < math.MaxInt64 {
		s.FirstTimestamp, err = seg.FirstTime()
	}
	return s, err
}

// Plan returns what the planner needs to know.
func (c *Compaction) Plan() *compact.Log { return &c.plan }

// LastOfProducer returns the last offset that each producer of the log wrote.
func (c *Compaction) LastOfProducer() map[int64]int64 {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.log.mu.producers.LastOffsets()
}

// Scan shows visit the batches of segment i of the plan in order, from the one that holds offset on. buf
// is read into, and returned for the next call, larger where a batch was. A batch holds until visit
// returns; its checksum is right.
func (c *Compaction) Scan(i int, offset int64, buf []byte, visit func(record.Batch) error) ([]byte, error) {
	visited := false // an error of visit is the caller's own
	buf, err := c.segs[i].Scan(offset, buf, func(b []byte) error {
		err := visit(record.Batch(b))
		visited = err != nil
		return err
	})
	if err != nil && !visited {
		err = c.log.compactionError(err, c)
	}
	return buf, err
}

// Cleaned notes, durably, that the log is compacted up to offset.
func (c *Compaction) Cleaned(offset int64) error {
	l := c.log
	done := l.takeTurn()
	defer done()
	if err := c.holds(); err != nil {
		return err
	}
	l.cleaned.Store(offset)
	return l.dir.saveCleaned()
}

// holds says whether the look still shows the log. The caller has the turn.
func (c *Compaction) holds() error {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if err := c.log.Err(); err != nil {
		return err
	}
	if c.log.truncations.Load() != c.truncations {
		return fmt.Errorf("%w: %s was truncated", ErrSegmentsChanged, c.log.tp)
	}
	return nil
}

// compactionError says what an error means that came from reading a segment.
func (l *Log) compactionError(err error, c *Compaction) error {
	if bad := c.holds(); bad != nil {
		return bad
	}
	now := l.list()
	for _, seg := range c.segs {
		if seg != nil && !slices.Contains(now, seg) {
			return fmt.Errorf("%w: segment %d of %s is gone", ErrSegmentsChanged, seg.Base(), l.tp)
		}
	}
	return err
}

// CleanedOffset returns the offset up to which the log was compacted.
func (l *Log) CleanedOffset() int64 { return l.cleaned.Load() }

// lowerCleaned moves the cleaned offset back to end, durably, before a truncation: what is written past it
// was in no round.
func (l *Log) lowerCleaned(end int64) error {
	if l.cleaned.Load() <= end {
		return nil
	}
	l.cleaned.Store(end)
	return l.dir.saveCleaned()
}

// saveCleaned writes cleaner-offset-checkpoint if it changed. After a crash an older one only makes a round
// anew.
func (d *Dir) saveCleaned() error {
	return d.saveOffsets(checkpoint.CleanerOffsets, func() *map[model.TopicPartition]int64 { return &d.mu.savedCO },
		func(f foundLog) int64 { return f.cleaned },
		func(l *Log) int64 { return l.cleaned.Load() })
}

// Checkpoint writes the checkpoints of all directories. Manager.Run does this; only who does not run it
// calls this.
func (m *Manager) Checkpoint() error {
	for _, d := range m.dirs {
		for _, save := range []func() error{func() error { return d.saveRecoveryPoints(true) }, d.saveHighWatermarks, d.saveStartOffsets} {
			if err := save(); err != nil {
				return err
			}
		}
	}
	return nil
}
