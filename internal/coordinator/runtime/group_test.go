package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
)

// groups is a runtime of group shards.
type groups struct {
	*runtime.Runtime
	tp model.TopicPartition
}

func runGroups(t testing.TB, config runtime.Config, registry *prometheus.Registry, log runtime.Log) (g *groups, stop func()) {
	deadlines := deadline.New()
	var (
		mu    sync.Mutex
		drawn uint64
	)
	newUUID := func() model.UUID {
		mu.Lock()
		defer mu.Unlock()
		drawn++
		return model.UUID{14: byte(drawn >> 8), 15: byte(drawn)}
	}
	r, err := runtime.New(config, runtime.Deps{
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: registry,
		Wall:       time.Now,
		Deadlines:  deadlines,
	}, runtime.Kind{
		Topic: model.GroupMetadataTopic,
		New: func(_ int32, memory coordinator.Memory) coordinator.Shard {
			return group.New(group.DefaultConfig(), newUUID, memory)
		},
		Fail: group.Fail,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	running.Go(func() { _ = deadlines.Run(ctx) })
	g = &groups{r, model.TopicPartition{Topic: model.GroupMetadataTopic}}
	r.Elect(g.tp, 1, log)
	return g, func() {
		cancel()
		running.Wait()
	}
}

// ask waits for the answer, as a client does.
func ask[R any](g *groups, body any) R {
	answer := make(chan any, 1)
	g.Submit(g.tp, body, func(response any) { answer <- response })
	return (<-answer).(R)
}

// consume is one eager consumer: it joins, syncs, commits, and heartbeats until it must join again or
// has seen a quiet minute. It returns the generation it ended in.
func consume(g *groups, n int) (generation int32, err error) {
	join := &group.JoinGroup{
		Version: 9, GroupID: "storm", ClientID: fmt.Sprintf("c%d", n), ClientHost: "/127.0.0.1",
		SessionTimeoutMs: 45_000, RebalanceTimeoutMs: 300_000, ProtocolType: "consumer",
	}
	for {
		join.Protocols = []group.Protocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}}}
		joined := ask[*group.JoinGroupResponse](g, join)
		switch joined.Err {
		case kafkaerr.None:
		case kafkaerr.MemberIDRequired:
			join.MemberID = joined.MemberID
			continue
		case kafkaerr.CoordinatorLoadInProgress:
			pass(100 * time.Millisecond)
			continue
		default:
			return 0, fmt.Errorf("member %d joins: %w", n, joined.Err)
		}
		sync := &group.SyncGroup{GroupID: "storm", MemberID: joined.MemberID, Generation: joined.Generation}
		for i, m := range joined.Members {
			sync.Assignments = append(sync.Assignments, group.Assignment{MemberID: m.MemberID, Assignment: fmt.Append(nil, i)})
		}
		synced := ask[*group.SyncGroupResponse](g, sync)
		if synced.Err == kafkaerr.RebalanceInProgress {
			continue
		}
		if synced.Err != kafkaerr.None || len(synced.Assignment) == 0 {
			return 0, fmt.Errorf("member %d syncs: %w, %q", n, synced.Err, synced.Assignment)
		}
		rejoin := false
		for range 20 {
			pass(3 * time.Second)
			beat := ask[*group.HeartbeatResponse](g, &group.Heartbeat{GroupID: "storm", MemberID: joined.MemberID, Generation: joined.Generation})
			if rejoin = beat.Err == kafkaerr.RebalanceInProgress; rejoin {
				break
			}
			if beat.Err != kafkaerr.None {
				return 0, fmt.Errorf("member %d heartbeats: %w", n, beat.Err)
			}
			commit := ask[*group.OffsetCommitResponse](g, &group.OffsetCommit{
				Version: 9, GroupID: "storm", MemberID: joined.MemberID, Generation: joined.Generation, RetentionMs: -1,
				Topics: []group.OffsetCommitTopic{{Name: "t", Partitions: []group.OffsetCommitPartition{{Partition: int32(n), Offset: 1}}}},
			})
			if commit.Err != kafkaerr.None && commit.Err != kafkaerr.RebalanceInProgress {
				return 0, fmt.Errorf("member %d commits: %w", n, commit.Err)
			}
		}
		if !rejoin {
			return joined.Generation, nil
		}
	}
}

