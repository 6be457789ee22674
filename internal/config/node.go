package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walser-io/walser/internal/configdef"
	"github.com/walser-io/walser/internal/model"
)

// Node are the settings that are fixed while a node runs, in the types that its parts take. Keys that can
// change are not here: package metaconfig resolves them over Static.All.
type Node struct {
	NodeID model.BrokerID
	// ClusterID is what an empty data directory is formatted with; "" lets the node choose.
	ClusterID string
	// Rack is told to clients; "" is none.
	Rack string

	// Listeners serve clients. AdvertisedListeners are what clients are told, at least one.
	Listeners           []Listener
	AdvertisedListeners []Listener
	// ControllerListeners are in listeners for a controller's use, and not opened while the quorum has
	// one voter.
	ControllerListeners []Listener
	// InterBrokerListener is the name of one of AdvertisedListeners.
	InterBrokerListener string

	// LogDirs are the data directories, without repetitions; none means that the caller chooses.
	LogDirs []string
	// MetadataDir holds the metadata log; "" means the first of LogDirs.
	MetadataDir string

	Topics  Topics
	Limits  Limits
	Storage Storage
	Groups  Groups
	Offsets Offsets
}

// Topics are the settings about creating and deleting topics.
type Topics struct {
	AutoCreate               bool  // auto.create.topics.enable
	DeleteEnabled            bool  // delete.topic.enable
	DefaultPartitions        int32 // num.partitions
	DefaultReplicationFactor int16 // default.replication.factor
}

// Limits bound what connections and requests may take.
type Limits struct {
	SocketRequestMaxBytes int32         // socket.request.max.bytes
	QueuedMaxRequestBytes int64         // queued.max.request.bytes; -1 is a quarter of the memory limit
	ConnectionsMaxIdle    time.Duration // connections.max.idle.ms; negative is for ever
	SendBufferBytes       int32         // socket.send.buffer.bytes; -1 leaves it to the kernel
	ReceiveBufferBytes    int32         // socket.receive.buffer.bytes; -1 leaves it to the kernel
	FetchMaxBytes         int32         // fetch.max.bytes
	FetchSessionSlots     int32         // max.incremental.fetch.session.cache.slots
	DescribePartitions    int32         // max.request.partition.size.limit
}

// Storage are the pauses and widths of work on logs.
type Storage struct {
	RecoveryParallelism         int           // num.recovery.threads.per.data.dir
	RetentionCheckInterval      time.Duration // log.retention.check.interval.ms
	RecoveryPointInterval       time.Duration // log.flush.offset.checkpoint.interval.ms
	StartOffsetInterval         time.Duration // log.flush.start.offset.checkpoint.interval.ms
	HighWatermarkInterval       time.Duration // replica.high.watermark.checkpoint.interval.ms
	ProducerExpiryCheckInterval time.Duration // producer.id.expiration.check.interval.ms
	CleanerEnabled              bool          // log.cleaner.enable
	VolumeSyncLogs              int           // log.flush.file.system.min.partitions
}

// Groups are the settings of classic groups.
type Groups struct {
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int32         // group.max.size
	Workers               int           // group.coordinator.threads
	MaxMemory             int64         // group.coordinator.memory.max.bytes; -1 is a quarter of the memory limit
}

// Offsets are the settings of committed offsets and of the topic that holds them.
type Offsets struct {
	TopicPartitions        int32         // offsets.topic.num.partitions
	TopicReplicationFactor int16         // offsets.topic.replication.factor; no more than there are brokers
	TopicSegmentBytes      int32         // offsets.topic.segment.bytes
	LoadBufferBytes        int32         // offsets.load.buffer.size
	Retention              time.Duration // offsets.retention.minutes
	RetentionCheckInterval time.Duration // offsets.retention.check.interval.ms
	CommitTimeout          time.Duration // offsets.commit.timeout.ms
	MaxMetadataBytes       int32         // offset.metadata.max.bytes
}

