package loadgen

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What is the same in every load.
const (
	stickyBytes     = 256 << 10        // the partitioner stays with a partition for that much
	bufferedRecords = 1 << 18          // what a producer holds unacknowledged, in records …
	bufferedBytes   = 64 << 20         // … and in bytes; the smaller limit holds
	deliveryTimeout = 30 * time.Second // a record that is not acknowledged by then fails the run
	fetchMaxBytes   = 50 << 20
	fetchPartBytes  = 1 << 20
	fetchMaxWait    = 500 * time.Millisecond

	// idempotentInFlight is what franz-go sends ahead with an idempotent producer; it is not an option there.
	idempotentInFlight = 5
	// maxRate keeps the arithmetic of a schedule within 63 bits for an hour.
	maxRate = 1_000_000
	// maxBatchBytes is what the client sends in one request.
	maxBatchBytes = 100 << 20
	// minRecordBytes is room for the number that a record carries.
	minRecordBytes = 8
)

// Load says what is offered, completely. The fields of a consumer matter only where there is one.
type Load struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"` // of the topic, which exists

	RecordBytes int     `json:"record_bytes"` // of a record's value; it has no key and no headers
	Redundancy  float64 `json:"redundancy"`   // share of a value that compresses away, 0 to 1
	Seed        uint64  `json:"seed"`         // of the values

	Producers  int           `json:"producers"` // clients, one connection for records each; 0 of Read, which takes what others wrote
	Acks       string        `json:"acks"`      // all or 1
	Idempotent bool          `json:"idempotent"`
	InFlight   int           `json:"in_flight"` // requests that a producer sends ahead
	Linger     time.Duration `json:"linger_ns"`
	BatchBytes int           `json:"batch_bytes"`
	Codec      string        `json:"codec"`                 // none, gzip, snappy, lz4 or zstd
	Rate       int           `json:"rate"`                  // records per second from all producers, where the loop is open
	PerRequest int           `json:"per_request,omitempty"` // batches that one request of Replay carries, each for a partition of its own

	Consumers int `json:"consumers"` // clients without a group, each reading every partition
}

// Validate lists what is wrong with the load.
func (l *Load) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(l.Topic != "", "Topic is empty")
	check(l.Partitions >= 1, "Partitions is %d: want at least 1", l.Partitions)
	check(l.RecordBytes >= minRecordBytes, "RecordBytes is %d: want at least %d", l.RecordBytes, minRecordBytes)
	check(l.Redundancy >= 0 && l.Redundancy <= 1, "Redundancy is %v: want 0 to 1", l.Redundancy)
	check(l.Producers >= 1, "Producers is %d: want at least 1", l.Producers)
	_, known := acks[l.Acks]
	check(known, "Acks is %q: want all or 1", l.Acks)
	check(!l.Idempotent || l.Acks == "all", "Acks is %q: an idempotent producer needs all", l.Acks)
	check(!l.Idempotent || l.InFlight == idempotentInFlight,
		"InFlight is %d: the client's idempotent producer has %d", l.InFlight, idempotentInFlight)
	check(l.InFlight >= 1, "InFlight is %d: want at least 1", l.InFlight)
	check(l.Linger >= 0, "Linger is %v: want no less than 0", l.Linger)
	check(l.BatchBytes >= 1024 && l.BatchBytes <= maxBatchBytes, "BatchBytes is %d: want 1024 to %d", l.BatchBytes, maxBatchBytes)
	_, known = codecs[l.Codec]
	check(known, "Codec is %q: want none, gzip, snappy, lz4 or zstd", l.Codec)
	check(l.Rate >= 0 && l.Rate <= maxRate, "Rate is %d: want 0 to %d", l.Rate, maxRate)
	check(l.PerRequest >= 0 && l.PerRequest <= max(l.Partitions, 0), "PerRequest is %d: want 0 to the number of partitions", l.PerRequest)
	check(l.Consumers >= 0, "Consumers is %d: want no less than 0", l.Consumers)
	return errors.Join(faults...)
}

// Describe returns the load as lines of what is pinned, for a report.
func (l *Load) Describe() []string {
	var lines []string
	if l.Producers > 0 {
		lines = append(lines, fmt.Sprintf("records: %d bytes, no key, %.0f %% redundant (bytes of a PCG, then zeros), seed %d, codec %s", l.RecordBytes, 100*l.Redundancy, l.Seed, l.Codec))
	}
	switch {
	case l.Producers == 0:
		lines = append(lines, fmt.Sprintf("partitions: %d", l.Partitions))
	case l.PerRequest > 0:
		lines = append(lines, fmt.Sprintf("partitions: %d; replayed over %d connections, %d requests in flight on each, acks=%s, no producer id, %d batches of %d KiB in a request, encoded before the clock starts",
			l.Partitions, l.Producers, l.InFlight, l.Acks, l.PerRequest, l.BatchBytes>>10))
	default:
		lines = append(lines,
			fmt.Sprintf("partitions: %d; uniform sticky partitioner of %d KiB", l.Partitions, stickyBytes>>10),
			fmt.Sprintf("producers: %d; acks=%s, idempotent %v, %d requests in flight, linger %v, batches of %d KiB, buffers of %d records or %d MiB",
				l.Producers, l.Acks, l.Idempotent, l.InFlight, l.Linger, l.BatchBytes>>10, bufferedRecords, bufferedBytes>>20))
	}
	if l.Consumers > 0 {
		lines = append(lines, fmt.Sprintf("consumers: %d; no group, fetches of at most %d MiB and %d MiB per partition, wait of at most %v",
			l.Consumers, fetchMaxBytes>>20, fetchPartBytes>>20, fetchMaxWait))
	}
	return lines
}

var acks = map[string]kgo.Acks{"all": kgo.AllISRAcks(), "1": kgo.LeaderAck()}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// producer returns a client that writes as the load says.
func (l *Load) producer(cluster []kgo.Opt) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.DefaultProduceTopic(l.Topic),
		kgo.RequiredAcks(acks[l.Acks]),
		kgo.ProducerBatchCompression(codecs[l.Codec]),
		kgo.ProducerBatchMaxBytes(int32(l.BatchBytes)),
		kgo.ProducerLinger(l.Linger),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(stickyBytes, false, false, nil)),
		kgo.MaxBufferedRecords(bufferedRecords),
		kgo.MaxBufferedBytes(bufferedBytes),
		kgo.RecordDeliveryTimeout(deliveryTimeout),
	}
	if !l.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(l.InFlight))
	}
	client, err := kgo.NewClient(append(opts, cluster...)...)
	if err != nil {
		return nil, fmt.Errorf("make a producer: %w", err)
	}
	return client, nil
}

// consumer returns a client that reads each partition from the offset it is given.
func (l *Load) consumer(cluster []kgo.Opt, from []int64) (*kgo.Client, error) {
	partitions := make(map[int32]kgo.Offset, len(from))
	for p, offset := range from {
		partitions[int32(p)] = kgo.NewOffset().At(offset)
	}
	opts := []kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.Topic: partitions}),
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.FetchMaxPartitionBytes(fetchPartBytes),
		kgo.FetchMaxWait(fetchMaxWait),
	}
	client, err := kgo.NewClient(append(opts, cluster...)...)
	if err != nil {
		return nil, fmt.Errorf("make a consumer: %w", err)
	}
	return client, nil
}
