package storage

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage/checkpoint"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// Dir is one log directory: its logs, its checkpoints, and the syncer that makes them durable. One that
// had a disk error is offline, alone and for good.
type Dir struct {
	path          string
	id            model.UUID
	fs            vfs.FS
	files         *segment.FileCache
	logger        *slog.Logger
	metrics       *metrics
	scratch       *scratch
	inflate       *inflaters
	deletes       *deletions // the manager's
	wall          func() time.Time
	syncThreads   int
	volume        vfs.Volume // nil where it is not to be synced as a whole
	volumeLogs    int        // as ManagerConfig.VolumeSyncLogs
	snapshotBytes int64
	lock          io.Closer
	openings      chan struct{} // the manager's: a token for each log that is being recovered
	start         startState
	boot          string // the machine's boot id, "" where the platform has none

	failure   atomic.Pointer[error]
	wake      chan struct{} // capacity 1: something is queued
	crowded   chan struct{} // capacity 1: too much is unwritten to sync the file system in a round
	recovered chan struct{} // closed when the last log that was found is recovered or deleted
	// checkpointing is a token: whoever holds it writes checkpoint files. It is taken after a log's turn,
	// never before.
	checkpointing chan struct{}
	storedBoot    string // what bootFile holds; under checkpointing
	reserve       reserve

	mu struct {
		xsync.Mutex
		logs    map[model.TopicPartition]*Log
		found   map[model.TopicPartition]foundLog // on disk, not opened yet
		waiting bool                              // some were found, and recovered is open
		pending []*Log                            // queued for the next round of the syncer
		spare   []*Log                            // empty; what pending is after that
		rounds  []chan struct{}                   // to be closed after the next round
		// What the checkpoint files hold, also of logs that are deleted. Written under checkpointing too.
		savedRP map[model.TopicPartition]int64
		savedHW map[model.TopicPartition]int64
		savedLS map[model.TopicPartition]int64
		savedCO map[model.TopicPartition]int64 // cleaned offsets
	}
}

// startState is how the directory was left by the process before.
type startState int8

const (
	// startClean: shut down in order; nothing is damaged.
	startClean startState = iota
	// startKilled: the process ended, the machine did not: all that was written is there, and only the
	// last write of a log may be cut off.
	startKilled
	// startCrashed: whatever was not synced may be lost, torn or zero.
	startCrashed
)

// foundLog is what the checkpoints say of a log that is not open.
type foundLog struct {
	recoveryPoint, highWatermark, logStart, cleaned int64
}

// Path returns the directory's path.
func (d *Dir) Path() string { return d.path }

// ID returns the directory's id, from meta.properties; zero where that could be neither read nor written.
func (d *Dir) ID() model.UUID { return d.id }

// Err returns ErrOffline with its cause if the directory is offline.
func (d *Dir) Err() error {
	if err := d.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// fail takes the directory offline and tells its logs. The first cause stays.
func (d *Dir) fail(cause error) error {
	err := fmt.Errorf("%w: directory %s: %w", ErrOffline, d.path, cause)
	if !d.failure.CompareAndSwap(nil, &err) {
		return *d.failure.Load()
	}
	d.logger.Error("log directory offline", "dir", d.path, "err", cause)
	d.metrics.offline.Inc()
	for _, l := range d.openLogs() {
		if h := l.hooks.Load(); h != nil && h.Offline != nil {
			h.Offline(err)
		}
	}
	return err
}

// openLogs returns the open logs in no order.
func (d *Dir) openLogs() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	logs := make([]*Log, 0, len(d.mu.logs))
	for _, l := range d.mu.logs {
		logs = append(logs, l)
	}
	return logs
}

// Queue wants everything flushed up to l's present end. It returns at once; Hooks.Flushed tells when. A
// log that is queued twice before a round is flushed once in it.
func (d *Dir) Queue(l *Log) {
	d.mu.Lock()
	if !l.queued {
		l.queued = true
		d.mu.pending = append(d.mu.pending, l)
	}
	d.mu.Unlock()
	d.wakeSyncer()
}

func (d *Dir) wakeSyncer() {
	select {
	case d.wake <- struct{}{}:
	default: // a round is due already, and will see it
	}
}

