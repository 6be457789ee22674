package produce_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafka/api/produce"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is the Produce handler over a topic in memory, two of whose partitions it leads and one not.
type broker struct {
	t        rapid.TB
	replicas *waitCounter
	conn     net.Conn
	stop     func()
}

var topicID = model.UUID{1}

const maxMessageBytes = 2000

// startBroker runs a broker, until stop, that streams requests above a size.
func startBroker(t rapid.TB, streamAbove int) *broker {
	t.Helper()
	return startBrokerOn(t, vfs.NewMem(1), streamAbove)
}

func startBrokerOn(t rapid.TB, fs vfs.FS, streamAbove int) *broker {
	t.Helper()
	logger, wall := slog.New(slog.DiscardHandler), func() time.Time { return time.UnixMilli(1_000_000) }
	logs, err := storage.Open(storage.Deps{FS: fs, Logger: logger, Registerer: prometheus.NewRegistry(), Wall: wall},
		storage.ManagerConfig{NodeID: 1, ClusterID: "c", Dirs: []string{"/data"}})
	if err != nil {
		t.Fatal(err)
	}
	deadlines := deadline.New()
	config := &replica.TopicConfig{Log: storage.DefaultLogConfig(), MinISR: 1}
	config.Log.MaxMessageBytes = maxMessageBytes
	replicas := &waitCounter{}
	replicas.Manager = replica.New(replica.Deps{
		Logger: logger, Registerer: prometheus.NewRegistry(), Wall: wall, Logs: logs, Deadlines: deadlines,
		TopicConfig: func(*metadata.Image, string) *replica.TopicConfig { return config },
	}, replica.Config{Self: 1, RecoveryWorkers: 1})
	leading := metadata.Partition{
		Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1, LeaderEpoch: 1,
	}
	following := leading
	following.Replicas, following.Directories, following.ISR, following.Leader = []model.BrokerID{1, 2}, []model.UUID{{}, {}}, []model.BrokerID{2}, 2
	img, delta, err := metadata.Empty().Apply(metadata.Empty().Offset()+1, []metadata.Record{
		&metadata.RegisterBrokerRecord{ID: 1, Incarnation: model.UUID{9}},
		&metadata.TopicRecord{Name: "t", ID: topicID},
		&metadata.PartitionRecord{TopicID: topicID, Partition: 0, State: leading},
		&metadata.PartitionRecord{TopicID: topicID, Partition: 1, State: leading},
		&metadata.PartitionRecord{TopicID: topicID, Partition: 2, State: following},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := replicas.OnMetadata(context.Background(), img, delta); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(produce.APIs(produce.Deps{Replicas: replicas, Endpoints: nowhere{}}), server.Config{StreamAbove: streamAbove, QueuedMaxRequestBytes: 4 << 20}, server.Deps{
		Logger: logger, Registerer: prometheus.NewRegistry(), Wall: wall, NodeID: 1,
		Features: func() server.Features { return server.Features{Epoch: -1} }, ClusterID: func() string { return "c" },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ours, theirs := net.Pipe()
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{logs.Run, replicas.Run, deadlines.Run, s.Run, func(ctx context.Context) error {
		return s.ServeConn(ctx, theirs, server.ConnInfo{Listener: server.ListenerInfo{Name: "PLAINTEXT"}})
	}} {
		running.Go(func() { _ = run(ctx) })
	}
	return &broker{t: t, replicas: replicas, conn: ours, stop: func() {
		ours.Close()
		s.Close()
		cancel()
		running.Wait()
	}}
}

// waitCounter is a replica manager that counts the appends that are not done.
type waitCounter struct {
	*replica.Manager
	waiting atomic.Int32
}

func (m *waitCounter) Append(a *replica.Append) {
	done := a.Done
	a.Done = func(a *replica.Append) {
		m.waiting.Add(-1)
		a.Done = done
		done(a)
	}
	m.waiting.Add(1)
	m.Manager.Append(a)
}

type nowhere struct{}

func (nowhere) Endpoint(model.BrokerID, string) (model.Endpoint, bool) {
	return model.Endpoint{}, false
}

// send sends a request in pieces, and returns the answer; nil if the connection is closed instead.
func (b *broker) send(frame []byte, step int) []byte {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for len(frame) > 0 {
			k := min(step, len(frame))
			if _, err := b.conn.Write(frame[:k]); err != nil {
				return // the answer tells
			}
			frame = frame[k:]
		}
	}()
	defer func() { <-sent }()
	var size [4]byte
	if _, err := io.ReadFull(b.conn, size[:]); err != nil {
		b.conn.Close()
		return nil
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(b.conn, answer); err != nil {
		b.t.Fatal(err)
	}
	return answer
}

// content returns what the logs hold.
func (b *broker) content() []byte {
	var all []byte
	for i := range int32(2) {
		r, err := b.replicas.ReplicaNamed("t", i)
		if err != nil {
			b.t.Fatal(err)
		}
		f := replica.Fetch{MaxBytes: 1 << 30, Partitions: []replica.FetchPartition{{
			Replica: r, MaxBytes: 1 << 30, CurrentLeaderEpoch: -1,
		}}}
		f.Ready = func(*replica.Fetch) {}
		b.replicas.Fetch(&f)
		b.replicas.Collect(&f)
		records := &f.Partitions[0].Result.Records
		piece := make([]byte, records.Size)
		if _, err := records.CopyTo(piece); err != nil {
			b.t.Fatal(err)
		}
		records.Release()
		all = append(append(all, '|'), piece...)
	}
	return all
}

func encode(t rapid.TB, req *wire.ProduceRequest, version int16) []byte {
	var w wire.Writer
	w.Reset()
	wire.EncodeRequest(&w, &wire.RequestHeader{Version: version, CorrelationID: 7, ClientID: []byte("test")}, req)
	if err := w.Err(); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(w.Bytes())
}

func batchOf(t rapid.TB, valueBytes int, codec record.Codec) []byte {
	b := record.NewBuilder(record.BuilderOptions{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, LeaderEpoch: -1, Codec: codec})
	b.Append(1_000_000, nil, bytes.Repeat([]byte{'v'}, valueBytes), nil)
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// anyRecords draws what a partition of a request may hold, sound or not.
func anyRecords(t *rapid.T) []byte {
	batch := batchOf(t, rapid.IntRange(0, 300).Draw(t, "bytes"), record.None)
	switch rapid.SampledFrom([]string{
		"sound", "sound", "sound", "null", "none", "zstd", "checksum", "magic", "cut", "two", "base", "large", "large base", "large magic",
	}).Draw(t, "records") {
	case "null":
		return nil
	case "none":
		return []byte{}
	case "zstd":
		return batchOf(t, 100, record.Zstd)
	case "checksum":
		batch[len(batch)-1] ^= 1
	case "magic":
		batch[16] = 1
	case "cut":
		return batch[:rapid.IntRange(1, len(batch)-1).Draw(t, "at")]
	case "two":
		return append(batch, batch...)
	case "base":
		batch[7] = 3
	case "large":
		return batchOf(t, maxMessageBytes, record.None)
	case "large base":
		batch = batchOf(t, maxMessageBytes, record.None)
		batch[7] = 3
	case "large magic":
		batch = batchOf(t, maxMessageBytes, record.None)
		batch[16] = 0
	}
	return batch
}

func anyRequest(t *rapid.T, version int16) *wire.ProduceRequest {
	var req wire.ProduceRequest
	req.Reset()
	req.Acks = rapid.SampledFrom([]int16{-1, 1, 1, 2}).Draw(t, "acks")
	req.TimeoutMs = 30_000
	for range rapid.IntRange(0, 3).Draw(t, "topics") {
		topic := wire.Add(&req.TopicData)
		topic.Name, topic.TopicID = []byte("t"), topicID
		if rapid.IntRange(0, 4).Draw(t, "known") == 0 {
			topic.Name, topic.TopicID = []byte("unknown"), model.UUID{9}
		}
		for range rapid.IntRange(0, 4).Draw(t, "partitions") {
			p := wire.Add(&topic.PartitionData)
			p.Index = rapid.Int32Range(-1, 3).Draw(t, "index")
			p.Records = anyRecords(t)
			if version >= 9 && rapid.IntRange(0, 4).Draw(t, "tagged") == 0 {
				p.UnknownTags = wire.Tags{{ID: 5, Data: make([]byte, rapid.IntRange(0, 1000).Draw(t, "tag"))}}
			}
		}
		if version >= 9 && rapid.IntRange(0, 4).Draw(t, "tagged") == 0 {
			topic.UnknownTags = wire.Tags{{ID: 9, Data: []byte{1}}}
		}
	}
	return &req
}

// A request that is taken while it arrives is answered, and leaves in the logs, what one that was gathered
// first does.
func TestStream_IsTheSameRequest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gathered, streamed := startBroker(t, 1<<20), startBroker(t, 8)
		defer gathered.stop()
		defer streamed.stop()
		for range rapid.IntRange(1, 4).Draw(t, "requests") {
			version := rapid.Int16Range(3, 13).Draw(t, "version")
			frame := append(encode(t, anyRequest(t, version), version), make([]byte, rapid.SampledFrom([]int{0, 0, 0, 5, 300}).Draw(t, "left over"))...)
			binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
			step := rapid.SampledFrom([]int{1, 10, 100, 1 << 20}).Draw(t, "step")
			want, got := gathered.send(bytes.Clone(frame), step), streamed.send(frame, step)
			if !bytes.Equal(got, want) {
				t.Fatalf("v%d: streamed it is answered\n%s\ngathered\n%s", version, hex.Dump(got), hex.Dump(want))
			}
			if !bytes.Equal(streamed.content(), gathered.content()) {
				t.Fatalf("v%d: the logs differ", version)
			}
		}
	})
}

// What is no request closes the connection, wherever that shows; batches before are in their logs.
func TestStream_Malformed(t *testing.T) {
	sound := func() *wire.ProduceRequest {
		var req wire.ProduceRequest
		req.Reset()
		req.Acks, req.TimeoutMs = -1, 1000
		topic := wire.Add(&req.TopicData)
		topic.Name = []byte("t")
		for i := range int32(2) {
			p := wire.Add(&topic.PartitionData)
			p.Index, p.Records = i, batchOf(t, 100, record.None)
		}
		return &req
	}
	frame := encode(t, sound(), 8)
	count := func(n uint32, at int) []byte {
		f := bytes.Clone(frame)
		binary.BigEndian.PutUint32(f[at:], n)
		return f
	}
	const header = 4 + 8 + 2 + 4          // size, key to correlation id, client id
	const topics = header + 2 + 2 + 4     // transactional id, acks, time-out
	const partitions = topics + 4 + 2 + 1 // one topic's name
	const records = partitions + 4 + 4    // one partition's index
	for name, f := range map[string][]byte{
		"2^31-1 topics":         count(1<<31-1, topics),
		"-1 topics":             count(1<<32-1, topics),
		"2^31-1 partitions":     count(1<<31-1, partitions),
		"more than are there":   count(3, partitions),
		"2^31-1 bytes":          count(1<<31-1, records),
		"-2 bytes":              count(1<<32-2, records),
		"a name without an end": append(bytes.Clone(frame[:topics+4]), 0x7f, 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			binary.BigEndian.PutUint32(f, uint32(len(f)-4))
			b := startBroker(t, 8)
			defer b.stop()
			if answer := b.send(f, 1<<20); answer != nil {
				t.Errorf("answered %x", answer)
			}
		})
	}
}

// What is kept of many partitions until the answer is charged to the budget of requests, like all else.
func TestStream_PaysForWhatItKeeps(t *testing.T) {
	var req wire.ProduceRequest
	req.Reset()
	req.Acks = 1
	topic := wire.Add(&req.TopicData)
	topic.Name = []byte("t")
	for range 1 << 14 {
		wire.Add(&topic.PartitionData).Index = 5
	}
	b := startBroker(t, 8)
	defer b.stop()
	if answer := b.send(encode(t, &req, 8), 1<<20); answer != nil {
		t.Errorf("%d partitions are answered, with %d bytes, out of a budget of 4 MiB", 1<<14, len(answer))
	}
}
