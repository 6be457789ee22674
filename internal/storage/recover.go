package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/storage/epoch"
	"github.com/walser-io/walser/internal/storage/producerstate"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
)

// tailCheck is how much of a segment's end is verified by checksum after a mere end of the process: the
// page cache has every write that returned, and only the one that did not may be cut off.
const tailCheck = 1 << 20

// Recover reads a log that Manager.Open found on disk, and repairs it as far as the last process left it
// in doubt; until it returns nil the log serves nothing. It may take a while; as many run at once as
// RecoveryThreads says. The end of ctx ends it with ctx's error, and the next process begins it anew.
// ErrWrongTopicID where the directory belongs to another incarnation of the topic; ErrNoSpace where the disk
// is too full for what must be written: it is called again when there may be space. Called after it succeeded it does nothing.
func (l *Log) Recover(ctx context.Context) error {
	if l.ready.Load() {
		return nil
	}
	select {
	case l.dir.openings <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.dir.openings }()
	done := l.takeTurn()
	defer done()
	if l.ready.Load() {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.closed.Load() {
		return fmt.Errorf("%w: %s", ErrClosed, l.tp)
	}
	if err := l.dir.Err(); err != nil {
		return err
	}
	l.dir.mu.Lock()
	f := l.dir.mu.found[l.tp]
	l.dir.mu.Unlock()
	if err := l.load(ctx, f); err != nil {
		err = fmt.Errorf("recover the log of %s: %w", l.tp, err)
		switch {
		case errors.Is(err, ErrWrongTopicID), errors.Is(err, ErrClosed), ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return err
		case isNoSpace(err):
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		case errors.Is(err, ErrCorruptSegment):
			// Below the recovery point, and the disk read it back without an error.
			return l.fail(fmt.Errorf("%w; nothing was cut: put the file back from a copy, or give up what stands there by taking "+
				"the partition's line out of %s in %s, both while the node is stopped", err, checkpoint.RecoveryPoints, l.dir.path))
		}
		return l.dir.fail(err)
	}
	l.dir.metrics.recoveredLogs.Inc()
	l.dir.mu.Lock()
	delete(l.dir.mu.found, l.tp)
	l.dir.mu.logs[l.tp] = l
	l.dir.mu.Unlock()
	l.ready.Store(true)
	return l.dir.oneLess()
}

// stillWanted is asked between the batches of a recovery: ErrClosed where the log is being deleted, which waits
// for the recovery to end; ctx's error where the node is stopped.
func (l *Log) stillWanted(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.unwanted.Load() && !l.ready.Load() {
		return fmt.Errorf("%w: %s", ErrClosed, l.tp)
	}
	return nil
}

func (l *Log) load(ctx context.Context, f foundLog) error {
	l.savedRecoveryPoint.Store(f.recoveryPoint)
	files, err := l.listFiles()
	if err != nil {
		return err
	}
	if err := l.loadMetadata(len(files.logs) > 0 && f.recoveryPoint > 0); err != nil {
		return err
	}
	l.snapshots = files.snapshots
	if first := max(f.recoveryPoint, f.logStart); l.dir.start == startCrashed && len(files.logs) > 0 && files.logs[0].base > first {
		// Retention stores the start offset before it deletes past the recovery point, so what is missing
		// was lost with its name, unflushed, and what follows continues nothing.
		l.dir.logger.Warn("log dropped: its first segments are lost", "topic", l.tp.Topic, "partition", l.tp.Partition, "from", first, "to", files.logs[0].base)
		for _, lost := range files.logs {
			if err := l.removeSegmentFiles(lost.base); err != nil {
				return err
			}
		}
		files.logs = nil
		// No flush comes for a log without segments, and a clean shutdown would vouch for what comes back.
		if err := l.dir.fs.SyncDir(l.path); err != nil {
			return err
		}
	}
	if l.dir.start == startCrashed {
		if files.logs, err = l.dropDeletedHead(files.logs, f); err != nil {
			return err
		}
	}
	if err := l.loadEpochs(f.recoveryPoint); err != nil {
		return err
	}
	segs, from, recovered, err := l.recoverSegments(ctx, files.logs, f)
	if err != nil {
		return err
	}
	end := f.logStart
	if len(segs) > 0 {
		end = max(end, segs[len(segs)-1].State().Next)
		l.segments.Store(&segs)
	}
	start := f.logStart
	if len(segs) > 0 {
		start = max(start, segs[0].Base())
	}
	start = min(start, end)
	l.start.Store(start)
	l.end.Store(end)
	l.trimEpochs(start, end)

	if err := l.removeUntrustedSnapshots(segs, end, f.recoveryPoint); err != nil {
		return err
	}
	table, err := l.replayProducers(ctx, segs, from, end)
	if err != nil {
		return err
	}
	if err := l.stillWanted(ctx); err != nil {
		return err
	}
	l.mu.producers = *table
	l.flushed.Store(min(f.recoveryPoint, end))
	if l.dir.start == startClean {
		l.flushed.Store(end)
	}
	if err := l.settle(segs, recovered, f.recoveryPoint); err != nil {
		return err
	}
	if err := l.lowerStoredPoint(f, end); err != nil {
		return err
	}
	l.cleaned.Store(min(f.cleaned, end))
	hw := min(max(f.highWatermark, start), end)
	l.highWatermark.Store(hw)
	l.mu.producers.HighWatermarkMoved(hw)
	l.stableLocked()
	l.checkInvariantsLocked()
	return nil
}

// dropDeletedHead removes segments below the stored start that retention deleted and a power loss brought
// back: of several renames it may undo some. Retention left a snapshot at the base of the first that
// stayed. Without one DeleteRecords moved the start, and the segments are still needed for their producers.
func (l *Log) dropDeletedHead(logs []logFile, f foundLog) ([]logFile, error) {
	first := 0
	for i := len(logs) - 1; i > 0 && first == 0; i-- {
		if logs[i].base > min(f.logStart, f.recoveryPoint) || !slices.Contains(l.snapshots, logs[i].base) {
			continue
		}
		// That the name is there says nothing: the snapshot of a roll is not synced, and DeleteRecords may
		// have moved the start past that.
		sound, err := l.hasSoundWindows(logs[i].base)
		if err != nil {
			return nil, err
		}
		if sound {
			first = i
		}
	}
	for _, file := range logs[:first] {
		if err := l.removeSegmentFiles(file.base); err != nil {
			return nil, err
		}
	}
	return logs[first:], nil
}

// removeUntrustedSnapshots removes those that may be of other records than the log has.
func (l *Log) removeUntrustedSnapshots(segs []*segment.Segment, end, recoveryPoint int64) error {
	// A snapshot past the end belongs to records that are lost: with new records at those offsets it
	// would lie. After a power loss one past the recovery point may lie already: it may be of records that
	// were cut off, its removal being lost, while those that took their offsets are there.
	trusted := end
	if l.dir.start == startCrashed {
		trusted = min(end, recoveryPoint)
		first := int64(0)
		if len(segs) > 0 {
			// Retention made this one durable before it deleted what lay below, also past the recovery point.
			first = segs[0].Base()
			trusted = max(trusted, first)
		}
		// One at the recovery point may be that of a roll since, which was not synced. If its side file is
		// lost and Kafka's is not, that one is not all there was.
		if first < trusted && slices.Contains(l.snapshots, trusted) {
			sound, err := l.hasSoundWindows(trusted)
			if err != nil {
				return err
			}
			if !sound {
				trusted--
			}
		}
	}
	return l.removeSnapshots(func(offset int64) bool { return offset > trusted })
}

// lowerStoredPoint moves the stored recovery point back to the end of a log that lost what lay below it:
// it would vouch for what is appended there next.
func (l *Log) lowerStoredPoint(f foundLog, end int64) error {
	if f.recoveryPoint <= end {
		return nil
	}
	l.dir.logger.Error("flushed records are gone: the disk lost what it said was durable", "topic", l.tp.Topic, "partition", l.tp.Partition,
		"dir", l.path, "from", end, "to", f.recoveryPoint-1)
	f.recoveryPoint = end
	l.dir.mu.Lock()
	l.dir.mu.found[l.tp] = f
	l.dir.mu.Unlock()
	if err := l.dir.saveRecoveryPoints(false); err != nil {
		return err
	}
	l.savedRecoveryPoint.Store(end)
	return nil
}

// settle makes the recovered state durable after a power loss: a record that is served must not be gone
// after the next one, and what was cut off must not come back.
func (l *Log) settle(segs []*segment.Segment, recovered int64, recoveryPoint int64) error {
	// Indexes that were written anew must be durable before the next start trusts them, since they lie below the
	// recovery point: retention would take a segment for older than it is.
	reread := slices.ContainsFunc(segs[:max(0, len(segs)-1)], func(seg *segment.Segment) bool {
		return !seg.IndexSynced() && seg.State().Next <= recoveryPoint
	})
	if l.dir.start != startClean {
		l.newNames.Store(true)
	}
	// After a kill nobody knows whether the last truncation was synced.
	l.cut.Store(recovered > 0 || l.dir.start == startKilled)
	if !reread && (l.dir.start != startCrashed || recovered == 0 && l.end.Load() <= recoveryPoint) {
		return nil
	}
	_, err := l.flush()
	return err
}

// partitionFiles is what a partition's directory holds.
type partitionFiles struct {
	logs      []logFile // ascending
	snapshots []int64   // ascending
}

type logFile struct {
	base, size int64
	txns       bool // it has a transaction index
}

// listFiles lists the directory and removes what an interrupted delete or write left there.
func (l *Log) listFiles() (partitionFiles, error) {
	fsys := l.dir.fs
	entries, err := fsys.ReadDir(l.path)
	if err != nil {
		return partitionFiles{}, err
	}
	if entries, err = l.completeSwaps(entries); err != nil {
		return partitionFiles{}, err
	}
	var files partitionFiles
	snapshots := map[int64]struct{}{}
	var indexes []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, segment.DeletedSuffix) || strings.HasSuffix(name, vfs.TempSuffix) {
			if err := fsys.Remove(filepath.Join(l.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return files, err
			}
			continue
		}
		base, suffix, ok := parseFileName(name)
		if !ok {
			continue
		}
		switch suffix {
		case segment.LogSuffix:
			info, err := e.Info()
			if err != nil {
				return files, err
			}
			files.logs = append(files.logs, logFile{base: base, size: info.Size()})
		case snapshotSuffix, windowsSuffix:
			snapshots[base] = struct{}{}
		case segment.IndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix:
			indexes = append(indexes, name)
		}
	}
	slices.SortFunc(files.logs, func(a, b logFile) int { return cmp.Compare(a.base, b.base) })
	for offset := range snapshots {
		files.snapshots = append(files.snapshots, offset)
	}
	slices.Sort(files.snapshots)
	for _, name := range indexes {
		base, suffix, _ := parseFileName(name)
		if i, ok := slices.BinarySearchFunc(files.logs, base, func(f logFile, base int64) int { return cmp.Compare(f.base, base) }); ok {
			files.logs[i].txns = files.logs[i].txns || suffix == segment.TxnIndexSuffix
			continue
		}
		// An index without its log would be taken for that of a segment with the same base, later.
		if err := fsys.Remove(filepath.Join(l.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return files, err
		}
	}
	return files, nil
}

// parseFileName takes "00000000000000000042.log" apart.
func parseFileName(name string) (base int64, suffix string, ok bool) {
	const digits = 20
	if len(name) <= digits || name[digits] != '.' {
		return 0, "", false
	}
	base, err := strconv.ParseInt(name[:digits], 10, 64)
	return base, name[digits:], err == nil && base >= 0
}

// loadMetadata compares partition.metadata with the topic that is asked for. A file that is missing or
// torn names no topic: that happens to a directory whose first flush never finished, which may be taken;
// where the directory has flushed records, it is refused.
func (l *Log) loadMetadata(hasFlushed bool) error {
	raw, err := vfs.ReadFile(l.dir.fs, filepath.Join(l.path, checkpoint.PartitionMetadataFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id, decodeErr := checkpoint.DecodePartitionMetadata(raw)
	switch {
	case err == nil && decodeErr == nil && l.topicID.IsZero():
		l.topicID = id
	case err == nil && decodeErr == nil && id != l.topicID:
		return fmt.Errorf("%w: %s holds topic id %v, want %v", ErrWrongTopicID, l.path, id, l.topicID)
	case err != nil || decodeErr != nil:
		if hasFlushed {
			return fmt.Errorf("%w: %s has no readable %s: %w", ErrWrongTopicID, l.path, checkpoint.PartitionMetadataFile, errors.Join(err, decodeErr))
		}
		return l.createDirectory()
	}
	l.metadataSaved = true
	l.metadataSynced = hasFlushed
	return nil
}

// loadEpochs reads the leader epochs of the records below the recovery point; those above are found in
// the records. A file that cannot be read makes recovery begin at the start of the log.
func (l *Log) loadEpochs(recoveryPoint int64) error {
	raw, err := vfs.ReadFile(l.dir.fs, filepath.Join(l.path, epoch.FileName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cache, decodeErr := epoch.Decode(raw)
	if err != nil || decodeErr != nil {
		l.epochs.cache.Clear() // of a recovery that had no space
		l.epochs.version = 1   // write it anew
		return nil
	}
	if l.dir.start != startClean {
		// What the file says past the recovery point may be older than the records there.
		cache.TruncateFromEnd(max(recoveryPoint, 1))
	}
	l.epochs.cache = cache
	return nil
}

// recoverSegments opens the segments: trusted below the recovery point, read again above it, and cut at
// the first batch that is not sound or does not follow. It returns the offset from which on headers were
// read, and how many bytes above it were read or cut.
func (l *Log) recoverSegments(ctx context.Context, logs []logFile, f foundLog) (segs []*segment.Segment, from, recovered int64, err error) {
	cfg := l.config.Load()
	from = f.recoveryPoint
	if _, known := l.epochs.cache.Latest(); !known {
		from = 0 // the epochs are lost: every header is read again
	}
	checkFrom := int64(0)
	switch l.dir.start {
	case startKilled:
		checkFrom = -tailCheck
	case startClean:
		checkFrom = math.MaxInt64
	}
	lastEpoch := int32(-1)
	if latest, ok := l.epochs.cache.Latest(); ok && from > 0 {
		lastEpoch = latest.Epoch
	}
	for i, file := range logs {
		last := i == len(logs)-1
		seg := segment.Open(l.dir.files, l.path, file.base, file.base, file.size)
		// One that ends right at the recovery point may have been sealed after that was stored, and have lost the
		// last entry of its time index: retention would take it for older than it is.
		trusted := !last && (logs[i+1].base < from || logs[i+1].base == from && l.dir.start != startCrashed)
		if trusted {
			seg = segment.Open(l.dir.files, l.path, file.base, logs[i+1].base, file.size)
			if logs[i+1].base < from || l.dir.start == startClean {
				seg.TrustIndex() // one sealed right at the recovery point may have been sealed after that was stored
			}
			if file.txns {
				if err := seg.LoadAborted(); err != nil {
					return nil, 0, 0, err
				}
			}
			segs = append(segs, seg)
			continue
		}
		flushed, ended := f.recoveryPoint, last && l.dir.start == startClean
		if !last && logs[i+1].base <= flushed {
			flushed, ended = logs[i+1].base, true
		}
		got, err := seg.Recover(segment.Recovery{
			From: from, CheckFrom: checkFrom, Flushed: flushed, Ended: ended, MinEpoch: lastEpoch, IndexIntervalBytes: cfg.IndexIntervalBytes,
			Visit: func(h record.Batch) error {
				latest, ok := l.epochs.cache.Latest()
				// Below the point the file knows, and no checksum covers the epoch of a batch.
				if h.BaseOffset() >= from && (!ok || h.PartitionLeaderEpoch() > latest.Epoch) {
					l.epochs.cache.Assign(h.PartitionLeaderEpoch(), h.BaseOffset())
					l.epochs.version++
				}
				return l.stillWanted(ctx)
			},
		})
		if err != nil {
			return nil, 0, 0, err
		}
		for _, kept := range got.Kept {
			l.reportDamage(kept.Err, "position", kept.Position, "bytes", kept.End-kept.Position, "from", kept.Offset, "to", kept.EndOffset-1)
		}
		lastEpoch = got.LastEpoch
		segs = append(segs, seg)
		l.dir.metrics.recoveredBytes.Add(float64(got.Read))
		recovered += got.Cut
		if got.Next > from {
			recovered += got.Size
		}
		if got.Cut > 0 {
			l.dir.metrics.cutBytes.Add(float64(got.Cut))
			l.dir.logger.Warn("log cut at its first bad batch", "topic", l.tp.Topic, "partition", l.tp.Partition,
				"segment", file.base, "end", got.Next, "bytes", got.Cut, "err", got.Damage)
		}
		// A segment is rolled at its end. If the next one begins elsewhere, records between were lost:
		// what follows is no continuation. Below the recovery point compaction leaves such gaps, and below
		// the stored start nobody reads what is lost: DeleteRecords may have gone past what was flushed.
		if last {
			break
		}
		next := logs[i+1].base
		whole := next <= f.recoveryPoint || got.Cut == 0 && got.Next == next
		if !whole && next <= f.logStart {
			// Of segments that retention deleted a crash may bring back some. The state that they lead to lacks
			// the producers of the others; the snapshot that retention left at the first one that stayed has all.
			sound, err := l.hasSoundWindows(next)
			if err != nil {
				return nil, 0, 0, err
			}
			if sound {
				for _, deleted := range segs {
					deleted.Close()
					if err := l.removeSegmentFiles(deleted.Base()); err != nil {
						return nil, 0, 0, err
					}
				}
				segs = nil
				continue
			}
		}
		if whole || next <= f.logStart {
			seg.Seal()
			if err := seg.FlushIndex(); err != nil {
				return nil, 0, 0, err
			}
			if err := seg.CreateIndex(); err != nil {
				return nil, 0, 0, err
			}
			continue
		}
		for _, lost := range logs[i+1:] {
			l.dir.metrics.cutBytes.Add(float64(lost.size))
			recovered += max(lost.size, 1)
			l.dir.logger.Warn("segment dropped after lost records", "topic", l.tp.Topic, "partition", l.tp.Partition, "segment", lost.base, "end", got.Next)
			if err := l.removeSegmentFiles(lost.base); err != nil {
				return nil, 0, 0, err
			}
		}
		break
	}
	return segs, from, recovered, nil
}

func (l *Log) removeSegmentFiles(base int64) error {
	defer l.newNames.Store(true)
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix, segment.LogSuffix} {
		if err := l.dir.fs.Remove(filepath.Join(l.path, segment.FileName(base, suffix))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// replayProducers rebuilds the producer state at end: the newest snapshot at or below from, and the
// headers from there on. Aborted transactions that end at or above from are noted in their segment; those
// below stand in its index.
func (l *Log) replayProducers(ctx context.Context, segs []*segment.Segment, from, end int64) (*producerstate.Table, error) {
	if len(segs) == 0 {
		return &producerstate.Table{}, nil
	}
	newest := min(max(from, segs[0].Base()), end)
	table, at, err := l.loadSnapshot(segs[0].Base(), newest)
	if err != nil {
		return nil, err
	}
	// Those that were passed over are not sound.
	if err := l.removeSnapshots(func(offset int64) bool { return at < offset && offset <= newest }); err != nil {
		return nil, err
	}
	l.mu.sinceSnap = 0
	for i := floor(segs, at); i < len(segs); i++ {
		seg := segs[i]
		if base := seg.Base(); base > at && !slices.Contains(l.snapshots, base) {
			// Each segment after the first has the snapshot of its base: retention relies on it, and does
			// not sync it once more where the segment before is known to be durable.
			snapshot := producerSnapshot{base, table.AppendSnapshot(nil), table.AppendWindows(nil, base)}
			if err := l.writeSnapshot(snapshot, true); err != nil {
				return nil, err
			}
			l.mu.sinceSnap = 0
		}
		known := seg.LastAborted()
		err := seg.Replay(at, func(b record.Batch) error {
			if b.LastOffset() < at || b.LastOffset() >= end {
				return nil
			}
			l.mu.sinceSnap += int64(b.Size())
			into := seg
			if b.LastOffset() <= known {
				into = nil
			}
			applyProducer(table, b, into)
			return l.stillWanted(ctx)
		}, func(d segment.Damage) {
			l.reportDamage(d.Err, "position", d.Position, "bytes", d.End-d.Position, "from", d.Offset, "to", d.EndOffset-1)
		})
		if err != nil {
			return nil, err
		}
	}
	return table, nil
}