// queueUnflushed queues every log that holds unflushed records, and returns what is closed after the round
// that flushes them.
func (d *Dir) queueUnflushed() (flushed <-chan struct{}) {
	for _, l := range d.openLogs() {
		if l.flushed.Load() < l.end.Load() {
			d.Queue(l)
		}
	}
	done := make(chan struct{})
	d.mu.Lock()
	d.mu.rounds = append(d.mu.rounds, done)
	d.mu.Unlock()
	d.wakeSyncer()
	return done
}

// runSyncer flushes what is queued, round after round, until ctx ends.
func (d *Dir) runSyncer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
			_ = d.SyncRound() // an error took the directory offline and was reported there
		}
	}
}

// SyncRound flushes what is queued, in parallel, and returns when it is durable and the hooks were
// called. Manager.Run does this; only who does not run it calls this. An error takes the directory
// offline: a sync is never tried twice, since the kernel reports a lost write only once.
func (d *Dir) SyncRound() error {
	if err := d.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	batch, waiting := d.mu.pending, d.mu.rounds
	d.mu.pending, d.mu.spare, d.mu.rounds = d.mu.spare, nil, nil
	for _, l := range batch {
		l.queued = false
	}
	d.mu.Unlock()
	defer func() {
		for _, done := range waiting {
			close(done)
		}
	}()
	if len(batch) == 0 {
		return nil
	}
	began := time.Now()
	switch rest := d.flushTogether(batch); len(rest) {
	case 0:
	case 1:
		d.flushOne(rest[0]) // allocates nothing
	default:
		d.parallel(len(rest), func(i int) { d.flushOne(rest[i]) })
	}
	d.metrics.rounds.Observe(time.Since(began).Seconds())
	d.metrics.syncedLogs.Add(float64(len(batch)))
	clear(batch)
	d.mu.Lock()
	d.mu.spare = batch[:0]
	d.mu.Unlock()
	return d.Err()
}

