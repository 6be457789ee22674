package cleaner

import (
	"context"
	"errors"
	"fmt"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/compact"
)

const (
	readBytes  = 512 << 10 // log.cleaner.io.buffer.size
	writeBytes = 512 << 10
	minBuffer  = 4 << 10
)

// worker is the memory of one thread.
type worker struct {
	offsets *compact.OffsetMap
	budget  int64
	scratch *record.Scratch
	in, out []byte
}

// errFull ends the scan of a dirty part that is too much for the map.
var errFull = errors.New("the offset map is full")

// round learns the dirty part as far as memory goes, and rewrites the log up to there.
func (w *worker) round(ctx context.Context, c *Cleaner, j job) error {
	cfg := c.config.Load()
	plan := j.look.Plan()
	w.prepare(cfg.DedupeBufferBytes/int64(cfg.Threads), j.dirt.CleanBytes+j.dirt.DirtyBytes)
	r := compact.NewRound(j.dirt.From, w.offsets, w.scratch)
	r.NowMs, r.DeleteRetentionMs = c.deps.Wall().UnixMilli(), plan.Policy.DeleteRetentionMs
	if err := w.learn(ctx, c, j, r); err != nil {
		return fmt.Errorf("learn the keys from offset %d on: %w", j.dirt.From, err)
	}
	r.LastOfProducer = j.look.LastOfProducer()
	first := 0
	for _, n := range plan.Groups(r.End()) {
		if err := w.rewrite(ctx, c, j, r, first, n); err != nil {
			return fmt.Errorf("rewrite %d segments from %d on: %w", n, plan.Segments[first].Base, err)
		}
		first += n
	}
	if err := j.look.Cleaned(r.End()); err != nil {
		return err
	}
	n := r.Counts()
	c.metrics.records.WithLabelValues("kept").Add(float64(n.Kept))
	c.metrics.records.WithLabelValues("superseded").Add(float64(n.Superseded))
	c.metrics.records.WithLabelValues("expired").Add(float64(n.Expired))
	c.metrics.records.WithLabelValues("keyless").Add(float64(n.Keyless))
	tp := j.log.TopicPartition()
	c.deps.Logger.Info("log compacted", "topic", tp.Topic, "partition", tp.Partition, "from", j.dirt.From, "to", r.End(),
		"keys", w.offsets.Len(), "read", n.Read, "kept", n.Kept, "done", r.End() == j.dirt.To)
	return nil
}

// prepare takes the memory for a round over so many bytes.
func (w *worker) prepare(budget, size int64) {
	if w.offsets == nil || w.budget != budget {
		w.offsets, w.budget = compact.NewOffsetMap(budget), budget
	}
	if w.scratch == nil {
		w.scratch = record.NewScratch(record.Limits{})
	}
	if want := min(size, readBytes); int64(len(w.in)) < want {
		w.in, w.out = make([]byte, max(want, minBuffer)), make([]byte, 0, want+want/4)
	}
}

func (w *worker) learn(ctx context.Context, c *Cleaner, j job, r *compact.Round) (err error) {
	for i, s := range j.look.Plan().Segments {
		if s.Next <= j.dirt.From || s.Base >= j.dirt.To {
			continue
		}
		w.in, err = j.look.Scan(i, j.dirt.From, w.in, func(b record.Batch) error {
			if err := c.pay(ctx, len(b), c.metrics.read); err != nil {
				return err
			}
			full, err := r.Learn(b)
			if full {
				return errFull
			}
			return err
		})
		if errors.Is(err, errFull) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Passed(s.Next)
	}
	return nil
}

func (w *worker) rewrite(ctx context.Context, c *Cleaner, j job, r *compact.Round, first, n int) (err error) {
	out, err := j.look.Rewrite(first, n)
	if err != nil {
		return err
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, out.Abort())
		}
	}()
	w.out = w.out[:0]
	flush := func() error {
		if err := c.pay(ctx, len(w.out), c.metrics.written); err != nil {
			return err
		}
		err := out.Append(w.out)
		w.out = w.out[:0]
		return err
	}
	for i := first; i < first+n; i++ {
		w.in, err = j.look.Scan(i, 0, w.in, func(b record.Batch) error {
			err := c.pay(ctx, len(b), c.metrics.read)
			if err != nil {
				return err
			}
			if w.out, err = r.Filter(w.out, b); err != nil || len(w.out) < writeBytes {
				return err
			}
			return flush()
		})
		if err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	committed = true // Commit aborts what it cannot commit
	return out.Commit()
}

// pay waits until n more bytes may be read or written.
func (c *Cleaner) pay(ctx context.Context, n int, counter interface{ Add(float64) }) error {
	counter.Add(float64(n))
	return c.limit.wait(ctx, n)
}
