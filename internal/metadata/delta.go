package metadata

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/walser-io/walser/internal/model"
)

// Delta says how an image differs from the one before it. Where several records touch one thing it
// stands here once, as it was before the first and is after the last.
type Delta struct {
	From, To *Image

	// Topics that were created, changed or removed, by id. A topic that was deleted and created again
	// under its name stands here twice, once for each id.
	Topics []TopicChange
	// Brokers whose registration was made, changed or removed, by id.
	Brokers []BrokerChange
	// Configs are the resources whose dynamic configs changed, by type and name. It holds those of
	// a removed topic.
	Configs []ConfigResource
	// Features reports a change of the finalised features.
	Features bool
	// Controller reports that another controller epoch began.
	Controller bool
	// Snapshot reports that the step came from a snapshot and may span any number of batches.
	Snapshot bool
}

// TopicChange is one topic before and after. Old is nil for a new topic, New for a removed one.
type TopicChange struct {
	Old, New *Topic
}

// ID returns the topic's id.
func (c TopicChange) ID() model.TopicID {
	if c.New != nil {
		return c.New.ID
	}
	return c.Old.ID
}

// Partitions yields the indexes of the partitions that are new or not as they were.
// Of a removed topic it yields nothing.
func (c TopicChange) Partitions(yield func(int32) bool) {
	if c.New == nil {
		return
	}
	for i := range c.New.Partitions {
		if c.Old != nil && i < len(c.Old.Partitions) &&
			c.Old.Partitions[i].PartitionEpoch == c.New.Partitions[i].PartitionEpoch {
			continue
		}
		if !yield(int32(i)) {
			return
		}
	}
}

// BrokerChange is one registration before and after. Old is nil for a new broker, New for a removed one.
type BrokerChange struct {
	Old, New *Broker
}

// ID returns the broker's id.
func (c BrokerChange) ID() model.BrokerID {
	if c.New != nil {
		return c.New.ID
	}
	return c.Old.ID
}

// Diff compares two images of one cluster; Apply's delta is the same, found without the comparison.
// It is for an image that comes from a snapshot.
func Diff(from, to *Image) *Delta {
	d := &Delta{
		From:       from,
		To:         to,
		Features:   from.featuresEpoch != to.featuresEpoch,
		Controller: from.controllerEpoch != to.controllerEpoch,
		Snapshot:   true,
	}
	for old := range from.Topics() {
		if now, _ := to.TopicByID(old.ID); now == nil || !sameTopic(old, now) {
			d.Topics = append(d.Topics, TopicChange{old, now})
		}
	}
	for now := range to.Topics() {
		if _, ok := from.TopicByID(now.ID); !ok {
			d.Topics = append(d.Topics, TopicChange{nil, now})
		}
	}
	for old := range from.Brokers() {
		if now, _ := to.Broker(old.ID); now == nil || !sameBroker(old, now) {
			d.Brokers = append(d.Brokers, BrokerChange{old, now})
		}
	}
	for now := range to.Brokers() {
		if _, ok := from.Broker(now.ID); !ok {
			d.Brokers = append(d.Brokers, BrokerChange{nil, now})
		}
	}
	for resource, old := range from.Configs() {
		if now := to.Config(resource.Type, resource.Name); !slices.Equal(old.entries, now.entries) {
			d.Configs = append(d.Configs, resource)
		}
	}
	for resource := range to.Configs() {
		if from.Config(resource.Type, resource.Name).Len() == 0 {
			d.Configs = append(d.Configs, resource)
		}
	}
	d.sort()
	return d
}

func (d *Delta) sort() {
	slices.SortFunc(d.Topics, func(a, b TopicChange) int {
		x, y := a.ID(), b.ID()
		return bytes.Compare(x[:], y[:])
	})
	slices.SortFunc(d.Brokers, func(a, b BrokerChange) int { return cmp.Compare(a.ID(), b.ID()) })
	slices.SortFunc(d.Configs, ConfigResource.compare)
}

// sameTopic compares two states of one incarnation: each change of a partition raises its epoch.
func sameTopic(a, b *Topic) bool {
	return slices.EqualFunc(a.Partitions, b.Partitions, func(x, y Partition) bool {
		return x.PartitionEpoch == y.PartitionEpoch
	})
}

func sameBroker(a, b *Broker) bool {
	return a.Epoch == b.Epoch && a.Fenced == b.Fenced && a.ShuttingDown == b.ShuttingDown
}
