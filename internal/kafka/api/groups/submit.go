package groups

import (
	"sync/atomic"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// shardIn returns the partition of the topic of groups that a group's id hashes to.
func shardIn(topic *metadata.Topic, groupID string) int32 {
	return model.CoordinatorPartition(groupID, int32(len(topic.Partitions)))
}

// submit hands a request to the shard of a group. The empty id names a group too: committing and fetching
// offsets under it has always worked.
func (d *Deps) submit(groupID string, body any, done func(answer any)) *runtime.Call {
	topic, ok := d.Image().Topic(model.GroupMetadataTopic)
	if !ok {
		done(group.Fail(body, kafkaerr.NotCoordinator))
		return &runtime.Call{}
	}
	return d.submitTo(topic, shardIn(topic, groupID), body, done)
}

// submitTo hands a request to a shard. While this broker recovers the log of the shard it coordinates what
// it cannot load yet: clients wait, and members do not take their sessions for lost.
func (d *Deps) submitTo(topic *metadata.Topic, partition int32, body any, done func(answer any)) *runtime.Call {
	if d.Recovering(topic.ID, partition) {
		done(group.Fail(body, kafkaerr.CoordinatorLoadInProgress))
		return &runtime.Call{}
	}
	return d.Coordinators.Submit(model.TopicPartition{Topic: topic.Name, Partition: partition}, body, done)
}

// submitNamed is submit for requests that the empty id is wrong for, whoever the coordinator is.
func (d *Deps) submitNamed(groupID string, body any, done func(answer any)) *runtime.Call {
	if groupID == "" {
		done(group.Fail(body, kafkaerr.InvalidGroupID))
		return &runtime.Call{}
	}
	return d.submit(groupID, body, done)
}

// submitParked is submitNamed for requests that may wait as long as a rebalance lasts: they hold no frame,
// and a peer that hangs up ends their wait. Nothing of the body may lie in the frame.
func (d *Deps) submitParked(r *server.Request, groupID string, body any, done func(answer any)) {
	r.ReleaseFrame()
	p := &parked{}
	r.OnCancel(p.hangUp, 0) // before the answer can come: after it the request is another's
	p.submitted(d.submitNamed(groupID, body, done))
}

// parked is a call that a hang-up cancels. Either may come first.
type parked struct {
	call atomic.Pointer[runtime.Call]
	gone atomic.Bool
}

func (p *parked) submitted(c *runtime.Call) {
	p.call.Store(c)
	if p.gone.Load() {
		c.Cancel()
	}
}

func (p *parked) hangUp(uint64) {
	p.gone.Store(true)
	if c := p.call.Load(); c != nil {
		c.Cancel()
	}
}

// groupsOfShard are the groups of one request that one shard has.
type groupsOfShard struct {
	partition int32
	ids       []string
	places    []int // of the ids in the request
}

// byShard sorts the groups of a request by their shards.
func byShard(topic *metadata.Topic, ids []string) []groupsOfShard {
	var shards []groupsOfShard
	at := map[int32]int{} // partition to shard
	for i, id := range ids {
		partition := shardIn(topic, id)
		s, ok := at[partition]
		if !ok {
			s = len(shards)
			at[partition] = s
			shards = append(shards, groupsOfShard{partition: partition})
		}
		shards[s].ids = append(shards[s].ids, id)
		shards[s].places = append(shards[s].places, i)
	}
	return shards
}

// submitAll asks the shards of many groups, with the body made for each of them, and calls done once with
// all answers in the order of shards.
func (d *Deps) submitAll(ids []string, body func(ids []string) any, done func(shards []groupsOfShard, answers []any)) {
	topic, ok := d.Image().Topic(model.GroupMetadataTopic)
	if !ok {
		all := groupsOfShard{ids: ids, places: make([]int, len(ids))}
		for i := range ids {
			all.places[i] = i
		}
		done([]groupsOfShard{all}, []any{group.Fail(body(ids), kafkaerr.NotCoordinator)})
		return
	}
	shards := byShard(topic, ids)
	answers := make([]any, len(shards))
	var missing atomic.Int64
	missing.Store(int64(len(shards)) + 1)
	answered := func() {
		if missing.Add(-1) == 0 {
			done(shards, answers)
		}
	}
	for i, shard := range shards {
		d.submitTo(topic, shard.partition, body(shard.ids), func(answer any) {
			answers[i] = answer
			answered()
		})
	}
	answered()
}

// optional returns nil for the empty string, which stands for null where the protocol has it.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// orEmpty returns "" for null.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// stringOf copies a nullable name out of the frame.
func stringOf(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}