// buildNode fills a Node and checks the rules between keys.
func (s *Static) buildNode(faults *Faults) Node {
	l := s.listeners(faults)
	n := Node{
		NodeID:              s.nodeID(faults),
		ClusterID:           s.clusterID(faults),
		Rack:                s.value("broker.rack").Text(),
		Listeners:           l.clients,
		AdvertisedListeners: l.advertised,
		ControllerListeners: l.controllers,
		InterBrokerListener: l.interBroker,
		LogDirs:             s.logDirs(),
		MetadataDir:         s.value("metadata.log.dir").Text(),
		Topics: Topics{
			AutoCreate:               s.value("auto.create.topics.enable").Bool(),
			DeleteEnabled:            s.value("delete.topic.enable").Bool(),
			DefaultPartitions:        s.int32("num.partitions"),
			DefaultReplicationFactor: int16(min(s.int32("default.replication.factor"), math.MaxInt16)),
		},
		Limits: Limits{
			SocketRequestMaxBytes: s.int32("socket.request.max.bytes"),
			QueuedMaxRequestBytes: max(s.value("queued.max.request.bytes").Int(), -1),
			ConnectionsMaxIdle:    s.ms("connections.max.idle.ms"),
			SendBufferBytes:       max(s.int32("socket.send.buffer.bytes"), -1),
			ReceiveBufferBytes:    max(s.int32("socket.receive.buffer.bytes"), -1),
			FetchMaxBytes:         s.int32("fetch.max.bytes"),
			FetchSessionSlots:     s.int32("max.incremental.fetch.session.cache.slots"),
			DescribePartitions:    s.int32("max.request.partition.size.limit"),
		},
		Storage: Storage{
			RecoveryParallelism:         int(s.int32("num.recovery.threads.per.data.dir")),
			RetentionCheckInterval:      s.ms("log.retention.check.interval.ms"),
			RecoveryPointInterval:       s.ms("log.flush.offset.checkpoint.interval.ms"),
			StartOffsetInterval:         s.ms("log.flush.start.offset.checkpoint.interval.ms"),
			HighWatermarkInterval:       s.ms("replica.high.watermark.checkpoint.interval.ms"),
			ProducerExpiryCheckInterval: s.ms("producer.id.expiration.check.interval.ms"),
			CleanerEnabled:              s.value("log.cleaner.enable").Bool(),
			VolumeSyncLogs:              int(s.int32("log.flush.file.system.min.partitions")),
		},
		Groups: Groups{
			MinSessionTimeout:     s.ms("group.min.session.timeout.ms"),
			MaxSessionTimeout:     s.ms("group.max.session.timeout.ms"),
			InitialRebalanceDelay: s.ms("group.initial.rebalance.delay.ms"),
			MaxSize:               s.int32("group.max.size"),
			Workers:               int(s.int32("group.coordinator.threads")),
			MaxMemory:             s.value("group.coordinator.memory.max.bytes").Int(),
		},
		Offsets: Offsets{
			TopicPartitions:        s.int32("offsets.topic.num.partitions"),
			TopicReplicationFactor: int16(s.int32("offsets.topic.replication.factor")),
			TopicSegmentBytes:      s.int32("offsets.topic.segment.bytes"),
			LoadBufferBytes:        s.int32("offsets.load.buffer.size"),
			Retention:              clampDuration(s.value("offsets.retention.minutes").Int(), time.Minute),
			RetentionCheckInterval: s.ms("offsets.retention.check.interval.ms"),
			CommitTimeout:          s.ms("offsets.commit.timeout.ms"),
			MaxMetadataBytes:       s.int32("offset.metadata.max.bytes"),
		},
	}
	s.checkRoles(faults)
	s.checkRules(n, faults)
	return n
}

func (s *Static) int32(name string) int32 { return int32(s.value(name).Int()) }
func (s *Static) ms(name string) time.Duration {
	return clampDuration(s.value(name).Int(), time.Millisecond)
}

// clampDuration keeps what Kafka's 64-bit milliseconds allow and a Duration does not: the longest one,
// 292 years, stands for it.
func clampDuration(n int64, unit time.Duration) time.Duration {
	if n > math.MaxInt64/int64(unit) {
		return math.MaxInt64
	}
	if n < math.MinInt64/int64(unit) {
		return math.MinInt64
	}
	return time.Duration(n) * unit
}

func (s *Static) nodeID(faults *Faults) model.BrokerID {
	id, old := s.value("node.id").Int(), s.value("broker.id").Int()
	switch {
	case !s.isSet("broker.id"):
	case !s.isSet("node.id"):
		if id = old; id < 0 {
			s.fault(faults, "broker.id", "must be at least 0", "set node.id instead")
		}
	case id != old:
		s.fault(faults, "broker.id", fmt.Sprintf("must be the same as node.id, %d", id), "remove broker.id")
	}
	return model.BrokerID(id)
}

func (s *Static) clusterID(faults *Faults) string {
	id := s.value("cluster.id").Text()
	if len(id) > 249 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		s.fault(faults, "cluster.id", "must be up to 249 letters, digits and signs without spaces", "leave it out to have one made up")
	}
	return id
}

func (s *Static) logDirs() []string {
	if s.isSet("log.dirs") {
		return slices.Clone(s.value("log.dirs").List())
	}
	return slices.Clone(s.value("log.dir").List())
}

func (s *Static) checkRoles(faults *Faults) {
	roles := s.value("process.roles").List()
	if !slices.Contains(roles, "broker") || !slices.Contains(roles, "controller") {
		s.fault(faults, "process.roles", "must be broker,controller: nodes of a single role are not served yet", "remove it for the default")
	}
}

