package replica_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/vfs"
)

// broker is a replica manager over files in memory, with one topic that metadata gives it.
type broker struct {
	t       *testing.T
	fs      *vfs.Mem // nil where it is another file system
	logs    *storage.Manager
	manager *replica.Manager
	config  *replica.TopicConfig
	img     *metadata.Image

	deadlines *deadline.Queue
	stop      func()
}

var topicID = model.UUID{1}

func newBroker(t *testing.T, fs *vfs.Mem, caching partition.WriteCaching) *broker {
	t.Helper()
	b := openBroker(t, fs, caching)
	b.fs = fs
	b.run()
	return b
}

// openBroker returns a broker that does nothing in the background until run: it recovers no logs.
func openBroker(t *testing.T, fs vfs.FS, caching partition.WriteCaching) *broker {
	t.Helper()
	b := &broker{t: t, img: metadata.Empty()}
	b.config = &replica.TopicConfig{Log: storage.DefaultLogConfig(), WriteCaching: caching, MinISR: 1}
	var err error
	b.logs, err = storage.Open(storage.Deps{
		FS: fs, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Wall: time.Now,
	}, storage.ManagerConfig{NodeID: 1, ClusterID: "c", Dirs: []string{"/data", "/more"}})
	if err != nil {
		t.Fatal(err)
	}
	b.deadlines = deadline.New()
	b.manager = replica.New(replica.Deps{
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Wall: time.Now, Logs: b.logs, Deadlines: b.deadlines,
		TopicConfig: func(*metadata.Image, string) *replica.TopicConfig { return b.config },
	}, replica.Config{Self: 1, RecoveryWorkers: 2})
	return b
}

func (b *broker) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.logs.Run(ctx) })
	wg.Go(func() { _ = b.manager.Run(ctx) })
	wg.Go(func() { _ = b.deadlines.Run(ctx) })
	b.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	b.t.Cleanup(b.stop)
}

// apply hands records to the manager as the publisher would.
func (b *broker) apply(records ...metadata.Record) {
	b.t.Helper()
	img, delta, err := b.img.Apply(b.img.Offset()+1, records)
	if err != nil {
		b.t.Fatal(err)
	}
	b.img = img
	if err := b.manager.OnMetadata(context.Background(), img, delta); err != nil {
		b.t.Fatal(err)
	}
}

// createTopic gives the broker the topic "t" with one partition, led by it in an epoch.
func (b *broker) createTopic(epoch int32) *replica.Replica {
	b.t.Helper()
	b.apply(
		&metadata.RegisterBrokerRecord{ID: 1, Epoch: b.img.Offset() + 1, Incarnation: model.UUID{9}},
		&metadata.TopicRecord{Name: "t", ID: topicID},
		&metadata.PartitionRecord{TopicID: topicID, State: metadata.Partition{
			Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1, LeaderEpoch: epoch,
		}},
	)
	return b.replica()
}

