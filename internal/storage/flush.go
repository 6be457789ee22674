package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/storage/epoch"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
)

// flush makes everything durable that was appended before it was called, and moves the flushed offset.
// One goroutine at a time calls it for a log. An error is one of the disk; the flushed offset stays.
func (l *Log) flush() (moved bool, err error) {
	p, segs := l.flushPoint()
	flushed := l.flushed.Load()
	cut := l.cut.Swap(false)

	// From the newest back to the first that holds something unflushed or whose indexes are not synced.
	// Errors of a segment that retention deleted meanwhile are nobody's loss.
	for i := len(segs) - 1; i >= 0; i-- {
		seg := segs[i]
		active := i == len(segs)-1
		if seg.State().Next <= flushed && (active || seg.IndexSynced()) {
			if !active {
				break
			}
			if !cut {
				continue
			}
		}
		// The records, and the file's size with them: what FlushedOffset promises.
		err := seg.Sync()
		if err == nil && !active {
			err = l.syncSealed(seg, segs[i+1].Base())
		}
		if err != nil && !(seg.Deleted() && errors.Is(err, fs.ErrNotExist)) {
			return false, err
		}
	}
	if len(segs) > 0 && l.newNames.Swap(false) {
		if err := l.syncNames(); err != nil {
			return false, err
		}
	}

	return p.reach(), nil
}

// flushPoint is what a flush that begins now makes durable of a log.
type flushPoint struct {
	log         *Log
	end         int64
	truncations uint64
	records     int64
}

// flushPoint returns the point with the segments that hold what lies below it.
func (l *Log) flushPoint() (flushPoint, []*segment.Segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return flushPoint{l, l.end.Load(), l.truncations.Load(), l.mu.unflushed}, l.list()
}

// recordsPoint returns the point, if a sync of the active segment's records is all that it needs.
func (l *Log) recordsPoint() (p flushPoint, ok bool) {
	p, segs := l.flushPoint()
	if len(segs) == 0 || l.cut.Load() || l.newNames.Load() {
		return p, false
	}
	if len(segs) > 1 {
		sealed := segs[len(segs)-2]
		return p, sealed.IndexSynced() && sealed.State().Next <= l.flushed.Load()
	}
	return p, true
}

// reach notes that everything below the point is durable, and says whether that moved the flushed offset.
func (p *flushPoint) reach() (moved bool) {
	l := p.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.unflushed -= min(p.records, l.mu.unflushed)
	// What was cut off and written anew since then was not synced.
	if l.truncations.Load() != p.truncations || p.end <= l.flushed.Load() {
		return false
	}
	l.flushed.Store(p.end)
	return true
}

// tellFlushed calls the hook of a log whose flushed offset has moved.
func (l *Log) tellFlushed() {
	if h := l.hooks.Load(); h != nil && h.Flushed != nil {
		h.Flushed(l.flushed.Load())
	}
}

// syncSealed makes durable what stands beside the records of a sealed segment.
func (l *Log) syncSealed(seg *segment.Segment, next int64) error {
	if err := seg.SyncIndex(); err != nil {
		return err
	}
	// The snapshot taken at the roll: once retention has deleted what lies before it, it alone knows the
	// producers that wrote there.
	return l.syncSnapshot(next)
}

// syncSnapshot makes the files of a snapshot durable; a truncation may have removed them.
func (l *Log) syncSnapshot(offset int64) error {
	for _, suffix := range []string{windowsSuffix, snapshotSuffix} {
		if err := syncFile(l.dir.fs, l.snapshotPath(offset, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// syncNames makes the names of the log's files durable, and at the first time its directory's.
func (l *Log) syncNames() error {
	fsys := l.dir.fs
	if !l.metadataSynced {
		// Without it the next start could not tell to which topic of this name the records belong.
		if err := syncFile(fsys, filepath.Join(l.path, checkpoint.PartitionMetadataFile)); err != nil {
			return err
		}
	}
	// A segment whose name is not durable is lost with all its synced records (KAFKA-3968). It also makes
	// removals durable: a segment or snapshot of a history that was cut off must not come back.
	if err := fsys.SyncDir(l.path); err != nil {
		return fmt.Errorf("sync the directory of %s: %w", l.tp, err)
	}
	if !l.metadataSynced {
		// The partition's directory is a name in the log directory.
		if err := fsys.SyncDir(l.dir.path); err != nil {
			return fmt.Errorf("sync the log directory: %w", err)
		}
		l.metadataSynced = true
	}
	return nil
}

func syncFile(fsys vfs.FS, name string) (err error) {
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

// saveEpochs writes leader-epoch-checkpoint durably if it changed. Recovery reads epochs from the batches
// above the recovery point and from this file below it, so it goes before every recovery point. The caller
// has the turn.
func (l *Log) saveEpochs() error {
	l.epochs.Lock()
	version, saved := l.epochs.version, l.epochs.saved
	text := l.epochs.cache.Append(nil)
	l.epochs.Unlock()
	if version == saved {
		return nil
	}
	if err := vfs.WriteFileAtomic(l.dir.fs, filepath.Join(l.path, epoch.FileName), text); err != nil {
		return err
	}
	l.epochs.Lock()
	l.epochs.saved = max(l.epochs.saved, version)
	l.epochs.Unlock()
	return nil
}

// preparedPoint is a recovery point that may be stored while the log was not truncated since.
type preparedPoint struct {
	offset      int64
	truncations uint64
}

// prepareRecoveryPoint makes durable, or writes, what recovery does not read from the records below the
// offset that it returns.
func (l *Log) prepareRecoveryPoint() (preparedPoint, error) {
	l.mu.Lock()
	p := preparedPoint{l.flushed.Load(), l.truncations.Load()}
	l.mu.Unlock()
	if p.offset == l.savedRecoveryPoint.Load() || len(l.list()) == 0 {
		return p, nil
	}
	done := l.takeTurn()
	defer done()
	if l.deleted.Load() {
		return p, l.Err() // another log may have its name, and its files
	}
	return p, l.prepareTurn()
}

// prepareTurn is what there is to do for prepareRecoveryPoint. The caller has the turn.
func (l *Log) prepareTurn() error {
	if err := l.flushIndexes(); err != nil {
		return err
	}
	return l.saveEpochs()
}

// advanceRecoveryPoint stores the flushed offset as the recovery point of this log alone. The caller has the turn.
func (l *Log) advanceRecoveryPoint() error {
	l.mu.Lock()
	p := preparedPoint{l.flushed.Load(), l.truncations.Load()}
	l.mu.Unlock()
	if err := l.prepareTurn(); err != nil {
		return err
	}
	return l.dir.storeRecoveryPoints(map[*Log]preparedPoint{l: p})
}

// recoveryPoint returns what may be stored now, given what was prepared.
func (l *Log) recoveryPoint(p preparedPoint) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.truncations.Load() == p.truncations {
		return min(p.offset, l.flushed.Load())
	}
	return min(l.savedRecoveryPoint.Load(), l.flushed.Load())
}

// flushIndexes writes the index entries that are in memory, and a producer snapshot where a replay after
// a crash would have much to read. The caller has the turn.
func (l *Log) flushIndexes() error {
	segs := l.list()
	if len(segs) == 0 {
		return nil
	}
	if err := segs[len(segs)-1].FlushIndex(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.mu.sinceSnap < l.dir.snapshotBytes {
		l.mu.Unlock()
		return nil
	}
	snapshot := l.snapshotLocked()
	l.mu.Unlock()
	return l.writeSnapshot(snapshot, true)
}
