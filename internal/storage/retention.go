package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage/segment"
)

// DeleteRecords moves the start offset forward to before, durably: records below it are not read any
// more, and segments wholly below it go at the next retention check. ErrOffsetOutOfRange past the high
// watermark; an offset at or before the start moves nothing. ErrNoSpace where the disk is too full to store
// the start, in the space of the reserve too: it has moved, and a power loss may take it back until it is asked
// for again and nil is the answer.
func (l *Log) DeleteRecords(before int64) error {
	l.mu.Lock()
	if err := l.Err(); err != nil {
		l.mu.Unlock()
		return err
	}
	start, hw := l.start.Load(), l.highWatermark.Load()
	if before > hw {
		l.mu.Unlock()
		return fmt.Errorf("%w: %s: delete records before %d, the high watermark is %d", ErrOffsetOutOfRange, l.tp, before, hw)
	}
	if before > start {
		l.start.Store(before)
		l.stableLocked()
		l.checkInvariantsLocked()
	}
	l.mu.Unlock()
	if before > start {
		l.trimEpochs(before, l.end.Load()+1)
		l.tellStart()
	}
	return l.dir.storeStart(l.tp, before)
}

// storeStart stores the start offsets, unless one of at least offset is stored for the log.
func (d *Dir) storeStart(tp model.TopicPartition, offset int64) error {
	d.mu.Lock()
	stored := d.mu.savedLS[tp] >= offset
	d.mu.Unlock()
	if stored || offset <= 0 {
		return nil
	}
	err := d.saveStartOffsets()
	if errors.Is(err, ErrNoSpace) {
		if err = d.onReserve(err, d.saveStartOffsets); err == nil {
			err = d.keepReserve() // the new file took no more than the old one gave back
		}
	}
	return err
}

// ApplyRetention deletes the segments at the head of the log that retention.ms, retention.bytes or the
// start offset give up. Nothing at or above the high watermark goes. Segments whose records carry no
// timestamps are never too old: the times of files decide nothing.
func (l *Log) ApplyRetention(nowMs int64) error {
	err := l.applyRetention(nowMs)
	if errors.Is(err, ErrNoSpace) {
		err = l.dir.onReserve(err, func() error { return l.applyRetention(nowMs) })
	}
	return err
}

func (l *Log) applyRetention(nowMs int64) error {
	done := l.takeTurn()
	defer done()
	err := l.Err()
	segs := l.list()
	if err != nil || len(segs) == 0 {
		return err
	}
	n, err := l.expired(segs, nowMs)
	if err == nil && n == len(segs) {
		// The active segment goes too: an empty one takes its place. What was appended before that is in it,
		// and was not looked at.
		if _, err := l.rollTurn(l.end.Load()); err != nil {
			return err
		}
		segs = l.list()
		n, err = l.expired(segs, nowMs)
	}
	if err != nil {
		err = fmt.Errorf("retention: %w", err)
		if errors.Is(err, segment.ErrCorrupt) {
			return err // it has no age; the disk does as told
		}
		return l.diskError(err)
	}
	if n == 0 {
		return nil
	}
	return l.deleteHead(segs, n)
}

// expired returns how many segments at the head may go.
func (l *Log) expired(segs []*segment.Segment, nowMs int64) (n int, err error) {
	cfg := l.config.Load()
	start, hw, end := l.start.Load(), l.highWatermark.Load(), l.end.Load()
	excess := l.Size() - cfg.RetentionBytes
	for i, seg := range segs {
		next, size := end, seg.State().Size
		if i+1 < len(segs) {
			next = segs[i+1].Base()
		} else if size == 0 {
			break
		}
		if next > hw {
			break
		}
		gone := next <= start
		if !gone && cfg.Delete && size == 0 {
			gone = true // compaction left nothing of it, also no timestamp that could ever be too old
		}
		if !gone && cfg.Delete && cfg.RetentionBytes >= 0 && excess-size >= 0 {
			gone = true
		}
		if !gone && cfg.Delete && cfg.RetentionMs >= 0 {
			largest, err := seg.LargestTimestamp()
			if err != nil {
				return 0, err
			}
			gone = largest.Timestamp >= 0 && nowMs-largest.Timestamp > cfg.RetentionMs
		}
		if !gone {
			break
		}
		excess -= size
		n = i + 1
	}
	return n, nil
}

