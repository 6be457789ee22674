package metaconfig

import (
	"iter"
	"slices"

	"github.com/walser-io/walser/internal/configdef"
)

// Topic is the configuration of one topic, resolved. Sizes are in bytes; times are milliseconds, as
// records and Kafka's keys have them.
type Topic struct {
	SegmentBytes       int32 // segment.bytes
	SegmentMs          int64 // segment.ms
	SegmentJitterMs    int64 // segment.jitter.ms
	SegmentIndexBytes  int32 // segment.index.bytes
	IndexIntervalBytes int32 // index.interval.bytes

	RetentionMs    int64 // retention.ms; -1 is for ever
	RetentionBytes int64 // retention.bytes; negative is without limit
	Delete         bool  // cleanup.policy has delete
	Compact        bool  // cleanup.policy has compact

	DeleteRetentionMs      int64   // delete.retention.ms
	MinCompactionLagMs     int64   // min.compaction.lag.ms
	MaxCompactionLagMs     int64   // max.compaction.lag.ms
	MinCleanableDirtyRatio float64 // min.cleanable.dirty.ratio
	FileDeleteDelayMs      int64   // file.delete.delay.ms

	MaxMessageBytes int32 // max.message.bytes
	FlushMessages   int64 // flush.messages
	FlushMs         int64 // flush.ms
	Preallocate     bool  // preallocate

	MessageTimestampType TimestampType // message.timestamp.type
	TimestampBeforeMaxMs int64         // message.timestamp.before.max.ms
	TimestampAfterMaxMs  int64         // message.timestamp.after.max.ms

	Compression      Codec // compression.type
	CompressionLevel int32 // level of Compression; 0 where the codec has none

	MinInsyncReplicas int32        // min.insync.replicas
	WriteCaching      WriteCaching // write.caching
}

// TimestampType is whose timestamps records carry, numbered as in a batch's attributes.
type TimestampType int8

// The timestamp types.
const (
	CreateTime    TimestampType = 0
	LogAppendTime TimestampType = 1
)

// Codec is a compression codec, numbered as in a batch's attributes.
type Codec int8

// The codecs. ProducerCodec keeps what a producer sent.
const (
	ProducerCodec Codec = -1
	Uncompressed  Codec = 0
	Gzip          Codec = 1
	Snappy        Codec = 2
	LZ4           Codec = 3
	Zstd          Codec = 4
)

var codecs = map[string]Codec{
	"producer": ProducerCodec, "uncompressed": Uncompressed, "gzip": Gzip, "snappy": Snappy, "lz4": LZ4, "zstd": Zstd,
}

// WriteCaching says from where a write is acknowledged.
type WriteCaching int8

// The values of write.caching.
const (
	CachingAuto WriteCaching = iota // after a flush while the in-sync set has one member, else from the page cache
	CachingOn                       // from the page cache, as Kafka
	CachingOff                      // after a flush
)

var writeCachings = map[string]WriteCaching{"auto": CachingAuto, "true": CachingOn, "false": CachingOff}

// Topic resolves a topic's configuration over its overrides. Topics without any share one value, so that ten
// thousand of them cost nothing; it must not be changed. Overrides that no longer pass are passed over.
// It is for when configuration changes: who asks per request keeps the result.
func (r *Resolver) Topic(overrides iter.Seq2[string, string]) *Topic {
	var parsed map[string]configdef.Value
	for name, text := range overrides {
		if k, ok := configdef.Topic().Lookup(name); ok {
			if v, err := k.Parse(text); err == nil {
				if parsed == nil {
					parsed = map[string]configdef.Value{}
				}
				parsed[name] = v
			}
		}
	}
	if parsed == nil {
		return &r.topic
	}
	t := r.resolveTopic(parsed)
	return &t
}

func (r *Resolver) resolveTopic(overrides map[string]configdef.Value) Topic {
	value := func(name string) configdef.Value {
		if v, ok := overrides[name]; ok {
			return v
		}
		k, _ := configdef.Topic().Lookup(name)
		return r.inherited(k)
	}
	number := func(name string) int64 { return value(name).Int() }
	policy := value("cleanup.policy").List()
	t := Topic{
		SegmentBytes:           int32(number("segment.bytes")),
		SegmentMs:              number("segment.ms"),
		SegmentJitterMs:        number("segment.jitter.ms"),
		SegmentIndexBytes:      int32(number("segment.index.bytes")),
		IndexIntervalBytes:     int32(number("index.interval.bytes")),
		RetentionMs:            number("retention.ms"),
		RetentionBytes:         number("retention.bytes"),
		Delete:                 slices.Contains(policy, "delete"),
		Compact:                slices.Contains(policy, "compact"),
		DeleteRetentionMs:      number("delete.retention.ms"),
		MinCompactionLagMs:     number("min.compaction.lag.ms"),
		MaxCompactionLagMs:     number("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: value("min.cleanable.dirty.ratio").Float(),
		FileDeleteDelayMs:      number("file.delete.delay.ms"),
		MaxMessageBytes:        int32(number("max.message.bytes")),
		FlushMessages:          number("flush.messages"),
		FlushMs:                number("flush.ms"),
		Preallocate:            value("preallocate").Bool(),
		TimestampBeforeMaxMs:   number("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:    number("message.timestamp.after.max.ms"),
		Compression:            codecs[value("compression.type").Text()],
		MinInsyncReplicas:      int32(number("min.insync.replicas")),
		WriteCaching:           writeCachings[value("write.caching").Text()],
	}
	if value("message.timestamp.type").Text() == "LogAppendTime" {
		t.MessageTimestampType = LogAppendTime
	}
	switch t.Compression {
	case Gzip:
		t.CompressionLevel = int32(number("compression.gzip.level"))
	case LZ4:
		t.CompressionLevel = int32(number("compression.lz4.level"))
	case Zstd:
		t.CompressionLevel = int32(number("compression.zstd.level"))
	case ProducerCodec, Uncompressed, Snappy: // have no levels
	}
	return t
}
