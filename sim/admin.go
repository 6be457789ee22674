package sim

import (
	"context"
	"fmt"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/wire"
)

const (
	createTopicsVersion  = 7
	deleteTopicsVersion  = 6
	deleteRecordsVersion = 2
	metadataVersion      = 12

	offsetForLeaderEpochVersion = 4
)

// admin makes and deletes topics, deletes records, and reads everything back.
type admin struct {
	client
	ledger *ledger
	epochs map[partition]int32 // of the leaders, as the last describe found them
}

// create makes a topic and waits until that is acknowledged, over as many lives of the node as it takes.
func (a *admin) create(ctx context.Context, name string, partitions int32, configs map[string]string) bool {
	tried := false
	return until(ctx, func() bool {
		var req wire.CreateTopicsRequest
		var resp wire.CreateTopicsResponse
		req.Reset()
		req.TimeoutMs = 30_000
		topic := wire.Add(&req.Topics)
		topic.Name, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
		for k, v := range configs {
			c := wire.Add(&topic.Configs)
			c.Name, c.Value = k, &v
		}
		if a.call(ctx, &req, &resp, createTopicsVersion) != nil {
			tried = true
			return false
		}
		switch code := resp.Topics[0].ErrorCode; {
		case code == kafkaerr.None:
			a.ledger.created(name, resp.Topics[0].TopicID)
		case code == kafkaerr.TopicAlreadyExists && tried: // the try before was heard
		case passing(code):
			tried = true
			return false
		default:
			a.refused(a.ledger, "CreateTopics %s answers %v", name, code)
		}
		return true
	})
}

// remove deletes a topic that is there.
func (a *admin) remove(ctx context.Context, name string) bool {
	tried := false
	return until(ctx, func() bool {
		var req wire.DeleteTopicsRequest
		var resp wire.DeleteTopicsResponse
		req.Reset()
		req.TimeoutMs = 30_000
		wire.Add(&req.Topics).Name = &name
		if a.call(ctx, &req, &resp, deleteTopicsVersion) != nil {
			tried = true
			return false
		}
		switch code := resp.Responses[0].ErrorCode; {
		case code == kafkaerr.None, code == kafkaerr.UnknownTopicOrPartition && tried:
			a.ledger.deleted(name)
		case passing(code) && code != kafkaerr.UnknownTopicOrPartition:
			tried = true
			return false
		default:
			a.refused(a.ledger, "DeleteTopics %s answers %v", name, code)
		}
		return true
	})
}

