package node_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/walser-io/walser/internal/node/nodetest"
	"github.com/walser-io/walser/internal/vfs"
)

func commit(t *testing.T, admin *kadm.Client, group, topic string, offset int64) {
	t.Helper()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: offset, LeaderEpoch: -1})
	if err := admin.CommitAllOffsets(within(t), group, offsets); err != nil {
		t.Fatal(err)
	}
}

// committed returns a group's position in partition 0 of a topic, -1 for none.
func committed(t *testing.T, admin *kadm.Client, group, topic string) int64 {
	t.Helper()
	offsets, err := admin.FetchOffsets(within(t), group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		t.Fatal(err)
	}
	if o, ok := offsets.Lookup(topic, 0); ok {
		return o.At
	}
	return -1
}

// A position expires offsets.retention.minutes after its commit in a group without members, and never
// while members are there. What expired stays gone after a restart.
func TestNode_OffsetsExpire(t *testing.T) {
	var wall atomic.Int64
	wall.Store(time.Now().UnixMilli())
	opts := nodetest.Options{
		Set:  []string{"offsets.retention.minutes=60", "offsets.retention.check.interval.ms=10", "offsets.topic.num.partitions=2", "group.initial.rebalance.delay.ms=0"},
		Wall: func() time.Time { return time.UnixMilli(wall.Load()) },
		FS:   vfs.NewMem(1),
	}
	n := nodetest.Start(t, opts)
	admin := kadm.NewClient(n.Client())
	createTopic(t, admin, "t", 1)
	produce(t, n, "t", 0, 10)
	commit(t, admin, "early", "t", 1)
	member := n.Client(kgo.ConsumerGroup("live"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	fetches := member.PollFetches(within(t))
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if err := member.CommitUncommittedOffsets(within(t)); err != nil {
		t.Fatal(err)
	}
	wall.Add(40 * time.Minute.Milliseconds())
	commit(t, admin, "late", "t", 2)
	wall.Add(40 * time.Minute.Milliseconds())
	await(t, "the position of 80 minutes ago expires", func() bool { return committed(t, admin, "early", "t") == -1 })
	if at := committed(t, admin, "late", "t"); at != 2 {
		t.Errorf("the position of 40 minutes ago is %d, want 2", at)
	}
	if at := committed(t, admin, "live", "t"); at != 10 {
		t.Errorf("the position of a group with a member is %d, want 10", at)
	}
	groups, err := admin.ListGroups(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := groups["early"]; ok {
		t.Error("a group without members and positions is listed")
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	admin = kadm.NewClient(nodetest.Start(t, opts).Client())
	if early, late := committed(t, admin, "early", "t"), committed(t, admin, "late", "t"); early != -1 || late != 2 {
		t.Errorf("after a restart the positions are %d and %d, want -1 and 2", early, late)
	}
}

// A static member that ends without leaving and comes back under its instance id gets its partitions
// again, in the same generation, and the other member notices nothing.
func TestNode_StaticMemberComesBackWithoutARebalance(t *testing.T) {
	n := nodetest.Start(t, nodetest.Options{Set: []string{"group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=1"}})
	createTopic(t, kadm.NewClient(n.Client()), "t", 4)
	type member struct {
		*kgo.Client
		mu       sync.Mutex
		assigned []int32
		revoked  int
	}
	start := func(instance string) *member {
		m := &member{}
		m.Client = n.Client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.InstanceID(instance), kgo.Balancers(kgo.RangeBalancer()),
			kgo.SessionTimeout(30*time.Second), kgo.HeartbeatInterval(50*time.Millisecond),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.assigned = assigned["t"]
			}),
			kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.revoked++
			}))
		return m
	}
	owned := func(m *member) []int32 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.assigned
	}
	stays, leaves := start("stays"), start("leaves")
	await(t, "each has half of the partitions", func() bool { return len(owned(stays)) == 2 && len(owned(leaves)) == 2 })
	_, generation := stays.GroupMetadata()
	before := fmt.Sprint(owned(leaves))
	stays.mu.Lock()
	revoked := stays.revoked
	stays.mu.Unlock()

	leaves.Close() // a static member does not leave
	back := start("leaves")
	await(t, "the member has its partitions back", func() bool { return fmt.Sprint(owned(back)) == before })
	if _, after := back.GroupMetadata(); after != generation {
		t.Errorf("it is of generation %d, was of %d", after, generation)
	}
	if _, after := stays.GroupMetadata(); after != generation {
		t.Errorf("the other member is of generation %d, was of %d", after, generation)
	}
	stays.mu.Lock()
	defer stays.mu.Unlock()
	if stays.revoked != revoked {
		t.Error("the other member's partitions were revoked")
	}
}

// Fifty members that come at once settle in one generation, with every partition assigned once.
func TestNode_JoinStorm(t *testing.T) {
	const members, partitions = 50, 100
	n := nodetest.Start(t, nodetest.Options{Set: []string{"group.initial.rebalance.delay.ms=100", "offsets.topic.num.partitions=1"}})
	createTopic(t, kadm.NewClient(n.Client()), "t", partitions)
	var mu sync.Mutex
	owners := make([]map[int32]bool, members)
	clients := make([]*kgo.Client, members)
	began := time.Now()
	for i := range members {
		owners[i] = map[int32]bool{}
		change := func(gets bool) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
				mu.Lock()
				defer mu.Unlock()
				for _, p := range changed["t"] {
					if gets {
						owners[i][p] = true
					} else {
						delete(owners[i], p)
					}
				}
			}
		}
		clients[i] = n.Client(kgo.ConsumerGroup("storm"), kgo.ConsumeTopics("t"), kgo.Balancers(kgo.CooperativeStickyBalancer()),
			kgo.HeartbeatInterval(50*time.Millisecond), kgo.RebalanceTimeout(20*time.Second),
			kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
	}
	settled := func() bool {
		_, generation := clients[0].GroupMetadata()
		for _, c := range clients {
			if _, g := c.GroupMetadata(); g != generation || g < 1 {
				return false
			}
		}
		mu.Lock()
		defer mu.Unlock()
		total := 0
		for _, o := range owners {
			if len(o) != partitions/members {
				return false
			}
			total += len(o)
		}
		return total == partitions
	}
	await(t, "one generation, in which each member has its share", settled)
	took := time.Since(began)
	_, generation := clients[0].GroupMetadata()
	mu.Lock()
	seen := map[int32]int{}
	for i, o := range owners {
		for p := range o {
			if other, twice := seen[p]; twice {
				t.Errorf("members %d and %d own partition %d", other, i, p)
			}
			seen[p] = i
		}
	}
	mu.Unlock()
	described, err := kadm.NewClient(n.Client()).DescribeGroups(within(t), "storm")
	if err != nil || described["storm"].State != "Stable" || len(described["storm"].Members) != members {
		t.Errorf("the group is %s with %d members, %v", described["storm"].State, len(described["storm"].Members), err)
	}
	t.Logf("%d members settled in generation %d after %v", members, generation, took.Round(time.Millisecond))
}
