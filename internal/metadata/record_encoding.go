package metadata

import "github.com/walser-io/walser/internal/model"

// Version 0 of every record. A new field is a new version of its record: the old decoder stays.

func (r *ActivateControllerRecord) encode(e *encoder) { e.int32(r.Epoch) }
func (r *ActivateControllerRecord) decode(d *decoder) { r.Epoch = d.int32() }

func (r *ClusterRecord) encode(e *encoder) { e.string(r.ID) }
func (r *ClusterRecord) decode(d *decoder) { r.ID = d.string() }

func (r *FeatureLevelRecord) encode(e *encoder) {
	e.string(r.Name)
	e.int16(r.Level)
	e.int64(r.Epoch)
}

func (r *FeatureLevelRecord) decode(d *decoder) {
	r.Name = d.string()
	r.Level = d.int16()
	r.Epoch = d.int64()
}

func (r *RegisterBrokerRecord) encode(e *encoder) {
	e.int32(int32(r.ID))
	e.int64(r.Epoch)
	e.uuid(r.Incarnation)
	e.count(len(r.Endpoints))
	for _, p := range r.Endpoints {
		e.string(p.Listener)
		e.string(p.Host)
		e.int32(p.Port)
		e.int16(int16(p.Protocol))
	}
	e.string(r.Rack)
	e.uuids(r.DirectoryIDs)
	e.bool(r.Fenced)
	e.bool(r.ShuttingDown)
}

func (r *RegisterBrokerRecord) decode(d *decoder) {
	r.ID = model.BrokerID(d.int32())
	r.Epoch = d.int64()
	r.Incarnation = d.uuid()
	const minEndpointBytes = 4
	if n := d.count(minEndpointBytes); n > 0 {
		r.Endpoints = make([]model.Endpoint, n)
		for i := range r.Endpoints {
			r.Endpoints[i] = model.Endpoint{
				Listener: d.string(), Host: d.string(), Port: d.int32(), Protocol: model.SecurityProtocol(d.int16()),
			}
		}
	}
	r.Rack = d.string()
	r.DirectoryIDs = d.uuids()
	r.Fenced = d.bool()
	r.ShuttingDown = d.bool()
}

func (r *BrokerChangeRecord) encode(e *encoder) {
	e.int32(int32(r.ID))
	e.int64(r.Epoch)
	e.bool(r.Fenced)
	e.bool(r.ShuttingDown)
}

func (r *BrokerChangeRecord) decode(d *decoder) {
	r.ID = model.BrokerID(d.int32())
	r.Epoch = d.int64()
	r.Fenced = d.bool()
	r.ShuttingDown = d.bool()
}

func (r *UnregisterBrokerRecord) encode(e *encoder) {
	e.int32(int32(r.ID))
	e.int64(r.Epoch)
}

func (r *UnregisterBrokerRecord) decode(d *decoder) {
	r.ID = model.BrokerID(d.int32())
	r.Epoch = d.int64()
}

func (r *TopicRecord) encode(e *encoder) {
	e.string(r.Name)
	e.uuid(r.ID)
}

func (r *TopicRecord) decode(d *decoder) {
	r.Name = d.string()
	r.ID = d.uuid()
}

func (r *RemoveTopicRecord) encode(e *encoder) { e.uuid(r.ID) }
func (r *RemoveTopicRecord) decode(d *decoder) { r.ID = d.uuid() }

func (r *PartitionRecord) encode(e *encoder) {
	e.uuid(r.TopicID)
	e.int32(r.Partition)
	p := &r.State
	e.brokers(p.Replicas)
	e.uuids(p.Directories)
	e.brokers(p.ISR)
	e.brokers(p.ELR)
	e.brokers(p.LastKnownELR)
	e.brokers(p.Adding)
	e.brokers(p.Removing)
	e.int32(int32(p.Leader))
	e.int32(p.LeaderEpoch)
	e.int32(p.PartitionEpoch)
	e.bool(p.Recovering)
}

func (r *PartitionRecord) decode(d *decoder) {
	r.TopicID = d.uuid()
	r.Partition = d.int32()
	r.State = Partition{
		Replicas:       d.brokers(),
		Directories:    d.uuids(),
		ISR:            d.brokers(),
		ELR:            d.brokers(),
		LastKnownELR:   d.brokers(),
		Adding:         d.brokers(),
		Removing:       d.brokers(),
		Leader:         model.BrokerID(d.int32()),
		LeaderEpoch:    d.int32(),
		PartitionEpoch: d.int32(),
		Recovering:     d.bool(),
	}
}

