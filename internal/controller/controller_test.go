package controller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/control"
	"github.com/walser-io/walser/internal/controller"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/membership"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/publish"
	"github.com/walser-io/walser/internal/quorum"
	"github.com/walser-io/walser/internal/raftstore"
	"github.com/walser-io/walser/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type rules struct{}

func (rules) CheckTopic(iter.Seq2[string, string]) error { return nil }
func (rules) Alter(_ metadata.ConfigResource, _ metadata.ConfigView, changes []control.ConfigChange, _ bool) ([]control.ConfigUpdate, error) {
	var updates []control.ConfigUpdate
	for _, c := range changes {
		updates = append(updates, control.ConfigUpdate{Name: c.Name, Value: c.Value})
	}
	return updates, nil
}
func (rules) DefaultPartitions() int32        { return 1 }
func (rules) DefaultReplicationFactor() int16 { return 1 }
func (rules) DeleteTopicEnabled() bool        { return true }

// counter is randomness whose ids are told apart by the order they were drawn in.
type counter struct {
	mu sync.Mutex
	n  uint32
}

func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	clear(p)
	p[0], p[len(p)-1], p[len(p)-2], p[len(p)-3] = 1, byte(c.n), byte(c.n>>8), byte(c.n>>16)
	return len(p), nil
}

var _ io.Reader = (*counter)(nil)

// lossy is a quorum that can lose the answer of a proposal.
type lossy struct {
	quorum.Quorum
	mu   sync.Mutex
	lose int // what is left to lose
	sent int
}