func (b *broker) replica() *replica.Replica {
	b.t.Helper()
	r, err := b.manager.Replica([]byte("t"), 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func batch(t testing.TB, values ...string) record.Batch {
	t.Helper()
	builder := record.NewBuilder(record.BuilderOptions{})
	for _, v := range values {
		builder.Append(time.Now().UnixMilli(), nil, []byte(v), nil)
	}
	b, err := builder.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// produce appends one batch and waits for the answer.
func (b *broker) produce(r *replica.Replica, acks int16, batch record.Batch) replica.AppendResult {
	b.t.Helper()
	return <-b.produceLater(r, acks, 10*time.Second, batch)
}

func (b *broker) produceLater(r *replica.Replica, acks int16, timeout time.Duration, batch record.Batch) <-chan replica.AppendResult {
	answered := make(chan replica.AppendResult, 1)
	b.manager.Append(&replica.Append{
		Acks: acks, Timeout: timeout, Entries: []replica.AppendEntry{{Replica: r, Batch: batch}},
		Done: func(a *replica.Append) { answered <- a.Entries[0].Result },
	})
	return answered
}

// fetch reads from an offset and returns how many bytes came.
func (b *broker) fetch(r *replica.Replica, offset int64, maxWait time.Duration) <-chan replica.FetchResult {
	answered := make(chan replica.FetchResult, 1)
	f := &replica.Fetch{
		MaxWait: maxWait, MinBytes: 1, MaxBytes: 1 << 20,
		Partitions: []replica.FetchPartition{{Replica: r, Offset: offset, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}},
	}
	f.Ready = func(f *replica.Fetch) {
		b.manager.Collect(f)
		answered <- f.Partitions[0].Result
	}
	b.manager.Fetch(f)
	return answered
}

func TestAppend_AnswersWhatIsDurable(t *testing.T) {
	for _, tc := range []struct {
		name    string
		caching partition.WriteCaching
		acks    int16
		durable bool
	}{
		{"auto waits for the flush with one replica", partition.CachingAuto, replica.AcksAll, true},
		{"auto with acks=1 too", partition.CachingAuto, replica.AcksLeader, true},
		{"false waits for the flush", partition.CachingOff, replica.AcksAll, true},
		{"true answers from the page cache", partition.CachingOn, replica.AcksAll, false},
		{"acks=0 waits for nothing", partition.CachingAuto, replica.AcksNone, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBroker(t, vfs.NewMem(1), tc.caching)
			r := b.createTopic(0)
			result := b.produce(r, tc.acks, batch(t, "a", "b"))
			if result.Err != nil || result.BaseOffset != 0 {
				t.Fatalf("produce = %+v", result)
			}
			crashed := b.fs.CrashClone(vfs.CrashOptions{})
			b.stop()
			after := newBroker(t, crashed, tc.caching)
			after.createTopic(1)
			survived := after.awaitLeader().EndOffset()
			if tc.durable && survived != 2 {
				t.Errorf("%d of 2 acknowledged records survived a power loss", survived)
			}
		})
	}
}

// awaitLeader returns the topic's replica once it has recovered.
func (b *broker) awaitLeader() *replica.Replica {
	b.t.Helper()
	r := b.replica()
	for deadline := time.Now().Add(10 * time.Second); !r.IsLeader(); {
		if time.Now().After(deadline) {
			b.t.Fatal("the replica does not lead")
		}
		runtime.Gosched()
	}
	return r
}

// What a refused batch is told of the log's start, as Kafka tells it.
func TestAppend_RefusedLogStart(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	b.config.Log.MaxMessageBytes = 100
	r := b.createTopic(0)
	if result := b.produce(r, replica.AcksAll, batch(t, "a", "b")); result.Err != nil {
		t.Fatal(result.Err)
	}
	if _, err := r.DeleteRecords(2); err != nil {
		t.Fatal(err)
	}
	damaged, shifted := batch(t, "a"), batch(t, "a")
	damaged[len(damaged)-1]++
	shifted.SetBaseOffset(5)
	for _, tc := range []struct {
		name  string
		batch record.Batch
		code  kafkaerr.Code
		start int64
	}{
		{"a bad base offset", shifted, kafkaerr.InvalidRecord, 2},
		{"a bad checksum", damaged, kafkaerr.CorruptMessage, -1},
		{"too large", batch(t, strings.Repeat("a", 100)), kafkaerr.MessageTooLarge, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := b.produce(r, replica.AcksAll, tc.batch)
			if !errors.Is(got.Err, tc.code) || got.BaseOffset != -1 || got.LogStartOffset != tc.start {
				t.Errorf("%+v, want %v and log start %d", got, tc.code, tc.start)
			}
		})
	}
}

// max.message.bytes=0 lets no batch in. The header alone is enough to say so.
func TestAppend_NoBatchIsSmallEnough(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	b.config.Log.MaxMessageBytes = 0
	r := b.createTopic(0)
	for name, sent := range map[string]record.Batch{"whole": batch(t, "a"), "header": batch(t, "a")[:record.HeaderSize]} {
		if got := b.produce(r, replica.AcksAll, sent); !errors.Is(got.Err, kafkaerr.MessageTooLarge) {
			t.Errorf("%s: %+v, want %v", name, got, kafkaerr.MessageTooLarge)
		}
	}
}

func TestFetch_WaitsForTheHighWatermark(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	waiting := b.fetch(r, 0, time.Minute)
	select {
	case got := <-waiting:
		t.Fatalf("an empty log answered at once: %+v", got)
	default:
	}
	if result := b.produce(r, replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Fatal(result.Err)
	}
	got := <-waiting
	if got.Err != nil || got.Records.Size == 0 || got.HighWatermark != 1 {
		t.Fatalf("fetch = %+v, want the record", got)
	}
	got.Records.Release()
}

// Whoever appends may answer one reader of a request's records, if that is little work. The others, and those who wait for
// a flush or for nothing any more, are better off with a goroutine of their own.
func TestFetch_Spare(t *testing.T) {
	type asked struct {
		minBytes   int32
		partitions int
	}
	one, more := batch(t, "a"), batch(t, "b")
	both := int32(len(one) + len(more))
	for _, tc := range []struct {
		name    string
		caching partition.WriteCaching
		maxWait time.Duration
		batches []record.Batch
		asked   []asked
		want    int // fetches that whoever appends may answer
	}{
		{"one reader", partition.CachingOn, time.Hour, []record.Batch{one}, []asked{{1, 1}}, 1},
		{"of three readers one", partition.CachingOn, time.Hour, []record.Batch{one}, []asked{{1, 1}, {1, 1}, {1, 1}}, 1},
		{"of a reader for each batch one", partition.CachingOn, time.Hour, []record.Batch{one, more}, []asked{{both, 1}, {1, 1}}, 1},
		{"one of many partitions", partition.CachingOn, time.Hour, []record.Batch{one}, []asked{{1, 17}}, 0},
		{"after a flush", partition.CachingAuto, time.Hour, []record.Batch{one}, []asked{{1, 1}}, 0},
		{"whose time is over", partition.CachingOn, time.Millisecond, nil, []asked{{1, 1}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBroker(t, vfs.NewMem(1), tc.caching)
			r := b.createTopic(0)
			answered := make(chan bool, len(tc.asked))
			for _, a := range tc.asked {
				f := &replica.Fetch{MaxWait: tc.maxWait, MinBytes: a.minBytes, MaxBytes: 1 << 20, Ready: func(f *replica.Fetch) { answered <- f.Spare }}
				for range a.partitions {
					f.Partitions = append(f.Partitions, replica.FetchPartition{Replica: r, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1})
				}
				b.manager.Fetch(f)
			}
			if tc.batches != nil {
				a := &replica.Append{Acks: replica.AcksAll, Timeout: time.Hour, Done: func(*replica.Append) {}}
				for _, batch := range tc.batches {
					a.Entries = append(a.Entries, replica.AppendEntry{Replica: r, Batch: slices.Clone(batch)})
				}
				b.manager.Append(a)
			}
			spared := 0
			for range tc.asked {
				if <-answered {
					spared++
				}
			}
			if spared != tc.want {
				t.Errorf("%d of %d fetches may be answered by whoever appends, want %d", spared, len(tc.asked), tc.want)
			}
		})
	}
}

// A partition that does not exist is told of with the rest: a consumer of a deleted topic would otherwise ask
// again and again without a pause.
func TestFetch_MissingPartitionsDoNotEndTheWait(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	answered := make(chan *replica.Fetch, 2)
	fetch := func(partitions ...replica.FetchPartition) {
		b.manager.Fetch(&replica.Fetch{
			MaxWait: time.Hour, MinBytes: 1, MaxBytes: 1 << 20, Partitions: partitions,
			Ready: func(f *replica.Fetch) {
				b.manager.Collect(f)
				answered <- f
			},
		})
	}
	missing := replica.FetchPartition{Err: kafkaerr.UnknownTopicOrPartition}
	fetch(missing, replica.FetchPartition{Replica: r, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1})
	select {
	case f := <-answered:
		t.Fatalf("answered without a record: %+v", f.Partitions)
	default:
	}
	if result := b.produce(r, replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Fatal(result.Err)
	}
	got := (<-answered).Partitions
	if !errors.Is(got[0].Result.Err, kafkaerr.UnknownTopicOrPartition) || got[1].Result.Records.Size == 0 {
		t.Errorf("the answers are %+v and %+v, want an error and a record", got[0].Result, got[1].Result)
	}
	got[1].Result.Records.Release()

	fetch(missing) // and nothing to wait for
	if f := <-answered; !errors.Is(f.Partitions[0].Result.Err, kafkaerr.UnknownTopicOrPartition) {
		t.Errorf("the answer is %+v, want an error", f.Partitions[0].Result)
	}
}

func TestFetch_TimesOutEmpty(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	if got := <-b.fetch(r, 0, 5*time.Millisecond); got.Err != nil || got.Records.Size != 0 || got.HighWatermark != 0 {
		t.Fatalf("fetch = %+v, want nothing", got)
	}
}

func TestFetch_Errors(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(3)
	for _, tc := range []struct {
		name   string
		offset int64
		epoch  int32
		want   kafkaerr.Code
	}{
		{"past the end", 1, -1, kafkaerr.OffsetOutOfRange},
		{"before the start", -1, -1, kafkaerr.OffsetOutOfRange},
		{"an older epoch", 0, 2, kafkaerr.FencedLeaderEpoch},
		{"a newer epoch", 0, 4, kafkaerr.UnknownLeaderEpoch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answered := make(chan error, 1)
			b.manager.Fetch(&replica.Fetch{
				MaxWait: time.Minute, MinBytes: 1, MaxBytes: 1,
				Partitions: []replica.FetchPartition{{Replica: r, Offset: tc.offset, MaxBytes: 1, CurrentLeaderEpoch: tc.epoch, LastFetchedEpoch: -1}},
				Ready: func(f *replica.Fetch) {
					b.manager.Collect(f)
					answered <- f.Partitions[0].Result.Err
				},
			})
			if err := <-answered; !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

// A batch that has rotted is CORRUPT_MESSAGE to who asks for it, as in Kafka; the one behind it is served.
func TestFetch_DamagedBatch(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	for range 3 {
		if result := b.produce(r, replica.AcksAll, batch(t, "a")); result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	b.stop()
	if err := b.logs.CleanShutdown(1); err != nil {
		t.Fatal(err)
	}
	log, _ := b.logs.Get(r.TopicPartition())
	f, err := b.fs.OpenFile(filepath.Join(log.Path(), "00000000000000000000.log"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{99}, 16); err != nil { // its magic byte
		t.Fatal(err)
	}
	b = newBroker(t, b.fs, partition.CachingAuto)
	b.createTopic(1)
	r = b.awaitLeader()
	if got := <-b.fetch(r, 0, time.Minute); !errors.Is(got.Err, kafkaerr.CorruptMessage) {
		t.Errorf("a fetch of the damaged batch: %v", got.Err)
	}
	if got := <-b.fetch(r, 1, time.Minute); got.Err != nil || got.Records.Size == 0 {
		t.Errorf("a fetch of the one behind it: %+v", got)
	}
}

// A client that says which epoch it read last is told where its records and ours part (KIP-595), at once.
func TestFetch_Diverging(t *testing.T) {
	first := newBroker(t, vfs.NewMem(1), partition.CachingOn)
	if result := first.produce(first.createTopic(2), replica.AcksAll, batch(t, "a", "b")); result.Err != nil {
		t.Fatal(result.Err)
	}
	first.stop()
	b := newBroker(t, first.fs.KillProcess(), partition.CachingOn)
	b.createTopic(5)
	r := b.awaitLeader()
	if result := b.produce(r, replica.AcksAll, batch(t, "c")); result.Err != nil {
		t.Fatal(result.Err)
	}
	for _, tc := range []struct {
		name      string
		offset    int64
		epoch     int32
		diverging *replica.EpochEnd
		err       error
	}{
		{"the epoch that was before", 1, 2, nil, nil},
		{"up to its end", 2, 2, nil, nil},
		{"beyond its end", 3, 2, &replica.EpochEnd{Epoch: 2, Offset: 2}, nil},
		{"an epoch that we never had", 3, 4, &replica.EpochEnd{Epoch: 2, Offset: 2}, nil},
		{"an epoch that we never had, of records that we have", 1, 4, &replica.EpochEnd{Epoch: 2, Offset: 2}, nil},
		{"an epoch before all", 1, 1, &replica.EpochEnd{Epoch: 1, Offset: 0}, nil},
		{"our own, beyond the end", 9, 5, &replica.EpochEnd{Epoch: 5, Offset: 3}, nil},
		{"an epoch to come", 3, 6, nil, kafkaerr.OffsetOutOfRange},
		{"below the start", -1, 2, nil, kafkaerr.OffsetOutOfRange},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answered := make(chan replica.FetchResult, 1)
			fetch := &replica.Fetch{
				MaxWait: time.Hour, MinBytes: 1 << 20, MaxBytes: 1 << 20,
				Partitions: []replica.FetchPartition{
					{Replica: r, Offset: tc.offset, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: tc.epoch},
				},
				Ready: func(f *replica.Fetch) {
					b.manager.Collect(f)
					answered <- f.Partitions[0].Result
				},
			}
			if tc.diverging == nil && tc.err == nil {
				fetch.MinBytes = 0 // there is nothing to tell, so it would wait
			}
			b.manager.Fetch(fetch)
			var got replica.FetchResult
			select {
			case got = <-answered:
			case <-time.After(10 * time.Second):
				t.Fatal("the fetch waits")
			}
			defer got.Records.Release()
			if diff := cmp.Diff(tc.diverging, got.Diverging); diff != "" || !errors.Is(got.Err, tc.err) {
				t.Errorf("error %v, want %v, diverging (-want +got)\n%s", got.Err, tc.err, diff)
			}
			if tc.diverging != nil && got.Records.Size > 0 {
				t.Error("records that the client cannot append")
			}
		})
	}
}

// A batch that was appended and waits in vain is answered with where it lies, as in Kafka.
func TestAppend_WaitsInVain(t *testing.T) {
	stall := make(chan struct{})
	var stalled atomic.Bool
	b := openBroker(t, vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && stalled.Load() {
			<-stall
		}
		return nil
	}), partition.CachingOff)
	b.run()
	t.Cleanup(func() { close(stall) }) // before the broker stops, which waits for its disk
	r := b.createTopic(0)
	if first := b.produce(r, replica.AcksAll, batch(t, "a")); first.Err != nil {
		t.Fatal(first.Err)
	}
	stalled.Store(true)
	if got := <-b.produceLater(r, replica.AcksAll, time.Millisecond, batch(t, "b")); !errors.Is(got.Err, kafkaerr.RequestTimedOut) || got.BaseOffset != 1 || got.LogStartOffset != 0 {
		t.Errorf("a batch that is not flushed in time got %+v", got)
	}
	waiting := b.produceLater(r, replica.AcksAll, time.Minute, batch(t, "c"))
	b.apply(&metadata.RemoveTopicRecord{ID: topicID})
	if got := <-waiting; !errors.Is(got.Err, kafkaerr.NotLeaderOrFollower) || got.BaseOffset != 2 || got.LogStartOffset != 0 {
		t.Errorf("a batch whose topic is deleted meanwhile got %+v", got)
	}
}

func TestLeadershipLost_AnswersWhoWaits(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	fetching := b.fetch(r, 0, time.Minute)
	b.apply(&metadata.RemoveTopicRecord{ID: topicID})
	if got := <-fetching; !errors.Is(got.Err, kafkaerr.NotLeaderOrFollower) {
		t.Errorf("a waiting fetch of a deleted topic got %v", got.Err)
	}
	if result := b.produce(r, replica.AcksAll, batch(t, "late")); !errors.Is(result.Err, kafkaerr.NotLeaderOrFollower) {
		t.Errorf("a produce to a deleted topic got %+v", result)
	}
	if _, err := b.manager.Replica([]byte("t"), 0); !errors.Is(err, kafkaerr.UnknownTopicOrPartition) {
		t.Errorf("the deleted topic is still found: %v", err)
	}
}

// A topic's and a broker's own settings, and the default of all brokers, reach the partitions that are open.
func TestReconfigure_MinInsyncReplicas(t *testing.T) {
	for _, resource := range []metadata.ConfigRecord{
		{ResourceType: metadata.TopicResource, ResourceName: "t", Key: "min.insync.replicas"},
		{ResourceType: metadata.BrokerResource, ResourceName: "1", Key: "min.insync.replicas"},
		{ResourceType: metadata.BrokerResource, Key: "min.insync.replicas"},
	} {
		b := newBroker(t, vfs.NewMem(1), partition.CachingOn)
		b.createTopic(0)
		second := metadata.NewPartitionChange(topicID, 0)
		second.Replicas, second.Directories = []model.BrokerID{1, 2}, []model.UUID{{}, {}}
		b.apply(second)
		r := b.replica()
		if result := b.produce(r, replica.AcksAll, batch(t, "one of two is enough")); result.Err != nil {
			t.Fatal(result.Err)
		}
		changed := *b.config
		changed.MinISR = 2
		b.config = &changed
		value := "2"
		resource.Value = &value
		b.apply(&resource)
		if result := b.produce(r, replica.AcksAll, batch(t, "both are asked for")); !errors.Is(result.Err, kafkaerr.NotEnoughReplicas) {
			t.Errorf("%+v: a write with one of two replicas in sync got %+v", resource, result)
		}
	}
}

// After a kill the high watermark begins at its checkpoint, below what consumers saw; the end that they
// are told must not go back with it (KIP-207).
func TestListOffset_WaitsForTheEpochsStart(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingOn)
	if result := b.produce(b.createTopic(0), replica.AcksAll, batch(t, "a", "b")); result.Err != nil {
		t.Fatal(result.Err)
	}
	b.stop()
	after := newBroker(t, b.fs.KillProcess(), partition.CachingOn)
	after.config.MinISR, after.config.WriteCaching = 1, partition.CachingOff
	after.stop() // nothing is flushed, so that the high watermark stays where it began
	after.createTopic(1)
	go func() { _ = after.manager.Run(t.Context()) }()
	r := after.awaitLeader()
	latest := replica.OffsetQuery{Timestamp: replica.TimestampLatest, CurrentLeaderEpoch: -1}
	if r.HighWatermark() != 0 || r.EndOffset() != 2 {
		t.Fatalf("high watermark %d, end %d; want 0 and 2", r.HighWatermark(), r.EndOffset())
	}
	if answer, err := r.ListOffset(latest); !errors.Is(err, kafkaerr.OffsetNotAvailable) {
		t.Errorf("the end before the high watermark caught up: %+v, %v", answer, err)
	}
	if err := r.Log().Dir().SyncRound(); err != nil {
		t.Fatal(err)
	}
	if answer, err := r.ListOffset(latest); err != nil || answer.Offset != 2 {
		t.Errorf("the end after it: %+v, %v; want 2", answer, err)
	}
}

// The delta lists topics by id: whichever of the two ids is smaller, the old topic makes way first.
func TestTopicCreatedAnew_InOneStep(t *testing.T) {
	for _, id := range []model.UUID{{0, 1}, {2}} {
		b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
		if result := b.produce(b.createTopic(0), replica.AcksAll, batch(t, "a", "b")); result.Err != nil {
			t.Fatal(result.Err)
		}
		b.apply(
			&metadata.RemoveTopicRecord{ID: topicID},
			&metadata.TopicRecord{Name: "t", ID: id},
			&metadata.PartitionRecord{TopicID: id, State: metadata.Partition{
				Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1,
			}},
		)
		if result := b.produce(b.replica(), replica.AcksAll, batch(t, "c")); result.Err != nil || result.BaseOffset != 0 {
			t.Errorf("id %v: the first record of the new topic got %+v, want offset 0", id, result)
		}
	}
}

func TestCancelFetch_LeavesNothingBehind(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	f := &replica.Fetch{
		MaxWait: time.Minute, MinBytes: 1, MaxBytes: 1,
		Partitions: []replica.FetchPartition{{Replica: r, MaxBytes: 1, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}},
		Ready:      func(*replica.Fetch) { t.Error("a cancelled fetch was answered") },
	}
	b.manager.Fetch(f)
	if !b.manager.CancelFetch(f) {
		t.Fatal("the fetch could not be cancelled")
	}
	if result := b.produce(r, replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Fatal(result.Err)
	}
}

// Many producers and consumers at once: every record is acknowledged once, and each consumer that follows
// the log sees all of it, whatever the interleaving.
func TestConcurrentProduceAndFetch(t *testing.T) {
	const producers, each = 4, 50
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				if result := b.produce(r, replica.AcksAll, batch(t, fmt.Sprint(p, i))); result.Err != nil {
					t.Errorf("produce: %v", result.Err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for offset := int64(0); offset < producers*each; {
				got := <-b.fetch(r, offset, time.Minute)
				if got.Err != nil {
					t.Errorf("fetch: %v", got.Err)
					return
				}
				buf := make([]byte, got.Records.Size)
				if _, err := got.Records.CopyTo(buf); err != nil {
					t.Error(err)
				}
				got.Records.Release()
				for len(buf) > 0 {
					next, rest, err := record.ParseBatch(buf)
					if err != nil || next.BaseOffset() != offset {
						t.Errorf("at offset %d: batch %d, %v", offset, next.BaseOffset(), err)
						return
					}
					offset, buf = next.LastOffset()+1, rest
				}
			}
		})
	}
	wg.Wait()
	if end := r.EndOffset(); end != producers*each {
		t.Errorf("the log ends at %d, want %d", end, producers*each)
	}
}