// A change carries a bit for each field that is there, so that a fail-over of many partitions, each
// with a new leader and ISR, stays a few dozen bytes per partition.
const (
	hasLeader uint64 = 1 << iota
	hasReplicas
	hasDirectories
	hasISR
	hasELR
	hasLastKnownELR
	hasAdding
	hasRemoving
	hasRecovery
	changeFieldsEnd
)

// brokerFields lists the change's broker lists with their bits, in the order they are written.
func (r *PartitionChangeRecord) brokerFields() [6]struct {
	bit  uint64
	list *[]model.BrokerID
} {
	return [...]struct {
		bit  uint64
		list *[]model.BrokerID
	}{
		{hasReplicas, &r.Replicas},
		{hasISR, &r.ISR},
		{hasELR, &r.ELR},
		{hasLastKnownELR, &r.LastKnownELR},
		{hasAdding, &r.Adding},
		{hasRemoving, &r.Removing},
	}
}

func (r *PartitionChangeRecord) encode(e *encoder) {
	var has uint64
	if r.Leader != NoLeaderChange {
		has |= hasLeader
	}
	for _, f := range r.brokerFields() {
		if *f.list != nil {
			has |= f.bit
		}
	}
	if r.Directories != nil {
		has |= hasDirectories
	}
	if r.Recovery != RecoveryUnchanged {
		has |= hasRecovery
	}
	e.uuid(r.TopicID)
	e.int32(r.Partition)
	e.uvarint(has)
	if has&hasLeader != 0 {
		e.int32(int32(r.Leader))
	}
	for _, f := range r.brokerFields() {
		if has&f.bit != 0 {
			e.brokers(*f.list)
		}
	}
	if has&hasDirectories != 0 {
		e.uuids(r.Directories)
	}
	if has&hasRecovery != 0 {
		e.bool(r.Recovery == RecoveryStarts)
	}
}

func (r *PartitionChangeRecord) decode(d *decoder) {
	r.TopicID = d.uuid()
	r.Partition = d.int32()
	has := d.uvarint()
	if has >= changeFieldsEnd {
		d.fail("field mask %#x names fields of a later version", has)
		return
	}
	r.Leader = NoLeaderChange
	if has&hasLeader != 0 {
		if r.Leader = model.BrokerID(d.int32()); r.Leader == NoLeaderChange {
			d.fail("leader %d", r.Leader)
		}
	}
	for _, f := range r.brokerFields() {
		if has&f.bit != 0 {
			if *f.list = d.brokers(); *f.list == nil {
				*f.list = []model.BrokerID{}
			}
		}
	}
	if has&hasDirectories != 0 {
		if r.Directories = d.uuids(); r.Directories == nil {
			r.Directories = []model.UUID{}
		}
	}
	if has&hasRecovery != 0 {
		r.Recovery = RecoveryEnds
		if d.bool() {
			r.Recovery = RecoveryStarts
		}
	}
}

func (r *ConfigRecord) encode(e *encoder) {
	e.int16(int16(r.ResourceType))
	e.string(r.ResourceName)
	e.string(r.Key)
	e.bool(r.Value != nil)
	if r.Value != nil {
		e.string(*r.Value)
	}
}

func (r *ConfigRecord) decode(d *decoder) {
	resourceType := d.int16()
	if r.ResourceType = int8(resourceType); int16(r.ResourceType) != resourceType {
		d.fail("resource type %d does not fit 8 bits", resourceType)
	}
	r.ResourceName = d.string()
	r.Key = d.string()
	if d.bool() {
		value := d.string()
		r.Value = &value
	}
}

func (r *ProducerIDsRecord) encode(e *encoder) {
	e.int32(int32(r.BrokerID))
	e.int64(r.BrokerEpoch)
	e.int64(r.NextID)
}

func (r *ProducerIDsRecord) decode(d *decoder) {
	r.BrokerID = model.BrokerID(d.int32())
	r.BrokerEpoch = d.int64()
	r.NextID = d.int64()
}
