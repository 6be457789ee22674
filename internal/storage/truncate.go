package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/walser-io/walser/internal/storage/segment"
)

// Truncate cuts the log so that it ends at to, or at the start of the batch that holds to. High
// watermark and flushed offset move back with it; producer state and leader epochs become those of what
// is left. At or past the end only epochs that begin there are forgotten (KAFKA-10706). Readers that
// hold a slice of what was cut come up short; they never read other bytes (KAFKA-18723).
func (l *Log) Truncate(to int64) error {
	done := l.takeTurn()
	defer done()
	l.mu.Lock()
	if err := l.Err(); err != nil {
		l.mu.Unlock()
		return err
	}
	if to < l.start.Load() {
		l.mu.Unlock()
		return l.restartAt(to)
	}
	if to >= l.end.Load() {
		l.mu.Unlock()
		l.trimEpochs(l.start.Load(), to)
		return nil
	}
	l.mu.busy = true
	l.truncations.Add(1)
	l.mu.Unlock()
	err := l.truncateTurn(to)
	l.mu.Lock()
	l.mu.busy = false
	l.mu.Unlock()
	return err
}

// truncateTurn does the work of Truncate while appends wait.
func (l *Log) truncateTurn(to int64) error {
	segs := l.list()
	i := floor(segs, to)
	seg := segs[i]
	position, end, err := locateCut(seg, to)
	if err != nil {
		return l.diskError(err)
	}
	if err := l.lowerRecoveryPoint(end); err != nil {
		return err
	}

	// Readers first: what is cut must not be asked for any more.
	kept := segs[: i+1 : i+1]
	l.mu.Lock()
	l.end.Store(end)
	startMoved := l.start.Load() > end // it lay inside the batch that was cut
	l.start.Store(min(l.start.Load(), end))
	l.highWatermark.Store(min(l.highWatermark.Load(), end))
	l.lastStable.Store(min(l.lastStable.Load(), end))
	l.segments.Store(&kept)
	l.mu.Unlock()

	defer l.newNames.Store(true)
	defer l.cut.Store(true)
	inUse := seg.InUse()
	if inUse && position == 0 {
		// Nothing is left of it, and readers hold the file: a new one takes its place.
		if err = l.retire(segs[i:]); err == nil {
			if seg, err = segment.Create(l.dir.files, l.path, end, 0); err == nil {
				kept = append(slices.Clone(segs[:i]), seg)
				inUse = false
				l.newNames.Store(true) // before an append can come to lie under the name
				l.mu.Lock()
				l.segments.Store(&kept)
				l.mu.Unlock()
			}
		}
	} else {
		err = seg.Truncate(position, end, l.config.Load().IndexIntervalBytes)
		if err == nil {
			err = l.retire(segs[i+1:])
		}
	}
	if err == nil {
		err = l.removeSnapshots(func(offset int64) bool { return offset > end })
	}
	if err != nil {
		return l.fail(fmt.Errorf("truncate to %d: %w", to, err))
	}
	l.trimEpochs(l.start.Load(), end)
	table, err := l.replayProducers(context.Background(), kept, end, end)
	if err != nil {
		return l.fail(fmt.Errorf("truncate to %d: %w", to, err))
	}

	l.mu.Lock()
	l.mu.producers = *table
	l.mu.producers.HighWatermarkMoved(l.highWatermark.Load())
	l.stableLocked()
	// Bytes at one position never change: what readers may still send is not written over.
	l.mu.rollNext = l.mu.rollNext || inUse
	l.checkInvariantsLocked()
	l.mu.Unlock()
	if startMoved {
		return l.startMoved()
	}
	return nil
}

// locateCut returns where the first batch with an offset at or above to begins, and the offset at which
// the log then ends.
func locateCut(seg *segment.Segment, to int64) (position, end int64, err error) {
	h, err := seg.Acquire()
	if err != nil {
		return 0, 0, err
	}
	defer h.Release()
	st := seg.State()
	p, ok, err := seg.Locate(h, st, to)
	if err != nil {
		return 0, 0, err
	}
	if !ok {
		return st.Size, to, nil
	}
	return p.Position, min(p.BaseOffset, to), nil
}

// lowerRecoveryPoint moves the flushed offset, and durably the recovery point, back to end. What is then
// written past it was never synced, and recovery must not take it for durable.
func (l *Log) lowerRecoveryPoint(end int64) error {
	l.mu.Lock()
	l.flushed.Store(min(l.flushed.Load(), end))
	l.mu.Unlock()
	if err := l.lowerCleaned(end); err != nil {
		return err
	}
	if l.savedRecoveryPoint.Load() <= end {
		return nil
	}
	return l.dir.saveRecoveryPoints(false)
}

// TruncateFullyAndStartAt empties the log, which then begins and ends at offset: what a follower does
// whose offsets its leader has deleted.
func (l *Log) TruncateFullyAndStartAt(offset int64) error {
	done := l.takeTurn()
	defer done()
	l.mu.Lock()
	err := l.Err()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.restartAt(offset)
}

// restartAt does the work of TruncateFullyAndStartAt. The caller has the turn.
func (l *Log) restartAt(offset int64) error {
	l.mu.Lock()
	l.mu.busy = true
	l.truncations.Add(1)
	l.mu.Unlock()
	err := l.lowerRecoveryPoint(min(offset, l.start.Load()))

	l.mu.Lock()
	segs := l.list()
	if err == nil {
		l.segments.Store(nil)
		for _, v := range []interface{ Store(int64) }{&l.start, &l.end, &l.highWatermark, &l.lastStable, &l.flushed} {
			v.Store(offset)
		}
		l.mu.producers.Clear()
		l.mu.sinceSnap, l.mu.rollNext = 0, false
	}
	l.mu.Unlock()
	if err == nil {
		err = errors.Join(l.retire(segs), l.removeSnapshots(func(int64) bool { return true }))
		l.newNames.Store(true)
		if err != nil {
			err = l.fail(fmt.Errorf("restart at %d: %w", offset, err))
		}
		l.epochs.Lock()
		l.epochs.cache.Clear()
		l.epochs.version++
		l.publishEpochLocked()
		l.epochs.Unlock()
	}
	l.mu.Lock()
	l.mu.busy = false
	l.mu.Unlock()
	if err != nil {
		return err
	}
	// Stored before an append can come: recovery takes a log that begins past both its recovery point and
	// its stored start for one that lost its head.
	l.tellStart()
	return l.dir.saveStartOffsets()
}

// retire renames segments that are no longer in the list to *.deleted and has them removed later.
func (l *Log) retire(segs []*segment.Segment) error {
	delay := l.config.Load().fileDeleteDelay()
	for _, seg := range segs {
		if err := seg.MarkDeleted(); err != nil {
			return err
		}
		l.dir.metrics.deleted.Inc()
		l.dir.deletes.add(deletion{dir: l.dir, path: l.path, base: seg.Base()}, time.Now().Add(delay))
	}
	return nil
}

func (l *Log) tellStart() {
	if h := l.hooks.Load(); h != nil && h.StartOffsetMoved != nil {
		h.StartOffsetMoved(l.start.Load())
	}
}

// startMoved tells that the start offset moved and stores it. A full disk only delays that.
func (l *Log) startMoved() error {
	l.tellStart()
	if err := l.dir.saveStartOffsets(); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	return nil
}
