package sim

import (
	"context"
	"fmt"
	"sync"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/wire"
)

const (
	createTopicsVersion  = 7
	deleteTopicsVersion  = 6
	deleteRecordsVersion = 2
	alterConfigsVersion  = 1
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
	switch code := resp.Topics[0].Partitions[0].ErrorCode; {
	case code == kafkaerr.None:
		a.ledger.trimmed(p, before)
	case !passing(code):
		a.refused(a.ledger, "%s: DeleteRecords before %d answers %v", p, before, code)
	}
}

// alter sets configuration keys of a topic, and reports whether that is done.
func (a *admin) alter(ctx context.Context, topic string, configs map[string]string) bool {
	const topicResource, set = 2, 0
	var req wire.IncrementalAlterConfigsRequest
	var resp wire.IncrementalAlterConfigsResponse
	req.Reset()
	resource := wire.Add(&req.Resources)
	resource.ResourceType, resource.ResourceName = topicResource, topic
	for k, v := range configs {
		c := wire.Add(&resource.Configs)
		c.Name, c.ConfigOperation, c.Value = k, set, &v
	}
	if a.call(ctx, &req, &resp, alterConfigsVersion) != nil {
		return false
	}
	code := resp.Responses[0].ErrorCode
	if code != kafkaerr.None && !passing(code) {
		a.refused(a.ledger, "IncrementalAlterConfigs of %s answers %v", topic, code)
	}
	return code == kafkaerr.None
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
		log, ok := a.look(ctx, p, want[p], gapless)
		if !ok || !a.compareEpochs(ctx, p, log) {
			return false
		}
	}
	return true
}

// look reads a log back and compares it with what was promised. It returns false when the connection broke.
func (a *admin) look(ctx context.Context, p partition, want promised, gapless map[int]bool) (*image, bool) {
	log, ok := a.readBack(ctx, p)
	if !ok {
		return nil, false
	}
	a.ledger.compare(p, want, log, gapless, sync.OnceValues(func() (*image, bool) { return a.readBack(ctx, p) }))
	return log, true
}

// compareEpochs holds what the node says about the ends of leader epochs against the records. It returns false
// when the connection broke.
func (a *admin) compareEpochs(ctx context.Context, p partition, log *image) bool {
	if a.ledger.kinds[p.topic] == compacted {
		return true // where the first record of an epoch was is not known
	}
	for epoch, want := range log.epochEnds() {
		ok := until(ctx, func() bool {
			end, code, err := a.epochEnd(p, epoch)
			if err != nil || code != kafkaerr.None {
				return err != nil || a.fatal(p, "OffsetForLeaderEpoch", code)
			}
			if end != want && !a.trimmedSince(ctx, p, want, end) {
				a.ledger.violation("%s: leader epoch %d ends at %d, but the next one's first record is at %d", p, epoch, end, want)
			}
			return true
		})
		if !ok || a.conn == nil {
			return false
		}
	}
	return true
}

// trimmedSince reports whether the records on both sides of an epoch's end were deleted since the log was read with the end at was:
// where the log begins by then is where the node says that the epoch ends, as Kafka does. True as well if the connection breaks.
func (a *admin) trimmedSince(ctx context.Context, p partition, was, end int64) bool {
	log, ok := a.readBack(ctx, p)
	return !ok || was < end && end <= log.start
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
	dense := a.ledger.kinds[p.topic] != compacted
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
		if err == nil && code == kafkaerr.OffsetOutOfRange && a.ledger.kinds[p.topic] != kept {
			log.start, log.records = -1, nil // what was to be read was deleted meanwhile
			return false
		}
		if err != nil || code != kafkaerr.None {
			return err != nil || a.fatal(p, fmt.Sprintf("Fetch at %d", at), code)
		}
		next, err := eachRecord(data.records, func(b record.Batch, r record.Record) error {
			if r.Offset < at {
				return nil
			}
			v, err := parseValue(r.Value)
			if err != nil || dense && r.Offset != at {
				return fmt.Errorf("offset %d where %d should be: %w", r.Offset, at, err)
			}
			log.records = append(log.records, placed{v, r.Offset, b.PartitionLeaderEpoch()})
			at = r.Offset + 1
			return nil
		})
		if err != nil {
			a.ledger.violation("%s: reading back: %v", p, err)
			return true
		}
		at = max(at, next)
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