func (l *lossy) Propose(ctx context.Context, batch []byte) (quorum.Committed, error) {
	c, err := l.Quorum.Propose(ctx, batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if l.lose > 0 {
		l.lose--
		return quorum.Committed{}, quorum.ErrUnknownOutcome
	}
	return c, err
}

// node is everything of a node that has to do with metadata.
type node struct {
	*controller.Controller
	quorum    *lossy
	raft      *quorum.Raft
	store     *raftstore.Store
	machine   *publish.Machine
	publisher *publish.Publisher
	member    *membership.Membership
	cancel    context.CancelFunc
	running   sync.WaitGroup
	errs      chan error
}

func start(t *testing.T, disk vfs.FS, incarnation byte, random io.Reader) *node {
	t.Helper()
	n := &node{publisher: publish.New(), errs: make(chan error, 8)}
	n.machine = publish.NewMachine(n.publisher)
	fatal := func(err error) { n.errs <- err }
	var err error
	if n.store, err = raftstore.Open("/data/meta", raftstore.Config{}, raftstore.Deps{FS: disk, Fatal: fatal}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	n.raft, err = quorum.Open(quorum.Config{ServerID: "dir"}, quorum.Deps{Store: n.store, Machine: n.machine, Logger: log, Fatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	n.quorum = &lossy{Quorum: n.raft}
	n.Controller = controller.New(controller.Config{ClusterID: "c", Features: []metadata.Feature{{Name: "metadata.version", Level: 1}}}, controller.Deps{
		Quorum: n.quorum, Committed: n.machine.Image, Await: n.publisher.Await,
		Rules: func(*metadata.Image) control.ConfigRules { return rules{} }, Random: random, Logger: log,
	})
	broker := metadata.Broker{
		ID: 1, Incarnation: model.UUID{15: incarnation}, DirectoryIDs: []model.UUID{{1}}, Endpoints: []model.Endpoint{{Listener: "PLAINTEXT", Port: 9092}},
	}
	n.member = membership.New(broker, membership.Deps{
		Register: func(ctx context.Context, b metadata.Broker) (int64, error) {
			r, err := n.RegisterBroker(ctx, control.RegisterBroker{
				ID: b.ID, ClusterID: "c", Incarnation: b.Incarnation, Endpoints: b.Endpoints, Rack: b.Rack, DirectoryIDs: b.DirectoryIDs,
			})
			return r.Epoch, err
		},
		Publisher: n.publisher, Logger: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	n.cancel = cancel
	for _, run := range []func(context.Context) error{n.Controller.Run, n.publisher.Run, n.member.Run} {
		n.running.Go(func() {
			if err := run(ctx); err != nil {
				n.errs <- err
			}
		})
	}
	return n
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	n.cancel()
	n.running.Wait()
	if err := errors.Join(n.raft.Close(), n.store.Close()); err != nil {
		t.Error(err)
	}
	select {
	case err := <-n.errs:
		t.Error(err)
	default:
	}
}

func (n *node) create(t *testing.T, names ...string) []control.TopicResult {
	t.Helper()
	var req control.CreateTopics
	for _, name := range names {
		req.Topics = append(req.Topics, control.NewTopic{Name: name, Partitions: 2, ReplicationFactor: -1})
	}
	results, err := n.CreateTopics(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func disk(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(1)
	if err := errors.Join(m.MkdirAll("/data", 0o755), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestController_AnswersWhatHandlersSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, disk(t), 1, &counter{})
		<-n.member.Ready()
		if level, ok := n.publisher.Current().Feature("metadata.version"); !ok || level != 1 {
			t.Errorf("metadata.version is finalised at %d, %v", level, ok)
		}
		if _, ok := n.publisher.Current().Broker(1); !ok {
			t.Error("the node is ready, but does not see itself")
		}
		results := n.create(t, "a", "b")
		for _, r := range results {
			topic, ok := n.publisher.Current().Topic(r.Name)
			if r.Err != nil || !ok || topic.ID != r.ID || len(topic.Partitions) != 2 {
				t.Errorf("result %+v, topic %+v", r, topic)
			}
		}
		if r := n.create(t, "a"); !errors.Is(r[0].Err, kafkaerr.TopicAlreadyExists) {
			t.Errorf("created again: %v", r[0].Err)
		}
		configs, err := n.AlterConfigs(t.Context(), control.AlterConfigs{Resources: []control.AlterResource{{
			Resource: metadata.ConfigResource{Type: metadata.TopicResource, Name: "a"},
			Changes:  []control.ConfigChange{{Op: control.OpSet, Name: "retention.ms", Value: new("5")}},
		}}})
		if value, _ := n.publisher.Current().Config(metadata.TopicResource, "a").Get("retention.ms"); err != nil || configs[0].Err != nil || value != "5" {
			t.Errorf("alter: %v %v, retention.ms is %q", configs, err, value)
		}
		if _, err := n.CreatePartitions(t.Context(), control.CreatePartitions{Topics: []control.MorePartitions{{Name: "b", Count: 5}}}); err != nil {
			t.Error(err)
		}
		if topic, _ := n.publisher.Current().Topic("b"); len(topic.Partitions) != 5 {
			t.Errorf("b has %d partitions", len(topic.Partitions))
		}
		if _, err := n.DeleteTopics(t.Context(), []control.DeleteTopic{{Name: "a"}}); err != nil {
			t.Error(err)
		}
		if _, ok := n.publisher.Current().Topic("a"); ok {
			t.Error("a is still there")
		}
		n.stop(t)
		if _, err := n.CreateTopics(t.Context(), control.CreateTopics{}); !errors.Is(err, kafkaerr.NotController) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A hundred callers at once: each gets its answer, and the batches are few.
func TestController_BatchesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, disk(t), 1, &counter{})
		<-n.member.Ready()
		before := n.quorum.sent
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				results, err := n.CreateTopics(t.Context(), control.CreateTopics{Topics: []control.NewTopic{{Name: fmt.Sprint("t", i/2), Partitions: 1, ReplicationFactor: 1}}})
				if err != nil {
					t.Error(err)
				} else if results[0].Err != nil && !errors.Is(results[0].Err, kafkaerr.TopicAlreadyExists) {
					t.Error(results[0].Err)
				}
				if _, ok := n.publisher.Current().Topic(fmt.Sprint("t", i/2)); !ok {
					t.Errorf("t%d was answered before it was visible", i/2)
				}
			})
		}
		wg.Wait()
		if got := n.publisher.Current().TopicCount(); got != 50 {
			t.Errorf("%d topics, want 50", got)
		}
		t.Logf("%d proposals for 100 requests", n.quorum.sent-before)
		n.stop(t)
	})
}

// Each restart is a new broker epoch and a new leader epoch for every partition; no id is given twice.
func TestController_RestartTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, random := disk(t), &counter{}
		var ids []int64
		lastEpoch := int64(-1)
		for restart := range 4 {
			began := time.Now()
			n := start(t, d, byte(restart+1), random)
			<-n.member.Ready()
			// A proposal on an image that lags behind the log would be rejected, and cost a pause.
			if waited := time.Since(began); waited > 50*time.Millisecond {
				t.Errorf("ready after %v of virtual time", waited)
			}
			if n.member.Epoch() <= lastEpoch {
				t.Errorf("broker epoch %d after %d", n.member.Epoch(), lastEpoch)
			}
			lastEpoch = n.member.Epoch()
			if restart == 0 {
				n.create(t, "a")
			}
			topic, _ := n.publisher.Current().Topic("a")
			for i, p := range topic.Partitions {
				if p.LeaderEpoch != int32(restart) || p.Leader != 1 || !slices.Equal(p.ISR, []model.BrokerID{1}) {
					t.Errorf("restart %d, partition %d: %+v", restart, i, p)
				}
			}
			source := controller.NewProducerIDSource(func(ctx context.Context) (control.ProducerIDs, error) {
				return n.AllocateProducerIDs(ctx, 1, n.member.Epoch())
			})
			for range control.ProducerIDBlock + 1 {
				id, err := source.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if n.machine.Image().NextProducerID() <= id {
					t.Fatalf("id %d left before its block was committed", id)
				}
				ids = append(ids, id)
			}
			if restart == 2 {
				if err := n.raft.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			n.stop(t)
		}
		slices.Sort(ids)
		if len(slices.Compact(slices.Clone(ids))) != len(ids) {
			t.Error("a producer id was given out twice")
		}
	})
}

