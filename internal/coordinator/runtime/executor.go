package runtime

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/xsync"
)

// state is what an executor does with a request.
type state int8

const (
	isLoading state = iota // COORDINATOR_LOAD_IN_PROGRESS
	isActive               // the shard serves it
	isBroken               // COORDINATOR_NOT_AVAILABLE: its partition cannot be read, or the shard panicked
	isGone                 // NOT_COORDINATOR
)

// eventKind says what is in a mailbox.
type eventKind int8

const (
	submitted eventKind = iota // call: a request
	cancelled                  // call: its peer hung up
	committed                  // flight, err: the high watermark passed, or never will
	timedOut                   // flight: its answers have waited for long enough
	ticked                     // timers are due
	loading                    // load, or go on loading
	closing                    // the partition is another's
)

type event struct {
	kind   eventKind
	call   *Call
	flight *flight
	err    error
}

// flight is one append that waits for the high watermark, with the answers that wait for it; or answers
// that ride along with the append before them. Each has its own time-out.
type flight struct {
	replies []reply
	rides   bool
	timeout deadline.Handle
}

type reply struct {
	call     *Call
	response any
}

// executor runs one shard in one leader epoch: its turns are taken by workers, one at a time.
type executor struct {
	runtime     *Runtime
	kind        *Kind
	tp          model.TopicPartition
	leaderEpoch int32
	log         Log
	logger      *slog.Logger
	gone        chan struct{} // closed in the last turn

	mu struct {
		xsync.Mutex
		mailbox []event
		spare   []event // the other buffer of the mailbox
		ready   bool    // enqueued, or in a turn
		closed  bool    // nothing is taken any more
	}

	// Of the turn.
	state      state
	closing    bool // between the beginning and the end of close
	shard      coordinator.Shard
	memory     account // of shard, or of the one that is loaded
	now        time.Time
	batch      []event // of the mailbox, not handled yet
	lastWaiter coordinator.WaiterID
	waiting    map[coordinator.WaiterID]*Call
	patient    []*Call // until the shard is loaded
	flights    []*flight
	turnOut    turnOutput
	tick       deadline.Handle
	tickAt     time.Time // zero: tick is not armed
	load       load
	lines      lineBudget
}

// turnOutput collects what the shard asked for since the last append.
type turnOutput struct {
	records []coordinator.Record
	bytes   int
	replies []reply
	failed  []func(error) coordinator.Output
}

func newExecutor(r *Runtime, kind *Kind, tp model.TopicPartition, leaderEpoch int32, log Log) *executor {
	return &executor{
		runtime: r, kind: kind, tp: tp, leaderEpoch: leaderEpoch, log: log,
		logger:  r.deps.Logger.With("topic", tp.Topic, "partition", tp.Partition, "leaderEpoch", leaderEpoch),
		gone:    make(chan struct{}),
		memory:  account{of: &r.memory},
		waiting: map[coordinator.WaiterID]*Call{},
	}
}

// post puts an event in the mailbox; false if the executor takes nothing any more.
func (x *executor) post(ev event) bool {
	x.mu.Lock()
	if x.mu.closed {
		x.mu.Unlock()
		return false
	}
	x.mu.mailbox = append(x.mu.mailbox, ev)
	idle := !x.mu.ready
	x.mu.ready = true
	x.mu.Unlock()
	if idle {
		x.runtime.enqueue(x)
	}
	return true
}

// turn handles everything that is in the mailbox.
func (x *executor) turn() {
	x.mu.Lock()
	x.batch, x.mu.mailbox = x.mu.mailbox, x.mu.spare[:0]
	x.mu.Unlock()
	taken := x.batch

	x.now = x.runtime.deps.Wall()
	for !x.handleBatch() {
	}
	clear(taken)

	x.mu.Lock()
	x.mu.spare = taken
	x.mu.ready = len(x.mu.mailbox) > 0
	again := x.mu.ready
	x.mu.Unlock()
	if again {
		x.runtime.enqueue(x)
	}
}

