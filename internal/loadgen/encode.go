package loadgen

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	produceVersion = 9 // flexible, and every broker since Kafka 2.8 has it
	correlation    = 1 // of every encoded request: answers come in the order of the requests
	batchHeader    = 61
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeProduce returns a whole Produce request, its size in front, and how many records it carries: for each
// of the partitions one batch of at most load.BatchBytes, uncompressed and without a producer id, with the
// values from number first on. Sent again, it appends again.
func EncodeProduce(load *Load, values *Payloads, first int64, partitions []int32) (request []byte, records int64) {
	produce := kmsg.NewPtrProduceRequest()
	produce.Version, produce.Acks, produce.TimeoutMillis = produceVersion, 1, int32(deliveryTimeout.Milliseconds())
	if load.Acks == "all" {
		produce.Acks = -1
	}
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = load.Topic
	for _, partition := range partitions {
		batch, n := encodeBatch(load, values, first+records)
		records += n
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = partition, batch
		topic.Partitions = append(topic.Partitions, part)
	}
	produce.Topics = append(produce.Topics, topic)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("loadgen")).AppendRequest(nil, produce, correlation), records
}

// encodeBatch returns a batch that holds as many values as fit, and at least one.
func encodeBatch(load *Load, values *Payloads, first int64) (batch []byte, records int64) {
	var body, record []byte
	for {
		record = append(record[:0], 0)                // attributes
		record = binary.AppendVarint(record, 0)       // timestamp delta
		record = binary.AppendVarint(record, records) // offset delta
		record = binary.AppendVarint(record, -1)      // no key
		value := values.At(first + records)
		record = append(binary.AppendVarint(record, int64(len(value))), value...)
		record = binary.AppendVarint(record, 0) // no headers
		before := len(body)
		body = append(binary.AppendVarint(body, int64(len(record))), record...)
		if records > 0 && batchHeader+len(body) > load.BatchBytes {
			body = body[:before]
			break
		}
		records++
	}
	now := time.Now().UnixMilli()
	header := kmsg.RecordBatch{
		Length: int32(batchHeader - 12 + len(body)), PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(records - 1),
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(records),
		Records: body,
	}
	batch = header.AppendTo(nil)
	const crc = 17
	binary.BigEndian.PutUint32(batch[crc:], crc32.Checksum(batch[crc+4:], castagnoli))
	return batch, records
}
