package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/storage/segment"
)

// roll makes room for in: the first segment, or one after seg, which the caller saw as the active one.
// It waits for the turn, and does nothing if by then another segment is active or the caller only wanted
// to wait. Appends that come meanwhile wait too; reads do not.
func (l *Log) roll(seg *segment.Segment, in *appending, full bool) error {
	done := l.takeTurn()
	defer done()
	if !full {
		return nil
	}
	l.mu.Lock()
	if err := l.Err(); err != nil {
		l.mu.Unlock()
		return err
	}
	segs := l.list()
	if len(segs) > 0 && segs[len(segs)-1] != seg || len(segs) > 0 && seg == nil {
		l.mu.Unlock()
		return nil
	}
	base := l.end.Load()
	if in.role == roleFollower && in.first+in.span-1-base > maxOffsetSpan {
		base = in.first // a gap too wide for int32 deltas
	}
	l.mu.Unlock()
	_, err := l.rollTurn(base)
	return err
}

// rollTurn creates the segment that begins at base, or at the end offset if that is past base, and makes
// it the active one. The caller has the turn.
func (l *Log) rollTurn(base int64) (*segment.Segment, error) {
	l.mu.Lock()
	l.mu.busy = true // no append may move the end while the file named after it is made
	base = max(base, l.end.Load())
	segs := l.list()
	var snapshot producerSnapshot
	if len(segs) > 0 {
		snapshot = l.snapshotLocked()
	}
	l.mu.Unlock()

	seg, err := l.createSegment(segs, base, snapshot)

	l.mu.Lock()
	l.mu.busy = false
	if err == nil {
		l.mu.rollNext = false
		next := append(slices.Clone(segs), seg)
		l.segments.Store(&next)
	}
	l.mu.Unlock()
	if err != nil {
		return nil, l.diskError(fmt.Errorf("roll segment %d: %w", base, err))
	}
	if len(segs) > 0 {
		l.dir.metrics.rolls.Inc()
		// The sealed segment is flushed in the background; until then it lies above the flushed offset.
		l.dir.Queue(l)
	}
	return seg, nil
}

func (l *Log) createSegment(segs []*segment.Segment, base int64, snapshot producerSnapshot) (*segment.Segment, error) {
	defer l.newNames.Store(true)
	if len(segs) == 0 {
		if err := l.createDirectory(); err != nil {
			return nil, err
		}
	} else {
		old := segs[len(segs)-1]
		if l.cut.Load() {
			// Recovery trusts a segment up to the next one's base, if that lies below the recovery point:
			// what was cut off must be gone for good before there is a next one.
			if err := old.Sync(); err != nil {
				return nil, err
			}
		}
		old.Seal()
		if err := old.FlushIndex(); err != nil {
			return nil, err
		}
		// Here a full disk refuses an append; to the syncer it would be the end of the directory.
		if err := old.CreateIndex(); err != nil {
			return nil, err
		}
		if err := l.writeSnapshot(snapshot, false); err != nil {
			return nil, err
		}
	}
	preallocate := int64(0)
	cfg := l.config.Load()
	if cfg.Preallocate {
		preallocate = int64(cfg.SegmentBytes)
	}
	return segment.Create(l.dir.files, l.path, base, preallocate)
}

// createDirectory makes the partition's directory and says in it whose it is.
func (l *Log) createDirectory() error {
	if l.metadataSaved {
		return nil
	}
	if err := l.dir.forgetDeleted(l.tp); err != nil {
		return err
	}
	fsys := l.dir.fs
	if err := fsys.MkdirAll(l.path, 0o755); err != nil {
		return err
	}
	// Not synced here: the first flush does it, and data counts as flushed only then.
	f, err := fsys.OpenFile(filepath.Join(l.path, checkpoint.PartitionMetadataFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(checkpoint.AppendPartitionMetadata(nil, l.topicID), 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	l.metadataSaved = true
	return nil
}
