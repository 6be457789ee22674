package replica

import (
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
)

// TopicConfig is what of a topic's configuration its replicas obey. Immutable; the topic's replicas share
// one.
type TopicConfig struct {
	Log          storage.LogConfig
	WriteCaching partition.WriteCaching // write.caching
	MinISR       int                    // min.insync.replicas
}

func (c *TopicConfig) machineInput() partition.Input {
	return partition.Configure{WriteCaching: c.WriteCaching, MinISR: c.MinISR}
}

// rules is what a client's batch is validated against.
func (c *TopicConfig) rules(nowMs int64) record.Rules {
	target := record.TargetOf(c.Log.Compression)
	if c.Log.KeepCompression {
		target = record.KeepCodec
	}
	return record.Rules{
		MaxMessageBytes:      max(int(c.Log.MaxMessageBytes), 1), // 0 lets no batch in; for the rules it is no limit
		TimestampType:        c.Log.MessageTimestampType,
		TimestampBeforeMaxMs: c.Log.TimestampBeforeMaxMs,
		TimestampAfterMaxMs:  c.Log.TimestampAfterMaxMs,
		NowMs:                nowMs,
		KeyRequired:          c.Log.Compact,
		TargetCodec:          target,
		Level:                c.Log.CompressionLevel,
	}
}
