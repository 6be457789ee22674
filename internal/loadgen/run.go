package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Window says how long a load runs and which part of it is measured.
type Window struct {
	Warmup  time.Duration // from the first acknowledgement; of Stream, from the first record
	Measure time.Duration
	// MaxBytes bounds the values that Saturate, RoundTrips and Replay write, since a fast broker fills a disk:
	// the warm-up ends when a quarter of them are acknowledged, what is measured when all are. 0 means no
	// bound.
	MaxBytes int64
	// Edge is called twice, where the measured part begins and where it ends, by any goroutine; nil does nothing.
	// The load runs on meanwhile or waits for it, so it must be short.
	Edge func()
	// Progress is called once a second while the load runs, from one goroutine; nil does nothing.
	Progress func(Progress)
}

// Progress is how far a load has come.
type Progress struct {
	Elapsed time.Duration // since the load began
	Records int64         // acknowledged, or read by all consumers together, warm-up included
	Bytes   int64         // of their keys and values
}

// watch calls w.Progress with what is counted until stop is called, which waits for the last call.
func (w *Window) watch(counted func() (records, bytes int64)) (stop func()) {
	if w.Progress == nil {
		return func() {}
	}
	var watching sync.WaitGroup
	ended, began := make(chan struct{}), time.Now()
	watching.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				records, bytes := counted()
				w.Progress(Progress{Elapsed: time.Since(began), Records: records, Bytes: bytes})
			}
		}
	})
	return func() {
		close(ended)
		watching.Wait()
	}
}

func (w *Window) edge() {
	if w.Edge != nil {
		w.Edge()
	}
}

func (w *Window) maxRecords(load *Load) int64 {
	if w.MaxBytes <= 0 {
		return noLimit
	}
	return w.MaxBytes / int64(load.RecordBytes)
}

const noLimit = 1 << 62

// Result is what a load measured between the edges of its window.
type Result struct {
	Records int64 // acknowledged, or read
	Bytes   int64 // of their keys and values
	Batches int64 // in which Replay sent them; 0 of other loads, whose client decides
	Elapsed time.Duration

	Produce  *Latency // from due (Pace, Stream) or sent (RoundTrips) to acknowledged
	EndToEnd *Latency // from due to handed to the consumer
	Lag      *Latency // from due to given to the client: how late the generator itself was
}

// ErrRecords is the error of a run in which records were refused by nobody and yet are not there, or not as
// they were written. Others who write to the topic meanwhile make it look so too.
var ErrRecords = errors.New("records were lost, doubled or changed")

// ErrTooShort is the error of a run that measured nothing: a rate of nothing is no figure. What it offered was
// acknowledged all the same.
var ErrTooShort = errors.New("measure for longer")