func TestAppendInternal_TellsWhenCommitted(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(5)
	if _, err := r.AppendInternal(4, batch(t, "stale"), func(error) { t.Error("a stale append was committed") }); !errors.Is(err, kafkaerr.NotLeaderOrFollower) {
		t.Fatalf("an append of an older epoch got %v", err)
	}
	committed := make(chan error, 1)
	appended, err := r.AppendInternal(5, batch(t, "a"), func(err error) { committed <- err })
	if err != nil || appended.FirstOffset != 0 {
		t.Fatalf("append = %+v, %v", appended, err)
	}
	if err := <-committed; err != nil || r.HighWatermark() != 1 {
		t.Errorf("committed with %v at high watermark %d", err, r.HighWatermark())
	}
	got, err := r.ReadLocal(0, make([]byte, 4096))
	if err != nil || len(got) == 0 {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
}

// oneRecord returns the files of a broker that was killed with one record in the topic "t".
func oneRecord(t *testing.T) *vfs.Mem {
	t.Helper()
	fs := vfs.NewMem(1)
	b := newBroker(t, fs, partition.CachingAuto)
	if result := b.produce(b.createTopic(0), replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Fatal(result.Err)
	}
	b.stop()
	return fs.KillProcess()
}

// A topic may be deleted before this broker has recovered its log.
func TestTopicDeleted_BeforeItsLogIsRecovered(t *testing.T) {
	b := openBroker(t, oneRecord(t), partition.CachingAuto)
	b.createTopic(1)
	b.apply(&metadata.RemoveTopicRecord{ID: topicID})
	if _, err := b.manager.Replica([]byte("t"), 0); !errors.Is(err, kafkaerr.UnknownTopicOrPartition) {
		t.Errorf("the deleted topic is %v", err)
	}
	b.run()
	r := b.createTopic(2) // under the same name and id
	if result := b.produce(r, replica.AcksAll, batch(t, "b")); result.Err != nil || result.BaseOffset != 0 {
		t.Errorf("the topic that was created anew answered %+v", result)
	}
}

// A topic may be deleted while the directory of its log is offline. When that is back the log goes, whether
// or not there is another topic of its name, and whichever directory comes first.
func TestTopicDeleted_WhileItsDirectoryIsOffline(t *testing.T) {
	for first, dir := range []string{"/data", "/more"} {
		for _, anew := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, created anew %v", dir, anew), func(t *testing.T) {
				var broken atomic.Bool
				mem := vfs.NewMem(1)
				b := openBroker(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
					if broken.Load() && strings.HasPrefix(op.Name, dir+"/") {
						return syscall.EIO
					}
					return nil
				}), partition.CachingAuto)
				b.run()
				create := func(id model.UUID, at model.UUID) {
					b.apply(&metadata.TopicRecord{Name: "t", ID: id}, &metadata.PartitionRecord{TopicID: id, State: metadata.Partition{
						Replicas: []model.BrokerID{1}, Directories: []model.UUID{at}, ISR: []model.BrokerID{1}, Leader: 1,
					}})
				}
				create(topicID, b.logs.Dirs()[first].ID)
				if result := b.produce(b.replica(), replica.AcksAll, batch(t, "old")); result.Err != nil {
					t.Fatal(result.Err)
				}
				broken.Store(true)
				if result := b.produce(b.replica(), replica.AcksAll, batch(t, "not taken")); !errors.Is(result.Err, kafkaerr.KafkaStorageError) {
					t.Fatalf("the offline log answered %+v", result)
				}
				b.apply(&metadata.RemoveTopicRecord{ID: topicID})
				again := model.UUID{2}
				if anew {
					create(again, model.UUID{})
					for range 2 {
						if result := b.produce(b.replica(), replica.AcksAll, batch(t, "new")); result.Err != nil {
							t.Fatal(result.Err)
						}
					}
				}
				b.stop()
				b = newBroker(t, mem.KillProcess(), partition.CachingAuto)
				if anew {
					create(again, model.UUID{})
					if end := b.awaitLeader().EndOffset(); end != 2 {
						t.Errorf("the topic that was created anew ends at %d", end)
					}
				} else {
					b.apply(&metadata.RegisterBrokerRecord{ID: 1, Incarnation: model.UUID{9}})
				}
				if _, err := b.fs.Stat(dir + "/t-0"); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the log of the deleted topic: %v", err)
				}
				if left := b.logs.OnDisk(); len(left) > 0 {
					t.Errorf("%v await recovery", left)
				}
			})
		}
	}
}