// Fifty consumers that start within ten seconds settle in two generations, with positions that survive.
func TestGroups_JoinStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{epoch: 1, maxBytes: 1 << 20}
		g, stop := runGroups(t, runtime.DefaultConfig(2), prometheus.NewRegistry(), log)
		defer stop()
		const members = 50
		generations := make([]int32, members)
		errs := make([]error, members)
		var consumers sync.WaitGroup
		for n := range members {
			consumers.Go(func() {
				pass(time.Duration(n) * 200 * time.Millisecond)
				generations[n], errs[n] = consume(g, n)
			})
		}
		consumers.Wait()
		for n := range members {
			if errs[n] != nil {
				t.Fatal(errs[n])
			}
			if generations[n] != generations[0] || generations[n] > 2 {
				t.Fatalf("member %d ends in generation %d, the first in %d", n, generations[n], generations[0])
			}
		}
		log.set(func() { log.epoch = 2 })
		g.Elect(g.tp, 2, log)
		synctest.Wait()
		fetched := ask[*group.OffsetFetchResponse](g, &group.OffsetFetch{GroupID: "storm", All: true})
		if len(fetched.Topics) != 1 || len(fetched.Topics[0].Partitions) != members {
			t.Fatalf("after a failover the offsets are %v", fetched.Topics)
		}
		described := ask[*group.DescribeGroupsResponse](g, &group.DescribeGroups{Version: 6, GroupIDs: []string{"storm"}})
		if d := described.Groups[0]; d.State != "Stable" || len(d.Members) != members {
			t.Fatalf("after a failover the group is %s with %d members", d.State, len(d.Members))
		}
		pass(time.Minute)
		described = ask[*group.DescribeGroupsResponse](g, &group.DescribeGroups{Version: 6, GroupIDs: []string{"storm"}})
		if d := described.Groups[0]; d.State != "Empty" {
			t.Fatalf("silent members make the group %s", d.State)
		}
	})
}

