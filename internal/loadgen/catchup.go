package loadgen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// readTimeout is how long a consumer of a backlog may wait for one more record.
	readTimeout = 30 * time.Second
	// silence is how long Read waits for a record before it asks whether there are any more.
	silence = 2 * time.Second
)

// CatchUp lets every consumer read the topic from offset 0 to the ends that it has now. It measures from
// before the consumers connect to the last record: that is where the window's edges lie. Of its times only
// Measure matters: the reading ends there, if it is above 0.
func CatchUp(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	if err := load.Validate(); err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	until, err := ends(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	b := &backlog{load: load, cluster: cluster, from: make([]int64, len(until)), until: until, patience: readTimeout}
	return b.read(ctx, w)
}

// Left says whether a partition holds a record at or after the offset from and before until. Offsets alone
// do not say so: compaction may have removed the last records there were.
type Left func(ctx context.Context, client *kgo.Client, partition int32, from, until int64) (bool, error)

// Read is CatchUp of a topic that somebody else wrote: from its first record, whatever the sizes, with gaps
// where records are gone. Of the load it takes the topic, its partitions and the consumers. left is asked
// where no record comes any more.
func Read(ctx context.Context, cluster []kgo.Opt, load Load, w Window, left Left) (Result, error) {
	from, until, err := bounds(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	b := &backlog{load: load, cluster: cluster, from: from, until: until, left: left, patience: silence}
	return b.read(ctx, w)
}

// backlog is what the consumers of one run read, and how much they have read so far.
type backlog struct {
	load        Load
	cluster     []kgo.Opt
	from, until []int64       // by partition
	left        Left          // nil: Fill wrote it, so offsets have no gaps and values their size
	patience    time.Duration // with a consumer that waits for a record

	records, bytes atomic.Int64
}

// errEnough ends a run that has measured for as long as it was to.
var errEnough = errors.New("measured for long enough")

func (b *backlog) read(ctx context.Context, w Window) (Result, error) {
	if b.load.Consumers < 1 {
		return Result{}, errors.New("load: Consumers is 0: nobody would read")
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if w.Measure > 0 {
		enough := time.AfterFunc(w.Measure, func() { fail(errEnough) })
		defer enough.Stop()
	}
	var consumers sync.WaitGroup
	last := make([]time.Time, b.load.Consumers)
	defer w.watch(func() (records, bytes int64) { return b.records.Load(), b.bytes.Load() })()
	w.edge()
	began := time.Now()
	for i := range last {
		last[i] = began
		consumers.Go(func() {
			if err := b.consume(ctx, &last[i]); err != nil {
				fail(err)
			}
		})
	}
	consumers.Wait()
	elapsed := slices.MaxFunc(last, time.Time.Compare).Sub(began)
	w.edge()
	err := context.Cause(ctx)
	if errors.Is(err, errEnough) {
		elapsed, err = w.Measure, nil // also the time in which nothing came
		if b.records.Load() == 0 {
			err = fmt.Errorf("%w: no record came within %v", ErrTooShort, w.Measure)
		}
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Records: b.records.Load(), Bytes: b.bytes.Load(), Elapsed: elapsed}, nil
}

// consume reads with one consumer and notes when the last record came.
func (b *backlog) consume(ctx context.Context, last *time.Time) error {
	// A partition may end with a control record.
	client, err := b.load.consumer(append([]kgo.Opt{kgo.KeepControlRecords()}, b.cluster...), b.from)
	if err != nil {
		return err
	}
	defer client.Close()
	r := newReader(b.from)
	r.gaps = b.left != nil
	for waited := time.Duration(0); !b.isRead(r); {
		waiting, cancel := context.WithTimeout(ctx, b.patience)
		var records, bytes int64
		err := r.poll(waiting, client, func(record *kgo.Record) error {
			if record.Offset >= b.until[record.Partition] || record.Attrs.IsControl() {
				return nil
			}
			if b.left == nil && len(record.Value) != b.load.RecordBytes {
				return fmt.Errorf("%w: its value has %d bytes, %d were written", ErrRecords, len(record.Value), b.load.RecordBytes)
			}
			records++
			bytes += int64(len(record.Key) + len(record.Value))
			return nil
		})
		cancel()
		if records > 0 {
			*last, waited = time.Now(), 0
			b.bytes.Add(bytes)
			b.records.Add(records)
		}
		if b.left != nil && errors.Is(err, context.DeadlineExceeded) && waited < readTimeout {
			waited += b.patience
			err = b.skip(ctx, client, r)
		}
		if err != nil {
			return fmt.Errorf("%w (%d records had come)", err, b.records.Load())
		}
	}
	return nil
}

// isRead says whether every partition is read to its end.
func (b *backlog) isRead(r *reader) bool {
	for p, next := range r.next {
		if next < b.until[p] {
			return false
		}
	}
	return true
}

// skip takes the partitions that hold nothing more below their ends for read.
func (b *backlog) skip(ctx context.Context, client *kgo.Client, r *reader) error {
	for p, next := range r.next {
		if next >= b.until[p] {
			continue
		}
		left, err := b.left(ctx, client, int32(p), next, b.until[p])
		if err != nil {
			return fmt.Errorf("look for records of partition %d: %w", p, err)
		}
		if !left {
			r.next[p] = b.until[p]
		}
	}
	return nil
}

// reader checks that partitions are read in order.
type reader struct {
	next []int64 // by partition, the offset that comes next
	gaps bool    // offsets may be left out
}

func newReader(from []int64) *reader { return &reader{next: slices.Clone(from)} }

// poll waits for records and hands each to visit.
func (r *reader) poll(ctx context.Context, client *kgo.Client, visit func(*kgo.Record) error) error {
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	for records := fetches.RecordIter(); !records.Done(); {
		record := records.Next()
		if err := r.follows(record); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		if err := visit(record); err != nil {
			return fmt.Errorf("consume: partition %d at offset %d: %w", record.Partition, record.Offset, err)
		}
	}
	return nil
}

// follows takes a record that comes next in its partition.
func (r *reader) follows(record *kgo.Record) error {
	next := &r.next[record.Partition]
	if record.Offset < *next || record.Offset > *next && !r.gaps {
		return fmt.Errorf("%w: partition %d gave offset %d where %d comes next", ErrRecords, record.Partition, record.Offset, *next)
	}
	*next = record.Offset + 1
	return nil
}