// checkRules holds the values against one another, as far as the keys take effect here.
func (s *Static) checkRules(n Node, faults *Faults) {
	if v := s.value("log.roll.ms"); !v.Null && v.Int() < 1 {
		s.fault(faults, "log.roll.ms", "must be at least 1", "")
	}
	s.checkRetention(faults)
	if v := s.value("log.roll.jitter.ms"); v.Int() < 0 {
		s.fault(faults, "log.roll.jitter.ms", "must be at least 0", "")
	}
	if n.Groups.MinSessionTimeout > n.Groups.MaxSessionTimeout {
		s.fault(faults, "group.min.session.timeout.ms", "must not be above group.max.session.timeout.ms, "+
			strconv.FormatInt(s.value("group.max.session.timeout.ms").Int(), 10), "")
	}
	if q := n.Limits.QueuedMaxRequestBytes; q > 0 && q < int64(n.Limits.SocketRequestMaxBytes) {
		s.fault(faults, "queued.max.request.bytes", fmt.Sprintf("must be at least socket.request.max.bytes, %d, or -1", n.Limits.SocketRequestMaxBytes), "")
	}
	if n.Groups.MaxMemory >= 0 && n.Groups.MaxMemory < 1<<20 {
		s.fault(faults, "group.coordinator.memory.max.bytes", "must be at least 1048576, or -1", "")
	}
	if lo, hi := s.value("log.cleaner.min.compaction.lag.ms").Int(), s.value("log.cleaner.max.compaction.lag.ms").Int(); lo > hi {
		s.fault(faults, "log.cleaner.min.compaction.lag.ms", fmt.Sprintf("must not be above log.cleaner.max.compaction.lag.ms, %d", hi), "")
	}
	s.checkIntervals(faults)
	s.checkCleaner(faults)
	s.checkConnections(faults)
	if largest := s.value("message.max.bytes").Int(); largest > int64(n.Limits.SocketRequestMaxBytes) {
		s.warn(s.entry("message.max.bytes"), "is above socket.request.max.bytes, %d: a batch of that size never arrives", n.Limits.SocketRequestMaxBytes)
	}
	if isr := s.value("min.insync.replicas").Int(); s.isSet("min.insync.replicas") && isr > int64(n.Topics.DefaultReplicationFactor) {
		s.warn(s.entry("min.insync.replicas"), "is above default.replication.factor, %d: topics created with the defaults take no acks=all writes", n.Topics.DefaultReplicationFactor)
	}
}

// checkRetention checks the one key of the three that decides. Every negative number means never, as in
// Kafka; zero is refused, since it would delete what has just been written.
func (s *Static) checkRetention(faults *Faults) {
	for _, name := range []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"} {
		if v := s.value(name); !v.Null {
			if v.Int() == 0 {
				s.fault(faults, name, "must be at least 1, or -1 for never", "")
			}
			return
		}
	}
}

func (s *Static) checkCleaner(faults *Faults) {
	threads := s.value("log.cleaner.threads").Int()
	if threads == 0 {
		s.fault(faults, "log.cleaner.threads", "must be at least 1", "turn compaction off with log.cleaner.enable=false")
		return
	}
	if s.value("log.cleaner.dedupe.buffer.size").Int()/threads <= 1<<20 {
		s.fault(faults, "log.cleaner.dedupe.buffer.size", fmt.Sprintf("must be above 1048576 for each of the %d log.cleaner.threads", threads), "")
	}
}

// checkIntervals refuses what Kafka takes for "once", and a segment size with which the topic of the groups could
// never be made.
func (s *Static) checkIntervals(faults *Faults) {
	for _, name := range []string{
		"log.flush.offset.checkpoint.interval.ms", "log.flush.start.offset.checkpoint.interval.ms",
		"replica.high.watermark.checkpoint.interval.ms",
	} {
		if s.value(name).Int() < 1 {
			s.fault(faults, name, "must be at least 1", "")
		}
	}
	const key, least = "offsets.topic.segment.bytes", 1 << 20
	if s.value(key).Int() < least {
		s.fault(faults, key, fmt.Sprintf("must be at least %d, the least segment.bytes of a topic", least), "")
	}
}

func (s *Static) checkConnections(faults *Faults) {
	const key, overrides = "max.connections.per.ip", "max.connections.per.ip.overrides"
	bounds, err := configdef.ParseConnectionOverrides(s.value(overrides).Text())
	if err != nil {
		s.fault(faults, overrides, err.Error(), "write for example 10.0.0.7:100")
		return
	}
	if s.value(key).Int() == 0 && len(bounds) == 0 {
		s.fault(faults, key, "must be above 0 where "+overrides+" is not set: no client could connect", "")
	}
}