// trim deletes the records of a partition before an offset that was acknowledged.
func (a *admin) trim(ctx context.Context, p partition, before int64) {
	a.ledger.deleting(p, before)
	var req wire.DeleteRecordsRequest
	var resp wire.DeleteRecordsResponse
	req.Reset()
	req.TimeoutMs = 30_000
	topic := wire.Add(&req.Topics)
	topic.Name = p.topic
	part := wire.Add(&topic.Partitions)
	part.PartitionIndex, part.Offset = p.index, before
	if a.call(ctx, &req, &resp, deleteRecordsVersion) != nil {
		return
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != kafkaerr.None && !passing(code) {
		a.refused(a.ledger, "%s: DeleteRecords before %d answers %v", p, before, code)
	}
}

// inspect looks at everything after a start: topics, leader epochs, logs. It returns false when the node
// went away meanwhile.
func (a *admin) inspect(ctx context.Context, logs []partition, want map[partition]promised, gapless map[int]bool) bool {
	if !a.describe(ctx) {
		return false
	}
	for _, p := range logs {
		epoch, ok := a.epochs[p]
		if !ok {
			continue // its topic was lost, which is a violation already, or never made
		}
		a.ledger.leads(p, epoch)
		log, ok := a.readBack(ctx, p)
		if !ok {
			return false
		}
		a.ledger.compare(p, want[p], log, gapless)
	}
	return true
}

func (a *admin) describe(ctx context.Context) bool {
	var req wire.MetadataRequest
	var resp wire.MetadataResponse
	req.Reset()
	req.Topics, req.AllowAutoTopicCreation = nil, false
	before := a.ledger.topics()
	if _, err := a.connected(ctx); err != nil || a.send(&req, metadataVersion) != nil || a.receive(&resp, metadataVersion) != nil {
		return false
	}
	topics := make(map[string]model.UUID)
	a.epochs = make(map[partition]int32)
	for i := range resp.Topics {
		t := &resp.Topics[i]
		topics[string(t.Name)] = t.TopicID
		for j := range t.Partitions {
			a.epochs[partition{string(t.Name), t.Partitions[j].PartitionIndex}] = t.Partitions[j].LeaderEpoch
		}
	}
	a.ledger.topicsAre(topics, before)
	return true
}

// readBack reads a log from its start to its end. The end is the leader's, asked for by its epoch: right
// after a start the high watermark may lie below it, and has to reach it. It returns false when the
// connection broke.
func (a *admin) readBack(ctx context.Context, p partition) (*image, bool) {
	log := &image{start: -1}
	at := int64(0)
	done := func() bool {
		if log.start < 0 {
			end, code, err := a.epochEnd(p, a.epochs[p])
			if err != nil || code != kafkaerr.None {
				return err != nil || a.fatal(p, "OffsetForLeaderEpoch", code)
			}
			start, code, err := a.earliest(p)
			if err != nil || code != kafkaerr.None {
				return err != nil || a.fatal(p, "ListOffsets", code)
			}
			log.start, log.end, at = start, max(start, end), start
		}
		data, code, err := a.fetch(p, at, 0)
		if err != nil || code != kafkaerr.None {
			return err != nil || a.fatal(p, fmt.Sprintf("Fetch at %d", at), code)
		}
		err = eachRecord(data.records, func(b record.Batch, r record.Record) error {
			if r.Offset < at {
				return nil
			}
			v, err := parseValue(r.Value)
			if err != nil || r.Offset != at {
				return fmt.Errorf("offset %d where %d should be: %w", r.Offset, at, err)
			}
			log.values, log.epochs = append(log.values, v), append(log.epochs, b.PartitionLeaderEpoch())
			at++
			return nil
		})
		if err != nil {
			a.ledger.violation("%s: reading back: %v", p, err)
			return true
		}
		// An answer may be empty below the high watermark; one that stays empty ends as stuck.
		log.end = max(log.end, data.end)
		return at >= log.end
	}
	if _, err := a.connected(ctx); err != nil {
		return nil, false
	}
	ok := until(ctx, done) && a.conn != nil
	log.end = at
	return log, ok
}

// fatal notes an error that does not pass, and reports whether it was one.
func (a *admin) fatal(p partition, what string, code kafkaerr.Code) bool {
	if passing(code) {
		return false
	}
	a.refused(a.ledger, "%s: %s answers %v", p, what, code)
	return true
}

func (a *admin) earliest(p partition) (int64, kafkaerr.Code, error) {
	var req wire.ListOffsetsRequest
	var resp wire.ListOffsetsResponse
	req.Reset()
	req.ReplicaID = -1
	topic := wire.Add(&req.Topics)
	topic.Name = p.topic
	part := wire.Add(&topic.Partitions)
	part.PartitionIndex, part.Timestamp = p.index, -2
	if err := a.send(&req, listOffsetsVersion); err != nil {
		return 0, 0, err
	}
	if err := a.receive(&resp, listOffsetsVersion); err != nil {
		return 0, 0, err
	}
	answer := &resp.Topics[0].Partitions[0]
	return answer.Offset, answer.ErrorCode, nil
}

// epochEnd asks where a leader epoch ends: the log's end, for the newest.
func (a *admin) epochEnd(p partition, epoch int32) (int64, kafkaerr.Code, error) {
	var req wire.OffsetForLeaderEpochRequest
	var resp wire.OffsetForLeaderEpochResponse
	req.Reset()
	req.ReplicaID = -1
	topic := wire.Add(&req.Topics)
	topic.Topic = p.topic
	part := wire.Add(&topic.Partitions)
	part.Partition, part.LeaderEpoch = p.index, epoch
	if err := a.send(&req, offsetForLeaderEpochVersion); err != nil {
		return 0, 0, err
	}
	if err := a.receive(&resp, offsetForLeaderEpochVersion); err != nil {
		return 0, 0, err
	}
	answer := &resp.Topics[0].Partitions[0]
	return answer.EndOffset, answer.ErrorCode, nil
}