// A partition whose directory was taken out of log.dirs is offline, alone: metadata goes on.
func TestAssigned_ToADirectoryThatIsNotInLogDirs(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	gone := model.UUID{7}
	topic := func(name string, id, dir model.UUID) []metadata.Record {
		return []metadata.Record{&metadata.TopicRecord{Name: name, ID: id}, &metadata.PartitionRecord{TopicID: id, State: metadata.Partition{
			Replicas: []model.BrokerID{1}, Directories: []model.UUID{dir}, ISR: []model.BrokerID{1}, Leader: 1,
		}}}
	}
	b.apply(append(topic("t", topicID, gone), topic("u", model.UUID{2}, b.logs.Dirs()[0].ID)...)...)
	b.apply(topic("v", model.UUID{3}, gone)...)
	for _, name := range []string{"t", "v"} {
		r, err := b.manager.Replica([]byte(name), 0)
		if err != nil {
			t.Fatal(err)
		}
		for err = kafkaerr.NotLeaderOrFollower; errors.Is(err, kafkaerr.NotLeaderOrFollower); runtime.Gosched() { // until it was looked for
			err = b.produce(r, replica.AcksAll, batch(t, "a")).Err
		}
		if !errors.Is(err, kafkaerr.KafkaStorageError) {
			t.Errorf("%s answers %v, want KAFKA_STORAGE_ERROR", name, err)
		}
	}
	u, err := b.manager.Replica([]byte("u"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if result := b.produce(u, replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Errorf("a partition beside it answers %+v", result)
	}
	b.apply(&metadata.RemoveTopicRecord{ID: topicID})
}

// A log that takes long to recover does not hold up the metadata that deletes its topic.
func TestTopicDeleted_GivesItsRecoveryUp(t *testing.T) {
	const batches, perRead = 40, time.Second
	for _, ending := range []func(*vfs.Mem) *vfs.Mem{
		(*vfs.Mem).KillProcess,
		func(m *vfs.Mem) *vfs.Mem { return m.Crash(vfs.CrashOptions{UnsyncedDataPercent: 100}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem(1)
			b := newBroker(t, mem, partition.CachingOn)
			r := b.createTopic(0)
			for range batches {
				if result := b.produce(r, replica.AcksAll, batch(t, strings.Repeat("x", 300_000))); result.Err != nil {
					t.Fatal(result.Err)
				}
			}
			b.stop()
			b = openBroker(t, vfs.NewFaulty(ending(mem), func(op vfs.Op) error {
				if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, ".log") {
					time.Sleep(perRead)
				}
				return nil
			}), partition.CachingOn)
			r = b.createTopic(1)
			b.run()
			time.Sleep(3 * perRead)
			synctest.Wait()
			if !r.Recovering() {
				t.Fatal("the log is recovered already")
			}
			asked := time.Now()
			b.apply(&metadata.RemoveTopicRecord{ID: topicID})
			if waited := time.Since(asked); waited > 5*perRead {
				t.Errorf("the metadata waited %v for the recovery", waited)
			}
			r = b.createTopic(2) // its name is free
			if result := b.produce(r, replica.AcksAll, batch(t, "b")); result.Err != nil || result.BaseOffset != 0 {
				t.Errorf("the topic that was created anew answered %+v", result)
			}
			if dirs := b.manager.LogDirs(); dirs[0].Offline != nil || dirs[1].Offline != nil {
				t.Errorf("a directory is offline: %+v", dirs)
			}
			b.stop()
		})
	}
}

// Nor does a recovery that is under way bring it back into service.
func TestTopicDeleted_WhileItsLogIsRecovered(t *testing.T) {
	recovering, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b := openBroker(t, vfs.NewFaulty(oneRecord(t), func(op vfs.Op) error {
		if strings.HasSuffix(op.Name, ".log") {
			once.Do(func() {
				close(recovering)
				<-goOn
			})
		}
		return nil
	}), partition.CachingAuto)
	b.run()
	r := b.createTopic(1)
	<-recovering
	deleted := make(chan struct{})
	go func() {
		defer close(deleted)
		b.apply(&metadata.RemoveTopicRecord{ID: topicID}) // waits for the recovery
	}()
	for {
		if _, err := b.manager.Replica([]byte("t"), 0); err != nil {
			break
		}
		runtime.Gosched()
	}
	close(goOn)
	<-deleted
	b.stop()
	if r.IsLeader() {
		t.Error("the replica of a deleted topic leads")
	}
}

// What a fetch is told of the high watermark is what its records were bounded by: with a newer one the answer
// would say that there are records at the offset asked for, and hold none.
func TestFetch_OneHighWatermarkPerAnswer(t *testing.T) {
	b := openBroker(t, vfs.NewMem(1), partition.CachingOff) // nothing flushes: only the test moves it
	r := b.createTopic(0)
	const records = 50_000
	for range records {
		if result := b.produce(r, replica.AcksNone, batch(t, "a")); result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	var moving sync.WaitGroup
	moving.Go(func() {
		for hw := range int64(records) {
			r.Log().SetHighWatermark(hw)
		}
	})
	f := &replica.Fetch{MaxBytes: 1 << 20, Partitions: []replica.FetchPartition{{Replica: r, MaxBytes: 100, CurrentLeaderEpoch: -1}}}
	p := &f.Partitions[0]
	for ahead := int64(0); r.HighWatermark() < records-1; ahead++ {
		p.Offset = min(r.HighWatermark()+ahead%16, records)
		b.manager.Collect(f)
		got := &p.Result
		if got.Err != nil || got.Records.Size == 0 && got.HighWatermark > p.Offset || got.LastStableOffset > got.HighWatermark {
			t.Fatalf("fetch at %d: %+v", p.Offset, got)
		}
		got.Records.Release()
	}
	moving.Wait()
}

// A log that the disk was too full to recover serves once there is space, without a restart.
func TestRecovery_WaitsForSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(1)
		b := openBroker(t, mem, partition.CachingOn)
		b.config.Log.SegmentBytes = 500
		r := b.createTopic(0)
		for range 5 {
			if result := b.produce(r, replica.AcksLeader, batch(t, strings.Repeat("x", 300))); result.Err != nil {
				t.Fatal(result.Err)
			}
		}
		var full atomic.Bool
		full.Store(true)
		b = openBroker(t, vfs.NewFaulty(mem.KillProcess(), func(op vfs.Op) error {
			if full.Load() && op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, "index") {
				return syscall.ENOSPC
			}
			return nil
		}), partition.CachingOn)
		b.run()
		r = b.createTopic(1)
		time.Sleep(time.Minute)
		if !r.Recovering() {
			t.Fatal("there is nothing that the recovery wrote")
		}
		full.Store(false)
		time.Sleep(time.Minute)
		if !r.IsLeader() || r.EndOffset() != 5 {
			t.Errorf("leader: %v, the log ends at %d, want 5", r.IsLeader(), r.EndOffset())
		}
		b.stop()
	})
}