// handleBatch returns true once the batch is done, false after a panic that left a rest of it.
func (x *executor) handleBatch() (done bool) {
	defer func() {
		if fault := recover(); fault != nil {
			x.breakDown(fmt.Errorf("panic: %v", fault), debug.Stack())
			if x.closing {
				x.batch = slices.Insert(x.batch, 0, event{kind: closing}) // whoever waits for gone waits without bound
			}
		}
	}()
	for len(x.batch) > 0 {
		ev := x.batch[0]
		x.batch = x.batch[1:]
		x.handle(ev)
	}
	x.flush()
	x.armTick()
	return true
}

func (x *executor) handle(ev event) {
	switch ev.kind {
	case submitted:
		x.submit(ev.call)
	case cancelled:
		if c := ev.call; x.waiting[c.waiter] == c {
			x.absorb(x.shard.Cancel(x.now, c.waiter))
			x.finish(c, x.kind.Fail(c.body, kafkaerr.CoordinatorNotAvailable))
		}
	case committed:
		x.land(ev.flight, ev.err)
	case timedOut:
		x.giveUp(ev.flight, kafkaerr.RequestTimedOut)
	case ticked:
		x.tickAt = time.Time{}
		if x.state == isActive {
			x.absorb(x.shard.Tick(x.now))
		}
	case loading:
		x.loadMore()
	case closing:
		x.close()
	}
}

// submit serves a request, or answers why not.
func (x *executor) submit(c *Call) {
	switch x.state {
	case isActive:
		x.lastWaiter++
		c.waiter = x.lastWaiter
		x.waiting[c.waiter] = c
		x.absorb(x.shard.Handle(x.now, coordinator.Request{Waiter: c.waiter, Body: c.body}))
	case isLoading:
		if c.patient {
			x.patient = append(x.patient, c)
			return
		}
		c.done(x.kind.Fail(c.body, kafkaerr.CoordinatorLoadInProgress))
	case isBroken:
		c.done(x.kind.Fail(c.body, kafkaerr.CoordinatorNotAvailable))
	case isGone:
		c.done(x.kind.Fail(c.body, kafkaerr.NotCoordinator))
	}
}

// finish answers a call, once.
func (x *executor) finish(c *Call, response any) {
	if x.waiting[c.waiter] == c {
		delete(x.waiting, c.waiter)
		c.done(response)
	}
}

func (x *executor) fail(c *Call, err error) {
	x.finish(c, x.kind.Fail(c.body, coordinator.ErrorCode(err)))
}

// absorb takes what the shard asks for.
func (x *executor) absorb(out coordinator.Output) {
	x.report(out.Events)
	bytes := 0
	for _, rec := range out.Records {
		bytes += rec.Size()
	}
	if out.Divisible || x.turnOut.bytes+bytes > x.maxBytes() {
		if x.flush(); x.state != isActive {
			return // the shard is gone, and who waited has been answered
		}
	}
	for _, r := range out.Replies {
		switch c := x.waiting[r.Waiter]; {
		case c == nil:
		case r.AfterCommit:
			x.turnOut.replies = append(x.turnOut.replies, reply{c, r.Response})
		default:
			x.finish(c, r.Response)
		}
	}
	if out.Failed != nil {
		x.turnOut.failed = append(x.turnOut.failed, out.Failed)
	}
	if out.Divisible {
		x.appendDivided(out.Records)
	} else {
		x.turnOut.records = append(x.turnOut.records, out.Records...)
		x.turnOut.bytes += bytes
	}
	if out.Flush {
		x.flush()
	}
}

func (x *executor) maxBytes() int { return x.log.MaxBatchBytes() - batchOverhead }

const batchOverhead = 256 // the header of a batch, generously

