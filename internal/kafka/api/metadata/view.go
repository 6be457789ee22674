package metadata

import (
	"slices"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// view is an image as seen by the clients of one listener.
type view struct {
	*metadata.Image
	listener   string
	recovering func(id model.TopicID, partition int32) bool
}

// node is a broker with its endpoint on the view's listener.
type node struct {
	*metadata.Broker
	at model.Endpoint
}

// nodes returns the brokers that clients of the listener may talk to; fenced ones only if asked for.
func (v view) nodes(fenced bool) []node {
	var found []node
	for b := range v.Brokers() {
		if at, ok := b.Endpoint(v.listener); ok && (fenced || !b.Fenced) {
			found = append(found, node{b, at})
		}
	}
	return found
}

// controller returns the broker that is named as controller. Every broker forwards to the real one, so
// any that is alive will do; naming one by the image's offset spreads clients over them.
func (v view) controller(nodes []node) model.BrokerID {
	if len(nodes) == 0 {
		return model.NoBroker
	}
	return nodes[int(v.Offset())%len(nodes)].ID
}

// leader returns whom clients are told to ask for a partition, or why there is nobody.
func (v view) leader(topic *metadata.Topic, index int32) (model.BrokerID, kafkaerr.Code) {
	p := &topic.Partitions[index]
	broker, ok := v.Broker(p.Leader)
	switch {
	case !ok || broker.Fenced:
		return model.NoBroker, kafkaerr.LeaderNotAvailable
	case v.recovering(topic.ID, index):
		return p.Leader, kafkaerr.LeaderNotAvailable
	}
	if _, ok := broker.Endpoint(v.listener); !ok {
		return model.NoBroker, kafkaerr.ListenerNotFound
	}
	return p.Leader, kafkaerr.None
}

// offline returns the replicas of a partition that do not take part: their broker is gone or fenced, or
// has lost the log directory. A zero directory is one that the broker chose by itself.
func (v view) offline(p *metadata.Partition) []int32 {
	offline := []int32{}
	for i, id := range p.Replicas {
		broker, ok := v.Broker(id)
		dir := p.Directories[i]
		if !ok || broker.Fenced || !dir.IsZero() && !slices.Contains(broker.DirectoryIDs, dir) {
			offline = append(offline, int32(id))
		}
	}
	return offline
}

// ids turns broker ids into the numbers of the wire. The answer is never null.
func ids(brokers []model.BrokerID) []int32 {
	numbers := make([]int32, len(brokers))
	for i, id := range brokers {
		numbers[i] = int32(id)
	}
	return numbers
}
