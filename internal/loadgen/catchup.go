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

// readTimeout is how long a consumer that catches up may wait for one more record.
const readTimeout = 30 * time.Second

// CatchUp lets every consumer read the topic from offset 0 to the ends that it has now. It measures from
// before the consumers connect to the last record: that is where the window's edges lie, whose times do not
// matter.
func CatchUp(ctx context.Context, cluster []kgo.Opt, load Load, w Window) (Result, error) {
	if err := load.Validate(); err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	if load.Consumers < 1 {
		return Result{}, errors.New("load: Consumers is 0: nobody would read")
	}
	until, err := ends(ctx, cluster, load)
	if err != nil {
		return Result{}, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	var (
		consumers sync.WaitGroup
		records   atomic.Int64
	)
	defer w.watch(func() (read, bytes int64) {
		read = records.Load()
		return read, read * int64(load.RecordBytes)
	})()
	w.edge()
	began := time.Now()
	for range load.Consumers {
		consumers.Go(func() {
			if err := catchUp(ctx, cluster, &load, until, &records); err != nil {
				fail(err)
			}
		})
	}
	consumers.Wait()
	elapsed := time.Since(began)
	w.edge()
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	return Result{Records: records.Load(), Bytes: records.Load() * int64(load.RecordBytes), Elapsed: elapsed}, nil
}

// catchUp reads with one consumer and adds what it reads to records.
func catchUp(ctx context.Context, cluster []kgo.Opt, load *Load, until []int64, records *atomic.Int64) error {
	from := make([]int64, len(until))
	client, err := load.consumer(cluster, from)
	if err != nil {
		return err
	}
	defer client.Close()
	r := newReader(from)
	for read, total := int64(0), sum(until); read < total; {
		before := read
		waiting, cancel := context.WithTimeout(ctx, readTimeout)
		err := r.poll(waiting, client, func(record *kgo.Record) error {
			if len(record.Value) != load.RecordBytes {
				return fmt.Errorf("%w: its value has %d bytes, %d were written", ErrRecords, len(record.Value), load.RecordBytes)
			}
			read++
			return nil
		})
		cancel()
		records.Add(read - before)
		if err != nil {
			return fmt.Errorf("%w (%d of %d records had come)", err, read, total)
		}
	}
	return nil
}

// reader checks that partitions are read without gaps.
type reader struct {
	next []int64 // by partition, the offset that comes next
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
	if record.Offset != *next {
		return fmt.Errorf("%w: partition %d gave offset %d where %d comes next", ErrRecords, record.Partition, record.Offset, *next)
	}
	*next++
	return nil
}