// appendDivided leaves the last part to flush, with the answers, and appends what comes before it.
func (x *executor) appendDivided(records []coordinator.Record) {
	for _, rec := range records {
		if size := rec.Size(); x.turnOut.bytes+size > x.maxBytes() && len(x.turnOut.records) > 0 {
			replies, failed := x.turnOut.replies, x.turnOut.failed
			x.turnOut.replies, x.turnOut.failed = nil, nil
			if err := x.append(x.turnOut.records, nil); err != nil {
				x.turnOut = turnOutput{replies: replies, failed: failed}
				x.appendFailed(err)
				return
			}
			x.turnOut = turnOutput{replies: replies, failed: failed}
		}
		x.turnOut.records = append(x.turnOut.records, rec)
		x.turnOut.bytes += rec.Size()
	}
}

// flush appends what has collected, and has the answers wait for it.
func (x *executor) flush() {
	out := x.turnOut
	if len(out.records) == 0 {
		x.turnOut.replies = nil
		x.rideAlong(out.replies)
		x.turnOut = turnOutput{}
		return
	}
	if err := x.append(out.records, out.replies); err != nil {
		x.appendFailed(err)
		return
	}
	x.turnOut = turnOutput{records: out.records[:0]}
	clear(out.records)
}

// append writes records, replays them, and has replies wait for their commit.
func (x *executor) append(records []coordinator.Record, replies []reply) error {
	f := &flight{replies: replies}
	_, err := x.log.Append(x.leaderEpoch, records, func(err error) {
		x.post(event{kind: committed, flight: f, err: err})
	})
	if err != nil {
		return err
	}
	x.runtime.metrics.appended(records)
	x.launch(f)
	for _, rec := range records {
		if err := x.shard.Replay(rec); err != nil {
			// The shard cannot read what it wrote: no input does that.
			panic(fmt.Sprintf("replay a record just appended: %v", err))
		}
	}
	return nil
}

// appendFailed answers what waits for the append that failed, and lets the shard take back what ran ahead.
func (x *executor) appendFailed(err error) {
	x.runtime.metrics.appendFailures.Inc()
	x.logger.Warn("coordinator append failed", "records", len(x.turnOut.records), "err", err)
	out := x.turnOut
	x.turnOut = turnOutput{}
	for _, r := range out.replies {
		x.fail(r.call, err)
	}
	if kafkaerr.CodeOf(err) == kafkaerr.NotLeaderOrFollower {
		x.restart(err) // someone else may coordinate by now: what this shard shows may be old
		return
	}
	for _, failed := range out.failed {
		undone := failed(err)
		invariants.Assertf(len(undone.Records) == 0 && undone.Failed == nil, "an undo asks for another append")
		undone.Records, undone.Failed = nil, nil
		x.absorb(undone)
	}
}

// rideAlong has replies wait for the last append that is on its way, or sends them.
func (x *executor) rideAlong(replies []reply) {
	switch {
	case len(replies) == 0:
	case len(x.flights) == 0:
		for _, r := range replies {
			x.finish(r.call, r.response)
		}
	default:
		x.launch(&flight{replies: replies, rides: true})
	}
}

func (x *executor) launch(f *flight) {
	x.flights = append(x.flights, f)
	if len(f.replies) > 0 {
		f.timeout = x.runtime.deps.Deadlines.Schedule(time.Now().Add(x.runtime.config.CommitTimeout), func(time.Time) {
			x.post(event{kind: timedOut, flight: f})
		})
	}
}

// land ends a flight and, since the high watermark only grows, all before it. A commit that is lost takes
// the shard with it: it has replayed what may not exist.
func (x *executor) land(f *flight, err error) {
	at := slices.Index(x.flights, f)
	if at < 0 {
		return // of an older term, or a later one landed before it
	}
	if err != nil {
		x.runtime.metrics.lostCommits.Inc()
		x.restart(err)
		return
	}
	for at+1 < len(x.flights) && x.flights[at+1].rides {
		at++
	}
	landed := x.flights[:at+1]
	for _, f := range landed {
		x.runtime.deps.Deadlines.Cancel(f.timeout)
		for _, r := range f.replies {
			x.finish(r.call, r.response)
		}
	}
	x.flights = slices.Delete(x.flights, 0, at+1)
}

