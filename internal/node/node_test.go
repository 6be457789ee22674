package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/vfs"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// produce writes the values first … first+count-1 to a topic and waits for all acknowledgements.
func produce(t *testing.T, n *nodetest.Node, topic string, first, count int) {
	t.Helper()
	client := n.Client()
	records := make([]*kgo.Record, count)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: fmt.Append(nil, first+i)}
	}
	if err := client.ProduceSync(within(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// consume reads a topic from the start until it has count records, and checks that they are 0, 1, 2 and so on.
func consume(t *testing.T, n *nodetest.Node, topic string, count int) {
	t.Helper()
	client := n.Client(kgo.ConsumeTopics(topic))
	next := 0
	for next < count {
		fetches := client.PollFetches(within(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if got := string(r.Value); got != fmt.Sprint(next) || r.Offset != int64(next) {
				t.Fatalf("at offset %d: value %s, want %d", r.Offset, got, next)
			}
			next++
		})
	}
}

func TestNode_SurvivesEveryWayToEnd(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*vfs.Mem, *nodetest.Node) *vfs.Mem
	}{
		{"stop", func(fs *vfs.Mem, n *nodetest.Node) *vfs.Mem {
			if err := n.Stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
			return fs
		}},
		{"kill", func(fs *vfs.Mem, _ *nodetest.Node) *vfs.Mem { return fs.KillProcess() }},
		{"power loss", func(fs *vfs.Mem, _ *nodetest.Node) *vfs.Mem { return fs.Crash(vfs.CrashOptions{}) }},
		{"power loss with torn writes", func(fs *vfs.Mem, _ *nodetest.Node) *vfs.Mem {
			return fs.Crash(vfs.CrashOptions{UnsyncedDataPercent: 50, TornWrites: true, StaleBlocks: true})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := vfs.NewMem(7)
			count := 0
			for range 3 {
				n := nodetest.Start(t, nodetest.Options{FS: fs})
				produce(t, n, "t", count, 100)
				count += 100
				consume(t, n, "t", count)
				fs = tc.end(fs, n)
			}
			consume(t, nodetest.Start(t, nodetest.Options{FS: fs}), "t", count)
		})
	}
}

func TestNode_LeaderEpochGrowsWithEveryStart(t *testing.T) {
	fs := vfs.NewMem(1)
	last := int32(-1)
	for range 3 {
		n := nodetest.Start(t, nodetest.Options{FS: fs})
		produce(t, n, "t", 0, 1)
		topics, err := kadm.NewClient(n.Client()).ListTopics(within(t), "t")
		if err != nil {
			t.Fatal(err)
		}
		epoch := topics["t"].Partitions[0].LeaderEpoch
		if epoch <= last {
			t.Errorf("leader epoch %d after %d: a restart must raise it", epoch, last)
		}
		last = epoch
		fs = fs.KillProcess()
	}
}

func TestNode_TopicLifeCycle(t *testing.T) {
	n := nodetest.Start(t, nodetest.Options{})
	admin := kadm.NewClient(n.Client())
	created, err := admin.CreateTopic(within(t), 3, 1, map[string]*string{"retention.ms": kadm.StringPtr("1000")}, "orders")
	if err != nil || created.NumPartitions != 3 || created.ID == (kadm.TopicID{}) {
		t.Fatalf("create = %+v, %v", created, err)
	}
	if v := created.Configs["retention.ms"]; v.Value == nil || *v.Value != "1000" {
		t.Errorf("the answer's retention.ms is %+v, want 1000", v)
	}
	if _, err := admin.CreateTopic(within(t), 1, 1, nil, "orders"); err == nil {
		t.Error("the topic was created twice")
	}
	if _, err := admin.CreatePartitions(within(t), 2, "orders"); err != nil {
		t.Fatal(err)
	}
	topics, err := admin.ListTopics(within(t), "orders")
	if err != nil || len(topics["orders"].Partitions) != 5 {
		t.Fatalf("%d partitions, %v; want 5", len(topics["orders"].Partitions), err)
	}
	if _, err := admin.DeleteTopic(within(t), "orders"); err != nil {
		t.Fatal(err)
	}
	if topics, err := admin.ListTopics(within(t)); err != nil || topics.Has("orders") {
		t.Errorf("after its deletion the topic is listed: %v, %v", topics.Names(), err)
	}
}

