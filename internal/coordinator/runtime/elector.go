package runtime

import (
	"context"
	"math"
	"sync"

	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/xsync"
)

// Replicas finds the replicas of this broker. *replica.Manager is one.
type Replicas interface {
	ReplicaNamed(topic string, partition int32) (*replica.Replica, error)
}

// ElectorConfig is what an Elector is told once.
type ElectorConfig struct {
	Self model.BrokerID
	// LoadBufferBytes is how much of a partition is read at a time: offsets.load.buffer.size. A batch
	// may be larger.
	LoadBufferBytes int
	// TopicsDeleted makes the request that tells the shards of an internal topic which topics are
	// gone, for each internal topic whose shards want to know.
	TopicsDeleted map[string]func(deleted []*metadata.Topic) any
}

// Elector makes this broker the coordinator of the partitions that it leads, as the metadata says. It is a
// listener of the stage that comes after the logs.
//
// A partition is given to the runtime only when its replica leads, with a log that is recovered: before
// that it would look empty.
type Elector struct {
	runtime  *Runtime
	replicas Replicas
	config   ElectorConfig
	loaders  *sync.Pool

	mu struct {
		xsync.Mutex
		led map[model.TopicPartition]int32 // the epochs in which metadata has this broker lead
	}
}

// NewElector returns an elector that has elected nothing.
func NewElector(r *Runtime, replicas Replicas, config ElectorConfig) *Elector {
	e := &Elector{runtime: r, replicas: replicas, config: config, loaders: newLoaders(config.LoadBufferBytes)}
	e.mu.led = map[model.TopicPartition]int32{}
	return e
}

// OnMetadata elects and resigns, and tells the shards of topics that are gone.
func (e *Elector) OnMetadata(_ context.Context, _ *metadata.Image, delta *metadata.Delta) error {
	var deleted []*metadata.Topic
	for _, change := range delta.Topics {
		// Before any election: a topic may be deleted and created anew in one step, under the same name.
		if change.New == nil {
			deleted = append(deleted, change.Old)
			e.abandon(change.Old)
		}
	}
	for _, change := range delta.Topics {
		if change.New == nil || e.runtime.kinds[change.New.Name] == nil {
			continue
		}
		for index := range change.Partitions {
			tp := model.TopicPartition{Topic: change.New.Name, Partition: index}
			if p := &change.New.Partitions[index]; p.Leader == e.config.Self {
				e.lead(tp, p.LeaderEpoch)
			} else {
				e.resign(tp, p.LeaderEpoch)
			}
		}
	}
	e.tellDeleted(deleted)
	return nil
}

// Recovered elects a partition whose log was not recovered yet when the metadata said that this broker
// leads it: what replica.Manager.OnRecovered calls.
func (e *Elector) Recovered(r *replica.Replica) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if epoch, ok := e.mu.led[r.TopicPartition()]; ok {
		e.electLocked(r, epoch)
	}
}

func (e *Elector) lead(tp model.TopicPartition, epoch int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.led[tp] = epoch
	if r, err := e.replicas.ReplicaNamed(tp.Topic, tp.Partition); err == nil {
		e.electLocked(r, epoch)
	}
}

// electLocked has the runtime load the partition if its replica leads in this epoch. It is not called
// without the lock, so that an election never comes after the resignation that follows it; the runtime
// only takes note of it.
func (e *Elector) electLocked(r *replica.Replica, epoch int32) {
	if _, leads := r.Leadership(); !r.IsLeader() || leads != epoch {
		return
	}
	e.runtime.Elect(r.TopicPartition(), epoch, &replicaLog{replica: r, loaders: e.loaders})
}

func (e *Elector) resign(tp model.TopicPartition, epoch int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.mu.led, tp)
	e.runtime.Resign(tp, epoch)
}

// abandon resigns from the partitions of a topic that is gone, whatever their epochs: those of the next
// topic of this name begin anew.
func (e *Elector) abandon(topic *metadata.Topic) {
	if e.runtime.kinds[topic.Name] == nil {
		return
	}
	for index := range topic.Partitions {
		e.resign(model.TopicPartition{Topic: topic.Name, Partition: int32(index)}, math.MaxInt32)
	}
}

func (e *Elector) tellDeleted(deleted []*metadata.Topic) {
	if len(deleted) == 0 {
		return
	}
	for topic, request := range e.config.TopicsDeleted {
		e.runtime.Notify(topic, request(deleted))
	}
}
