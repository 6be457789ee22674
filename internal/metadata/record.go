package metadata

import "github.com/walser-io/walser/internal/model"

// Record is one effect on the state of the cluster. The set of types is closed; each is named after
// Kafka's record of the same meaning, though the encoding is ours.
type Record interface {
	// kind is the record's number in the log. Numbers are never reused.
	kind() recordKind
	encode(e *encoder)
	decode(d *decoder)
}

type recordKind uint8

const (
	kindActivateController recordKind = 1
	kindCluster            recordKind = 2
	kindFeatureLevel       recordKind = 3
	kindRegisterBroker     recordKind = 4
	kindBrokerChange       recordKind = 5
	kindUnregisterBroker   recordKind = 6
	kindTopic              recordKind = 7
	kindRemoveTopic        recordKind = 8
	kindPartition          recordKind = 9
	kindPartitionChange    recordKind = 10
	kindConfig             recordKind = 11
	kindProducerIDs        recordKind = 12
)

// newRecord returns an empty record of this kind, or nil where the kind is unknown.
func newRecord(k recordKind) Record {
	switch k {
	case kindActivateController:
		return new(ActivateControllerRecord)
	case kindCluster:
		return new(ClusterRecord)
	case kindFeatureLevel:
		return new(FeatureLevelRecord)
	case kindRegisterBroker:
		return new(RegisterBrokerRecord)
	case kindBrokerChange:
		return new(BrokerChangeRecord)
	case kindUnregisterBroker:
		return new(UnregisterBrokerRecord)
	case kindTopic:
		return new(TopicRecord)
	case kindRemoveTopic:
		return new(RemoveTopicRecord)
	case kindPartition:
		return new(PartitionRecord)
	case kindPartitionChange:
		return new(PartitionChangeRecord)
	case kindConfig:
		return new(ConfigRecord)
	case kindProducerIDs:
		return new(ProducerIDsRecord)
	}
	return nil
}

// ActivateControllerRecord is the first record of a new controller and the only one that changes the
// controller epoch, which must grow. Every batch decided under an older epoch is stale from here on.
type ActivateControllerRecord struct {
	Epoch int32 // the raft term in which the controller was elected
}

// ClusterRecord names the cluster. It is written once, by the first controller.
type ClusterRecord struct {
	ID string
}

// FeatureLevelRecord finalises a feature at a level; level 0 removes it.
type FeatureLevelRecord struct {
	Name  string
	Level int16
	Epoch int64 // this record's own offset: the epoch of finalised features in ApiVersions
}

// RegisterBrokerRecord is a broker's registration by one incarnation of its process. It replaces an
// earlier one and so fences whatever still runs under the earlier epoch.
type RegisterBrokerRecord struct {
	ID           model.BrokerID
	Epoch        int64      // this record's own offset: the broker epoch
	Incarnation  model.UUID // drawn at each process start
	Endpoints    []model.Endpoint
	Rack         string // "" for none
	DirectoryIDs []model.UUID
	Fenced       bool
	ShuttingDown bool
}

// BrokerChangeRecord fences or unfences a registered broker, or marks its controlled shutdown.
type BrokerChangeRecord struct {
	ID           model.BrokerID
	Epoch        int64 // of the registration that it changes
	Fenced       bool
	ShuttingDown bool
}

// UnregisterBrokerRecord removes a broker's registration.
type UnregisterBrokerRecord struct {
	ID    model.BrokerID
	Epoch int64 // of the registration that it removes
}

// TopicRecord creates a topic without partitions; its PartitionRecords follow in order.
type TopicRecord struct {
	Name string
	ID   model.TopicID
}

// RemoveTopicRecord removes a topic, its partitions and its configs. Its id is never given out again.
type RemoveTopicRecord struct {
	ID model.TopicID
}

// PartitionRecord adds a topic's next partition, whole.
type PartitionRecord struct {
	TopicID   model.TopicID
	Partition int32
	State     Partition
}

// NoLeaderChange in a PartitionChangeRecord leaves the leader and the leader epoch as they are.
const NoLeaderChange model.BrokerID = -2

// PartitionChangeRecord changes the fields it carries. It always raises the partition epoch by one; a
// Leader other than NoLeaderChange raises the leader epoch by one too, even where the leader is the
// same as before. A nil slice leaves its field as it is, an empty one empties it.
type PartitionChangeRecord struct {
	TopicID      model.TopicID
	Partition    int32
	Leader       model.BrokerID
	Replicas     []model.BrokerID
	Directories  []model.UUID
	ISR          []model.BrokerID
	ELR          []model.BrokerID
	LastKnownELR []model.BrokerID
	Adding       []model.BrokerID
	Removing     []model.BrokerID
	Recovery     RecoveryChange
}

// NewPartitionChange returns a change of nothing but the partition epoch. NB: use it rather than
// a literal, whose zero Leader would elect broker 0.
func NewPartitionChange(id model.TopicID, partition int32) *PartitionChangeRecord {
	return &PartitionChangeRecord{TopicID: id, Partition: partition, Leader: NoLeaderChange}
}

// RecoveryChange says what a PartitionChangeRecord does to Partition.Recovering.
type RecoveryChange uint8

// The changes of a partition's recovery state: an unclean election starts it, the leader ends it.
const (
	RecoveryUnchanged RecoveryChange = 0
	RecoveryStarts    RecoveryChange = 1
	RecoveryEnds      RecoveryChange = 2
)

// The resource types of ConfigRecord, numbered as in the protocol.
const (
	TopicResource         int8 = 2
	BrokerResource        int8 = 4
	BrokerLoggerResource  int8 = 8
	ClientMetricsResource int8 = 16
	GroupResource         int8 = 32
)

// ConfigRecord sets one dynamic config of a resource, or with a nil Value deletes it. The broker
// resource with the empty name holds the cluster-wide defaults.
type ConfigRecord struct {
	ResourceType int8
	ResourceName string
	Key          string
	Value        *string
}

// ProducerIDsRecord gives the block of producer ids that ends before NextID to a broker. It is
// committed before the first id of the block leaves that broker.
type ProducerIDsRecord struct {
	BrokerID    model.BrokerID
	BrokerEpoch int64
	NextID      int64 // first id that is still free
}

func (*ActivateControllerRecord) kind() recordKind { return kindActivateController }
func (*ClusterRecord) kind() recordKind            { return kindCluster }
func (*FeatureLevelRecord) kind() recordKind       { return kindFeatureLevel }
func (*RegisterBrokerRecord) kind() recordKind     { return kindRegisterBroker }
func (*BrokerChangeRecord) kind() recordKind       { return kindBrokerChange }
func (*UnregisterBrokerRecord) kind() recordKind   { return kindUnregisterBroker }
func (*TopicRecord) kind() recordKind              { return kindTopic }
func (*RemoveTopicRecord) kind() recordKind        { return kindRemoveTopic }
func (*PartitionRecord) kind() recordKind          { return kindPartition }
func (*PartitionChangeRecord) kind() recordKind    { return kindPartitionChange }
func (*ConfigRecord) kind() recordKind             { return kindConfig }
func (*ProducerIDsRecord) kind() recordKind        { return kindProducerIDs }
