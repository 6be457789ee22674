package record_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/record"
)

// sink is the least broker to which kgo produces: one topic of one partition. It keeps the batches.
type sink struct {
	mu      sync.Mutex
	batches [][]byte
}

func (s *sink) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go s.serve(server)
	return client, nil
}

func (s *sink) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(frame)))
		version := int16(binary.BigEndian.Uint16(frame[2:]))
		req.SetVersion(version)
		body := frame[8:]
		if n := int16(binary.BigEndian.Uint16(body)); n > 0 {
			body = body[n:]
		}
		body = body[2:] // client id
		if req.IsFlexible() {
			body = body[1:]
		}
		if err := req.ReadFrom(body); err != nil {
			return
		}
		resp := req.ResponseKind()
		resp.SetVersion(version)
		s.answer(req, resp)
		out := append([]byte{0, 0, 0, 0}, frame[4:8]...)
		if resp.IsFlexible() && resp.Key() != 18 {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

func (s *sink) answer(req kmsg.Request, resp kmsg.Response) {
	switch resp := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for key, v := range map[int16]int16{0: 9, 3: 9, 18: 3, 22: 4} {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = key, v
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
	case *kmsg.MetadataResponse:
		b := kmsg.NewMetadataResponseBroker()
		b.Host, b.Port = "sink", 9092
		p := kmsg.NewMetadataResponseTopicPartition()
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.Partitions = kmsg.StringPtr("t"), append(topic.Partitions, p)
		resp.Brokers, resp.Topics = append(resp.Brokers, b), append(resp.Topics, topic)
	case *kmsg.InitProducerIDResponse:
		resp.ProducerID, resp.ProducerEpoch = 4711, 3
	case *kmsg.ProduceResponse:
		for _, rt := range req.(*kmsg.ProduceRequest).Topics {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				s.mu.Lock()
				s.batches = append(s.batches, bytes.Clone(rp.Records))
				s.mu.Unlock()
				topic.Partitions = append(topic.Partitions, kmsg.NewProduceResponseTopicPartition())
			}
			resp.Topics = append(resp.Topics, topic)
		}
	default:
		panic(fmt.Sprintf("kgo asks %T: %v", req, kerr.UnsupportedVersion))
	}
}

// TestKgo_ProducerAndConsumer takes what kgo's idempotent producer sends, in every codec, through Validate and the iterator, and gives
// the batches, as they were and converted to every other codec, to kgo's consumer.
func TestKgo_ProducerAndConsumer(t *testing.T) {
	options := map[record.Codec]kgo.CompressionCodec{
		record.None: kgo.NoCompression(), record.Gzip: kgo.GzipCompression(), record.Snappy: kgo.SnappyCompression(),
		record.LZ4: kgo.Lz4Compression(), record.Zstd: kgo.ZstdCompression(),
	}
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			broker := &sink{}
			cl, err := kgo.NewClient(kgo.SeedBrokers("sink:9092"), kgo.Dialer(broker.dial), kgo.DefaultProduceTopic("t"),
				kgo.ProducerBatchCompression(options[codec]), kgo.ProducerLinger(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			flush := func() {
				if err := cl.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
			// kgo leaves a batch as it is that compression does not make smaller. With the first record come the topic's
			// metadata; before it has them, a flush may send the first few alone.
			sent := []*kgo.Record{{Value: make([]byte, 1000), Timestamp: time.UnixMilli(now)}}
			cl.Produce(ctx, sent[0], nil)
			flush()
			for i := 499; i >= 0; i-- { // the small ones last, for the same reason
				r := &kgo.Record{Value: bytes.Repeat([]byte{byte(i)}, i), Timestamp: time.UnixMilli(now + int64(i%7))}
				switch i % 4 {
				case 0:
					r.Key = []byte{}
				case 1:
					r.Key, r.Value = []byte("tombstone"), nil
				case 2:
					r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "", Value: nil}}
				}
				sent = append(sent, r)
				cl.Produce(ctx, r, nil)
			}
			flush()
			s := record.NewScratch(record.Limits{})
			next := 0
			for _, in := range broker.batches {
				b, rest, err := record.ParseBatch(in)
				if err != nil || len(rest) != 0 {
					t.Fatalf("%v, rest %d", err, len(rest))
				}
				if b.ProducerID() != 4711 || b.ProducerEpoch() != 3 || b.BaseSequence() != int32(next) || b.Codec() != codec {
					t.Fatalf("producer %d/%d, sequence %d, codec %v", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.Codec())
				}
				original := bytes.Clone(b)
				v, err := record.Validate(b, rules(), s)
				if err != nil || v.Rebuilt || !bytes.Equal(original, b) {
					t.Fatalf("validate: %v, rebuilt %v, changed %v", err, v.Rebuilt, !bytes.Equal(original, b))
				}
				part := sent[next : next+int(b.Count())]
				for i, got := range collect(t, b, s) {
					w := part[i]
					if !bytes.Equal(got.Key, w.Key) || (got.Key == nil) != (w.Key == nil) || !bytes.Equal(got.Value, w.Value) || (got.Value == nil) != (w.Value == nil) ||
						got.TS != w.Timestamp.UnixMilli() || len(got.Headers) != len(w.Headers) {
						t.Fatalf("record %d: sent %+v, read %+v", next+i, w, got)
					}
					for j, h := range got.Headers {
						if string(h.Key) != w.Headers[j].Key || !bytes.Equal(h.Value, w.Headers[j].Value) || (h.Value == nil) != (w.Headers[j].Value == nil) {
							t.Fatalf("record %d header %d: %v", next+i, j, h)
						}
					}
				}
				for _, to := range codecs {
					v, err := record.Validate(bytes.Clone(original), rules(func(r *record.Rules) { r.TargetCodec = record.TargetOf(to) }), s)
					if err != nil {
						t.Fatal(err)
					}
					v.Batch.SetBaseOffset(int64(next))
					v.Batch.SetPartitionLeaderEpoch(6)
					consume(t, v.Batch, part, int64(next))
				}
				next += int(b.Count())
			}
			if next != len(sent) {
				t.Fatalf("%d records of %d arrived", next, len(sent))
			}
		})
	}
}

// consume has kgo's consumer read b, and compares.
func consume(t *testing.T, b record.Batch, want []*kgo.Record, base int64) {
	t.Helper()
	in := kmsg.NewFetchResponseTopicPartition()
	in.RecordBatches = b
	out, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t", Offset: base}, &in, kgo.DefaultDecompressor(), nil)
	if out.Err != nil || len(out.Records) != len(want) {
		t.Fatalf("kgo reads %d of %d records: %v", len(out.Records), len(want), out.Err)
	}
	for i, r := range out.Records {
		w := want[i]
		if r.Offset != base+int64(i) || r.LeaderEpoch != 6 || r.ProducerID != 4711 || !bytes.Equal(r.Key, w.Key) || !bytes.Equal(r.Value, w.Value) || !r.Timestamp.Equal(w.Timestamp) || len(r.Headers) != len(w.Headers) {
			t.Fatalf("record %d: kgo reads %+v, sent %+v", i, r, w)
		}
	}
}
