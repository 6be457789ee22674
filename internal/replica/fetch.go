package replica

import (
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/storage"
)

// Fetch is one client's fetch. The caller owns it; between Manager.Fetch and Ready it must not touch
// it, except through CancelFetch.
type Fetch struct {
	MaxWait       time.Duration
	MinBytes      int32
	MaxBytes      int32 // of all partitions together; the first batch may exceed it (KIP-74)
	ReadCommitted bool
	// Follower says that the client gave itself out for a replica. This broker leads none that others follow, so no partition knows it.
	Follower   bool
	Partitions []FetchPartition
	// Ready is called once there is something to answer; Collect then reads.
	Ready func(*Fetch)
	// Spare is set before Ready is called: the goroutine that calls it may read and answer too, as long as it
	// waits for nobody.
	Spare bool

	state     atomic.Int32
	expired   atomic.Bool
	deadlines *deadline.Queue
	deadline  deadline.Handle
	onExpiry  func(time.Time) // f.expire, bound when it is first needed
	timed     bool
	enlisted  bool
	stuck     bool // the deadline fired while it was being cancelled
}

// A waiting fetch is examined by one goroutine at a time, which alone may call Ready. Whoever comes
// meanwhile leaves word (again) that it must look once more.
const (
	fetchReady int32 = iota // also: not in use
	fetchWaiting
	fetchExamined
	fetchExaminedAgain
)

// FetchPartition asks for the records of one partition from Offset on.
type FetchPartition struct {
	// Replica is asked. Nil means that Err is already set, because there is no such partition: as in Kafka the
	// others still wait for theirs.
	Replica            *Replica
	Err                error
	Offset             int64
	MaxBytes           int32
	CurrentLeaderEpoch int32 // -1: not checked
	LastFetchedEpoch   int32 // of the record before Offset; -1: not checked
	Result             FetchResult

	owner *Fetch
	slot  int // place in the replica's list while enlisted, guarded by its lock
}

// FetchResult is what Collect found for one partition.
type FetchResult struct {
	Err              error
	Diverging        *EpochEnd // set: the records the client has are not ours from here on, and nothing was read
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64
	Records          storage.Slice // Size 0: none. Whoever sends it releases it
	Aborted          []storage.AbortedTxn
}

// EpochEnd is the offset at which the records of a leader epoch end.
type EpochEnd struct {
	Epoch  int32
	Offset int64
}

// Fetch calls Ready when MinBytes have gathered, a replica has an error, or MaxWait is over.
func (m *Manager) Fetch(f *Fetch) {
	f.timed, f.enlisted, f.stuck = false, false, false
	f.expired.Store(f.MaxWait <= 0 || !f.asksAnyone())
	f.state.Store(fetchExamined)
	if !f.expired.Load() && !f.satisfied() {
		f.timed, f.enlisted = true, true
		f.deadlines = m.deadlines
		if f.onExpiry == nil {
			f.onExpiry = f.expire
		}
		f.deadline = m.deadlines.Schedule(m.now().Add(f.MaxWait), f.onExpiry)
		for i := range f.Partitions {
			p := &f.Partitions[i]
			p.owner = f
			if p.Replica != nil {
				p.Replica.enlistFetch(p)
			}
		}
	}
	// Look (again): records that came between the first look and enlisting woke nobody.
	f.examine(false)
}

// CancelFetch gives up a fetch whose peer hung up. It reports whether Ready will not be called any more;
// otherwise it is being called or will be soon.
func (m *Manager) CancelFetch(f *Fetch) bool {
	f.expired.Store(true)
	if !f.claim() {
		return false
	}
	f.dismiss()
	f.state.Store(fetchReady)
	return true
}

// Reusable reports, after Ready, whether f may serve another fetch: not if its deadline fired at the very
// moment it was answered, since that call may still be on its way.
func (f *Fetch) Reusable() bool { return !f.stuck }

// Collect reads what there is for every partition, within the limits, into Result. It is called once
// after Ready, on the goroutine that sends; every slice it hands out must be released.
func (m *Manager) Collect(f *Fetch) {
	left := int64(f.MaxBytes)
	mayExceed := true // the first batch of the first partition that has one
	for i := range f.Partitions {
		p := &f.Partitions[i]
		p.Result = p.read(f, min(left, int64(p.MaxBytes)), mayExceed)
		if size := int64(p.Result.Records.Size); size > 0 {
			left -= min(left, size)
			mayExceed = false
		}
	}
}

