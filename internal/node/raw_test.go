package node_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/record"
)

// oneRecord returns a batch of one record.
func oneRecord(t *testing.T, value []byte) record.Batch {
	t.Helper()
	b := record.NewBuilder(record.BuilderOptions{})
	b.Append(time.Now().UnixMilli(), nil, value, nil)
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func produceRequest(t *testing.T, topic string, partition int32, value []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, oneRecord(t, value)
	to := kmsg.NewProduceRequestTopic()
	to.Topic, to.Partitions = topic, []kmsg.ProduceRequestTopicPartition{p}
	req.Topics = append(req.Topics, to)
	return req
}

// tryProduce sends one record to a partition, once, and returns the answer's error: a client would retry.
func tryProduce(t *testing.T, client *kgo.Client, topic string, partition int32, value []byte) error {
	t.Helper()
	resp, err := client.Broker(1).Request(within(t), noTopicID{produceRequest(t, topic, partition, value)})
	if err != nil {
		t.Fatal(err)
	}
	return kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// noTopicID keeps a request to the versions that name topics by their names.
type noTopicID struct{ *kmsg.ProduceRequest }

func (noTopicID) MaxVersion() int16 { return 12 }

func fetchRequest(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes = 1 << 20
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	from := kmsg.NewFetchRequestTopic()
	from.Topic, from.Partitions = topic, []kmsg.FetchRequestTopicPartition{p}
	req.Topics = append(req.Topics, from)
	return req
}

// tryFetch reads a partition at an offset, once.
func tryFetch(t *testing.T, client *kgo.Client, topic string, partition int32, offset int64) (kmsg.FetchResponseTopicPartition, error) {
	t.Helper()
	resp, err := client.Broker(1).Request(within(t), namedFetch{fetchRequest(topic, partition, offset)})
	if err != nil {
		t.Fatal(err)
	}
	p := resp.(*kmsg.FetchResponse).Topics[0].Partitions[0]
	return p, kerr.ErrorForCode(p.ErrorCode)
}

// namedFetch is to Fetch what noTopicID is to Produce.
type namedFetch struct{ *kmsg.FetchRequest }

func (namedFetch) MaxVersion() int16 { return 12 }
