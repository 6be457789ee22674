package replica

import (
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
)

// The acks a producer may ask for.
const (
	AcksAll    int16 = -1
	AcksNone   int16 = 0
	AcksLeader int16 = 1
)

// Append is one produce request's worth of batches, one per partition. The caller owns it and may reuse
// it after Done; until then it must not touch it.
type Append struct {
	Acks    int16
	Timeout time.Duration // how long AcksAll and flushed AcksLeader answers may wait
	Entries []AppendEntry
	// Abandoned says whether the producer has gone: work that has not begun is then not worth beginning.
	// It may be nil, and is called from within Manager.Append only.
	Abandoned func() bool
	// Done is called once every entry has its result.
	Done func(*Append)

	pending   atomic.Int32 // entries without a result, plus one while Manager.Append runs
	deadlines *deadline.Queue
	deadline  deadline.Handle
	expire    func(time.Time) // answers what still waits; made when it is first needed
	timed     bool
	stuck     bool
	spares    bool // may answer a reader on its way
}

// AppendEntry is one batch for one partition and, after Done, what became of it.
type AppendEntry struct {
	// Replica takes the batch. Nil means that Result.Err is already set (an unknown topic, say).
	Replica *Replica
	// Batch is one whole record batch as the client sent it, or the header of one larger than Replica.MaxBatchBytes,
	// which is refused. It is patched in place and not used after Append returns, even while the entry still waits.
	Batch  record.Batch
	Result AppendResult

	owner   *Append
	needs   int64 // answered when the high watermark (or the flushed offset) has reached it
	flushed bool  // wait for the local flush, not for the high watermark
	next    *AppendEntry
	batches [1]record.Batch
}

// AppendResult is the answer for one partition.
type AppendResult struct {
	Err error // nil, or an error that carries a kafkaerr.Code
	// What follows is -1 for a batch that was refused, but see refused. One that was appended and then waited
	// in vain keeps it, as in Kafka: the batch is where it says.
	BaseOffset     int64
	LogAppendTime  int64 // -1 unless the topic stamps LogAppendTime
	LogStartOffset int64
	RecordErrors   []record.RecordError
}

func failed(err error) AppendResult {
	return AppendResult{Err: err, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1}
}

// refused is the answer to a batch that is not appended. Where the fault is not the batch's size or bytes, nor this broker's, it carries
// the log's start, as Kafka's does: a producer may then see that what it counts on was deleted.
func (r *Replica) refused(err error) AppendResult {
	result := failed(err)
	switch kafkaerr.CodeOf(err) {
	case kafkaerr.CorruptMessage, kafkaerr.MessageTooLarge, kafkaerr.RecordListTooLarge, kafkaerr.NotLeaderOrFollower, kafkaerr.KafkaStorageError:
	default:
		result.LogStartOffset = r.log.StartOffset()
	}
	return result
}

// Append validates and appends every entry, in order, and calls Done when the last one is answered: at
// once for AcksNone, after the append or the flush for AcksLeader, when the high watermark has passed
// for AcksAll. A batch that timed out waiting stays in the log (REQUEST_TIMED_OUT).
func (m *Manager) Append(a *Append) {
	a.pending.Store(int32(len(a.Entries)) + 1)
	a.timed, a.stuck, a.spares = false, false, true
	waits := false
	for i := range a.Entries {
		e := &a.Entries[i]
		e.owner = a
		if e.Replica == nil || !e.Replica.append(e, a.Acks) {
			a.pending.Add(-1)
			continue
		}
		waits = true
	}
	if waits {
		a.timed = true
		a.deadlines = m.deadlines
		if a.expire == nil {
			a.expire = func(time.Time) { m.CancelAppend(a, kafkaerr.RequestTimedOut) }
		}
		a.deadline = m.deadlines.Schedule(m.now().Add(a.Timeout), a.expire)
	}
	a.finishOne()
}

// CancelAppend answers what still waits with err; what has its result keeps it. Done follows as always.
func (m *Manager) CancelAppend(a *Append, err error) {
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Replica != nil && e.Replica.removeAppend(e) {
			e.Result.Err = err
			a.finishOne()
		}
	}
}

// Hold has a wait for one Release more before it is done, unless it is done already. The caller makes sure that a
// does not serve another request by now.
func (a *Append) Hold() bool {
	for {
		switch n := a.pending.Load(); {
		case n == 0:
			return false
		case a.pending.CompareAndSwap(n, n+1):
			return true
		}
	}
}

// Release ends a Hold. It may call Done.
func (a *Append) Release() { a.finishOne() }

// finishOne counts one entry (or Manager.Append itself) as done; the last one calls Done.
func (a *Append) finishOne() {
	if a.pending.Add(-1) > 0 {
		return
	}
	if a.timed {
		a.stuck = !a.deadlines.Cancel(a.deadline)
	}
	a.Done(a)
}

// Reusable reports, in and after Done, whether a may serve another request: not if its deadline fired at
// the very moment it was answered, since that call may still be on its way.
func (a *Append) Reusable() bool { return !a.stuck }

