package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

type franz struct{}

func (franz) name() string     { return "franz-go" }
func (franz) codecs() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

func (franz) create(t *testing.T, addr, topic string, partitions int) {
	t.Helper()
	_, err := kadm.NewClient(newClient(t, addr)).CreateTopic(deadline(t), int32(partitions), 1, nil, topic)
	if err != nil {
		t.Fatal(err)
	}
}

func (franz) produce(t *testing.T, addr, topic, codec string, first, count int) {
	t.Helper()
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	client := newClient(t, addr, kgo.ProducerBatchCompression(codecs[codec]))
	records := make([]*kgo.Record, count)
	for i := range records {
		n := first + i
		records[i] = &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", n%97), Value: fmt.Appendf(nil, "%s-%d", codec, n)}
	}
	if err := client.ProduceSync(deadline(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (franz) offsetsAt(t *testing.T, addr, topic string, timestamp int64) map[int32]int64 {
	t.Helper()
	listed, err := kadm.NewClient(newClient(t, addr)).ListOffsetsAfterMilli(deadline(t), timestamp, topic)
	if err != nil {
		t.Fatal(err)
	}
	offsets := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { offsets[o.Partition] = o.Offset })
	return offsets
}

// goMember is a group member in this process.
type goMember struct {
	out    chan event
	cancel context.CancelFunc
	done   chan struct{}
	close  func()
}

func (m *goMember) events() <-chan event { return m.out }

func (m *goMember) leave(*testing.T) {
	m.cancel()
	<-m.done
	m.close()
}

func (franz) join(t *testing.T, addr, topic, group string) member {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &goMember{out: make(chan event, 10_000), cancel: cancel, done: make(chan struct{})}
	client := newClient(t, addr,
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.SessionTimeout(6*time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			m.out <- event{Event: "assigned", Partitions: assigned[topic]}
		}))
	m.close = client.Close
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			var values []string
			fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
			if len(values) > 0 {
				m.out <- event{Event: "records", Values: values}
				if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
					m.out <- event{Event: "error", Values: []string{err.Error()}}
				}
			}
			client.AllowRebalance()
		}
	}()
	return m
}

type saramaClient struct{}

func (saramaClient) name() string     { return "sarama" }
func (saramaClient) codecs() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	return config
}

func (saramaClient) create(t *testing.T, addr, topic string, partitions int) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin([]string{addr}, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1}, false); err != nil {
		t.Fatal(err)
	}
}

func (saramaClient) produce(t *testing.T, addr, topic, codec string, first, count int) {
	t.Helper()
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
	config := saramaConfig()
	config.Producer.Compression = codecs[codec]
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer([]string{addr}, config)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, count)
	for i := range messages {
		n := first + i
		messages[i] = &sarama.ProducerMessage{
			Topic: topic, Key: sarama.StringEncoder(fmt.Sprintf("k%d", n%97)), Value: sarama.StringEncoder(fmt.Sprintf("%s-%d", codec, n)),
		}
	}
	if err := producer.SendMessages(messages); err != nil {
		t.Fatal(err)
	}
}

func (saramaClient) offsetsAt(t *testing.T, addr, topic string, timestamp int64) map[int32]int64 {
	t.Helper()
	client, err := sarama.NewClient([]string{addr}, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	partitions, err := client.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	offsets := map[int32]int64{}
	for _, p := range partitions {
		if offsets[p], err = client.GetOffset(topic, p, timestamp); err != nil {
			t.Fatal(err)
		}
	}
	return offsets
}

// saramaMember is the handler of one sarama group member.
type saramaMember struct {
	goMember
	topic string
	mu    sync.Mutex // one commit at a time, as the session wants it
}

func (m *saramaMember) Setup(s sarama.ConsumerGroupSession) error {
	m.out <- event{Event: "assigned", Partitions: s.Claims()[m.topic]}
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			values := []string{string(message.Value)}
			s.MarkMessage(message, "")
			for more := true; more && len(values) < 1000; {
				select {
				case message, ok := <-claim.Messages():
					if more = ok; ok {
						values = append(values, string(message.Value))
						s.MarkMessage(message, "")
					}
				default:
					more = false
				}
			}
			m.out <- event{Event: "records", Values: values}
			m.mu.Lock()
			s.Commit()
			m.mu.Unlock()
		}
	}
}

func (saramaClient) join(t *testing.T, addr, topic, group string) member {
	t.Helper()
	consumer, err := sarama.NewConsumerGroup([]string{addr}, group, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &saramaMember{goMember: goMember{out: make(chan event, 10_000), cancel: cancel, done: make(chan struct{})}, topic: topic}
	m.close = func() {
		if err := consumer.Close(); err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
			t.Errorf("close sarama's group: %v", err)
		}
	}
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			if err := consumer.Consume(ctx, []string{topic}, m); err != nil && ctx.Err() == nil &&
				!strings.Contains(err.Error(), "closed") {
				m.out <- event{Event: "error", Values: []string{err.Error()}}
			}
		}
	}()
	return m
}