// Members that come with a mebibyte each and never complete are refused once the memory of groups is full, over all
// shards. A shard that is given up, or loaded again, holds nothing any more.
func TestGroups_MemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 16 << 20
		config, registry := runtime.DefaultConfig(2), prometheus.NewRegistry()
		config.MaxMemory = limit
		log, other := &fakeLog{epoch: 1, maxBytes: 1 << 20}, &fakeLog{epoch: 1, maxBytes: 1 << 20}
		g, stop := runGroups(t, config, registry, log)
		defer stop()
		second := model.TopicPartition{Topic: g.tp.Topic, Partition: 1}
		g.Elect(second, 1, other)
		synctest.Wait()

		var refused atomic.Int32
		flood := func() (parked int32) {
			refused.Store(0)
			for n := range 100 {
				g.Submit([]model.TopicPartition{g.tp, second}[n%2], &group.JoinGroup{
					Version: 3, GroupID: fmt.Sprintf("g%d", n%10), SessionTimeoutMs: 45_000, RebalanceTimeoutMs: math.MaxInt32, ProtocolType: "x",
					Protocols: []group.Protocol{{Name: "p", Metadata: make([]byte, 1<<20)}},
				}, func(response any) {
					if response.(*group.JoinGroupResponse).Err == kafkaerr.GroupMaxSizeReached {
						refused.Add(1)
					}
				})
			}
			synctest.Wait()
			return 100 - refused.Load()
		}
		// Two workers may see the same room, and each take it.
		if parked := flood(); parked < 10 || parked > 16+1 {
			t.Errorf("%d members with a mebibyte each are in, of the 16 there is room for", parked)
		}
		const most = limit + 2<<20
		if used := gauge(t, registry, "walser_coordinator_memory_bytes"); used < limit/2 || used > most {
			t.Errorf("%d bytes are held, want at most %d", used, most)
		}
		g.Resign(second, 1)
		log.set(func() { log.epoch = 2 })
		g.Submit(g.tp, &group.OffsetCommit{Version: 8, GroupID: "simple", Generation: -1, RetentionMs: -1, Topics: []group.OffsetCommitTopic{
			{Name: "t", Partitions: []group.OffsetCommitPartition{{}}},
		}}, func(any) {})
		synctest.Wait()
		if used := gauge(t, registry, "walser_coordinator_memory_bytes"); used != 0 {
			t.Errorf("%d bytes are held by shards that are gone", used)
		}
	})
}

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, registry *prometheus.Registry, name string) int64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return int64(family.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// discardLog takes everything and commits it at once.
type discardLog struct{ end int64 }

func (l *discardLog) Append(_ int32, records []coordinator.Record, committed func(error)) (int64, error) {
	l.end += int64(len(records))
	committed(nil)
	return l.end, nil
}
func (l *discardLog) AwaitCommit(_ int64, committed func(error)) { committed(nil) }
func (l *discardLog) Bounds() (int64, int64)                     { return 0, 0 }
func (l *discardLog) MaxBatchBytes() int                         { return 1 << 20 }
func (l *discardLog) Read(offset int64, _ func(coordinator.Record) error) (int64, error) {
	return offset, nil
}

// One commit of ten partitions, from request to answer: what a coordinator does most. Parallel clients
// share turns.
func BenchmarkOffsetCommit(b *testing.B) {
	g, stop := runGroups(b, runtime.DefaultConfig(2), prometheus.NewRegistry(), &discardLog{})
	defer stop()
	req := &group.OffsetCommit{Version: 9, GroupID: "g", Generation: -1, RetentionMs: -1, Topics: []group.OffsetCommitTopic{{Name: "topic"}}}
	for p := range int32(10) {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, group.OffsetCommitPartition{Partition: p, Offset: 1 << 40, LeaderEpoch: 3})
	}
	for ask[*group.OffsetCommitResponse](g, req).Err != kafkaerr.None {
	}
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if response := ask[*group.OffsetCommitResponse](g, req); response.Err != kafkaerr.None {
				b.Error(response.Err)
				return
			}
		}
	})
}

// The heartbeats of a thousand members.
func BenchmarkHeartbeat(b *testing.B) {
	drawn := 0
	s := group.New(group.DefaultConfig(), func() model.UUID {
		drawn++
		return model.UUID{14: byte(drawn >> 8), 15: byte(drawn)}
	}, nil)
	now := time.Unix(1_000_000, 0)
	s.Loaded(now)
	var ids []string
	for i := range 1000 {
		s.Handle(now, coordinator.Request{Waiter: coordinator.WaiterID(i + 1), Body: &group.JoinGroup{
			Version: 3, GroupID: "g", SessionTimeoutMs: 45_000, RebalanceTimeoutMs: 60_000, ProtocolType: "x", Protocols: []group.Protocol{{Name: "p"}},
		}})
	}
	for len(ids) == 0 {
		now = now.Add(3 * time.Second)
		for _, r := range s.Tick(now).Replies {
			ids = append(ids, r.Response.(*group.JoinGroupResponse).MemberID)
		}
	}
	for i, id := range ids {
		sync := &group.SyncGroup{GroupID: "g", MemberID: id, Generation: 1}
		for _, rec := range s.Handle(now, coordinator.Request{Waiter: coordinator.WaiterID(i + 1), Body: sync}).Records {
			if err := s.Replay(rec); err != nil {
				b.Fatal(err)
			}
		}
	}
	beat := &group.Heartbeat{GroupID: "g", Generation: 1}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		beat.MemberID = ids[i%len(ids)]
		now = now.Add(3 * time.Millisecond)
		out := s.Handle(now, coordinator.Request{Waiter: 1, Body: beat})
		if out.Replies[0].Response.(*group.HeartbeatResponse).Err != kafkaerr.None {
			b.Fatal("the member is gone")
		}
		s.Tick(now)
	}
}