// A log directory that cannot be read at a start may hold the log of a partition that is found nowhere else. It
// is offline then, and does not begin anew in another directory. A topic that is new does.
func TestStart_LogDirectoryThatCannotBeRead(t *testing.T) {
	for _, tc := range []struct {
		name, dir string
		fails     vfs.OpKind
	}{
		{"the one that holds it", "/data", vfs.OpReadDir},
		{"the one that holds it, once it was listed", "/data", vfs.OpRemove},
		{"another one", "/more", vfs.OpReadDir},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem, dir := oneRecord(t), tc.dir
			if err := vfs.WriteFileAtomic(mem, dir+"/zz.tmp", nil); err != nil {
				t.Fatal(err)
			}
			b := openBroker(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
				if op.Kind == tc.fails && strings.HasPrefix(op.Name, dir) && !strings.Contains(op.Name, "clean") {
					return syscall.EIO
				}
				return nil
			}), partition.CachingAuto)
			b.run()
			_, err := mem.Stat(dir + "/t-0")
			holds := err == nil
			r := b.createTopic(1)
			if holds {
				if result := b.produce(r, replica.AcksAll, batch(t, "b")); result.Err == nil {
					t.Errorf("the partition, whose log cannot be read, took a record at offset %d", result.BaseOffset)
				}
				if got := <-b.fetch(r, 0, 0); got.Err == nil {
					t.Errorf("it answered a fetch with high watermark %d", got.HighWatermark)
				}
			} else if r = b.awaitLeader(); r.EndOffset() != 1 {
				t.Errorf("the log in the other directory ends at %d, want 1", r.EndOffset())
			}
			id := model.UUID{2}
			b.apply(&metadata.TopicRecord{Name: "new", ID: id}, &metadata.PartitionRecord{TopicID: id, State: metadata.Partition{
				Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1,
			}})
			r, err = b.manager.Replica([]byte("new"), 0)
			if err != nil {
				t.Fatal(err)
			}
			if result := b.produce(r, replica.AcksAll, batch(t, "c")); result.Err != nil {
				t.Errorf("a new topic beside it: %+v", result)
			}
		})
	}
}

