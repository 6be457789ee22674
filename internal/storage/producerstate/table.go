package producerstate

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Window is how many batches per producer are remembered: as many as a client may have in flight.
const Window = 5

// The faults Check and CheckMarker find. The text around them names producer, epoch and sequence.
var (
	// ErrOutOfOrderSequence: the batch does not follow the last one of its producer and is none of
	// the last five (OUT_OF_ORDER_SEQUENCE_NUMBER).
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	// ErrInvalidProducerEpoch: a newer epoch of this producer has written already (INVALID_PRODUCER_EPOCH).
	ErrInvalidProducerEpoch = errors.New("invalid producer epoch")
	// ErrInvalidTxnState: a plain batch of a producer that has a transaction open (INVALID_TXN_STATE).
	ErrInvalidTxnState = errors.New("invalid transaction state")
	// ErrCoordinatorFenced: a marker of a coordinator that has been replaced (TRANSACTION_COORDINATOR_FENCED).
	ErrCoordinatorFenced = errors.New("transaction coordinator fenced")
)

// Origin says who appends, and so how much is checked.
type Origin int8

const (
	// Client batches are checked for epoch, sequence and transaction.
	Client Origin = iota
	// Coordinator batches (offset commits, markers) carry no sequence; their epoch is checked.
	Coordinator
	// Replica batches were checked by the leader, or are read back from the log: nothing is checked.
	Replica
)

// Batch is what the header of a data batch says. ProducerID is not -1.
type Batch struct {
	ProducerID    int64
	Epoch         int16
	FirstSequence int32 // -1 none
	LastSequence  int32
	FirstOffset   int64 // as it will be, or is, in the log
	LastOffset    int64
	MaxTimestamp  int64 // ms
	Transactional bool
}

// Marker is the end of a transaction: a control batch of type COMMIT or ABORT.
type Marker struct {
	ProducerID       int64
	Epoch            int16
	CoordinatorEpoch int32
	Offset           int64
	Timestamp        int64 // ms
	Abort            bool
	// TransactionVersion 2 and up demands an epoch above the producer's (KIP-890). Replica markers
	// carry no version in the log; it is not looked at for them.
	TransactionVersion int16
}

// Appended is a batch the producer has already written.
type Appended struct {
	FirstOffset, LastOffset int64
	Timestamp               int64 // ms, the batch's maximum
}

// CompletedTxn is a transaction that a marker ended and that had written something.
type CompletedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64 // the marker's
	Abort       bool
	// LastStableOffset is the last stable offset once this marker is replicated, as txnindex records it.
	LastStableOffset int64
}

// Table is the producers of one log. The zero value is empty and ready, and costs no memory beyond itself.
type Table struct {
	producers map[int64]*producer
	// ongoing are the open transactions, and unreplicated those whose marker the high watermark has not
	// passed, both by first offset. They are short: one per open transaction of this partition.
	ongoing      []txn
	unreplicated []txn
}

type txn struct {
	producerID  int64
	first, last int64 // last is the marker's offset
}

type producer struct {
	epoch            int16
	n                int8 // batches held
	coordinatorEpoch int32
	lastTimestamp    int64
	txnFirst         int64 // first offset of the open transaction, -1 none
	batches          [Window]batch
}

type batch struct {
	lastSequence int32
	delta        int32 // last offset - first offset, and last sequence - first sequence
	lastOffset   int64
	timestamp    int64
}

// firstSequence undoes a wrap: sequences run 0..MaxInt32 and start again at 0.
func (b *batch) firstSequence() int32 {
	if b.lastSequence < b.delta {
		return math.MaxInt32 - (b.delta - b.lastSequence) + 1
	}
	return b.lastSequence - b.delta
}

func (p *producer) last() *batch { return &p.batches[p.n-1] }

// Len returns the number of producers known.
func (t *Table) Len() int { return len(t.producers) }

// Check says whether b may be appended. A batch that the producer has written already is returned as dup
// with a nil error: it must not be written again. An error wraps one of this package's.
func (t *Table) Check(b Batch, origin Origin) (dup *Appended, err error) {
	if origin == Replica {
		return nil, nil
	}
	p := t.producers[b.ProducerID]
	if p == nil {
		// No state at all (retention or DeleteRecords took it): any first sequence is accepted.
		return nil, nil
	}
	if origin == Client && b.Epoch == p.epoch {
		for i := range p.n {
			if k := &p.batches[i]; k.lastSequence == b.LastSequence && k.firstSequence() == b.FirstSequence {
				return &Appended{k.lastOffset - int64(k.delta), k.lastOffset, k.timestamp}, nil
			}
		}
	}
	if b.Epoch < p.epoch {
		return nil, fmt.Errorf("%w: producer %d has epoch %d, the batch carries %d",
			ErrInvalidProducerEpoch, b.ProducerID, p.epoch, b.Epoch)
	}
	if origin == Client {
		if err := p.checkSequence(b); err != nil {
			return nil, err
		}
	}
	if p.txnFirst >= 0 && !b.Transactional {
		return nil, fmt.Errorf("%w: producer %d has a transaction open since offset %d, the batch is not part of one",
			ErrInvalidTxnState, b.ProducerID, p.txnFirst)
	}
	return nil, nil
}