// claim asks for the right to examine f; without it, whoever has it will look once more.
func (f *Fetch) claim() bool {
	for {
		switch f.state.Load() {
		case fetchWaiting:
			if f.state.CompareAndSwap(fetchWaiting, fetchExamined) {
				return true
			}
		case fetchExamined:
			if f.state.CompareAndSwap(fetchExamined, fetchExaminedAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// maxSpared is how many partitions a fetch may ask for to be answered by whoever appended to one of them.
const maxSpared = 16

// examine is called with the right to, and gives it back by calling Ready or by waiting on. spare says that
// the goroutine may answer.
func (f *Fetch) examine(spare bool) {
	for {
		if f.expired.Load() || f.satisfied() {
			f.dismiss()
			f.state.Store(fetchReady)
			f.Spare = spare && len(f.Partitions) <= maxSpared
			f.Ready(f)
			return
		}
		if f.state.CompareAndSwap(fetchExamined, fetchWaiting) {
			return
		}
		f.state.Store(fetchExamined)
	}
}

func (f *Fetch) expire(time.Time) {
	f.expired.Store(true)
	if f.claim() {
		f.examine(false)
	}
}

// dismiss takes the fetch off every list it stands on.
func (f *Fetch) dismiss() {
	if f.timed {
		f.stuck = !f.deadlines.Cancel(f.deadline)
	}
	if !f.enlisted {
		return
	}
	for i := range f.Partitions {
		if p := &f.Partitions[i]; p.Replica != nil {
			p.Replica.dismissFetch(p)
		}
	}
}

// asksAnyone reports whether a partition of the fetch exists: otherwise there is nothing to wait for.
func (f *Fetch) asksAnyone() bool {
	for i := range f.Partitions {
		if f.Partitions[i].Replica != nil {
			return true
		}
	}
	return false
}

// satisfied reports whether the fetch can be answered now. Bytes are counted as Kafka does, by what each
// partition may return at most.
func (f *Fetch) satisfied() bool {
	gathered, need := int64(0), int64(max(f.MinBytes, 0))
	if need == 0 {
		return true
	}
	for i := range f.Partitions {
		if f.Partitions[i].Replica == nil {
			continue
		}
		available, done := f.Partitions[i].available(f, need-gathered)
		if gathered += available; done || gathered >= need {
			return true
		}
	}
	return false
}

// bounds is one look at the offsets of a log.
type bounds struct {
	start, stable, highWatermark int64
	upTo                         int64     // below it may be read
	diverging                    *EpochEnd // set: nothing may be, the client's records are not ours
}

// check returns the error the partition is answered with, or what may be read.
func (p *FetchPartition) check(f *Fetch) (b bounds, err error) {
	if p.Err != nil {
		return b, p.Err
	}
	r := p.Replica
	serving := r.serving.Load()
	if err := serving.checkEpoch(p.CurrentLeaderEpoch); err != nil {
		return b, err
	}
	switch {
	case serving.role != partition.Leader:
		return b, serving.refusal()
	case f.Follower && p.CurrentLeaderEpoch >= 0:
		// As in Kafka, for a broker that may be a replica soon: it tries again.
		return b, kafkaerr.UnknownLeaderEpoch
	case f.Follower:
		return b, kafkaerr.NotLeaderOrFollower
	}
	// In the order in which they lie, so that none is past the next.
	b.start, b.stable, b.highWatermark = r.log.StartOffset(), r.log.LastStableOffset(), r.log.HighWatermark()
	if p.LastFetchedEpoch >= 0 {
		if b.diverging, err = p.compareEpochs(b.start); b.diverging != nil || err != nil {
			return b, err
		}
	}
	if p.Offset < b.start || p.Offset > r.log.EndOffset() {
		return b, kafkaerr.OffsetOutOfRange
	}
	b.upTo = b.highWatermark
	if f.ReadCommitted {
		b.upTo = b.stable
	}
	return b, nil
}

// compareEpochs finds where the client's records part from ours (KIP-595): its last one is of an epoch that
// ended earlier here, or never was.
func (p *FetchPartition) compareEpochs(start int64) (diverging *EpochEnd, err error) {
	epoch, end := p.Replica.log.EpochEndOffset(p.LastFetchedEpoch)
	switch {
	case epoch < 0 || end < 0 || p.Offset < start:
		return nil, kafkaerr.OffsetOutOfRange
	case epoch < p.LastFetchedEpoch || end < p.Offset:
		return &EpochEnd{epoch, end}, nil
	}
	return nil, nil
}

// available returns how many bytes the partition would add to the answer, or done if the answer must not
// wait for more. Most fetches ask for one byte, and then an offset tells; otherwise the log is asked for
// sizes.
func (p *FetchPartition) available(f *Fetch, need int64) (bytes int64, done bool) {
	b, err := p.check(f)
	switch {
	case err != nil || b.diverging != nil:
		return 0, true
	case p.Offset >= b.upTo:
		return 0, false
	case need <= 1:
		return 1, false
	}
	slice, err := p.Replica.log.Read(p.Offset, int(min(need, int64(p.MaxBytes))), true, b.upTo)
	if err != nil {
		return 0, true
	}
	defer slice.Release()
	return min(int64(slice.Size), int64(p.MaxBytes)), false
}

// read answers with the offsets that bounded the read: newer ones would speak of records that it did not look for.
func (p *FetchPartition) read(f *Fetch, maxBytes int64, mayExceed bool) FetchResult {
	b, err := p.check(f)
	if err != nil {
		return FetchResult{Err: err, HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1}
	}
	log := p.Replica.log
	result := FetchResult{
		HighWatermark: b.highWatermark, LastStableOffset: b.stable, LogStartOffset: b.start, Diverging: b.diverging,
	}
	if b.diverging != nil || p.Offset >= b.upTo || maxBytes <= 0 && !mayExceed {
		return result
	}
	slice, err := log.Read(p.Offset, int(maxBytes), mayExceed, b.upTo)
	if err != nil {
		return FetchResult{Err: asKafkaError(err), HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1}
	}
	result.Records = slice
	if f.ReadCommitted && slice.Size > 0 {
		result.Aborted = log.AbortedTransactions(p.Offset, b.upTo)
	}
	return result
}

func (r *Replica) enlistFetch(p *FetchPartition) {
	r.mu.Lock()
	p.slot = len(r.mu.fetches)
	r.mu.fetches = append(r.mu.fetches, p)
	r.mu.Unlock()
}

// dismissFetch takes the partition's entry off the list, whose order means nothing.
func (r *Replica) dismissFetch(p *FetchPartition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.mu.fetches
	last := len(list) - 1
	list[p.slot], list[last].slot = list[last], p.slot
	list[last] = nil
	r.mu.fetches = list[:last]
}