// A sync that fails is the end of the log directory: what waited for it, and what comes after, is answered with
// KAFKA_STORAGE_ERROR.
func TestOffline_AnswersWithAStorageError(t *testing.T) {
	var broken atomic.Bool
	b := openBroker(t, vfs.NewFaulty(vfs.NewMem(1), func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") && broken.Load() {
			return syscall.EIO
		}
		return nil
	}), partition.CachingAuto)
	b.run()
	r := b.createTopic(0)
	fetching := b.fetch(r, 0, time.Minute)
	broken.Store(true)
	for _, when := range []string{"that waited", "that came later"} {
		if result := b.produce(r, replica.AcksAll, batch(t, "a")); !errors.Is(result.Err, kafkaerr.KafkaStorageError) {
			t.Errorf("a produce %s: %v", when, result.Err)
		}
	}
	if got := <-fetching; !errors.Is(got.Err, kafkaerr.KafkaStorageError) {
		t.Errorf("the fetch that waited: %v", got.Err)
	}
	if _, err := r.ListOffset(replica.OffsetQuery{Timestamp: replica.TimestampLatest, CurrentLeaderEpoch: -1}); !errors.Is(err, kafkaerr.KafkaStorageError) {
		t.Errorf("ListOffsets: %v", err)
	}
}