// append does everything for one entry up to the point where it waits, and reports whether it waits.
func (r *Replica) append(e *AppendEntry, acks int16) (waits bool) {
	serving := r.serving.Load()
	switch {
	case serving.role != partition.Leader:
		e.Result = r.refused(serving.refusal())
		return false
	case acks == AcksAll && serving.underMinISR:
		e.Result = r.refused(kafkaerr.NotEnoughReplicas)
		return false
	}
	appended, verdict, err := r.validateAndAppend(e, serving.leaderEpoch)
	if err != nil {
		e.Result = r.refused(asKafkaError(err))
		e.Result.RecordErrors = verdict.RecordErrors
		return false
	}
	e.Result = AppendResult{
		BaseOffset: appended.FirstOffset, LogAppendTime: appended.LogAppendTime, LogStartOffset: appended.StartOffset,
	}
	e.needs = appended.LastOffset + 1
	return r.afterAppend(e, appended.EndOffset, acks)
}

func (r *Replica) validateAndAppend(e *AppendEntry, leaderEpoch int32) (storage.Appended, record.Verdict, error) {
	now := r.manager.wall().UnixMilli()
	verdict, err := r.manager.validator.validate(e.owner, e.Batch, r.config.Load().rules(now))
	if err != nil {
		return storage.Appended{}, verdict, err
	}
	e.batches[0] = verdict.Batch
	appended, err := r.log.AppendAsLeader(e.batches[:], storage.LeaderAppend{
		LeaderEpoch: leaderEpoch, NowMs: now, Origin: storage.Client,
	})
	e.batches[0], e.Batch = nil, nil
	return appended, verdict, err
}

// afterAppend tells the machine of the new end and, in the same turn of the lock, enlists the entry
// unless it is answered already.
func (r *Replica) afterAppend(e *AppendEntry, end int64, acks int16) (waits bool) {
	r.mu.Lock()
	todo := r.stepLocked(partition.Appended{End: end})
	switch {
	case acks == AcksAll:
		waits = r.mu.machine.HighWatermark() < e.needs
	case acks == AcksLeader && r.mu.machine.Durable():
		e.flushed = true
		waits = r.mu.machine.FlushedOffset() < e.needs
	}
	if waits && r.mu.machine.Role() != partition.Leader {
		// Leadership went between the append and here: whether the batch survives is not known.
		e.Result.Err, waits = r.serving.Load().refusal(), false
	}
	if waits {
		r.mu.appends.push(e)
	}
	r.mu.Unlock()
	// One reader of a request's records: more of them are better off with a processor each.
	if e.owner.spares && len(todo.fetches) > 0 {
		todo.spare, e.owner.spares = true, false
	}
	todo.run(r)
	return waits
}

// AppendInternal appends a batch of the node's own (a coordinator's records) under a leader epoch and
// returns where it lies, at once; the batch is not validated, and memory is the caller's again. committed
// is called once the high watermark has passed it, or with the error that says it may never: maybe before
// AppendInternal returns, never where it returns an error.
func (r *Replica) AppendInternal(leaderEpoch int32, batch record.Batch, committed func(error)) (storage.Appended, error) {
	appended, err := r.log.AppendAsLeader([]record.Batch{batch}, storage.LeaderAppend{
		LeaderEpoch: leaderEpoch, NowMs: r.manager.wall().UnixMilli(), Origin: storage.Coordinator,
	})
	if err != nil {
		return storage.Appended{}, asKafkaError(err)
	}
	r.awaitCommit(appended.LastOffset+1, appended.EndOffset, committed)
	return appended, nil
}

// AwaitCommit calls committed once the high watermark has reached offset, or with an error when this
// replica stops leading before that.
func (r *Replica) AwaitCommit(offset int64, committed func(error)) {
	r.awaitCommit(offset, offset, committed)
}

func (r *Replica) awaitCommit(offset, end int64, committed func(error)) {
	a := &Append{Entries: make([]AppendEntry, 1), Done: func(a *Append) { committed(a.Entries[0].Result.Err) }}
	e := &a.Entries[0]
	e.Replica, e.owner, e.needs = r, a, offset
	a.pending.Store(1)
	if !r.afterAppend(e, end, AcksAll) {
		a.finishOne()
	}
}

// removeAppend takes the entry off the wait list; false when it was not on it any more.
func (r *Replica) removeAppend(e *AppendEntry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.appends.remove(e)
}

// appendList is a queue of waiting entries, linked through the entries themselves so that waiting
// allocates nothing.
type appendList struct{ head, tail *AppendEntry }

func (l *appendList) push(e *AppendEntry) {
	e.next = nil
	if l.tail == nil {
		l.head, l.tail = e, e
		return
	}
	l.tail.next, l.tail = e, e
}

func (l *appendList) remove(e *AppendEntry) bool {
	var before *AppendEntry
	for at := l.head; at != nil; before, at = at, at.next {
		if at != e {
			continue
		}
		if before == nil {
			l.head = e.next
		} else {
			before.next = e.next
		}
		if l.tail == e {
			l.tail = before
		}
		e.next = nil
		return true
	}
	return false
}

// takeAnswered moves the entries that are answered to out. Concurrent produces enlist slightly out of
// order, so the whole list is looked at; it is as long as the requests in flight on this partition.
func (l *appendList) takeAnswered(highWatermark, flushed int64, out *appendList) {
	var keep appendList
	for e := l.head; e != nil; {
		next := e.next
		reached := highWatermark
		if e.flushed {
			reached = flushed
		}
		if reached >= e.needs {
			out.push(e)
		} else {
			keep.push(e)
		}
		e = next
	}
	*l = keep
}
