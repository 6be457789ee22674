package sim

import (
	"context"
	"slices"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/wire"
)

const (
	produceVersion        = 9
	initProducerIDVersion = 4
)

// producer writes to its partitions, one batch a request, several requests in flight. An idempotent one
// lives through the node's lives as a stock client does: what has no answer is sent again, in order, with
// the same sequence numbers. One with acks=1 never repeats itself, and forgets what has no answer.
type producer struct {
	client
	id         int
	idempotent bool
	depth      int // requests in flight
	records    int // most records in a batch
	valueBytes int
	patience   int // how often it lets others go first before it sends again
	targets    []*target
	ledger     *ledger
	draw       func(n int) int
	stopping   <-chan struct{} // when closed, nothing new is begun

	introduced bool // it has an id
	pid        int64
	epoch      int16
	flight     []*batch // sent and not answered, in order
	scratch    record.Builder
}

// target is one partition that a producer writes to.
type target struct {
	partition
	topicLoad
	next    int      // value, and sequence number
	begun   int      // batches
	open    []*batch // of an idempotent producer: not acknowledged, in order
	unsent  int      // how many of the last of open wait to be sent (again)
	flying  int      // batches in flight
	broken  bool     // one of them failed: nothing more until the others are answered
	settled bool     // a batch was acknowledged: the node knows this producer here
}

// batch is one batch of values.
type batch struct {
	*target
	nth    int // of its target
	values []value
	bytes  []byte
}

// run writes until stopping is closed and everything begun is acknowledged, or until ctx ends.
func (p *producer) run(ctx context.Context) {
	defer p.close()
	for ctx.Err() == nil {
		if p.idempotent && !p.introduced && !p.introduce(ctx) {
			continue
		}
		if fresh, err := p.connected(ctx); err != nil {
			return
		} else if fresh {
			p.rewind()
			for range p.patience {
				pause()
			}
		}
		if !p.fill() {
			p.rewind()
			continue
		}
		if len(p.flight) == 0 {
			return // stopping, and all is acknowledged
		}
		var resp wire.ProduceResponse
		if err := p.receive(&resp, produceVersion); err != nil {
			p.rewind()
			continue
		}
		p.answered(&resp)
	}
}

// introduce gets a producer id.
func (p *producer) introduce(ctx context.Context) bool {
	var req wire.InitProducerIDRequest
	var resp wire.InitProducerIDResponse
	req.Reset()
	req.TransactionTimeoutMs = 1000
	if err := p.call(ctx, &req, &resp, initProducerIDVersion); err != nil {
		return false
	}
	if resp.ErrorCode != kafkaerr.None {
		if !passing(resp.ErrorCode) {
			p.refused(p.ledger, "producer %d: InitProducerId answers %v", p.id, resp.ErrorCode)
		}
		pause()
		return false
	}
	p.ledger.introduced(resp.ProducerID, p.id)
	p.pid, p.epoch, p.introduced = resp.ProducerID, resp.ProducerEpoch, true
	return true
}

// rewind forgets what is in flight; idempotent producers send it again.
func (p *producer) rewind() {
	p.flight = p.flight[:0]
	for _, t := range p.targets {
		t.unsent, t.flying, t.broken = len(t.open), 0, false
	}
}

// fill sends until enough is in flight. It returns false when the connection broke.
func (p *producer) fill() bool {
	for _, t := range p.targets {
		for t.unsent > 0 && len(p.flight) < p.depth && p.may(t) {
			if !p.dispatch(t.open[len(t.open)-t.unsent]) {
				return false
			}
			t.unsent--
		}
	}
	for len(p.flight) < p.depth && !isClosed(p.stopping) {
		t := p.targets[p.draw(len(p.targets))]
		if t.unsent > 0 || !p.may(t) || t.spent() {
			break
		}
		b := p.begin(t)
		if p.idempotent {
			t.open = append(t.open, b)
		}
		if !p.dispatch(b) {
			return false
		}
	}
	return true
}

// may says whether another batch may be in flight to t. Until the node knows the producer there, it takes
// any sequence number for the first: a second batch could overtake one that failed.
func (p *producer) may(t *target) bool {
	return !t.broken && (!p.idempotent || t.settled || t.flying == 0)
}

