package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/publish"
)

// openCoordinators builds the coordinators and has them follow the leadership of their partitions.
func (n *Node) openCoordinators() (err error) {
	groups := group.Config{
		MinSessionTimeout:     n.cfg.Groups.MinSessionTimeout,
		MaxSessionTimeout:     n.cfg.Groups.MaxSessionTimeout,
		InitialRebalanceDelay: n.cfg.Groups.InitialRebalanceDelay,
		MaxSize:               int(n.cfg.Groups.MaxSize),
		OffsetMetadataMax:     int(n.cfg.Offsets.MaxMetadataBytes),
		OffsetsRetention:      n.cfg.Offsets.Retention,
		OffsetsCheckInterval:  n.cfg.Offsets.RetentionCheckInterval,
		NewMemberJoinTimeout:  group.DefaultConfig().NewMemberJoinTimeout,
	}
	if err := groups.Validate(); err != nil {
		return err
	}
	config := runtime.DefaultConfig(n.cfg.Groups.Workers)
	config.CommitTimeout = n.cfg.Offsets.CommitTimeout
	if config.MaxMemory = n.cfg.Groups.MaxMemory; config.MaxMemory < 0 {
		config.MaxMemory = memoryLimit() / 4
	}
	n.coordinators, err = runtime.New(config, runtime.Deps{
		Logger: n.deps.Logger, Registerer: n.deps.Registerer, Wall: n.deps.Wall, Deadlines: n.deadlines,
	}, runtime.Kind{
		Topic: model.GroupMetadataTopic,
		New: func(_ int32, memory coordinator.Memory) coordinator.Shard {
			return group.New(groups, newMemberID, memory)
		},
		Fail: group.Fail,
	})
	if err != nil {
		return err
	}
	elector := runtime.NewElector(n.coordinators, n.replicas, runtime.ElectorConfig{
		Self: n.cfg.NodeID, LoadBufferBytes: int(n.cfg.Offsets.LoadBufferBytes),
		TopicsDeleted: map[string]func([]*metadata.Topic) any{model.GroupMetadataTopic: topicsDeleted},
	})
	n.replicas.OnRecovered(elector.Recovered)
	n.publisher.Subscribe(publish.Coordinators, elector)
	return nil
}

// newMemberID draws the id of a group member. crypto/rand does not fail.
func newMemberID() model.UUID {
	id, _ := model.NewUUID(rand.Reader)
	return id
}

// topicsDeleted is the request by which groups forget the offsets of topics that are gone.
func topicsDeleted(deleted []*metadata.Topic) any {
	request := &group.TopicsDeleted{}
	for _, topic := range deleted {
		request.Topics = append(request.Topics, group.DeletedTopic{ID: topic.ID, Name: topic.Name})
	}
	return request
}

// createInternalTopic creates a topic that the node keeps for itself.
func (n *Node) createInternalTopic(ctx context.Context, name string) error {
	topic, ok := n.internalTopic(name)
	if !ok {
		return kafkaerr.New(kafkaerr.InvalidTopicException, "%s is not a topic that this node keeps", name)
	}
	results, err := n.controller.CreateTopics(ctx, control.CreateTopics{Topics: []control.NewTopic{topic}})
	if err == nil {
		err = results[0].Err
	}
	if err != nil && kafkaerr.CodeOf(err) != kafkaerr.TopicAlreadyExists {
		n.deps.Logger.Error("an internal topic was not created", "topic", name, "err", err)
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

// internalTopic says how a topic that the node keeps for itself is created: on as many brokers as there are up
// to the configured number. ok is false for all others.
func (n *Node) internalTopic(name string) (topic control.NewTopic, ok bool) {
	if name != model.GroupMetadataTopic {
		return control.NewTopic{}, false
	}
	offsets := &n.cfg.Offsets
	set := func(key, value string) control.ConfigEntry { return control.ConfigEntry{Name: key, Value: &value} }
	return control.NewTopic{
		Name: name, Partitions: offsets.TopicPartitions, ReplicationFactor: offsets.TopicReplicationFactor, CapReplication: true,
		Configs: []control.ConfigEntry{
			set("cleanup.policy", "compact"),
			set("compression.type", "producer"),
			set("segment.bytes", strconv.Itoa(int(offsets.TopicSegmentBytes))),
		},
	}, true
}
