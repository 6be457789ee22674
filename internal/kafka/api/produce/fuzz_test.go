package produce_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/wire"
)

// maxFuzzedBody keeps what a body asks for within the budget of either broker.
const maxFuzzedBody = 16 << 10

// FuzzStream sends arbitrary bodies to a broker that takes them while they arrive, in steps of a size, and to one that
// gathers them first. Both answer the same, with the same in their logs, or both close the connection.
//
//fuzz:decoder kafka/api/produce/stream[.]go
func FuzzStream(f *testing.F) {
	for version := int16(3); version <= 13; version++ {
		for _, step := range []uint16{1, 300} {
			f.Add(encode(f, everything(f, version), version)[headerBytes(f, version):], version, step)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, version int16, step uint16) {
		version = 3 + int16(uint16(version)%11)
		if len(body) > maxFuzzedBody || isUncertain(body, version) {
			return
		}
		frame := append(encode(t, &wire.ProduceRequest{}, version)[:headerBytes(t, version)], body...)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		gathered, streamed := startBroker(t, 1<<20), startBroker(t, 8)
		defer gathered.stop()
		defer streamed.stop()

		want, got := gathered.send(bytes.Clone(frame), len(frame)), streamed.send(frame, 1+int(step))
		if !bytes.Equal(got, want) {
			t.Fatalf("v%d: streamed it is answered\n%s\ngathered\n%s", version, hex.Dump(got), hex.Dump(want))
		}
		if want != nil && !bytes.Equal(streamed.content(), gathered.content()) {
			t.Fatalf("v%d: the logs differ", version)
		}
	})
}

// everything is a request with each thing that stream.go tells from another.
func everything(t testing.TB, version int16) *wire.ProduceRequest {
	var req wire.ProduceRequest
	req.Reset()
	req.Acks, req.TimeoutMs = 1, 30_000
	for _, name := range []string{"t", "unknown"} {
		topic := wire.Add(&req.TopicData)
		topic.Name = []byte(name)
		if name == "t" {
			topic.TopicID = topicID
		}
		large := batchOf(t, maxMessageBytes, record.None)
		for i, records := range [][]byte{batchOf(t, 100, record.None), nil, {}, large, batchOf(t, 10, record.Zstd)} {
			p := wire.Add(&topic.PartitionData)
			p.Index, p.Records = int32(i%3), records
			if version >= 9 {
				p.UnknownTags = wire.Tags{{ID: 5, Data: make([]byte, 300*i)}}
			}
		}
	}
	return &req
}

// headerBytes is where the body of a Produce request begins.
func headerBytes(t testing.TB, version int16) int {
	frame := encode(t, &wire.ProduceRequest{}, version)
	var r wire.Reader
	r.Reset(frame[4:])
	var header wire.RequestHeader
	if header.Decode(&r); r.Err() != nil {
		t.Fatal(r.Err())
	}
	return len(frame) - r.Remaining()
}

// isUncertain reports whether the body is that of a sound request that is not answered, or may or may not time out before its
// records are flushed.
func isUncertain(body []byte, version int16) bool {
	var r wire.Reader
	r.Reset(body)
	var req wire.ProduceRequest
	err := wire.DecodeRequest(&r, &req, version)
	return (err == nil || errors.Is(err, wire.ErrTrailingBytes)) && (req.Acks == 0 || req.TimeoutMs < 10_000)
}
