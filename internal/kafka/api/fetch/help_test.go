package fetch_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/kafka/api/fetch"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker serves the APIs of this package over replicas that answer what a test says.
type broker struct {
	t      *testing.T
	server *server.Server
	ctx    context.Context

	now   time.Time // of session eviction
	drawn uint32    // session ids so far

	mu       sync.Mutex
	replicas map[place]*replica.Replica
	places   map[*replica.Replica]place
	results  map[place]replica.FetchResult // zero where none is set
	asked    []question                    // fetches as they came
	parks    bool                          // fetches wait for ever
	parked   int
	looksUp  func() // called before a replica is handed out; nil: nothing
}

// question is what a fetch asked of the replicas.
type question struct {
	minBytes   int32
	partitions int
}

// place names a partition, by topic name.
type place struct {
	topic     string
	partition int32
}

const maxSessions = 4

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{
		t: t, now: time.Unix(1_000_000, 0),
		replicas: map[place]*replica.Replica{}, places: map[*replica.Replica]place{}, results: map[place]replica.FetchResult{},
	}
	s, err := server.New(fetch.APIs(fetch.Deps{
		Replicas: b, Endpoints: nobody{}, Image: metadata.Empty,
		Random: func() uint32 { b.drawn++; return b.drawn }, Now: func() time.Time { return b.now },
		Config: fetch.Config{FetchMaxBytes: 50 << 20, MaxSessions: maxSessions},
	}), server.Config{}, server.Deps{
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Wall: time.Now,
		Features:  func() server.Features { return server.Features{Epoch: -1} },
		ClusterID: func() string { return "cluster" },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.server = s
	ctx, cancel := context.WithCancel(context.Background())
	b.ctx = ctx
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = s.Run(ctx) // its context's end
	}()
	t.Cleanup(func() {
		s.Close()
		cancel()
		<-ran
	})
	return b
}

// nobody has no endpoints.
type nobody struct{}

func (nobody) Endpoint(model.BrokerID, string) (model.Endpoint, bool) { return model.Endpoint{}, false }

// dial connects by memory. ended is closed when the server has let go of the connection.
func (b *broker) dial() (c *client, ended chan struct{}) {
	b.t.Helper()
	ours, theirs := net.Pipe()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.server.ServeConn(b.ctx, theirs, server.ConnInfo{Listener: server.ListenerInfo{Name: "PLAINTEXT"}})
	}()
	b.t.Cleanup(func() {
		ours.Close()
		<-ended
	})
	return &client{t: b.t, conn: ours}, ended
}

// hold sets what reading a partition finds.
func (b *broker) hold(topic string, partition int32, found replica.FetchResult) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results[place{topic, partition}] = found
}

func (b *broker) ReplicaNamed(topic string, partition int32) (*replica.Replica, error) {
	if b.looksUp != nil {
		b.looksUp()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := place{topic, partition}
	if b.replicas[at] == nil {
		b.replicas[at] = &replica.Replica{}
		b.places[b.replicas[at]] = at
	}
	return b.replicas[at], nil
}

// topicID is the id of topic "t". No other topic has one.
var topicID = model.TopicID{1}

func (b *broker) ReplicaByID(id model.TopicID, partition int32) (*replica.Replica, error) {
	if id != topicID {
		return nil, kafkaerr.UnknownTopicID
	}
	return b.ReplicaNamed("t", partition)
}

func (b *broker) Fetch(f *replica.Fetch) {
	b.mu.Lock()
	b.asked = append(b.asked, question{f.MinBytes, len(f.Partitions)})
	parks := b.parks
	if parks {
		b.parked++
	}
	b.mu.Unlock()
	if !parks {
		f.Ready(f)
	}
}

func (b *broker) Collect(f *replica.Fetch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range f.Partitions {
		p := &f.Partitions[i]
		p.Result = b.results[b.places[p.Replica]]
		if p.Err != nil {
			p.Result = replica.FetchResult{Err: p.Err, HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1}
		}
	}
}

// CancelFetch gives up the one fetch that waits.
func (b *broker) CancelFetch(*replica.Fetch) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.parked == 0 {
		return false
	}
	b.parked--
	return true
}

func (b *broker) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parked
}

// records returns n bytes of a file, as what reading a partition finds.
func records(t *testing.T, n int) replica.FetchResult {
	t.Helper()
	file, err := vfs.NewMem(1).OpenFile("/records", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if _, err := file.WriteAt(make([]byte, n), 0); err != nil {
		t.Fatal(err)
	}
	found := replica.FetchResult{HighWatermark: 1}
	found.Records.File, found.Records.Size = file, n
	return found
}

// client speaks Kafka's bytes.
type client struct {
	t    *testing.T
	conn net.Conn
	next int32
}

func (c *client) send(version int16, req wire.Request) {
	c.t.Helper()
	c.next++
	var w wire.Writer
	wire.EncodeRequest(&w, &wire.RequestHeader{Version: version, CorrelationID: c.next}, req)
	if err := w.Err(); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(w.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

// fetch sends a Fetch and returns the answer, and how many bytes it took.
func (c *client) fetch(version int16, req *wire.FetchRequest) (resp *wire.FetchResponse, size int) {
	c.t.Helper()
	c.send(version, req)
	var prefix [4]byte
	if _, err := io.ReadFull(c.conn, prefix[:]); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(prefix[:]))
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatal(err)
	}
	var r wire.Reader
	r.Reset(b)
	if id := wire.DecodeResponseHeader(&r, wire.KeyFetch, version); id != c.next {
		c.t.Fatalf("answer to %d, want the one to %d", id, c.next)
	}
	resp = &wire.FetchResponse{}
	resp.Decode(&r, version)
	if r.Err() != nil || r.Remaining() != 0 {
		c.t.Fatalf("answer does not decode: %v, %d bytes left", r.Err(), r.Remaining())
	}
	return resp, 4 + len(b)
}

// ask returns a Fetch that waits for nothing, of partitions of topic "t", named as the version does.
func ask(version int16, session, epoch int32, partitions ...int32) *wire.FetchRequest {
	req := &wire.FetchRequest{}
	req.Reset()
	req.SessionID, req.SessionEpoch = session, epoch
	if len(partitions) == 0 {
		return req
	}
	topic := wire.Add(&req.Topics)
	if topic.Topic = []byte("t"); version >= 13 {
		topic.Topic, topic.TopicID = nil, topicID
	}
	for _, p := range partitions {
		asked := wire.Add(&topic.Partitions)
		asked.Partition, asked.PartitionMaxBytes = p, 1<<20
	}
	return req
}

// forget has a request of a session take partitions of topic "t" out of it.
func forget(req *wire.FetchRequest, partitions ...int32) *wire.FetchRequest {
	gone := wire.Add(&req.ForgottenTopicsData)
	gone.Topic, gone.Partitions = []byte("t"), partitions
	return req
}

// answered lists the partitions of an answer in its order.
func answered(resp *wire.FetchResponse) []int32 {
	all := []int32{}
	for i := range resp.Responses {
		for j := range resp.Responses[i].Partitions {
			all = append(all, resp.Responses[i].Partitions[j].PartitionIndex)
		}
	}
	return all
}

func upTo(n int32) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}
