package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/walser-io/walser/internal/storage/producerstate"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
)

// The suffixes of a producer snapshot: Kafka's file, and the side file with up to five batches each.
const (
	snapshotSuffix = ".snapshot"
	windowsSuffix  = ".producers"
)

// producerSnapshot is both files of a snapshot, encoded.
type producerSnapshot struct {
	offset         int64
	kafka, windows []byte
}

// snapshotLocked encodes the producer state at the end offset. It is memory work only.
func (l *Log) snapshotLocked() producerSnapshot {
	l.mu.sinceSnap = 0
	end := l.end.Load()
	return producerSnapshot{end, l.mu.producers.AppendSnapshot(nil), l.mu.producers.AppendWindows(nil, end)}
}

// writeSnapshot writes a snapshot's files. The caller has the turn. Without sync a power loss may leave
// them torn: their checksums show it, and the snapshot before them is used with a longer replay. With
// sync those inside a segment that no start needs any more are removed.
func (l *Log) writeSnapshot(s producerSnapshot, sync bool) error {
	for _, file := range []struct {
		suffix string
		data   []byte
	}{{windowsSuffix, s.windows}, {snapshotSuffix, s.kafka}} {
		name, write := l.snapshotPath(s.offset, file.suffix), writeFile
		if slices.Contains(l.snapshots, s.offset) {
			write = replaceFile // it may be all that is known of producers whose records are deleted
		}
		if err := write(l.dir.fs, name, file.data, sync); err != nil {
			return fmt.Errorf("write producer snapshot %d of %s: %w", s.offset, l.tp, err)
		}
	}
	if !slices.Contains(l.snapshots, s.offset) {
		l.snapshots = append(l.snapshots, s.offset)
		slices.Sort(l.snapshots)
	}
	l.newNames.Store(true)
	if !sync {
		return nil
	}
	// The names too, before what they replace goes: else a crash could leave neither.
	if err := l.dir.fs.SyncDir(l.path); err != nil {
		return fmt.Errorf("write producer snapshot %d of %s: %w", s.offset, l.tp, err)
	}
	// A start begins with the newest at or below the stored recovery point, which under load stays behind
	// the snapshots that are written with it.
	segs, point, needed := l.list(), l.savedRecoveryPoint.Load(), int64(0)
	for _, offset := range l.snapshots {
		if offset <= point {
			needed = offset
		}
	}
	return l.removeSnapshots(func(offset int64) bool {
		return offset < needed && !slices.ContainsFunc(segs, func(seg *segment.Segment) bool { return seg.Base() == offset })
	})
}

// removeSnapshots removes the snapshots that match. The caller has the turn. Removal is made durable by
// the next flush.
func (l *Log) removeSnapshots(match func(offset int64) bool) error {
	var errs []error
	removed := false
	l.snapshots = slices.DeleteFunc(l.snapshots, func(offset int64) bool {
		if !match(offset) {
			return false
		}
		removed = true
		for _, suffix := range []string{snapshotSuffix, windowsSuffix} {
			if err := l.dir.fs.Remove(l.snapshotPath(offset, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return true
	})
	if removed {
		l.newNames.Store(true)
	}
	return errors.Join(errs...)
}

// loadSnapshot returns the newest sound producer state taken at or below offset, and where it was taken;
// an empty one at from if there is none. A side file is preferred to a newer Kafka snapshot, since that
// one remembers a single batch per producer; where only Kafka wrote here its snapshot is used.
func (l *Log) loadSnapshot(from, offset int64) (*producerstate.Table, int64, error) {
	kafkaOnly := true
	for _, kafka := range []bool{false, true} {
		if kafka && !kafkaOnly {
			break
		}
		for i := len(l.snapshots) - 1; i >= 0; i-- {
			at := l.snapshots[i]
			if at > offset || at < from {
				continue
			}
			suffix := windowsSuffix
			if kafka {
				suffix = snapshotSuffix
			}
			raw, err := vfs.ReadFile(l.dir.fs, l.snapshotPath(at, suffix))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, 0, fmt.Errorf("read producer snapshot of %s: %w", l.tp, err)
			}
			kafkaOnly = false
			var t *producerstate.Table
			if kafka {
				t, err = producerstate.DecodeSnapshot(raw)
			} else {
				t, err = producerstate.DecodeWindows(raw, at)
			}
			if err == nil {
				return t, at, nil
			}
			l.dir.logger.Warn("producer snapshot ignored", "topic", l.tp.Topic, "partition", l.tp.Partition, "offset", at, "err", err)
		}
	}
	return &producerstate.Table{}, from, nil
}

// hasSoundWindows says whether the side file of the snapshot at offset can be read.
func (l *Log) hasSoundWindows(offset int64) (bool, error) {
	raw, err := vfs.ReadFile(l.dir.fs, l.snapshotPath(offset, windowsSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read producer snapshot of %s: %w", l.tp, err)
	}
	_, err = producerstate.DecodeWindows(raw, offset)
	return err == nil, nil
}

func (l *Log) snapshotPath(offset int64, suffix string) string {
	return filepath.Join(l.path, segment.FileName(offset, suffix))
}

func writeFile(fsys vfs.FS, name string, data []byte, sync bool) (err error) {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(data, 0); err != nil || !sync {
		return err
	}
	return f.Sync()
}

// replaceFile is writeFile for a name that may exist: whatever happens it has the old content or the new.
func replaceFile(fsys vfs.FS, name string, data []byte, _ bool) error {
	return vfs.ReplaceFile(fsys, name, data)
}
