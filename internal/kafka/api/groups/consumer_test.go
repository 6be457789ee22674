package groups_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// member is a consumer of group "g" that reads topic "t".
type member struct {
	*kgo.Client
	c        *cluster
	mu       sync.Mutex
	assigned map[int32]bool
	changes  int // assignments and revocations
}

func (c *cluster) join(opts ...kgo.Opt) *member {
	c.t.Helper()
	m := &member{c: c, assigned: map[int32]bool{}}
	change := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, p := range topics["t"] {
				m.changes++
				if m.assigned[p] = has; !has {
					delete(m.assigned, p)
				}
			}
		}
	}
	m.Client = c.client(append([]kgo.Opt{
		kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	}, opts...)...)
	return m
}

func (m *member) has() (partitions, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.assigned), m.changes
}

// read polls until it has n records, and commits them.
func (m *member) read(n int) []string {
	m.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var values []string
	for len(values) < n {
		fetches := m.PollFetches(ctx)
		if ctx.Err() != nil {
			m.c.t.Fatalf("read %d records of %d: %v", len(values), n, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	if err := m.CommitUncommittedOffsets(ctx); err != nil {
		m.c.t.Fatalf("commit: %v", err)
	}
	return values
}

// produce writes perPartition records to each of the four partitions of "t", and returns what they hold.
func (c *cluster) produce(name string, perPartition int) []string {
	c.t.Helper()
	cl := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	var records []*kgo.Record
	var values []string
	for p := range int32(4) {
		for i := range perPartition {
			value := fmt.Sprintf("%s-%d-%d", name, p, i)
			values = append(values, value)
			records = append(records, &kgo.Record{Topic: "t", Partition: p, Value: []byte(value)})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		c.t.Fatalf("produce: %v", err)
	}
	slices.Sort(values)
	return values
}

// await lets the bubble's time pass until what holds.
func (c *cluster) await(what string, holds func() bool) {
	c.t.Helper()
	for range 1000 {
		synctest.Wait()
		if holds() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Fatalf("it does not come to this: %s", what)
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// TestConsumers_OutliveTheBroker is a real client's life: two members share a topic, commit, and read on
// where they were after the broker lost its power; nobody rebalances for that. Who comes later starts where
// the group has come to.
func TestConsumers_OutliveTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic("t", 4)
		a, b := c.join(), c.join()
		shared := func() bool {
			ofA, _ := a.has()
			ofB, _ := b.has()
			return ofA == 2 && ofB == 2
		}
		c.await("each member has two partitions", shared)

		want := c.produce("first", 10)
		same(t, "before the crash", slices.Concat(a.read(20), b.read(20)), want)
		_, changesOfA := a.has()
		_, changesOfB := b.has()

		c.crash()
		c.expectCommitted(10)
		want = c.produce("second", 10)
		same(t, "after the crash", slices.Concat(a.read(20), b.read(20)), want)
		c.expectCommitted(20)
		if _, changes := a.has(); changes != changesOfA {
			t.Errorf("the first member's partitions changed with the restart")
		}
		if _, changes := b.has(); changes != changesOfB {
			t.Errorf("the second member's partitions changed with the restart")
		}

		a.Close()
		c.await("the member that is left has all partitions", func() bool { n, _ := b.has(); return n == 4 })
		b.Close()
		c.crash()
		want = c.produce("third", 1)
		same(t, "resumed", c.join().read(4), want)
	})
}

// TestConsumers_StaticMemberComesBack restarts a static member: nobody rebalances, and it has what it had.
func TestConsumers_StaticMemberComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic("t", 4)
		a, b := c.join(kgo.InstanceID("a")), c.join(kgo.InstanceID("b"))
		hasTwo := func(m *member) func() bool { return func() bool { n, _ := m.has(); return n == 2 } }
		c.await("the first has two partitions", hasTwo(a))
		c.await("the second has two partitions", hasTwo(b))
		_, changes := a.has()
		b.Close() // a static member does not leave
		again := c.join(kgo.InstanceID("b"))
		c.await("the one that came back has two partitions", hasTwo(again))
		want := c.produce("first", 1)
		same(t, "read", slices.Concat(a.read(2), again.read(2)), want)
		if _, now := a.has(); now != changes {
			t.Error("the other member's partitions changed")
		}
	})
}

// expectCommitted checks the group's offsets, which are the same in all partitions.
func (c *cluster) expectCommitted(want int64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin := kadm.NewClient(c.client())
	committed, err := admin.FetchOffsets(ctx, "g")
	if err != nil {
		c.t.Fatal(err)
	}
	for p := range int32(4) {
		if at, ok := committed.Lookup("t", p); !ok || at.At != want {
			c.t.Errorf("partition %d is committed at %d, want %d", p, at.At, want)
		}
	}
}
