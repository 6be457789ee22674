package storage

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage/epoch"
	"github.com/walser-io/walser/internal/storage/producerstate"
	"github.com/walser-io/walser/internal/storage/segment"
	"github.com/walser-io/walser/internal/xsync"
)

// Log is one partition's log. It is safe for concurrent use.
//
// Three things order its work. The append lock (mu) covers an append: the check of role and epoch, the
// offsets, the one write. The turn covers what changes the list of segments or their index files: roll,
// truncate, retention, checkpoint; it is held across IO, readers never wait for it, and appends only
// when they need a new segment. The syncer flushes a log from one goroutine at a time.
type Log struct {
	tp      model.TopicPartition
	topicID model.TopicID
	dir     *Dir
	path    string

	config atomic.Pointer[LogConfig]
	hooks  atomic.Pointer[Hooks]

	start, end, highWatermark, lastStable, flushed atomic.Int64
	latestEpoch                                    atomic.Int32

	// segments are oldest first, the last one is the active one; nil before the first append. The slice
	// is replaced, never changed. Written under the turn and mu.
	segments atomic.Pointer[[]*segment.Segment]
	failure  atomic.Pointer[error]
	ready    atomic.Bool // recovered, or new
	// closed says that the log was deleted, or its manager closed. It is set under mu, so that no append is under
	// way after it, and before the directory changes its name: a file that is opened under the old name and
	// found not closed afterwards is this log's.
	closed atomic.Bool
	// unwanted ends a recovery under way: the log is about to be deleted.
	unwanted atomic.Bool
	// deleted says that it is closed because it was deleted: no disk error matters any more.
	deleted atomic.Bool
	// newNames says that a file or directory was created, renamed or removed which must be durable
	// before the flushed offset may pass what depends on it. It is set after the operation, since a flush
	// on its way takes it for done, and before a new segment is in the list.
	newNames atomic.Bool
	// cut says that the active segment was cut and not synced since: what was cut off must not come back
	// behind a flush, or a clean shutdown. It is set after the cut.
	cut atomic.Bool
	// truncations counts what may make bytes that were read, or are being flushed, another history's.
	truncations atomic.Uint64
	// cleaned is the offset up to which the log was compacted.
	cleaned   atomic.Int64
	rewriting atomic.Bool // a Rewrite is open

	// turn is a token, not a lock: it is held across IO by design.
	turn chan struct{}
	// Under the turn:
	snapshots     []int64 // offsets of the producer snapshots in the directory, ascending
	metadataSaved bool    // partition.metadata exists
	// By the flusher and under the turn at open:
	metadataSynced bool

	// mu is the append lock.
	mu struct {
		xsync.Mutex
		role      role
		epoch     int32 // the leader epoch whose appends are taken
		busy      bool  // a roll or truncation is under way: appends wait for the turn
		rollNext  bool  // the active segment takes no more: readers may hold what stood past its end
		producers producerstate.Table
		unflushed int64 // records appended since the last flush, for flush.messages
		sinceSnap int64 // bytes appended since the last producer snapshot
	}

	// epochs guards the leader epochs; version counts their changes, saved is the one in the file.
	epochs struct {
		xsync.Mutex
		cache          epoch.Cache
		version, saved uint64
	}

	// damage holds what was said of damaged places, so that it is said once.
	damage struct {
		xsync.Mutex
		said map[string]struct{}
	}

	queued     bool  // for the syncer's next round; guarded by dir.mu
	dirtySince int64 // ms, when flush.ms began to run, 0 not; the manager's
	// savedRecoveryPoint is what the checkpoint file holds for this log.
	savedRecoveryPoint atomic.Int64
}

type role int8

const (
	roleNone role = iota
	roleLeader
	roleFollower
)

func newLog(d *Dir, tp model.TopicPartition, id model.TopicID, path string, cfg LogConfig) *Log {
	l := &Log{tp: tp, topicID: id, dir: d, path: path, turn: make(chan struct{}, 1)}
	l.config.Store(&cfg)
	l.latestEpoch.Store(epoch.Undefined)
	l.mu.epoch = epoch.Undefined
	return l
}

// TopicPartition returns the partition's name.
func (l *Log) TopicPartition() model.TopicPartition { return l.tp }

// TopicID returns the id of the topic's incarnation that the log belongs to.
func (l *Log) TopicID() model.TopicID { return l.topicID }

