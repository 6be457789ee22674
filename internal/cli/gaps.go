package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
)

// dropEmpty takes the partitions out of a bounded read that have no record left below their end, by
// fetching where the reader stands. It is asked only after some silence.
func (r *reader) dropEmpty(ctx context.Context, c *kgo.Client) error {
	details, err := kadm.NewClient(c).ListTopicsWithInternal(ctx)
	if err != nil {
		return fmt.Errorf("look topics up: %w", err)
	}
	for tp, end := range r.ends {
		left, err := anyLeft(ctx, c, details[tp.Topic], tp, r.next[tp], end)
		if err != nil {
			return err
		}
		if !left {
			delete(r.ends, tp)
		}
	}
	return nil
}

// anyLeft says whether a partition holds, or may yet get, a record of [from, end).
func anyLeft(ctx context.Context, c *kgo.Client, d kadm.TopicDetail, tp model.TopicPartition, from, end int64) (bool, error) {
	for {
		batches, highWatermark, err := fetchOnce(ctx, c, d, tp, from)
		if err != nil {
			return false, fmt.Errorf("fetch %s-%d: %w", tp.Topic, tp.Partition, err)
		}
		next, empty, done, err := lookFor(batches, from, end, highWatermark)
		if err != nil {
			return false, fmt.Errorf("fetch %s-%d: %w", tp.Topic, tp.Partition, err)
		}
		if empty || done {
			return !empty, nil
		}
		from = next
	}
}

// lookFor looks for a record of [from, end) in what was fetched at from. It is done when it found one, or
// knows that there is none (empty); else next is where to fetch on.
func lookFor(batches []byte, from, end, highWatermark int64) (next int64, empty, done bool, err error) {
	if len(batches) == 0 {
		return from, highWatermark >= end, true, nil
	}
	for next = from; len(batches) > 0; {
		b, rest, err := record.ParseBatch(batches)
		if errors.Is(err, record.ErrShort) {
			return next, false, next == from, nil // a batch beyond the fetch's limit: it holds something
		}
		if err != nil {
			return next, false, true, err
		}
		if b.BaseOffset() >= end {
			return next, true, true, nil
		}
		it := b.Records(nil)
		for r, ok := it.Next(); ok; r, ok = it.Next() {
			if r.Offset >= from {
				return next, r.Offset >= end, true, nil
			}
		}
		if it.Err() != nil {
			return next, false, true, it.Err()
		}
		next = max(next, b.LastOffset()+1)
		batches = rest
	}
	return next, next >= end, next >= end || next == from, nil
}

// fetchOnce fetches what is there at an offset, without waiting.
func fetchOnce(ctx context.Context, c *kgo.Client, d kadm.TopicDetail, tp model.TopicPartition, from int64) (batches []byte, highWatermark int64, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MaxWaitMillis, req.MinBytes = 1<<20, 0, 1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = tp.Topic, d.ID
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = tp.Partition, from, 1<<20
	topic.Partitions = append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	answer, err := c.Broker(int(d.Partitions[tp.Partition].Leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	f := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(f.ErrorCode); err != nil {
		return nil, 0, err
	}
	if len(f.Topics) != 1 || len(f.Topics[0].Partitions) != 1 {
		return nil, 0, errors.New("the answer leaves it out")
	}
	p := f.Topics[0].Partitions[0]
	return p.RecordBatches, p.HighWatermark, kerr.ErrorForCode(p.ErrorCode)
}
