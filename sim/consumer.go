package sim

import (
	"context"
	"fmt"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/wire"
)

const (
	fetchVersion           = 12
	offsetCommitVersion    = 8
	offsetFetchVersion     = 7
	findCoordinatorVersion = 3
	listOffsetsVersion     = 7
)

// consumer reads a partition as records come, and commits where it stands, if it has a group.
type consumer struct {
	client
	partition
	group    string
	ledger   *ledger
	stopping <-chan struct{}
	position int64
	found    bool // the group's coordinator exists
}

// run reads until stopping is closed or ctx ends.
func (c *consumer) run(ctx context.Context) {
	defer c.close()
	for ctx.Err() == nil {
		fresh, err := c.connected(ctx)
		if err != nil {
			return
		}
		if fresh && c.group != "" && !c.resume(ctx) {
			continue
		}
		if isClosed(c.stopping) {
			return
		}
		batches, code, err := c.fetch(c.partition, c.position, 20)
		switch {
		case err != nil:
		case code == kafkaerr.OffsetOutOfRange:
			c.outOfRange()
		case code != kafkaerr.None:
			if !passing(code) {
				c.refused(c.ledger, "%s: a fetch at %d answers %v", c.partition, c.position, code)
			}
			pause()
		default:
			c.take(ctx, batches)
		}
	}
}

// take notes what was read, and commits the position after it.
func (c *consumer) take(ctx context.Context, data fetched) {
	before := c.position
	next, err := eachRecord(data.records, func(b record.Batch, r record.Record) error {
		if r.Offset < c.position {
			return nil // the head of a batch that begins before the position
		}
		if r.Offset != c.position && c.ledger.kinds[c.topic] != compacted {
			return fmt.Errorf("offset %d follows %d", r.Offset, c.position-1)
		}
		v, err := parseValue(r.Value)
		if err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		c.ledger.seen(c.partition, r.Offset, v)
		c.position = r.Offset + 1
		return nil
	})
	c.position = max(c.position, next)
	if err != nil {
		c.ledger.violation("%s: a consumer at %d reads: %v", c.partition, before, err)
		c.position = max(c.position, before+1)
	}
	if c.group != "" && c.position > before {
		c.commit(ctx)
	}
}

// outOfRange goes on at the start of the log, if that is why.
func (c *consumer) outOfRange() {
	if c.ledger.kinds[c.topic] != kept {
		if start, code, err := c.earliest(c.partition); err == nil && code == kafkaerr.None {
			c.position = max(c.position, start)
		}
		return
	}
	start := c.ledger.deletable(c.partition)
	if c.position >= start {
		c.ledger.violation("%s: offset %d, up to which a consumer has read, is out of range", c.partition, c.position)
	}
	c.position = start
}

func (c *consumer) commit(ctx context.Context) {
	if !c.found && !c.find(ctx) {
		return
	}
	var req wire.OffsetCommitRequest
	var resp wire.OffsetCommitResponse
	req.Reset()
	req.GroupID = []byte(c.group)
	topic := wire.Add(&req.Topics)
	topic.Name = []byte(c.topic)
	p := wire.Add(&topic.Partitions)
	p.PartitionIndex, p.CommittedOffset, p.CommittedMetadata = c.index, c.position, []byte("sim")
	c.ledger.committing(c.partition, c.group, c.position)
	if err := c.call(ctx, &req, &resp, offsetCommitVersion); err != nil {
		return
	}
	switch code := resp.Topics[0].Partitions[0].ErrorCode; {
	case code == kafkaerr.None:
		c.ledger.committed(c.partition, c.group, c.position)
	case !passing(code):
		c.refused(c.ledger, "%s group %s: a commit answers %v", c.partition, c.group, code)
	}
}

// find has the coordinator's topic made.
func (c *consumer) find(ctx context.Context) bool {
	var req wire.FindCoordinatorRequest
	var resp wire.FindCoordinatorResponse
	req.Reset()
	req.CoordinatorKey = c.group
	if err := c.call(ctx, &req, &resp, findCoordinatorVersion); err != nil {
		return false
	}
	c.found = resp.ErrorCode == kafkaerr.None
	return c.found
}

// resume asks for the group's position, and holds it against what was promised.
func (c *consumer) resume(ctx context.Context) bool {
	var req wire.OffsetFetchRequest
	req.Reset()
	req.GroupID = c.group
	req.Topics = append(req.Topics[:0], wire.OffsetFetchRequestTopic{Name: c.topic, PartitionIndexes: []int32{c.index}})
	if !c.found && !until(ctx, func() bool { return c.find(ctx) || c.conn == nil }) {
		return false
	}
	ok := false
	until(ctx, func() bool {
		var resp wire.OffsetFetchResponse
		if c.conn == nil || c.call(ctx, &req, &resp, offsetFetchVersion) != nil {
			return true
		}
		code := resp.ErrorCode
		if code == kafkaerr.None {
			code = resp.Topics[0].Partitions[0].ErrorCode
		}
		switch {
		case code == kafkaerr.None:
			c.ledger.recovered(c.partition, c.group, resp.Topics[0].Partitions[0].CommittedOffset)
			ok = true
		case !passing(code):
			c.refused(c.ledger, "%s group %s: an OffsetFetch answers %v", c.partition, c.group, code)
		default:
			return false
		}
		return true
	})
	return ok
}

// fetched is one partition's part of an answer. The records hold until the client's next call.
type fetched struct {
	records            []byte
	start, end, stable int64
}

// fetch reads from a partition over the connection there is.
func (c *client) fetch(p partition, offset int64, maxWaitMs int32) (fetched, kafkaerr.Code, error) {
	var req wire.FetchRequest
	var resp wire.FetchResponse
	req.Reset()
	req.MaxWaitMs, req.MinBytes, req.MaxBytes = maxWaitMs, 1, 1<<20
	topic := wire.Add(&req.Topics)
	topic.Topic = []byte(p.topic)
	part := wire.Add(&topic.Partitions)
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = p.index, offset, 1<<20
	if err := c.send(&req, fetchVersion); err != nil {
		return fetched{}, 0, err
	}
	if err := c.receive(&resp, fetchVersion); err != nil {
		return fetched{}, 0, err
	}
	if resp.ErrorCode != kafkaerr.None {
		return fetched{}, resp.ErrorCode, nil
	}
	data := &resp.Responses[0].Partitions[0]
	return fetched{data.Records.Bytes, data.LogStartOffset, data.HighWatermark, data.LastStableOffset}, data.ErrorCode, nil
}

// eachRecord walks the records of an answer, whose last batch may be cut off. It returns the offset after the
// last batch, whose last records compaction may have taken; 0 without a batch.
func eachRecord(data []byte, visit func(record.Batch, record.Record) error) (next int64, err error) {
	for len(data) >= record.HeaderSize {
		size := record.Batch(data).Size()
		if size > len(data) {
			return next, nil
		}
		b, rest, err := record.ParseBatch(data)
		if err != nil {
			return next, err
		}
		if !b.CheckCRC() {
			return next, fmt.Errorf("batch at %d: %w", b.BaseOffset(), record.ErrCorrupt)
		}
		records := b.Records(nil)
		for r, ok := records.Next(); ok; r, ok = records.Next() {
			if err := visit(b, r); err != nil {
				return next, err
			}
		}
		if err := records.Err(); err != nil {
			return next, err
		}
		next, data = b.LastOffset()+1, rest
	}
	return next, nil
}