// Dir returns the directory that holds the log.
func (l *Log) Dir() *Dir { return l.dir }

// Path returns the partition's directory. It exists from the first append on.
func (l *Log) Path() string { return l.path }

// StartOffset returns the first offset that can be read.
func (l *Log) StartOffset() int64 { return l.start.Load() }

// EndOffset returns the offset of the next record.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// HighWatermark returns the offset below which records are committed, as SetHighWatermark set it.
func (l *Log) HighWatermark() int64 { return l.highWatermark.Load() }

// LastStableOffset returns the offset below which no transaction is undecided; at most the high watermark.
func (l *Log) LastStableOffset() int64 { return l.lastStable.Load() }

// FlushedOffset returns the offset below which everything survives a power loss.
func (l *Log) FlushedOffset() int64 { return l.flushed.Load() }

// LatestEpoch returns the newest leader epoch the log knows, -1 none.
func (l *Log) LatestEpoch() int32 { return l.latestEpoch.Load() }

// Config returns the configuration in force.
func (l *Log) Config() LogConfig { return *l.config.Load() }

// SetConfig replaces the configuration. It holds from the next append and the next retention check on.
func (l *Log) SetConfig(cfg LogConfig) { l.config.Store(&cfg) }

// SetHooks replaces the hooks.
func (l *Log) SetHooks(h Hooks) { l.hooks.Store(&h) }

// Size returns the bytes of the log's segments.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range l.list() {
		n += s.State().Size
	}
	return n
}

// Err returns why the log serves nothing: ErrClosed, ErrOffline with its cause, or ErrNotRecovered; else nil.
func (l *Log) Err() error {
	if l.closed.Load() {
		return fmt.Errorf("%w: %s", ErrClosed, l.tp)
	}
	if err := l.failure.Load(); err != nil {
		return *err
	}
	if err := l.dir.Err(); err != nil {
		return err
	}
	if !l.ready.Load() {
		return fmt.Errorf("%w: %s", ErrNotRecovered, l.tp)
	}
	return nil
}

// Recovered says whether the log was recovered, or is new; until then it serves nothing.
func (l *Log) Recovered() bool { return l.ready.Load() }

// Lead makes the log take appends of this leader epoch, as leader, and none of another. The epoch begins
// at the end offset, which is also noted if it never writes a record (KAFKA-7415). An epoch older than
// the one in force is refused with ErrFenced.
func (l *Log) Lead(leaderEpoch int32) error { return l.take(roleLeader, leaderEpoch) }

// Follow makes the log take what was fetched in this leader epoch, and no client's append. An epoch
// older than the one in force is refused with ErrFenced.
func (l *Log) Follow(leaderEpoch int32) error { return l.take(roleFollower, leaderEpoch) }

func (l *Log) take(r role, leaderEpoch int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	if leaderEpoch < l.mu.epoch || leaderEpoch < 0 {
		return fmt.Errorf("%w: epoch %d, in force is %d", ErrFenced, leaderEpoch, l.mu.epoch)
	}
	l.mu.role, l.mu.epoch = r, leaderEpoch
	if r == roleLeader {
		l.assignEpoch(leaderEpoch, l.end.Load())
	}
	return nil
}

// assignEpoch notes that leaderEpoch begins at start, if it is newer than what is known.
func (l *Log) assignEpoch(leaderEpoch int32, start int64) {
	l.epochs.Lock()
	defer l.epochs.Unlock()
	if l.epochs.cache.Assign(leaderEpoch, start) {
		l.epochs.version++
		l.publishEpochLocked()
	}
}

// trimEpochs forgets the epochs of records that are not in [start, end) any more.
func (l *Log) trimEpochs(start, end int64) {
	l.epochs.Lock()
	defer l.epochs.Unlock()
	atEnd := l.epochs.cache.TruncateFromEnd(end)
	if l.epochs.cache.TruncateFromStart(start) || atEnd {
		l.epochs.version++
	}
	l.publishEpochLocked()
}

// publishEpochLocked is called with the epochs' lock held.
func (l *Log) publishEpochLocked() {
	latest := epoch.Undefined
	if e, ok := l.epochs.cache.Latest(); ok {
		latest = e.Epoch
	}
	l.latestEpoch.Store(latest)
}