// giveUp answers what waits for a flight; its records may still be committed.
func (x *executor) giveUp(f *flight, err error) {
	if !slices.Contains(x.flights, f) {
		return
	}
	x.runtime.metrics.commitTimeouts.Inc()
	replies := f.replies
	f.replies = nil
	for _, r := range replies {
		x.fail(r.call, err)
	}
}

// restart throws the shard away and loads it again after a while: where the leadership is lost, the
// resignation comes first.
func (x *executor) restart(err error) {
	x.logger.Warn("coordinator loads again", "err", err)
	x.discard(err)
	x.state = isLoading
	x.retryLoad(x.runtime.config.ReloadBackoff)
}

// discard throws the shard away: what waits for a commit is answered with err, what is parked by the
// shard, and what then is left with err too.
func (x *executor) discard(err error) {
	for _, r := range x.turnOut.replies {
		x.fail(r.call, err)
	}
	x.turnOut = turnOutput{}
	for _, f := range x.flights {
		x.runtime.deps.Deadlines.Cancel(f.timeout)
		for _, r := range f.replies {
			x.fail(r.call, err)
		}
	}
	x.flights = nil
	if x.state == isActive {
		shard := x.shard
		x.shard, x.state = nil, isBroken
		for _, r := range shard.Unload().Replies {
			if c := x.waiting[r.Waiter]; c != nil {
				x.finish(c, r.Response)
			}
		}
	}
	x.shard = nil
	for _, c := range x.waiting {
		x.fail(c, err)
	}
	x.runtime.deps.Deadlines.Cancel(x.tick)
	x.tickAt = time.Time{}
	x.runtime.deps.Deadlines.Cancel(x.load.retry)
	x.load = load{}
	x.memory.close()
}

// breakDown takes the partition offline until it is elected again: the shard's state cannot be trusted.
func (x *executor) breakDown(err error, stack []byte) {
	x.logger.Error("coordinator shard is offline", "err", err, "stack", string(stack))
	x.runtime.metrics.panics.Inc()
	x.state = isBroken // and so the shard is not asked again
	x.discard(kafkaerr.CoordinatorNotAvailable)
}

// close is the last that an executor does. After a panic in it, it is called again, and goes on.
func (x *executor) close() {
	if x.state == isGone {
		return
	}
	x.closing = true
	x.flush()
	x.discard(kafkaerr.NotCoordinator)
	for len(x.patient) > 0 {
		c := x.patient[0]
		x.patient = x.patient[1:]
		c.done(x.kind.Fail(c.body, kafkaerr.NotCoordinator))
	}
	x.state = isGone
	x.runtime.forget(x)
	x.mu.Lock()
	x.mu.closed = true
	x.batch = append(slices.Clone(x.batch), x.mu.mailbox...)
	x.mu.mailbox = nil
	x.mu.Unlock()
	for len(x.batch) > 0 {
		ev := x.batch[0]
		x.batch = x.batch[1:]
		if ev.kind == submitted {
			x.submit(ev.call)
		}
	}
	x.closing = false
	close(x.gone)
}

// armTick has the shard called at its next deadline. A tick that comes too early does no harm, so one
// that is armed is only ever moved forward.
func (x *executor) armTick() {
	if x.state != isActive {
		return
	}
	next, ok := x.shard.NextDeadline()
	if !ok || !x.tickAt.IsZero() && !next.Before(x.tickAt) {
		return
	}
	x.runtime.deps.Deadlines.Cancel(x.tick)
	x.tickAt = next
	// The shard counts on the node's clock, the heap on this process's.
	x.tick = x.runtime.deps.Deadlines.Schedule(time.Now().Add(next.Sub(x.now)), func(time.Time) {
		x.post(event{kind: ticked})
	})
}
