package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// drainTimeout is how long after the last acknowledgement a consumer may take to see every record.
const drainTimeout = 30 * time.Second

// MaxPaced is how many records Pace and Stream offer in one run: each consumer remembers which it has seen.
const MaxPaced = 1 << 28

// Pace produces at load.Rate, and nobody reads. What is measured are the records that were due between the
// edges; the run ends when every record is acknowledged.
func Pace(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	load.Consumers = 0
	return openLoop(ctx, cluster, load, w)
}

// Stream is Pace with consumers that read at the tail; the run ends when each of them has seen every record.
func Stream(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	if load.Consumers < 1 {
		return Result{}, errors.New("load: Consumers is 0: nobody would read")
	}
	return openLoop(ctx, cluster, load, w)
}

func openLoop(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	if load.Rate < 1 {
		return Result{}, fmt.Errorf("load: Rate is %d: an open loop needs one", load.Rate)
	}
	if seconds := (w.Warmup + w.Measure).Seconds(); seconds*float64(load.Rate) > MaxPaced {
		return Result{}, fmt.Errorf("load: Rate is %d: in %v that is more than %d records", load.Rate, w.Warmup+w.Measure, MaxPaced)
	}
	p, err := newProducers(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	s := &stream{
		production: p, schedule: Schedule{Rate: load.Rate}, warmup: w.Warmup, end: w.Warmup + w.Measure,
		produce: NewLatency(), lag: NewLatency(),
	}
	if load.Consumers > 0 {
		s.endToEnd = NewLatency()
	}
	s.total = s.schedule.Due(s.end - 1)

	var consumers sync.WaitGroup
	defer consumers.Wait()
	defer p.fail(nil) // before the wait above
	clients := make([]*kgo.Client, load.Consumers)
	for i := range clients {
		if clients[i], err = load.consumer(cluster, p.before); err != nil {
			return Result{}, err
		}
		defer clients[i].Close()
	}
	s.start = time.Now()
	defer w.watch(p.counted)()
	for _, client := range clients {
		consumers.Go(func() { s.consume(client) })
	}
	for i, client := range p.clients {
		p.running.Go(func() { s.pace(client, int64(i)) })
	}
	p.sleep(s.warmup - time.Since(s.start))
	w.edge()
	p.sleep(s.end - time.Since(s.start))
	w.edge()
	if err := p.finish(ctx); err != nil {
		return Result{}, err
	}
	late := time.AfterFunc(drainTimeout, func() {
		p.fail(fmt.Errorf("%w: not all came to every consumer within %v of the last acknowledgement", ErrRecords, drainTimeout))
	})
	defer late.Stop()
	consumers.Wait()
	if err := context.Cause(p.ctx); err != nil {
		return Result{}, err
	}
	records := s.total - s.schedule.Due(s.warmup-1)
	if records == 0 {
		return Result{}, fmt.Errorf("%w: at %d a second, no record was due in %v", ErrTooShort, load.Rate, w.Measure)
	}
	return Result{
		Records: records, Bytes: records * int64(load.RecordBytes), Elapsed: w.Measure,
		Produce: s.produce, EndToEnd: s.endToEnd, Lag: s.lag,
	}, nil
}

// stream is one run of Pace or Stream. Times are counted from its start.
type stream struct {
	*production
	schedule    Schedule
	start       time.Time
	warmup, end time.Duration
	total       int64 // records of the run

	produce, endToEnd, lag *Latency
}

// pace sends the records first, first + producers, … when they are due.
func (s *stream) pace(client *kgo.Client, first int64) {
	answered := s.answered(func(value []byte) {
		n, _ := number(value)
		s.record(s.produce, n)
	})
	for i := first; i < s.total; i += int64(s.load.Producers) {
		due := s.schedule.At(i)
		for early := due - time.Since(s.start); early > 0; early = due - time.Since(s.start) {
			pause(min(early, 10*time.Millisecond)) // it cannot be interrupted
		}
		if s.ctx.Err() != nil {
			return
		}
		s.record(s.lag, i)
		s.send(client, s.payloads.Numbered(i), time.Now(), answered)
	}
	_ = client.Flush(s.ctx) // its one error is that ctx has ended
}

// record counts the time since record i was due, if that is measured.
func (s *stream) record(latency *Latency, i int64) {
	if due := s.schedule.At(i); due >= s.warmup {
		latency.Record(time.Since(s.start) - due)
	}
}

// consume reads until it has seen every record once.
func (s *stream) consume(client *kgo.Client) {
	r := newReader(s.before)
	seen := newNumbers(s.total)
	for seen.missing > 0 {
		err := r.poll(s.ctx, client, func(record *kgo.Record) error {
			n, ok := number(record.Value)
			if !ok {
				return fmt.Errorf("%w: it carries no number", ErrRecords)
			}
			if err := seen.add(n); err != nil {
				return err
			}
			s.record(s.endToEnd, n)
			return nil
		})
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// numbers is a set of record numbers that takes each once.
type numbers struct {
	seen    []bool
	missing int64
}

func newNumbers(total int64) *numbers { return &numbers{seen: make([]bool, total), missing: total} }

func (s *numbers) add(n int64) error {
	switch {
	case n < 0 || n >= int64(len(s.seen)):
		return fmt.Errorf("%w: it carries number %d, which was not sent", ErrRecords, n)
	case s.seen[n]:
		return fmt.Errorf("%w: it carries number %d, which came before", ErrRecords, n)
	}
	s.seen[n] = true
	s.missing--
	return nil
}
