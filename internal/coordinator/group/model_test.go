package group_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// client is a consumer that behaves, but for its timing: it may be slow, hang up, restart or leave.
type client struct {
	instance   *string
	id         string // member id
	generation int32
	leads      bool
	members    []string // of the generation, if it leads
	topic      string
	waiter     coordinator.WaiterID // of the join or sync that is parked
	stage      stage
}

type stage int

const (
	outside stage = iota // must join
	joining              // parked
	joined               // must sync
	syncing              // parked
	stable
)

// world is several clients of one group, and what they must agree on.
type world struct {
	*driver
	clients []*client
	waiter  coordinator.WaiterID

	term        int              // counts reloads
	lastGen     int32            // of this term
	leaders     map[int32]string // of the generations of this term
	protocols   map[int32]string
	assignments map[int32]map[string]string // as their leaders gave them, in all terms
	offset      int64                       // committed last
}

func newWorld(t *testing.T, clients int) *world {
	w := &world{
		driver: newDriver(t, group.DefaultConfig()), leaders: map[int32]string{}, protocols: map[int32]string{},
		assignments: map[int32]map[string]string{}, offset: -1,
	}
	for i := range clients {
		c := &client{topic: "t"}
		if i%3 == 2 {
			instance := fmt.Sprintf("i%d", i)
			c.instance = &instance
		}
		w.clients = append(w.clients, c)
	}
	return w
}

func (w *world) send(body any) coordinator.WaiterID {
	w.waiter++
	w.handle(w.waiter, body)
	return w.waiter
}

func (w *world) join(c *client) {
	c.stage = joining
	c.waiter = w.send(&group.JoinGroup{
		Version: 9, GroupID: "g", MemberID: c.id, InstanceID: c.instance, ClientID: "c",
		SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 8_000, ProtocolType: "consumer",
		Protocols: []group.Protocol{{Name: "range", Metadata: subscription(c.topic)}},
	})
}

func (w *world) sync(c *client) {
	req := &group.SyncGroup{GroupID: "g", MemberID: c.id, InstanceID: c.instance, Generation: c.generation}
	if c.leads {
		given := map[string]string{}
		for _, m := range c.members {
			given[m] = fmt.Sprintf("%d for %s", c.generation, m)
			req.Assignments = append(req.Assignments, group.Assignment{MemberID: m, Assignment: []byte(given[m])})
		}
		w.assignments[c.generation] = given
	}
	c.stage = syncing
	c.waiter = w.send(req)
}

// settle lets every client see what it was answered.
func (w *world) settle(t rapid.TB) {
	for _, c := range w.clients {
		if c.waiter == 0 {
			continue
		}
		response, ok := w.answers[c.waiter]
		if !ok {
			continue
		}
		c.waiter = 0
		switch r := response.(type) {
		case *group.JoinGroupResponse:
			w.sawJoin(t, c, r)
		case *group.SyncGroupResponse:
			w.sawSync(t, c, r)
		default: // the append failed, or the shard was unloaded
			c.stage = outside
		}
	}
}

func (w *world) sawJoin(t rapid.TB, c *client, r *group.JoinGroupResponse) {
	c.stage = outside
	switch r.Err {
	case kafkaerr.None:
	case kafkaerr.MemberIDRequired:
		c.id = r.MemberID
		return
	case kafkaerr.UnknownMemberID, kafkaerr.FencedInstanceID:
		c.id = ""
		return
	default:
		return
	}
	if r.Generation < w.lastGen {
		t.Fatalf("generation %d is answered after %d", r.Generation, w.lastGen)
	}
	w.lastGen = r.Generation
	c.id, c.generation, c.stage = r.MemberID, r.Generation, joined
	c.leads, c.members = r.Leader == r.MemberID && len(r.Members) > 0 && !r.SkipAssignment, nil
	if other := w.protocols[r.Generation]; other != "" && other != r.ProtocolName {
		t.Fatalf("generation %d has protocols %s and %s", r.Generation, other, r.ProtocolName)
	}
	w.protocols[r.Generation] = r.ProtocolName
	if c.instance == nil || !r.SkipAssignment {
		// A static leader that comes back leads under another id.
		if other := w.leaders[r.Generation]; other != "" && other != r.Leader && !strings.HasPrefix(other, "i") {
			t.Fatalf("generation %d is led by %s and %s", r.Generation, other, r.Leader)
		}
		w.leaders[r.Generation] = r.Leader
	}
	found := len(r.Members) == 0
	for _, m := range r.Members {
		c.members = append(c.members, m.MemberID)
		found = found || m.MemberID == c.id
	}
	if !found {
		t.Fatalf("the leader %s is not among the members %v", c.id, c.members)
	}
}

func (w *world) sawSync(t rapid.TB, c *client, r *group.SyncGroupResponse) {
	switch r.Err {
	case kafkaerr.None:
		c.stage = stable
		// A static member that came back has what was given to its older id.
		want := w.assignments[c.generation][c.id]
		if c.instance == nil && string(r.Assignment) != want {
			t.Fatalf("member %s of generation %d got %q, want %q", c.id, c.generation, r.Assignment, want)
		}
	case kafkaerr.UnknownMemberID, kafkaerr.FencedInstanceID:
		c.id, c.stage = "", outside
	default:
		c.stage = outside
	}
}