// A log can be flushed with its directory before its replica serves.
func TestReplica_FlushedBeforeItIsReady(t *testing.T) {
	first := newBroker(t, vfs.NewMem(1), partition.CachingOn)
	if result := first.produce(first.createTopic(0), replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Fatal(result.Err)
	}
	first.stop()
	b := openBroker(t, first.fs.KillProcess(), partition.CachingOff)
	log := b.createTopic(1).Log()
	if err := log.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.Dir().Queue(log)
	if err := log.Dir().SyncRound(); err != nil || log.FlushedOffset() != 1 {
		t.Fatalf("%v; flushed is %d, want 1", err, log.FlushedOffset())
	}
	b.run()
	if result := b.produce(b.awaitLeader(), replica.AcksAll, batch(t, "b")); result.Err != nil || result.BaseOffset != 1 {
		t.Errorf("produce = %+v, want offset 1", result)
	}
}

// Metadata goes on while logs are recovered: the newest of it holds in the end, whoever applies it.
func TestReplica_ChangesWhileItIsRecovered(t *testing.T) {
	first := newBroker(t, vfs.NewMem(1), partition.CachingOn)
	if result := first.produce(first.createTopic(0), replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Fatal(result.Err)
	}
	first.stop()
	for range 200 {
		b := newBroker(t, first.fs.KillProcess(), partition.CachingOn)
		r := b.createTopic(1)
		last := int32(1)
		for recovering := true; recovering; {
			recovering = r.Recovering()
			last++
			change, limit := metadata.NewPartitionChange(topicID, 0), fmt.Sprint(1000+last)
			change.Leader = 1
			b.config = &replica.TopicConfig{Log: storage.DefaultLogConfig(), WriteCaching: partition.CachingOn, MinISR: 1}
			b.config.Log.MaxMessageBytes = 1000 + last
			b.apply(change, &metadata.ConfigRecord{ResourceType: metadata.TopicResource, ResourceName: "t", Key: "max.message.bytes", Value: &limit})
		}
		b.stop()
		if _, epoch := r.Leadership(); !r.IsLeader() || epoch != last || r.MaxBatchBytes() != int(1000+last) {
			t.Fatalf("leads %v in epoch %d with max.message.bytes %d, want %d and %d", r.IsLeader(), epoch, r.MaxBatchBytes(), last, 1000+last)
		}
	}
}

