package coordinator

import "time"

// WaiterID names one request until it has been answered. The runtime hands them out; a shard only
// keeps and returns them. 0 names nobody.
type WaiterID uint64

// Request is one request to a shard.
type Request struct {
	Waiter WaiterID
	Body   any // one of the shard's own request types
}

// Record is one record of the shard's partition.
type Record struct {
	Key, Value  []byte // a nil Value is a tombstone
	TimestampMs int64
}

// Size returns about how many bytes the record takes in a batch.
func (r Record) Size() int { return len(r.Key) + len(r.Value) + recordOverhead }

const recordOverhead = 24 // lengths, deltas and attributes, generously

// Reply answers one request. A request is answered exactly once; a reply to a waiter that is gone is
// dropped.
type Reply struct {
	Waiter   WaiterID
	Response any
	// AfterCommit holds the reply until every record that was appended before it, those of its own
	// Output included, is committed. Where that fails, the runtime answers with the error instead.
	// Every reply that shows or promises durable state sets it; without it the reply leaves at once.
	AfterCommit bool
}

// Output is what a call to a shard asks of the runtime.
type Output struct {
	Replies []Reply
	// Records are appended, and then replayed, as one batch.
	Records []Record
	// Divisible allows Records to be appended as several batches: a crash may keep a part of them.
	Divisible bool
	// Flush asks that Records be appended and replayed before the shard is called with anything else:
	// for what is decided by durable state that Records change.
	Flush bool
	// Events are what an operator may want to know; the runtime logs and counts them.
	Events []Event
	// Failed is called if Records could not be appended, before any other call; nil if no soft state
	// ran ahead of them. The runtime answers the AfterCommit replies itself. The Output that Failed
	// returns has no Records, no Failed and no AfterCommit replies.
	Failed func(err error) Output
}

// Event is one thing that happened to a shard's state, for the log and the counters.
type Event struct {
	Name  string // from a small fixed set, as "group rebalances"
	Attrs []any  // alternating names and values, as log/slog takes them
}

// Memory is what the shards of a node may hold together. A shard counts what clients have it keep, asks before
// it takes more, and refuses what does not fit. What it holds when it is thrown away is given back for it.
type Memory interface {
	// Fits reports whether bytes more may be held.
	Fits(bytes int) bool
	// Hold counts bytes that are held from now on, whether they fit or not: what a log says is not to be
	// refused. Negative ones are given back.
	Hold(bytes int)
}

// Shard is the state machine of one coordinator partition. Calls never overlap.
type Shard interface {
	// Replay applies one record of the partition to the durable state: while loading, and directly
	// after the shard's own records were appended. Record types that the shard does not know are
	// skipped; an error says that a record is damaged and ends the load. The memory of rec is the
	// caller's again after the call.
	Replay(rec Record) error
	// Loaded is called once, after the whole partition was replayed: the shard builds its soft state
	// and arms the timers of what it holds.
	Loaded(now time.Time) Output
	// Handle serves one request: it replies now, or keeps the waiter and replies in a later Output.
	Handle(now time.Time, req Request) Output
	// Cancel forgets a waiter whose peer hung up. It is no error if the waiter was answered.
	Cancel(now time.Time, waiter WaiterID) Output
	// Tick fires the timers that are due.
	Tick(now time.Time) Output
	// Unload answers everything parked with NOT_COORDINATOR. The shard is not called again.
	Unload() Output
	// NextDeadline says when Tick wants to be called; false if no timer is armed. It may be early,
	// never late.
	NextDeadline() (time.Time, bool)
}