// spent says whether another batch would leave the oldest that is not acknowledged out of the five that the
// node remembers. Those in between may be acknowledged already: they were written in an earlier life, while
// the oldest was refused by a log that was being recovered. The Java client then sends one batch at a time.
func (t *target) spent() bool {
	const window = 5
	return len(t.open) > 0 && t.begun-t.open[0].nth >= window
}

func (p *producer) begin(t *target) *batch {
	b := &batch{target: t, nth: t.begun}
	t.begun++
	opts := record.BuilderOptions{
		Idempotent: p.idempotent, ProducerID: p.pid, ProducerEpoch: p.epoch, BaseSequence: int32(t.next),
	}
	if !p.idempotent {
		opts = record.BuilderOptions{}
	}
	p.scratch.Reset(opts)
	at := time.Now().UnixMilli()
	old := t.ages() && p.draw(2) == 0
	if old {
		at -= 2 * retentionMs
	}
	for range 1 + p.draw(p.records) {
		v := value{p.id, t.next, old}
		t.next++
		b.values = append(b.values, v)
		var key []byte
		if t.kind == compacted {
			key = v.key()
		}
		p.scratch.Append(at, key, v.append(nil, p.valueBytes), nil)
	}
	built, err := p.scratch.Build(nil)
	if err != nil {
		panic("sim: " + err.Error()) // a mistake in this package
	}
	b.bytes = built
	return b
}

// dispatch sends a batch. It returns false when the connection broke.
func (p *producer) dispatch(b *batch) bool {
	var req wire.ProduceRequest
	req.Reset()
	req.Acks, req.TimeoutMs = 1, 30_000
	if p.idempotent {
		req.Acks = -1
	}
	topic := wire.Add(&req.TopicData)
	topic.Name = []byte(b.topic)
	part := wire.Add(&topic.PartitionData)
	// The node patches the batch in the frame, which is a copy of this.
	part.Index, part.Records = b.index, b.bytes
	p.flight = append(p.flight, b)
	b.flying++
	p.ledger.sent(b.partition, b.values)
	return p.send(&req, produceVersion) == nil
}

// answered takes the answer to the oldest request in flight.
func (p *producer) answered(resp *wire.ProduceResponse) {
	b := p.flight[0]
	p.flight = append(p.flight[:0], p.flight[1:]...)
	b.flying--
	if len(resp.Responses) != 1 || len(resp.Responses[0].PartitionResponses) != 1 {
		p.ledger.violation("producer %d: an answer for %d topics", p.id, len(resp.Responses))
		return
	}
	answer := &resp.Responses[0].PartitionResponses[0]
	first := len(b.open) > 0 && b.open[0] == b
	code := answer.ErrorCode
	switch {
	case code == kafkaerr.None && !p.idempotent:
		p.ledger.acknowledged(b.partition, answer.BaseOffset, b.values)
	case code == kafkaerr.None && answer.BaseOffset < 0, code == kafkaerr.DuplicateSequenceNumber:
		p.ledger.duplicate(b.partition, b.values)
		p.settle(b)
	case code == kafkaerr.None:
		p.ledger.acknowledged(b.partition, answer.BaseOffset, b.values)
		p.settle(b)
	case passing(code), code == kafkaerr.OutOfOrderSequenceNumber && !first:
		b.broken = p.idempotent
		pause()
	default:
		p.refused(p.ledger, "producer %d (idempotent: %t): %v for values %v of %s, acknowledged before: %t",
			p.id, p.idempotent, code, b.values, b.partition, b.settled)
		b.broken = p.idempotent
	}
	if b.broken && b.flying == 0 {
		b.broken, b.unsent = false, len(b.open)
	}
}

// settle takes an acknowledged batch from its target. One before it may be open still: it was refused
// while the log was being recovered, but had been written in an earlier life.
func (p *producer) settle(b *batch) {
	t := b.target
	t.settled = true
	if i := slices.Index(t.open, b); i >= 0 {
		t.open = slices.Delete(t.open, i, i+1)
		t.unsent = min(t.unsent, len(t.open))
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