// Saturate keeps the buffers of all producers full and counts what is acknowledged.
func Saturate(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	p, err := newProducers(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	for i, client := range p.clients {
		p.running.Go(func() { p.flood(client, int64(i), w.maxRecords(&load)) })
	}
	return p.measure(ctx, w)
}

// RoundTrips lets every producer wait for the answer to each record before it sends the next.
func RoundTrips(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	p, err := newProducers(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	latency := NewLatency()
	for i, client := range p.clients {
		p.running.Go(func() {
			for n := int64(i); !p.stopped.Load() && p.ctx.Err() == nil; n += int64(load.Producers) {
				sent := time.Now()
				if err := client.ProduceSync(p.ctx, &kgo.Record{Value: p.payloads.At(n)}).FirstErr(); err != nil {
					p.fail(fmt.Errorf("produce: %w", err))
					return
				}
				took := time.Since(sent)
				p.count(1)
				if p.measuring.Load() {
					latency.Record(took)
				}
			}
		})
	}
	result, err := p.measure(ctx, w)
	result.Produce = latency
	return result, err
}

// Fill writes at least the given bytes of values, as fast as it can, and returns when all are acknowledged.
// It calls progress once a second, unless that is nil.
func Fill(ctx context.Context, cluster []kgo.Opt, load Load, bytes int64, progress func(Progress)) error {
	p, err := newProducers(ctx, cluster, load)
	if err != nil {
		return err
	}
	defer p.close()
	w := Window{Progress: progress}
	defer w.watch(p.counted)()
	limit := (bytes + int64(load.RecordBytes) - 1) / int64(load.RecordBytes)
	for i, client := range p.clients {
		p.running.Go(func() { p.flood(client, int64(i), limit) })
	}
	p.running.Wait()
	return p.finish(ctx)
}

// production is the writing half of a run.
type production struct {
	load     Load
	cluster  []kgo.Opt
	payloads *Payloads
	clients  []*kgo.Client
	before   []int64 // end offsets at the start

	ctx          context.Context // ends with the first failure, which is its cause
	fail         context.CancelCauseFunc
	running      sync.WaitGroup
	measuring    atomic.Bool
	stopped      atomic.Bool
	awaited      atomic.Pointer[milestone]
	records      sync.Pool
	_            [64]byte
	acknowledged atomic.Int64 // written for each record, apart from what is read for each
	_            [64]byte
}

func newProduction(ctx context.Context, cluster []kgo.Opt, load Load) (*production, error) {
	if err := load.Validate(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	before, err := ends(ctx, cluster, load)
	if err != nil {
		return nil, err
	}
	p := &production{
		load: load, cluster: cluster, before: before,
		payloads: NewPayloads(load.Seed, load.RecordBytes, load.Redundancy),
		records:  sync.Pool{New: func() any { return new(kgo.Record) }},
	}
	p.ctx, p.fail = context.WithCancelCause(ctx)
	return p, nil
}

// newProducers returns a production with its clients.
func newProducers(ctx context.Context, cluster []kgo.Opt, load Load) (*production, error) {
	p, err := newProduction(ctx, cluster, load)
	if err != nil {
		return nil, err
	}
	for range load.Producers {
		client, err := load.producer(cluster)
		if err != nil {
			p.close()
			return nil, err
		}
		p.clients = append(p.clients, client)
	}
	return p, nil
}

// close ends what still runs and waits for it.
func (p *production) close() {
	p.fail(nil)
	for _, client := range p.clients {
		client.Close()
	}
	p.running.Wait()
}

// flood gives a client the records first, first + producers, … below limit, waiting where its buffer is
// full, until it is stopped, and returns when they are acknowledged.
func (p *production) flood(client *kgo.Client, first, limit int64) {
	const perStamp = 64 // records that share a reading of the clock, which costs as much as a tenth of what the client does with one
	answered := p.answered(func([]byte) {})
	var now time.Time
	for i, sent := first, 0; i < limit && !p.stopped.Load() && p.ctx.Err() == nil; i, sent = i+int64(p.load.Producers), sent+1 {
		if sent%perStamp == 0 {
			now = time.Now()
		}
		p.send(client, p.payloads.At(i), now, answered)
	}
	_ = client.Flush(p.ctx) // its one error is that ctx has ended
}

// answered returns the promise that send needs: one for all records of a client, so that none is allocated for each. It calls
// acknowledged with a record's value.
func (p *production) answered(acknowledged func(value []byte)) func(*kgo.Record, error) {
	return func(record *kgo.Record, err error) {
		if err != nil {
			p.fail(fmt.Errorf("produce: %w", err))
			return
		}
		p.count(1)
		acknowledged(record.Value)
		*record = kgo.Record{}
		p.records.Put(record)
	}
}

// send hands one record to a client.
func (p *production) send(client *kgo.Client, value []byte, at time.Time, answered func(*kgo.Record, error)) {
	record := p.records.Get().(*kgo.Record)
	record.Value, record.Timestamp = value, at
	client.Produce(p.ctx, record, answered)
}

// measure waits through the warm-up and the measured part, then stops the producers and checks what they did.
func (p *production) measure(ctx context.Context, w Window) (Result, error) {
	limit := w.maxRecords(&p.load)
	var began time.Time
	var from, records int64
	var elapsed time.Duration
	connected := newMilestone(1, func() {}) // a connection and a producer id come first
	begin := newMilestone(limit/4, func() {
		w.edge()
		p.measuring.Store(true)
		began, from = time.Now(), p.acknowledged.Load()
	})
	end := newMilestone(limit, func() {
		p.measuring.Store(false)
		elapsed, records = time.Since(began), p.acknowledged.Load()-from
		w.edge()
	})
	connected.next, begin.next = begin, end
	defer w.watch(p.counted)()
	p.awaited.Store(connected)
	p.count(0) // of what is acknowledged already
	p.wait(connected, deliveryTimeout)
	p.wait(begin, w.Warmup)
	p.wait(end, w.Measure)
	p.stopped.Store(true)
	if err := p.finish(ctx); err != nil {
		return Result{}, err
	}
	if records == 0 {
		return Result{}, fmt.Errorf("%w: no record was acknowledged in the %v that were measured", ErrTooShort, elapsed)
	}
	return Result{Records: records, Bytes: records * int64(p.load.RecordBytes), Elapsed: elapsed}, nil
}

// counted is how much is acknowledged so far.
func (p *production) counted() (records, bytes int64) {
	records = p.acknowledged.Load()
	return records, records * int64(p.load.RecordBytes)
}

// milestone is a number of acknowledged records, or a time, at which something happens once.
type milestone struct {
	records int64
	happen  sync.Once
	what    func()
	next    *milestone // that is awaited then; nil if none
	reached chan struct{}
}

func newMilestone(records int64, what func()) *milestone {
	return &milestone{records: records, what: what, reached: make(chan struct{})}
}

// reach has happen what is to happen at m, the milestone that is awaited, and returns when it has.
func (p *production) reach(m *milestone) {
	m.happen.Do(func() {
		m.what()
		p.awaited.Store(m.next)
		close(m.reached)
	})
}

// count takes the acknowledgement of some records. Whoever counts the last before a milestone reaches it, and no other
// counts on meanwhile: on a busy machine, somebody who is woken for it may come when all is over.
func (p *production) count(records int64) {
	n := p.acknowledged.Add(records)
	for m := p.awaited.Load(); m != nil && m.records <= n; m = p.awaited.Load() {
		p.reach(m)
	}
}

// wait returns when a milestone is reached, which the time does too, or when the run has failed.
func (p *production) wait(m *milestone, d time.Duration) {
	end := time.NewTimer(d)
	defer end.Stop()
	select {
	case <-end.C:
		p.reach(m)
	case <-m.reached:
	case <-p.ctx.Done():
	}
}

// sleep returns when the time has passed or the run has failed.
func (p *production) sleep(d time.Duration) {
	end := time.NewTimer(d)
	defer end.Stop()
	select {
	case <-end.C:
	case <-p.ctx.Done():
	}
}

// finish waits for the producers and compares what was acknowledged with what the logs hold.
func (p *production) finish(ctx context.Context) error {
	p.running.Wait()
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	after, err := ends(ctx, p.cluster, p.load)
	if err != nil {
		return err
	}
	if acknowledged, held := p.acknowledged.Load(), sum(after)-sum(p.before); acknowledged != held {
		return fmt.Errorf("%w: %d records were acknowledged, and the logs of topic %s hold %d", ErrRecords, acknowledged, p.load.Topic, held)
	}
	return nil
}