// parallel calls do with each number below n, on as many goroutines as the directory syncs with, and returns
// after the last call. What is left when the directory goes offline is not called.
func (d *Dir) parallel(n int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	work := func() {
		for i := int(next.Add(1)) - 1; i < n && d.Err() == nil; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	for range min(d.syncThreads, n) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

func (d *Dir) flushOne(l *Log) {
	moved, err := l.flush()
	if err != nil {
		if l.deleted.Load() {
			return
		}
		d.fail(err)
		return
	}
	if moved {
		l.tellFlushed()
	}
}

// saveRecoveryPoints writes the recovery points of all logs if one changed. With advance they move to
// what is flushed, and everything that must be durable before is made so; without it they only move
// back, for a truncation that must not leave a point above its end.
func (d *Dir) saveRecoveryPoints(advance bool) error {
	if err := d.Err(); err != nil {
		return err
	}
	prepared := map[*Log]preparedPoint{}
	if advance {
		for _, l := range d.openLogs() {
			p, err := l.prepareRecoveryPoint()
			switch {
			case err == nil:
				prepared[l] = p
			case isNoSpace(err) || l.deleted.Load():
				// The old point stays: recovery would read more, and lose nothing.
			default:
				return d.fail(err)
			}
		}
	}
	return d.storeRecoveryPoints(prepared)
}

// storeRecoveryPoints writes the recovery points of all logs if one changed: those that are prepared, and what
// was stored of the others, as far as it still holds.
func (d *Dir) storeRecoveryPoints(prepared map[*Log]preparedPoint) error {
	if err := d.Err(); err != nil {
		return err
	}
	d.checkpointing <- struct{}{}
	defer func() { <-d.checkpointing }()
	points := checkpoint.Offsets{}
	d.mu.Lock()
	for tp, f := range d.mu.found {
		if f.recoveryPoint > 0 {
			points[tp] = f.recoveryPoint
		}
	}
	logs := make([]*Log, 0, len(d.mu.logs))
	for _, l := range d.mu.logs {
		logs = append(logs, l)
	}
	before := d.mu.savedRP
	d.mu.Unlock()
	stored := make([]int64, len(logs))
	for i, l := range logs {
		stored[i] = min(l.savedRecoveryPoint.Load(), l.flushed.Load())
		if p, ok := prepared[l]; ok {
			stored[i] = l.recoveryPoint(p)
		}
		if stored[i] > 0 {
			points[l.tp] = stored[i]
		}
	}
	if equal(before, points) {
		return nil
	}
	if err := d.writeCheckpoint(checkpoint.RecoveryPoints, points); err != nil {
		return err
	}
	for i, l := range logs {
		l.savedRecoveryPoint.Store(stored[i])
	}
	d.mu.Lock()
	d.mu.savedRP = points
	d.mu.Unlock()
	return nil
}

// forgetDeleted stores the checkpoints without what they hold of a deleted log of this name, before a new
// one has files that the next start would recover by them: its records would be trusted unread, or lie
// below a start that is not its own.
func (d *Dir) forgetDeleted(tp model.TopicPartition) error {
	d.checkpointing <- struct{}{} // one that is being written may hold it too
	d.mu.Lock()
	_, found := d.mu.found[tp] // what they hold is of the log itself
	stale := !found && (d.mu.savedRP[tp] > 0 || d.mu.savedHW[tp] > 0 || d.mu.savedLS[tp] > 0 ||
		d.mu.savedCO[tp] > 0)
	d.mu.Unlock()
	<-d.checkpointing
	if !stale {
		return nil
	}
	for _, save := range []func() error{func() error { return d.saveRecoveryPoints(false) }, d.saveHighWatermarks, d.saveStartOffsets, d.saveCleaned} {
		if err := save(); err != nil {
			return fmt.Errorf("forget the deleted log of %s: %w", tp, err)
		}
	}
	return nil
}

// saveHighWatermarks writes the high watermarks if one changed. They are hints: after a crash a leader
// finds the high watermark anew, and begins at least here.
func (d *Dir) saveHighWatermarks() error {
	return d.saveOffsets(checkpoint.HighWatermarks, func() *map[model.TopicPartition]int64 { return &d.mu.savedHW },
		func(f foundLog) int64 { return f.highWatermark },
		func(l *Log) int64 { return l.highWatermark.Load() })
}

// saveStartOffsets writes the start offsets, if one changed. Also those at a segment's base, which the
// files show too: a power loss can bring deleted segments back, and not all of them.
func (d *Dir) saveStartOffsets() error {
	return d.saveOffsets(checkpoint.LogStartOffsets, func() *map[model.TopicPartition]int64 { return &d.mu.savedLS },
		func(f foundLog) int64 { return f.logStart },
		func(l *Log) int64 { return l.start.Load() })
}

// saveOffsets writes one checkpoint of offsets, leaving zeros out, if it differs from what was written.
func (d *Dir) saveOffsets(name string, saved func() *map[model.TopicPartition]int64, ofFound func(foundLog) int64, of func(*Log) int64) error {
	if err := d.Err(); err != nil {
		return err
	}
	d.checkpointing <- struct{}{}
	defer func() { <-d.checkpointing }()
	offsets := checkpoint.Offsets{}
	d.mu.Lock()
	for tp, f := range d.mu.found {
		if v := ofFound(f); v > 0 {
			offsets[tp] = v
		}
	}
	for tp, l := range d.mu.logs {
		if v := of(l); v > 0 {
			offsets[tp] = v
		}
	}
	before := *saved()
	d.mu.Unlock()
	if equal(before, offsets) {
		return nil
	}
	if err := d.writeCheckpoint(name, offsets); err != nil {
		return err
	}
	d.mu.Lock()
	*saved() = offsets
	d.mu.Unlock()
	return nil
}

func equal(a, b map[model.TopicPartition]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// writeCheckpoint writes one checkpoint file. A full disk keeps the old one, which errs on the safe side,
// and is returned as ErrNoSpace; any other error takes the directory offline.
func (d *Dir) writeCheckpoint(name string, offsets checkpoint.Offsets) error {
	err := checkpoint.WriteOffsets(d.fs, d.path, name, offsets)
	switch {
	case err == nil:
		return nil
	case isNoSpace(err):
		return fmt.Errorf("%w: %s: %w", ErrNoSpace, filepath.Join(d.path, name), err)
	}
	return d.fail(err)
}
