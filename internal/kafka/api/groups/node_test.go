package groups_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafka/api/fetch"
	"github.com/walser-io/walser/internal/kafka/api/groups"
	apimetadata "github.com/walser-io/walser/internal/kafka/api/metadata"
	"github.com/walser-io/walser/internal/kafka/api/produce"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// cluster is one broker over files and a network in memory. Its metadata, which has no quorum here, lives
// through restarts.
type cluster struct {
	t    *testing.T
	fs   *vfs.Mem
	node *node
	at   atomic.Pointer[netx.Listener] // where clients get through

	mu  sync.Mutex // of changes of metadata
	img atomic.Pointer[metadata.Image]
	ids atomic.Int64 // of producers

	loadBuffer int    // bytes
	submitting func() // called before each request to a coordinator; nil: nothing
}

// node is one life of the broker.
type node struct {
	replicas *replica.Manager
	runtime  *runtime.Runtime
	elector  *runtime.Elector
	logs     *storage.Manager
	server   *server.Server
	stop     func()
}

const address = netx.Addr("walser:9092")

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, fs: vfs.NewMem(1), loadBuffer: 4096}
	c.img.Store(metadata.Empty())
	c.start()
	t.Cleanup(func() { c.node.stop() })
	c.apply(&metadata.ActivateControllerRecord{Epoch: 1}, &metadata.ClusterRecord{ID: "cluster"}, &metadata.RegisterBrokerRecord{
		ID: 1, Epoch: 2, Incarnation: model.UUID{7},
		Endpoints: []model.Endpoint{{Listener: "PLAINTEXT", Host: "walser", Port: 9092}},
	})
	return c
}

// crash takes the power away, and starts again from what was synced.
func (c *cluster) crash() {
	c.t.Helper()
	c.at.Load().Close()
	left := c.fs.CrashClone(vfs.CrashOptions{})
	c.node.stop()
	c.fs = left
	c.start()
}