// EpochEndOffset answers OffsetForLeaderEpoch: the newest known epoch at or below the requested one and
// the offset at which the next one begins; see epoch.Cache.EndOffsetFor.
func (l *Log) EpochEndOffset(requested int32) (leaderEpoch int32, end int64) {
	l.epochs.Lock()
	defer l.epochs.Unlock()
	return l.epochs.cache.EndOffsetFor(requested, l.end.Load())
}

// EpochOf returns the leader epoch that wrote offset, -1 if it is not known.
func (l *Log) EpochOf(offset int64) int32 {
	l.epochs.Lock()
	defer l.epochs.Unlock()
	return l.epochs.cache.ForOffset(offset)
}

// SetHighWatermark moves the high watermark forward to hw, at most to the end offset. A lower hw than
// the one in force changes nothing: only a truncation moves it back.
func (l *Log) SetHighWatermark(hw int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setHighWatermarkLocked(hw)
}

func (l *Log) setHighWatermarkLocked(hw int64) {
	hw = min(hw, l.end.Load())
	if hw <= l.highWatermark.Load() {
		return
	}
	l.highWatermark.Store(hw)
	l.mu.producers.HighWatermarkMoved(hw)
	l.stableLocked()
}

// stableLocked recomputes the last stable offset.
func (l *Log) stableLocked() {
	stable := l.highWatermark.Load()
	if first, ok := l.mu.producers.FirstUnstable(); ok {
		stable = min(stable, max(first, l.start.Load()))
	}
	l.lastStable.Store(stable)
}

// AbortedTransactions returns the aborted transactions with records in [from, upTo), by the order of
// their markers.
func (l *Log) AbortedTransactions(from, upTo int64) []AbortedTxn {
	var found []AbortedTxn
	segs := l.list()
	for _, s := range segs[floor(segs, from):] {
		var done bool
		if found, done = s.Aborted(found, from, upTo); done {
			break
		}
	}
	return found
}

// AbortedTxn is a transaction that was aborted, as the transaction index holds it.
type AbortedTxn = segment.AbortedTxn

// ProducerCount returns how many producers the log knows.
func (l *Log) ProducerCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.producers.Len()
}

// list returns the segments, oldest first. The slice is not to be changed.
func (l *Log) list() []*segment.Segment {
	if p := l.segments.Load(); p != nil {
		return *p
	}
	return nil
}

// floor returns the index of the last segment whose base is at or below offset, 0 if there is none.
func floor(segs []*segment.Segment, offset int64) int {
	lo, hi := 0, len(segs)
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; segs[mid].Base() <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// takeTurn waits for the turn and returns what gives it back.
func (l *Log) takeTurn() (done func()) {
	l.turn <- struct{}{}
	return func() { <-l.turn }
}

// fail takes this log offline: its disk state is not known any more. The first cause stays.
func (l *Log) fail(cause error) error {
	err := fmt.Errorf("%w: %s: %w", ErrOffline, l.tp, cause)
	if !l.failure.CompareAndSwap(nil, &err) {
		return *l.failure.Load()
	}
	l.dir.logger.Error("log offline", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", cause)
	if h := l.hooks.Load(); h != nil && h.Offline != nil {
		h.Offline(err)
	}
	return err
}

// diskError decides what an IO error means: a full disk is passed on as ErrNoSpace, a segment that is rotten or
// could not be cut back on a full disk takes the log offline, and anything else the whole directory, as a disk
// that fails once is not to be trusted with the rest.
func (l *Log) diskError(err error) error {
	switch {
	case errors.Is(err, segment.ErrCorrupt):
		return l.fail(err)
	case !isNoSpace(err):
		return l.dir.fail(err)
	case errors.Is(err, segment.ErrDamaged):
		return l.fail(err) // what fell short could not be cut off: the disk is well, this log is not
	}
	return fmt.Errorf("%w: %s: %w", ErrNoSpace, l.tp, err)
}

// checkInvariants panics in builds with the tag `invariants` where offsets are out of order.
func (l *Log) checkInvariantsLocked() {
	if !invariants.Enabled {
		return
	}
	start, stable, hw, end, flushed := l.start.Load(), l.lastStable.Load(), l.highWatermark.Load(), l.end.Load(), l.flushed.Load()
	invariants.Assertf(start <= hw && stable <= hw && hw <= end && flushed <= end,
		"%s: start %d, stable %d, high watermark %d, flushed %d, end %d", l.tp, start, stable, hw, flushed, end)
}
