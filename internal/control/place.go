package control

import (
	"slices"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// usableBrokers are those that may take new replicas, by id.
func usableBrokers(image *metadata.Image) []*metadata.Broker {
	var brokers []*metadata.Broker
	for b := range image.Brokers() {
		if b.Active() {
			brokers = append(brokers, b)
		}
	}
	return brokers
}

// place spreads partitions over brokers. Leaders go round, beginning at broker start; with every round
// the followers shift by one against their leader, so that the load of a broker that fails spreads over
// all others.
func place(brokers []*metadata.Broker, start, partitions, factor int) ([]metadata.Partition, error) {
	n := len(brokers)
	if factor > n {
		return nil, kafkaerr.New(kafkaerr.InvalidReplicationFactor, "the replication factor is %d, but only %d brokers can take replicas now", factor, n)
	}
	placed := make([]metadata.Partition, partitions)
	for i := range placed {
		at := start + i
		replicas := make([]*metadata.Broker, factor)
		for r := range replicas {
			shift := 0
			if r > 0 {
				shift = 1 + (at/n+r-1)%(n-1)
			}
			replicas[r] = brokers[(at+shift)%n]
		}
		placed[i] = newPartition(replicas)
	}
	return placed, nil
}

// newPartition is the first state of a partition with these replicas, of which one at least is active.
func newPartition(replicas []*metadata.Broker) metadata.Partition {
	var p metadata.Partition
	for _, b := range replicas {
		p.Replicas = append(p.Replicas, b.ID)
		p.Directories = append(p.Directories, directoryOf(b))
		if b.Active() {
			p.ISR = append(p.ISR, b.ID)
		}
	}
	p.Leader = p.ISR[0]
	return p
}

// directoryOf returns the only directory of a broker. One with several chooses by itself (zero).
func directoryOf(b *metadata.Broker) model.UUID {
	if len(b.DirectoryIDs) == 1 {
		return b.DirectoryIDs[0]
	}
	return model.UUID{}
}

// assigned checks the brokers that a request assigns to a partition.
func assigned(image *metadata.Image, ids []model.BrokerID, factor int) (metadata.Partition, error) {
	if len(ids) == 0 {
		return metadata.Partition{}, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "a partition is assigned to no broker")
	}
	replicas := make([]*metadata.Broker, len(ids))
	active := false
	for i, id := range ids {
		b, ok := image.Broker(id)
		if !ok {
			return metadata.Partition{}, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "a partition is assigned to broker %d, which is not registered", id)
		}
		if slices.Contains(ids[:i], id) {
			return metadata.Partition{}, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "a partition is assigned to broker %d more than once", id)
		}
		replicas[i] = b
		active = active || b.Active()
	}
	if len(ids) != factor {
		return metadata.Partition{}, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "a partition is assigned to %d brokers, others of the topic to %d", len(ids), factor)
	}
	if !active {
		return metadata.Partition{}, kafkaerr.New(kafkaerr.InvalidReplicaAssignment, "a partition is assigned to brokers %v, all of which are fenced or shutting down", ids)
	}
	return newPartition(replicas), nil
}