func (c *cluster) start() {
	c.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	n := &node{}
	var err error
	n.logs, err = storage.Open(storage.Deps{FS: c.fs, Logger: quiet, Registerer: prometheus.NewRegistry(), Wall: time.Now},
		storage.ManagerConfig{NodeID: 1, ClusterID: "cluster", Dirs: []string{"/data"}})
	if err != nil {
		c.t.Fatal(err)
	}
	deadlines := deadline.New()
	topicConfig := &replica.TopicConfig{Log: storage.DefaultLogConfig(), MinISR: 1, WriteCaching: partition.CachingAuto}
	n.replicas = replica.New(replica.Deps{
		Logger: quiet, Registerer: prometheus.NewRegistry(), Wall: time.Now, Logs: n.logs, Deadlines: deadlines,
		TopicConfig: func(*metadata.Image, string) *replica.TopicConfig { return topicConfig },
	}, replica.Config{Self: 1, RecoveryWorkers: 2})
	n.runtime, err = runtime.New(runtime.DefaultConfig(2), runtime.Deps{
		Logger: quiet, Registerer: prometheus.NewRegistry(), Wall: time.Now, Deadlines: deadlines,
	}, runtime.Kind{
		Topic: model.GroupMetadataTopic,
		New: func(_ int32, memory coordinator.Memory) coordinator.Shard {
			return group.New(group.DefaultConfig(), func() model.UUID { return newUUID(c.t) }, memory)
		},
		Fail: group.Fail,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.elector = runtime.NewElector(n.runtime, n.replicas, runtime.ElectorConfig{
		Self: 1, LoadBufferBytes: c.loadBuffer, TopicsDeleted: map[string]func([]*metadata.Topic) any{model.GroupMetadataTopic: topicsDeleted},
	})
	n.replicas.OnRecovered(n.elector.Recovered)
	srv, err := server.New(c.table(n), server.Config{}, server.Deps{
		Logger: quiet, Registerer: prometheus.NewRegistry(), Wall: time.Now, NodeID: 1,
		Features:  func() server.Features { return server.Features{Epoch: -1} },
		ClusterID: func() string { return "cluster" },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.server = srv
	l := netx.NewListener(address)
	ctx, cancel := context.WithCancel(context.Background())
	var serving, standing sync.WaitGroup
	serving.Go(func() { _ = srv.Run(ctx) })
	serving.Go(func() { _ = srv.Serve(ctx, l, server.ListenerInfo{Name: "PLAINTEXT"}) })
	serving.Go(func() { _ = n.runtime.Run(ctx) })
	below, cancelBelow := context.WithCancel(context.Background())
	standing.Go(func() { _ = n.replicas.Run(below) })
	standing.Go(func() { _ = n.logs.Run(below) })
	standing.Go(func() { _ = deadlines.Run(below) })
	n.stop = sync.OnceFunc(func() {
		srv.Close()
		cancel()
		serving.Wait()
		cancelBelow()
		standing.Wait()
	})
	c.node = n
	if img := c.img.Load(); img.Offset() >= 0 {
		c.publish(img, metadata.Diff(metadata.Empty(), img))
	}
	c.at.Store(l)
}

func (c *cluster) table(n *node) []server.API {
	ends := endpoints{c.img.Load}
	recovering := func(id model.TopicID, index int32) bool {
		r, err := n.replicas.ReplicaByID(id, index)
		return err == nil && r.Recovering()
	}
	table := produce.APIs(produce.Deps{
		Replicas: n.replicas, Endpoints: ends,
		NextProducerID: func(context.Context) (int64, error) { return c.ids.Add(1), nil },
	})
	table = append(table, fetch.APIs(fetch.Deps{
		Replicas: n.replicas, Endpoints: ends, Image: c.img.Load, Random: mathrand.Uint32, Now: time.Now,
		Config: fetch.Config{FetchMaxBytes: 1 << 20, MaxSessions: 10},
	})...)
	table = append(table, apimetadata.APIs(apimetadata.Deps{
		Image: c.img.Load, Recovering: recovering,
		CreateTopics: func(context.Context, []string) {}, // no topic is created by asking for it
		Settings:     func() apimetadata.Settings { return apimetadata.Settings{PartitionSizeLimit: 2000} },
	})...)
	return append(table, groups.APIs(groups.Deps{
		Coordinators: watched{n.runtime, c}, Image: c.img.Load, Recovering: recovering,
		CreateInternalTopic: func(_ context.Context, name string) error {
			c.createTopic(name, 3)
			return nil
		},
	})...)
}

// apply is the quorum: the records are committed, and published in the order of the stages.
func (c *cluster) apply(records ...metadata.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	img, delta, err := c.img.Load().Apply(c.img.Load().Offset()+1, records)
	if err != nil {
		c.t.Errorf("apply metadata: %v", err)
		return
	}
	c.publish(img, delta)
}

func (c *cluster) publish(img *metadata.Image, delta *metadata.Delta) {
	if err := c.node.replicas.OnMetadata(context.Background(), img, delta); err != nil {
		c.t.Errorf("replicas: %v", err)
	}
	if err := c.node.elector.OnMetadata(context.Background(), img, delta); err != nil {
		c.t.Errorf("elector: %v", err)
	}
	c.img.Store(img)
}

func (c *cluster) createTopic(name string, partitions int32) {
	id := newUUID(c.t)
	records := []metadata.Record{&metadata.TopicRecord{Name: name, ID: id}}
	for i := range partitions {
		records = append(records, &metadata.PartitionRecord{TopicID: id, Partition: i, State: metadata.Partition{
			Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1,
		}})
	}
	c.apply(records...)
}

func (c *cluster) deleteTopic(name string) {
	c.t.Helper()
	topic, ok := c.img.Load().Topic(name)
	if !ok {
		c.t.Fatalf("no topic %s", name)
	}
	c.apply(&metadata.RemoveTopicRecord{ID: topic.ID})
}

// client returns a client that is closed with the test, if not before.
func (c *cluster) client(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address.String()), kgo.Dialer(c.dial)}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

func (c *cluster) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return c.at.Load().Dial(ctx)
}

type endpoints struct{ img func() *metadata.Image }

func (e endpoints) Endpoint(id model.BrokerID, listener string) (model.Endpoint, bool) {
	b, ok := e.img().Broker(id)
	if !ok {
		return model.Endpoint{}, false
	}
	return b.Endpoint(listener)
}

func topicsDeleted(deleted []*metadata.Topic) any {
	body := &group.TopicsDeleted{}
	for _, topic := range deleted {
		body.Topics = append(body.Topics, group.DeletedTopic{ID: topic.ID, Name: topic.Name})
	}
	return body
}

func newUUID(t *testing.T) model.UUID {
	id, err := model.NewUUID(rand.Reader)
	if err != nil {
		t.Error(err)
	}
	return id
}

// watched are the coordinators of a cluster with its hook.
type watched struct {
	*runtime.Runtime
	c *cluster
}

func (w watched) Submit(tp model.TopicPartition, body any, done func(any)) *runtime.Call {
	if w.c.submitting != nil {
		w.c.submitting()
	}
	return w.Runtime.Submit(tp, body, done)
}