// A node whose metadata log is not where it was (a disk that is missing, log.dirs in another order) knows no
// topics. It must not take the logs that it finds for those of deleted ones.
func TestNode_RefusesLogsWithoutTheirMetadata(t *testing.T) {
	for _, tc := range []struct{ name, dirs string }{
		{"in another order", "log.dirs=/b,/a"},
		{"the first is missing", "log.dirs=/c,/b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := vfs.NewMem(1)
			dirs := []string{"log.dirs=/a,/b"}
			n := nodetest.Start(t, nodetest.Options{FS: fs, Set: dirs})
			for i := range 4 {
				produce(t, n, fmt.Sprint("t", i), 0, 10)
			}
			if err := n.Stop(); err != nil {
				t.Fatal(err)
			}
			if n, err := nodetest.TryStart(t, nodetest.Options{FS: fs, Set: []string{tc.dirs}}); err == nil {
				t.Error("it started")
				_ = n.Stop()
			} else if !strings.Contains(err.Error(), "metadata.log.dir") {
				t.Errorf("the error names no setting: %v", err)
			}
			n = nodetest.Start(t, nodetest.Options{FS: fs, Set: dirs})
			for i := range 4 {
				consume(t, n, fmt.Sprint("t", i), 10)
			}
		})
	}
}

// A broker with several log directories chooses one for each replica by itself; no replica is offline for that.
func TestNode_SeveralLogDirectories(t *testing.T) {
	n := nodetest.Start(t, nodetest.Options{Set: []string{"log.dirs=/a,/b"}})
	produce(t, n, "t", 0, 1)
	topics, err := kadm.NewClient(n.Client()).ListTopics(within(t), "t")
	if err != nil {
		t.Fatal(err)
	}
	if p := topics["t"].Partitions[0]; len(p.OfflineReplicas) > 0 || len(p.ISR) != 1 {
		t.Errorf("offline replicas %v, in sync %v", p.OfflineReplicas, p.ISR)
	}
}

// The first log directory may fail while it is formatted. A metadata log in it would be one in a directory that
// belongs to nobody, and that no start takes over again.
func TestNode_MetadataDirectoryFailsAtTheFirstStart(t *testing.T) {
	fs := vfs.NewMem(1)
	dirs := []string{"log.dirs=/a,/b"}
	_, err := nodetest.TryStart(t, nodetest.Options{Set: dirs, FS: vfs.NewFaulty(fs, func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && op.Name == "/a/meta.properties.tmp" {
			return syscall.EIO
		}
		return nil
	})})
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("the start: %v", err)
	}
	produce(t, nodetest.Start(t, nodetest.Options{FS: fs.KillProcess(), Set: dirs}), "t", 0, 1)
}

// A metadata log on a disk of its own does not depend on one of the others: the first of log.dirs may fail while it is
// formatted, or later.
func TestNode_MetadataDirectoryOfItsOwn(t *testing.T) {
	var fails func(op vfs.Op) bool
	disk := vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if fails(op) {
			return syscall.EIO
		}
		return nil
	})
	for life, f := range []func(op vfs.Op) bool{
		func(op vfs.Op) bool { return op.Kind == vfs.OpWrite && op.Name == "/a/meta.properties.tmp" },
		func(vfs.Op) bool { return false },
		func(op vfs.Op) bool { return strings.HasPrefix(op.Name, "/a/") },
	} {
		fails = f
		n := nodetest.Start(t, nodetest.Options{FS: disk, Set: []string{"log.dirs=/a,/b", "metadata.log.dir=/m"}})
		produce(t, n, fmt.Sprint("t", life), 0, 1)
		_ = n.Stop() // a disk that fails is an error
	}
}