// A log that makes the recovery panic is a partition that is offline, and no node that cannot start.
func TestReplica_RecoveryPanics(t *testing.T) {
	mem := oneRecord(t)
	b := openBroker(t, vfs.NewFaulty(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, "/t-0/00000000000000000000.log") {
			panic("what nobody thought of")
		}
		return nil
	}), partition.CachingAuto)
	r := b.createTopic(1)
	b.run()
	err := error(kafkaerr.NotLeaderOrFollower)
	for ; errors.Is(err, kafkaerr.NotLeaderOrFollower); runtime.Gosched() { // until it was tried
		err = b.produce(r, replica.AcksAll, batch(t, "a")).Err
	}
	if !errors.Is(err, kafkaerr.KafkaStorageError) {
		t.Errorf("produce: %v, want KAFKA_STORAGE_ERROR", err)
	}
}

// A request that was on its way when its topic was deleted meets a closed log. That is no fault of a disk.
func TestReplica_LogIsDeletedMeanwhile(t *testing.T) {
	b := newBroker(t, vfs.NewMem(1), partition.CachingAuto)
	r := b.createTopic(0)
	if result := b.produce(r, replica.AcksAll, batch(t, "a")); result.Err != nil {
		t.Fatal(result.Err)
	}
	if err := b.logs.Delete(r.TopicPartition()); err != nil {
		t.Fatal(err)
	}
	if got := b.produce(r, replica.AcksAll, batch(t, "a")); !errors.Is(got.Err, kafkaerr.NotLeaderOrFollower) {
		t.Errorf("produce: %v, want NOT_LEADER_OR_FOLLOWER", got.Err)
	}
	if got := <-b.fetch(r, 0, 0); !errors.Is(got.Err, kafkaerr.NotLeaderOrFollower) {
		t.Errorf("fetch: %v, want NOT_LEADER_OR_FOLLOWER", got.Err)
	}
}
