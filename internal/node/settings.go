package node

import (
	"iter"
	"sync/atomic"

	"github.com/walser-io/walser/internal/config"
	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metaconfig"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/storage"
)

// settings resolves configuration over metadata images, and says it in the terms of each part.
type settings struct {
	self   model.BrokerID
	topics config.Topics
	// latest is the resolver of the image that was asked for last: most images set nothing for brokers.
	latest atomic.Pointer[metaconfig.Resolver]
}

func newSettings(static *config.Static, node *config.Node) *settings {
	c := &settings{self: node.NodeID, topics: node.Topics}
	c.latest.Store(metaconfig.New(static.All(), node.NodeID))
	return c
}

// resolver returns the layers of configuration at an image.
func (c *settings) resolver(img *metadata.Image) *metaconfig.Resolver {
	r := c.latest.Load().With(imageSource{img})
	c.latest.Store(r)
	return r
}

// imageSource is an image as metaconfig looks at it.
type imageSource struct{ *metadata.Image }

func (s imageSource) TopicConfig(name string) iter.Seq2[string, string] {
	return s.Config(metadata.TopicResource, name).All()
}

func (s imageSource) BrokerConfig(id model.BrokerID) iter.Seq2[string, string] {
	return s.Config(metadata.BrokerResource, id.String()).All()
}

func (s imageSource) DefaultBrokerConfig() iter.Seq2[string, string] {
	return s.Config(metadata.BrokerResource, "").All()
}

// topic returns a topic's configuration in the terms of its replicas.
func (c *settings) topic(img *metadata.Image, name string) *replica.TopicConfig {
	t := c.resolver(img).Topic(img.Config(metadata.TopicResource, name).All())
	return &replica.TopicConfig{
		Log: storage.LogConfig{
			SegmentBytes:           t.SegmentBytes,
			SegmentMs:              t.SegmentMs,
			SegmentJitterMs:        t.SegmentJitterMs,
			SegmentIndexBytes:      t.SegmentIndexBytes,
			IndexIntervalBytes:     t.IndexIntervalBytes,
			RetentionMs:            t.RetentionMs,
			RetentionBytes:         t.RetentionBytes,
			Delete:                 t.Delete,
			Compact:                t.Compact,
			DeleteRetentionMs:      t.DeleteRetentionMs,
			MinCompactionLagMs:     t.MinCompactionLagMs,
			MaxCompactionLagMs:     t.MaxCompactionLagMs,
			FileDeleteDelayMs:      t.FileDeleteDelayMs,
			MinCleanableDirtyRatio: t.MinCleanableDirtyRatio,
			MaxMessageBytes:        t.MaxMessageBytes,
			FlushMessages:          t.FlushMessages,
			FlushMs:                t.FlushMs,
			Preallocate:            t.Preallocate,
			MessageTimestampType:   record.TimestampType(t.MessageTimestampType),
			TimestampBeforeMaxMs:   t.TimestampBeforeMaxMs,
			TimestampAfterMaxMs:    t.TimestampAfterMaxMs,
			Compression:            record.Codec(max(t.Compression, metaconfig.Uncompressed)),
			KeepCompression:        t.Compression == metaconfig.ProducerCodec,
			CompressionLevel:       int(t.CompressionLevel),
		},
		WriteCaching: writeCaching(t.WriteCaching),
		MinISR:       int(t.MinInsyncReplicas),
	}
}

func writeCaching(w metaconfig.WriteCaching) partition.WriteCaching {
	switch w {
	case metaconfig.CachingOn:
		return partition.CachingOn
	case metaconfig.CachingOff:
		return partition.CachingOff
	}
	return partition.CachingAuto
}

// rules returns the controller's rules about configs at an image.
func (c *settings) rules(img *metadata.Image) control.ConfigRules {
	return configRules{c, c.resolver(img)}
}

type configRules struct {
	*settings
	resolver *metaconfig.Resolver
}

func (r configRules) CheckTopic(overrides iter.Seq2[string, string]) error {
	return r.resolver.CheckTopic(overrides)
}

func (r configRules) DefaultPartitions() int32        { return r.topics.DefaultPartitions }
func (r configRules) DefaultReplicationFactor() int16 { return r.topics.DefaultReplicationFactor }
func (r configRules) DeleteTopicEnabled() bool        { return r.topics.DeleteEnabled }

func (r configRules) Alter(resource metadata.ConfigResource, current metadata.ConfigView, changes []control.ConfigChange, replace bool) ([]control.ConfigUpdate, error) {
	kind, err := alterable(resource)
	if err != nil {
		return nil, err
	}
	asked := make([]metaconfig.Change, len(changes))
	for i, c := range changes {
		asked[i] = metaconfig.Change{Op: metaconfig.Op(c.Op), Name: c.Name, Value: c.Value}
	}
	decide := r.resolver.Alter
	if replace {
		decide = r.resolver.Replace
	}
	updates, err := decide(kind, current.All(), asked)
	if err != nil {
		return nil, err
	}
	stored := make([]control.ConfigUpdate, len(updates))
	for i, u := range updates {
		stored[i] = control.ConfigUpdate{Name: u.Name, Value: u.Value}
	}
	return stored, nil
}

func alterable(resource metadata.ConfigResource) (metaconfig.Resource, error) {
	switch {
	case resource.Type == metadata.TopicResource:
		return metaconfig.TopicResource, nil
	case resource.Type == metadata.GroupResource:
		return metaconfig.GroupResource, nil
	case resource.Type == metadata.BrokerResource && resource.Name == "":
		return metaconfig.AllBrokers, nil
	case resource.Type == metadata.BrokerResource:
		return metaconfig.ThisBroker, nil
	}
	return 0, kafkaerr.New(kafkaerr.InvalidRequest, "configs of resource type %d cannot be altered", resource.Type)
}
