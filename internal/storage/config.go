package storage

import (
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage/producerstate"
	"github.com/walser-io/walser/internal/vfs"
)

// What a Log or a Manager refuses. Replica maps them to error codes, once.
var (
	// ErrFenced: the append carries another leader epoch or role than the log was set to.
	ErrFenced = errors.New("the append is fenced by a newer leader epoch or role")
	// ErrOffline: the log, or its directory, had a disk error and takes no part any more.
	ErrOffline = errors.New("the log is offline after a disk error")
	// ErrNoSpace: the disk is full. Nothing was appended; a later append may succeed.
	ErrNoSpace = errors.New("no space left in the log directory")
	// ErrNotRecovered: the log's recovery is still to come, or under way.
	ErrNotRecovered = errors.New("the log is not recovered yet")
	// ErrClosed: the log was deleted or the manager closed.
	ErrClosed = errors.New("the log is closed")
	// ErrOffsetOutOfRange: the offset lies before the start or past the end of the log.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrRecordListTooLarge: one append is larger than segment.bytes.
	ErrRecordListTooLarge = errors.New("the append is larger than a segment")
	// ErrCorruptBatch: what a leader sent is no sequence of sound batches that continues this log.
	ErrCorruptBatch = errors.New("corrupt batch")
	// ErrUnknownPartition: the manager has no such log.
	ErrUnknownPartition = errors.New("no such log on this node")
	// ErrExists: the manager has such a log already.
	ErrExists = errors.New("the log exists already")
	// ErrWrongTopicID: the directory belongs to another incarnation of the topic.
	ErrWrongTopicID = errors.New("the directory belongs to another topic of this name")

	// These are producerstate's.
	ErrOutOfOrderSequence   = producerstate.ErrOutOfOrderSequence
	ErrInvalidProducerEpoch = producerstate.ErrInvalidProducerEpoch
	ErrInvalidTxnState      = producerstate.ErrInvalidTxnState
	ErrCoordinatorFenced    = producerstate.ErrCoordinatorFenced
)

// LogConfig is the part of a topic's configuration that its log obeys; replaced whole by Log.SetConfig.
// The names are Kafka's, units are in them. Negative retention keeps for ever.
type LogConfig struct {
	SegmentBytes           int32 // segment.bytes
	SegmentMs              int64
	SegmentJitterMs        int64
	SegmentIndexBytes      int32 // segment.index.bytes: a segment is rolled before its index outgrows it
	IndexIntervalBytes     int32
	RetentionMs            int64
	RetentionBytes         int64
	Delete, Compact        bool // cleanup.policy
	DeleteRetentionMs      int64
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	FileDeleteDelayMs      int64
	MinCleanableDirtyRatio float64
	MaxMessageBytes        int32
	FlushMessages          int64
	FlushMs                int64
	Preallocate            bool

	// For record.Validate, which runs before the log sees a batch.
	MessageTimestampType                      record.TimestampType
	TimestampBeforeMaxMs, TimestampAfterMaxMs int64
	// Compression is the topic's codec; KeepCompression says "as the producer sent it" instead.
	Compression      record.Codec
	KeepCompression  bool
	CompressionLevel int
}

// DefaultLogConfig returns Kafka's defaults.
func DefaultLogConfig() LogConfig {
	return LogConfig{
		SegmentBytes:           1 << 30,
		SegmentMs:              7 * 24 * time.Hour.Milliseconds(),
		SegmentIndexBytes:      10 << 20,
		IndexIntervalBytes:     4096,
		RetentionMs:            7 * 24 * time.Hour.Milliseconds(),
		RetentionBytes:         -1,
		Delete:                 true,
		DeleteRetentionMs:      24 * time.Hour.Milliseconds(),
		MaxCompactionLagMs:     math.MaxInt64,
		FileDeleteDelayMs:      time.Minute.Milliseconds(),
		MinCleanableDirtyRatio: 0.5,
		MaxMessageBytes:        1<<20 + record.LogOverhead,
		FlushMessages:          math.MaxInt64,
		FlushMs:                math.MaxInt64,
		TimestampBeforeMaxMs:   math.MaxInt64,
		TimestampAfterMaxMs:    time.Hour.Milliseconds(),
		KeepCompression:        true,
	}
}

// fileDeleteDelay keeps the longest Duration for what does not fit into one.
func (c *LogConfig) fileDeleteDelay() time.Duration {
	return time.Duration(min(c.FileDeleteDelayMs, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// Deps is what a Manager needs of the world.
type Deps struct {
	FS         vfs.FS
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Wall gives record time: retention and expiry are measured against it.
	Wall func() time.Time
}

// ManagerConfig is a Manager's own configuration. Zero values take the default that the comment names.
type ManagerConfig struct {
	NodeID    model.BrokerID
	ClusterID string
	// Dirs are the log directories (log.dirs). One that is missing or empty is formatted.
	Dirs []string
	// NewDirectoryID draws the id of a directory that is formatted; default random.
	NewDirectoryID func() (model.UUID, error)

	MaxOpenFiles          int           // segment files kept open; 8192
	SyncThreads           int           // parallel syncs per directory; 8
	VolumeSyncLogs        int           // how many logs to flush make the syncer sync their file system as a whole; 0: it never does
	RecoveryThreads       int           // logs opened at once; 4 (num.recovery.threads.per.data.dir)
	FlushCheckInterval    time.Duration // how often flush.ms is looked at; 1 s
	RecoveryPointInterval time.Duration // background flush and recovery-point-offset-checkpoint; 5 s
	HighWatermarkInterval time.Duration // replication-offset-checkpoint; 5 s
	StartOffsetInterval   time.Duration // log-start-offset-checkpoint; 60 s
	RetentionInterval     time.Duration // log.retention.check.interval.ms; 5 min
	ProducerCheckInterval time.Duration // producer.id.expiration.check.interval.ms; 10 min
	// SnapshotBytes is how much a log may append until a new producer snapshot bounds the replay after
	// a crash; 32 MiB.
	SnapshotBytes int64
}

func (c ManagerConfig) withDefaults() ManagerConfig {
	c.MaxOpenFiles = orDefault(c.MaxOpenFiles, 8192)
	c.SyncThreads = orDefault(c.SyncThreads, 8)
	c.RecoveryThreads = orDefault(c.RecoveryThreads, 4)
	c.FlushCheckInterval = orDefault(c.FlushCheckInterval, time.Second)
	c.RecoveryPointInterval = orDefault(c.RecoveryPointInterval, 5*time.Second)
	c.HighWatermarkInterval = orDefault(c.HighWatermarkInterval, 5*time.Second)
	c.StartOffsetInterval = orDefault(c.StartOffsetInterval, time.Minute)
	c.RetentionInterval = orDefault(c.RetentionInterval, 5*time.Minute)
	c.ProducerCheckInterval = orDefault(c.ProducerCheckInterval, 10*time.Minute)
	c.SnapshotBytes = orDefault(c.SnapshotBytes, 32<<20)
	return c
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Hooks are called when something happens to a log, outside all of its locks and possibly from several
// goroutines. They must not block. A nil one is not called.
type Hooks struct {
	// Flushed: everything below offset is durable. Called once per round of the syncer.
	Flushed func(offset int64)
	// Offline: the log serves nothing any more; waiters get a storage error.
	Offline func(err error)
	// StartOffsetMoved: the log begins at offset now.
	StartOffsetMoved func(offset int64)
}