// The answer of a proposal is lost though it was committed: the controller begins again on what is
// committed, and decides nothing on an image that is not.
func TestController_LostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, disk(t), 1, &counter{})
		<-n.member.Ready()
		n.quorum.mu.Lock()
		n.quorum.lose = 1
		n.quorum.mu.Unlock()
		_, err := n.CreateTopics(t.Context(), control.CreateTopics{Topics: []control.NewTopic{{Name: "a", Partitions: 1, ReplicationFactor: 1}}})
		if !errors.Is(err, kafkaerr.NotController) {
			t.Errorf("create: %v, want NotController", err)
		}
		if r := n.create(t, "a", "b"); !errors.Is(r[0].Err, kafkaerr.TopicAlreadyExists) || r[1].Err != nil {
			t.Errorf("sent again: %v, %v", r[0].Err, r[1].Err)
		}
		n.stop(t)
	})
}

// A caller that does not wait long enough gets its code, and the others their answers.
func TestController_CallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(controller.Config{}, controller.Deps{Quorum: leaderless{make(chan struct{})}, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := c.CreateTopics(short, control.CreateTopics{}); !errors.Is(err, kafkaerr.RequestTimedOut) {
			t.Errorf("no leader: %v, want RequestTimedOut", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// leaderless is a quorum without a leader.
type leaderless struct{ changed chan struct{} }

func (leaderless) Propose(context.Context, []byte) (quorum.Committed, error) {
	return quorum.Committed{}, quorum.ErrNotLeader
}

func (l leaderless) Leadership() (quorum.Leadership, <-chan struct{}) {
	return quorum.Leadership{}, l.changed
}
func (leaderless) Barrier(context.Context) error { return quorum.ErrNotLeader }