// heartbeat lets a client find out that it has to join again.
func (w *world) heartbeat(c *client) {
	waiter := w.send(&group.Heartbeat{GroupID: "g", MemberID: c.id, InstanceID: c.instance, Generation: c.generation})
	switch code := w.answers[waiter].(*group.HeartbeatResponse).Err; code {
	case kafkaerr.None:
	case kafkaerr.UnknownMemberID, kafkaerr.FencedInstanceID:
		c.id, c.stage = "", outside
	default:
		c.stage = outside
	}
}

func (w *world) commit(t rapid.TB, c *client) {
	failing := w.fail
	waiter := w.send(&group.OffsetCommit{
		Version: 9, GroupID: "g", MemberID: c.id, InstanceID: c.instance, Generation: c.generation, RetentionMs: -1,
		Topics: []group.OffsetCommitTopic{{Name: "t", Partitions: []group.OffsetCommitPartition{{Offset: w.offset + 1, LeaderEpoch: -1}}}},
	})
	response, answered := w.answers[waiter].(*group.OffsetCommitResponse)
	switch {
	case answered && response.Err == kafkaerr.None:
		w.offset++
	case !answered && !failing:
		t.Fatalf("a commit is not answered")
	}
}

func (w *world) checkOffset(t rapid.TB) {
	waiter := w.send(&group.OffsetFetch{GroupID: "g", Topics: []group.OffsetFetchTopic{{Name: "t", Partitions: []int32{0}}}})
	if got := w.answers[waiter].(*group.OffsetFetchResponse).Topics[0].Partitions[0].Offset; got != w.offset {
		t.Fatalf("offset %d is committed, want %d", got, w.offset)
	}
}

// restart is a failover: parked requests fail, what is durable stays.
func (w *world) restart() {
	w.reload()
	w.term++
	w.lastGen = 0
	clear(w.leaders)
	clear(w.protocols)
}

// drive does for a client whatever comes next.
func (w *world) drive(c *client) {
	switch c.stage {
	case outside:
		w.join(c)
	case joined:
		w.sync(c)
	case stable:
		w.heartbeat(c)
	default: // it waits
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 6).Draw(rt, "clients"))
		any := func() *client { return w.clients[rapid.IntRange(0, len(w.clients)-1).Draw(rt, "client")] }
		rt.Repeat(map[string]func(*rapid.T){
			"drive": func(*rapid.T) { w.drive(any()) },
			"advance": func(rt *rapid.T) {
				w.advance(time.Duration(rapid.SampledFrom([]int{1, 500, 3000, 9000, 20_000}).Draw(rt, "ms")) * time.Millisecond)
			},
			"resubscribe": func(*rapid.T) {
				if c := any(); c.stage == stable {
					c.topic, c.stage = c.topic+"x", outside
				}
			},
			"restart client": func(*rapid.T) {
				c := any()
				if c.waiter != 0 {
					w.apply(w.shard.Cancel(w.now, c.waiter))
				}
				*c = client{instance: c.instance, topic: "t"}
			},
			"leave": func(*rapid.T) {
				if c := any(); c.id != "" && c.waiter == 0 {
					w.send(&group.LeaveGroup{GroupID: "g", Members: []group.LeavingMember{{MemberID: c.id, InstanceID: c.instance}}})
					*c = client{instance: c.instance, topic: "t"}
				}
			},
			"hang up": func(*rapid.T) {
				if c := any(); c.waiter != 0 {
					w.apply(w.shard.Cancel(w.now, c.waiter))
					c.waiter, c.stage = 0, outside
				}
			},
			"commit":      func(rt *rapid.T) { w.commit(rt, any()) },
			"fail append": func(*rapid.T) { w.fail = true },
			"failover": func(*rapid.T) {
				w.restart()
				w.checkReloads()
			},
			"": func(rt *rapid.T) {
				w.settle(rt)
				w.checkOffset(rt)
				if t.Failed() {
					rt.FailNow() // an invariant of the driver
				}
			},
		})
		w.fail = false
		w.checkReloads()
		w.expectAgreement(rt)
	})
}

// expectAgreement has every client keep at it: before long all are in one generation.
func (w *world) expectAgreement(t rapid.TB) {
	for range 60 {
		for _, c := range w.clients {
			if c.stage == joining || c.stage == syncing {
				w.settle(t)
			}
			w.drive(c)
			w.settle(t)
		}
		w.advance(time.Second)
		w.settle(t)
	}
	for _, c := range w.clients {
		if c.stage != stable || c.generation != w.clients[0].generation {
			t.Fatalf("after a minute the clients are %s; what happened:\n%s", w.describe(), shorten(w.out.String()))
		}
	}
}

func (w *world) describe() string {
	var b strings.Builder
	for _, c := range w.clients {
		fmt.Fprintf(&b, "%s(stage %d, generation %d) ", shorten(c.id), c.stage, c.generation)
	}
	return b.String()
}

// Fifty members that start within a second come into one generation.
func TestJoinStorm(t *testing.T) {
	w := newWorld(t, 50)
	for round := range 4 {
		for _, c := range w.clients {
			w.drive(c)
			w.settle(t)
			if round == 0 {
				w.advance(20 * time.Millisecond)
			}
		}
	}
	w.advance(6 * time.Second)
	for range 2 {
		w.settle(t)
		for _, c := range w.clients {
			w.drive(c)
		}
	}
	for _, c := range w.clients {
		if c.stage != stable || c.generation > 2 {
			t.Fatalf("the members are %s", w.describe())
		}
	}
	t.Logf("50 members are stable in generation %d", w.clients[0].generation)
}