// deleteHead takes the first n segments out of the log.
func (l *Log) deleteHead(segs []*segment.Segment, n int) error {
	left := segs[n:]
	base := left[0].Base()
	// The snapshot at base alone will know the producers of what is deleted.
	err := l.syncSnapshot(base)
	if err == nil {
		err = l.dir.fs.SyncDir(l.path)
	}
	if err != nil {
		return l.diskError(fmt.Errorf("delete segments below %d: %w", base, err))
	}
	if base > l.savedRecoveryPoint.Load() {
		// Above it recovery trusts no snapshot. Of the segments that are deleted a power loss may bring some
		// back, and the producers of the others would be forgotten.
		if err := l.advanceRecoveryPoint(); err != nil {
			return l.diskError(fmt.Errorf("delete segments below %d: %w", base, err))
		}
	}
	l.mu.Lock()
	moved := l.start.Load() < base
	l.start.Store(max(l.start.Load(), base))
	l.stableLocked()
	l.checkInvariantsLocked()
	l.mu.Unlock()
	l.trimEpochs(base, l.end.Load()+1)
	if moved {
		l.tellStart()
	}
	// Recovery must be able to tell a head that was deleted from one that was lost, and deleted segments
	// that came back from those that stayed. A full disk must not keep retention from making room, where
	// the recovery point tells the first.
	if err := l.dir.saveStartOffsets(); err != nil && (!errors.Is(err, ErrNoSpace) || base > l.savedRecoveryPoint.Load()) {
		return err
	}
	l.mu.Lock()
	l.segments.Store(&left)
	l.mu.Unlock()
	defer l.newNames.Store(true)
	if err := l.retire(segs[:n]); err != nil {
		return l.fail(fmt.Errorf("delete segments below %d: %w", base, err))
	}
	if err := l.removeSnapshots(func(offset int64) bool { return offset < base }); err != nil {
		return l.fail(fmt.Errorf("delete segments below %d: %w", base, err))
	}
	l.dir.logger.Info("segments deleted", "topic", l.tp.Topic, "partition", l.tp.Partition, "segments", n, "start", l.start.Load())
	return nil
}

// ApplyRetention applies retention to every log. Manager.Run does this; only who does not run it calls this.
func (m *Manager) ApplyRetention() {
	nowMs := m.deps.Wall().UnixMilli()
	for _, d := range m.dirs {
		for _, l := range d.openLogs() {
			if err := l.ApplyRetention(nowMs); err != nil && !l.closed.Load() {
				d.logger.Warn("retention", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", err)
			}
		}
	}
}

// SetProducerExpiration sets producer.id.expiration.ms, for the next look; until then it is a day.
func (m *Manager) SetProducerExpiration(d time.Duration) {
	m.producerExpirationMs.Store(d.Milliseconds())
}

// ExpireProducers forgets in every log the producers that have been silent for longer than
// producer.id.expiration.ms. Manager.Run does this; only who does not run it calls this.
func (m *Manager) ExpireProducers() {
	nowMs, expirationMs := m.deps.Wall().UnixMilli(), m.producerExpirationMs.Load()
	for _, d := range m.dirs {
		for _, l := range d.openLogs() {
			l.mu.Lock()
			if l.Err() == nil {
				l.mu.producers.Expire(nowMs, expirationMs)
			}
			l.mu.Unlock()
		}
	}
}

// runRetention removes what is due, applies retention and forgets producers until ctx ends.
func (m *Manager) runRetention(ctx context.Context) {
	check := time.NewTicker(m.cfg.RetentionInterval)
	defer check.Stop()
	producers := time.NewTicker(m.cfg.ProducerCheckInterval)
	defer producers.Stop()
	for {
		var due <-chan time.Time
		if next := m.RemoveDue(time.Now()); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-m.deletes.changed:
		case <-due:
		case <-check.C:
			m.ApplyRetention()
		case <-producers.C:
			m.ExpireProducers()
		}
	}
}