// A metadata log belongs to one node of one cluster, and to one process at a time, as a log directory does.
func TestNode_MetadataDirectoryOfAnother(t *testing.T) {
	fs := vfs.NewMem(1)
	node := func(set ...string) nodetest.Options {
		return nodetest.Options{FS: fs, Set: append(set, "metadata.log.dir=/m", "cluster.id=MkU3OEVBNTcwNTJENDM2Qk")}
	}
	n := nodetest.Start(t, node("log.dirs=/a"))
	_, err := nodetest.TryStart(t, node("log.dirs=/b"))
	if !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), "metadata.log.dir") {
		t.Errorf("the directory is in use: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	_, err = nodetest.TryStart(t, node("log.dirs=/c", "node.id=7"))
	if err == nil || !strings.Contains(err.Error(), "in /m: it belongs to node 1, this is node 7") {
		t.Errorf("it is another node's: %v", err)
	}
	if err := fs.Remove("/m/meta.properties"); err != nil {
		t.Fatal(err)
	}
	_, err = nodetest.TryStart(t, node("log.dirs=/a"))
	if err == nil || !strings.Contains(err.Error(), "in /m: it holds a metadata log but no meta.properties") {
		t.Errorf("nobody knows whose it is: %v", err)
	}
}

// An internal topic that a client happens to ask for first is made as the coordinators need it, not with the
// defaults: one partition, deleted after a week.
func TestNode_AutoCreatesInternalTopicsAsTheyMustBe(t *testing.T) {
	n := nodetest.Start(t, nodetest.Options{Set: []string{"offsets.topic.num.partitions=7"}})
	asker, ctx := n.Client(), within(t)
	ask := func(names ...string) *kmsg.MetadataResponse {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = true
		for _, name := range names {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = &name
			req.Topics = append(req.Topics, topic)
		}
		resp, err := req.RequestWith(ctx, asker)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	names := []string{"__consumer_offsets", "__transaction_state", "__share_group_state", "mine", "yours"}
	if resp := ask("mine", "mine", "yours", "mine"); len(resp.Topics) != 2 {
		t.Errorf("two topics of four names are answered %d times", len(resp.Topics))
	}
	resp := ask(names...)
	for resp.Topics[0].ErrorCode != 0 || resp.Topics[3].ErrorCode != 0 || resp.Topics[4].ErrorCode != 0 {
		resp = ask(names...) // until ctx ends
	}
	for i, want := range []int{7, 0, 0, 1, 1} {
		if got := len(resp.Topics[i].Partitions); got != want {
			t.Errorf("%s has %d partitions, want %d", names[i], got, want)
		}
	}
	configs, err := kadm.NewClient(asker).DescribeTopicConfigs(ctx, "__consumer_offsets")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == "cleanup.policy" && c.MaybeValue() != "compact" {
			t.Errorf("cleanup.policy of __consumer_offsets is %s, want compact", c.MaybeValue())
		}
	}
}

// A resource is named in five bytes and described in a hundred thousand: what the answer takes counts against the
// memory of requests.
func TestNode_BoundsWhatIsDescribed(t *testing.T) {
	n := nodetest.Start(t, nodetest.Options{Set: []string{"queued.max.request.bytes=104857600"}})
	ask := func(times int) error {
		conn, err := n.Dial(within(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.SetVersion(4)
		for range times {
			resource := kmsg.NewDescribeConfigsRequestResource()
			resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeBroker, "1"
			req.Resources = append(req.Resources, resource)
		}
		if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadFull(conn, make([]byte, 1000))
		return err
	}
	if err := ask(20); err != nil {
		t.Errorf("20 resources: %v", err)
	}
	if err := ask(5_000); !errors.Is(err, io.EOF) {
		t.Errorf("5000 resources: %v, want the connection closed without an answer", err)
	}
}

// A log directory that cannot be read goes offline alone, wherever it stands in log.dirs.
func TestNode_StartsWithoutALostDirectory(t *testing.T) {
	fs := vfs.NewMem(1)
	opts := nodetest.Options{FS: fs, Set: []string{"log.dirs=/a,/b", "metadata.log.dir=/b"}}
	n := nodetest.Start(t, opts)
	before, err := kadm.NewClient(n.Client()).BrokerMetadata(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveAll("/a"); err != nil {
		t.Fatal(err)
	}
	file, err := fs.OpenFile("/a", os.O_CREATE|os.O_RDWR, 0o644) // which no directory can be made of
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	after, err := kadm.NewClient(nodetest.Start(t, opts).Client()).BrokerMetadata(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if after.Cluster != before.Cluster {
		t.Errorf("the cluster is %s, was %s", after.Cluster, before.Cluster)
	}
}