func (p *producer) checkSequence(b Batch) error {
	if b.Epoch != p.epoch {
		if b.FirstSequence != 0 {
			return fmt.Errorf("%w: producer %d begins epoch %d with sequence %d, want 0",
				ErrOutOfOrderSequence, b.ProducerID, b.Epoch, b.FirstSequence)
		}
		return nil
	}
	lastSequence := int32(-1)
	if p.n > 0 {
		lastSequence = p.last().lastSequence
	}
	if int64(b.FirstSequence) == int64(lastSequence)+1 || b.FirstSequence == 0 && lastSequence == math.MaxInt32 {
		return nil
	}
	return fmt.Errorf("%w: producer %d epoch %d sent sequence %d after %d",
		ErrOutOfOrderSequence, b.ProducerID, b.Epoch, b.FirstSequence, lastSequence)
}

// Apply records that b is in the log. It is called after the write, and at replay.
func (t *Table) Apply(b Batch) {
	p := t.producer(b.ProducerID)
	if p.epoch != b.Epoch {
		p.epoch, p.n = b.Epoch, 0
	}
	if p.n == Window {
		copy(p.batches[:], p.batches[1:])
		p.n--
	}
	p.batches[p.n] = batch{b.LastSequence, int32(b.LastOffset - b.FirstOffset), b.LastOffset, b.MaxTimestamp}
	p.n++
	p.lastTimestamp = b.MaxTimestamp
	if b.Transactional && p.txnFirst < 0 {
		p.txnFirst = b.FirstOffset
		t.ongoing = insert(t.ongoing, txn{producerID: b.ProducerID, first: b.FirstOffset})
	}
}

// CheckMarker says whether m may be appended.
func (t *Table) CheckMarker(m Marker, origin Origin) error {
	p := t.producers[m.ProducerID]
	if origin == Replica || p == nil {
		return nil
	}
	tooOld := m.Epoch < p.epoch
	if m.TransactionVersion >= 2 && m.Epoch == p.epoch {
		// A retry of a marker that is already written is let through (KAFKA-19999): refusing it would
		// leave the coordinator in its prepared state for ever. So is the last epoch there is.
		tooOld = p.txnFirst >= 0 && m.Epoch != math.MaxInt16
	}
	if tooOld {
		return fmt.Errorf("%w: producer %d has epoch %d, the marker (transaction version %d) carries %d",
			ErrInvalidProducerEpoch, m.ProducerID, p.epoch, m.TransactionVersion, m.Epoch)
	}
	if p.coordinatorEpoch > m.CoordinatorEpoch {
		return fmt.Errorf("%w: producer %d knows coordinator epoch %d, the marker carries %d",
			ErrCoordinatorFenced, m.ProducerID, p.coordinatorEpoch, m.CoordinatorEpoch)
	}
	return nil
}

// ApplyMarker records that m is in the log. It returns the transaction that m ended; false if there was
// none, which leaves the last stable offset and the transaction index as they are.
func (t *Table) ApplyMarker(m Marker) (CompletedTxn, bool) {
	p := t.producer(m.ProducerID)
	first := p.txnFirst
	if p.epoch != m.Epoch {
		p.epoch, p.n = m.Epoch, 0
	}
	p.coordinatorEpoch, p.lastTimestamp, p.txnFirst = m.CoordinatorEpoch, m.Timestamp, -1
	if first < 0 {
		return CompletedTxn{}, false
	}
	t.ongoing = slices.DeleteFunc(t.ongoing, func(x txn) bool { return x.producerID == m.ProducerID })
	t.unreplicated = insert(t.unreplicated, txn{m.ProducerID, first, m.Offset})
	stable := m.Offset + 1
	if len(t.ongoing) > 0 {
		stable = t.ongoing[0].first
	}
	return CompletedTxn{m.ProducerID, first, m.Offset, m.Abort, stable}, true
}

// FirstUnstable returns the first offset of the oldest transaction that is open or whose marker lies at
// or above the high watermark, and false if there is none.
func (t *Table) FirstUnstable() (int64, bool) {
	switch {
	case len(t.ongoing) == 0 && len(t.unreplicated) == 0:
		return 0, false
	case len(t.ongoing) == 0:
		return t.unreplicated[0].first, true
	case len(t.unreplicated) == 0:
		return t.ongoing[0].first, true
	}
	return min(t.ongoing[0].first, t.unreplicated[0].first), true
}

// HighWatermarkMoved forgets the ended transactions whose marker is below hw.
func (t *Table) HighWatermarkMoved(hw int64) {
	if len(t.unreplicated) > 0 {
		t.unreplicated = slices.DeleteFunc(t.unreplicated, func(x txn) bool { return x.last < hw })
	}
}

// Expire forgets producers that wrote nothing for longer than expirationMs, and returns how many. One
// with an open transaction stays: without its state the transaction could never end (KAFKA-9144).
func (t *Table) Expire(nowMs, expirationMs int64) int {
	before := len(t.producers)
	for id, p := range t.producers {
		if p.txnFirst < 0 && nowMs-p.lastTimestamp > expirationMs {
			delete(t.producers, id)
		}
	}
	return before - len(t.producers)
}

// Clear forgets everything.
func (t *Table) Clear() { *t = Table{} }

func (t *Table) producer(id int64) *producer {
	p := t.producers[id]
	if p == nil {
		if t.producers == nil {
			t.producers = make(map[int64]*producer)
		}
		p = &producer{epoch: -1, coordinatorEpoch: -1, lastTimestamp: -1, txnFirst: -1}
		t.producers[id] = p
	}
	return p
}

// insert keeps s sorted by first offset. A transaction nearly always begins after the others.
func insert(s []txn, x txn) []txn {
	i := len(s)
	for i > 0 && s[i-1].first > x.first {
		i--
	}
	return slices.Insert(s, i, x)
}
