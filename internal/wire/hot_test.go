package wire_test

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// hotMessages are those that must not allocate in steady state, filled as a busy broker sees them.
func hotMessages() []wire.Message {
	records := bytes.Repeat([]byte{0xab}, 1000)

	produce := &wire.ProduceRequest{}
	produce.Reset()
	produce.Acks, produce.TimeoutMs = -1, 30000
	produceAnswer := &wire.ProduceResponse{}
	produceAnswer.Reset()
	fetch := &wire.FetchRequest{}
	fetch.Reset()
	fetch.RackID = []byte("rack-1")
	fetchAnswer := &wire.FetchResponse{}
	fetchAnswer.Reset()
	metadata := &wire.MetadataRequest{}
	metadata.Reset()
	metadataAnswer := &wire.MetadataResponse{}
	metadataAnswer.Reset()
	commit := &wire.OffsetCommitRequest{GroupID: []byte("payments"), MemberID: []byte("consumer-1-8b5d")}
	commitAnswer := &wire.OffsetCommitResponse{}
	for i := range 3 {
		b := wire.Add(&metadataAnswer.Brokers)
		b.NodeID, b.Host, b.Port = int32(i), []byte("broker.example.org"), 9092
	}
	for i := range 4 {
		name, id := fmt.Appendf(nil, "orders-%d", i), model.UUID{15: byte(i + 1)}
		pt := wire.Add(&produce.TopicData)
		pt.Name, pt.TopicID = name, id
		pr := wire.Add(&produceAnswer.Responses)
		pr.Name, pr.TopicID = name, id
		ft := wire.Add(&fetch.Topics)
		ft.Topic, ft.TopicID = name, id
		fr := wire.Add(&fetchAnswer.Responses)
		fr.Topic, fr.TopicID = name, id
		mt := wire.Add(&metadata.Topics)
		mt.Name = name
		mr := wire.Add(&metadataAnswer.Topics)
		mr.Name, mr.TopicID = name, id
		ct := wire.Add(&commit.Topics)
		ct.Name, ct.TopicID = name, id
		cr := wire.Add(&commitAnswer.Topics)
		cr.Name, cr.TopicID = name, id
		for p := range int32(3) {
			a := wire.Add(&pt.PartitionData)
			a.Index, a.Records = p, records
			wire.Add(&pr.PartitionResponses).Index = p
			f := wire.Add(&ft.Partitions)
			f.Partition, f.FetchOffset, f.PartitionMaxBytes = p, 123456, 1<<20
			d := wire.Add(&fr.Partitions)
			d.PartitionIndex, d.HighWatermark, d.Records.Bytes = p, 200000, records
			m := wire.Add(&mr.Partitions)
			m.PartitionIndex = p
			m.ReplicaNodes, m.IsrNodes = []int32{0, 1, 2}, []int32{0, 1, 2}
			c := wire.Add(&ct.Partitions)
			c.PartitionIndex, c.CommittedOffset, c.CommittedMetadata = p, 42, []byte("{}")
			e := wire.Add(&cr.Partitions)
			e.PartitionIndex, e.ErrorCode = p, kafkaerr.None
		}
	}
	moved := &fetchAnswer.Responses[0].Partitions[0]
	moved.ErrorCode, moved.CurrentLeader.LeaderID, moved.CurrentLeader.LeaderEpoch = kafkaerr.NotLeaderOrFollower, 2, 7
	end := wire.Add(&fetchAnswer.NodeEndpoints)
	end.NodeID, end.Host, end.Port = 2, []byte("broker.example.org"), 9092
	return []wire.Message{
		produce, produceAnswer, fetch, fetchAnswer, metadata, metadataAnswer, commit, commitAnswer,
		&wire.HeartbeatRequest{GroupID: []byte("payments"), GenerationID: 3, MemberID: []byte("consumer-1-8b5d")},
		&wire.HeartbeatResponse{},
	}
}

func name(m wire.Message) string { return reflect.TypeOf(m).Elem().Name() }

// Once its slices have grown, a hot message decodes and encodes without allocating, at every version.
func TestHotMessagesDoNotAllocate(t *testing.T) {
	for _, m := range hotMessages() {
		versions, _ := wire.VersionsOf(m.Key())
		for version := versions.Min; version <= versions.Max; version++ {
			frame := encode(t, m, version)
			var (
				r  wire.Reader
				w  wire.Writer
				in = reflect.New(reflect.TypeOf(m).Elem()).Interface().(wire.Message)
			)
			if allocs := testing.AllocsPerRun(20, func() {
				r.Reset(frame)
				in.Decode(&r, version)
			}); allocs != 0 || r.Err() != nil {
				t.Errorf("decode %s v%d: %v allocations, %v", name(m), version, allocs, r.Err())
			}
			var pieces []wire.Piece
			if allocs := testing.AllocsPerRun(20, func() {
				w.Reset()
				in.Encode(&w, version)
				pieces = w.Pieces(pieces[:0])
			}); allocs != 0 || w.Err() != nil {
				t.Errorf("encode %s v%d: %v allocations, %v", name(m), version, allocs, w.Err())
			}
			if !bytes.Equal(w.Bytes(), frame) {
				t.Errorf("%s v%d: decode and encode give other bytes", name(m), version)
			}
		}
	}
}

// A slice that grows keeps the slices of the elements it had: what a small frame left behind is not made
// again for a larger one.
func TestDecodeKeepsNestedCapacity(t *testing.T) {
	var m wire.MetadataResponse
	answer := hotMessages()[5].(*wire.MetadataResponse)
	all := answer.Topics
	answer.Topics = all[:1:1]
	if err := decode(&m, encode(t, answer, 12), 12); err != nil {
		t.Fatal(err)
	}
	before := &m.Topics[0].Partitions[0]
	answer.Topics = all
	if err := decode(&m, encode(t, answer, 12), 12); err != nil {
		t.Fatal(err)
	}
	if &m.Topics[0].Partitions[0] != before {
		t.Error("the partitions of the first topic were allocated again")
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, m := range hotMessages() {
		versions, _ := wire.VersionsOf(m.Key())
		b.Run(name(m), func(b *testing.B) {
			frame := bytes.Clone(encode(b, m, versions.Max))
			var r wire.Reader
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				r.Reset(frame)
				m.Decode(&r, versions.Max)
			}
			if r.Err() != nil {
				b.Fatal(r.Err())
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, m := range hotMessages() {
		versions, _ := wire.VersionsOf(m.Key())
		b.Run(name(m), func(b *testing.B) {
			encode(b, m, versions.Max) // takes back what this version cannot carry
			var w wire.Writer
			b.ReportAllocs()
			for b.Loop() {
				w.Reset()
				m.Encode(&w, versions.Max)
			}
			if w.Err() != nil {
				b.Fatal(w.Err())
			}
			b.SetBytes(int64(w.Size()))
		})
	}
}
