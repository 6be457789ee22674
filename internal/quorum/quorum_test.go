package quorum_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/publish"
	"github.com/walser-io/walser/internal/quorum"
	"github.com/walser-io/walser/internal/raftstore"
	"github.com/walser-io/walser/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// voter is one server with the real machine.
type voter struct {
	*quorum.Raft
	store   *raftstore.Store
	machine *publish.Machine
	fatal   chan error
}

func openVoter(t testing.TB, fsys vfs.FS, dir string, cfg quorum.Config, transport raft.Transport) *voter {
	t.Helper()
	v := &voter{machine: publish.NewMachine(publish.New()), fatal: make(chan error, 8)}
	fatal := func(err error) { v.fatal <- err }
	var err error
	if v.store, err = raftstore.Open(dir, raftstore.Config{}, raftstore.Deps{FS: fsys, Fatal: fatal}); err != nil {
		t.Fatal(err)
	}
	v.Raft, err = quorum.Open(cfg, quorum.Deps{
		Store: v.store, Machine: v.machine, Logger: slog.New(slog.DiscardHandler), Transport: transport, Fatal: fatal,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *voter) stop(t testing.TB) {
	t.Helper()
	if err := errors.Join(v.Close(), v.store.Close()); err != nil {
		t.Error(err)
	}
}

func mem(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(1)
	if err := errors.Join(m.MkdirAll("/data", 0o755), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return m
}

// lead waits until v leads and returns the term.
func (v *voter) lead(t testing.TB) uint64 {
	t.Helper()
	for {
		l, changed := v.Leadership()
		if l.Leading {
			return l.Term
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("no leader")
		}
	}
}

// activate makes v's term the controller epoch.
func (v *voter) activate(t testing.TB) {
	t.Helper()
	term := v.lead(t)
	if err := v.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.mustPropose(t, &metadata.ActivateControllerRecord{Epoch: int32(term)})
}

func (v *voter) encode(t testing.TB, records ...metadata.Record) []byte {
	t.Helper()
	image := v.machine.Image()
	b, err := metadata.EncodeBatch(records, metadata.Fence{ControllerEpoch: image.ControllerEpoch(), Offset: image.Offset()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *voter) mustPropose(t testing.TB, records ...metadata.Record) int64 {
	t.Helper()
	c, err := v.Propose(t.Context(), v.encode(t, records...))
	if err != nil {
		t.Fatal(err)
	}
	return c.Offset
}

func topic(name string) metadata.Record {
	id := model.UUID{15: 1}
	copy(id[:], name)
	return &metadata.TopicRecord{Name: name, ID: id}
}

func topics(image *metadata.Image) []string {
	var names []string
	for topic := range image.Topics() {
		names = append(names, topic.Name)
	}
	return names
}

func TestRaft_OneVoterRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := mem(t)
		cfg := quorum.Config{ServerID: "dir-a"}
		v := openVoter(t, disk, "/data/meta", cfg, nil)
		start := time.Now()
		v.activate(t)
		if waited := time.Since(start); waited > 10*time.Millisecond {
			t.Errorf("the only voter waited %v of virtual time for itself", waited)
		}
		v.mustPropose(t, topic("a"))
		offset := v.mustPropose(t, topic("b"), topic("c"))
		if offset != 3 {
			t.Errorf("offset %d of four records, want 3", offset)
		}
		v.stop(t)

		// A restart without a snapshot, one after a snapshot, one after a snapshot and a tail.
		for i := range 3 {
			v = openVoter(t, disk, "/data/meta", cfg, nil)
			v.activate(t)
			want := []string{"a", "b", "c", "x0", "x1", "x2"}[:3+i]
			if got := topics(v.machine.Image()); !slices.Equal(got, want) {
				t.Fatalf("topics %q after restart %d, want %q", got, i, want)
			}
			if i == 1 {
				v.mustPropose(t, topic(fmt.Sprint("x", i)))
				if err := v.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				if err := v.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
				v.mustPropose(t, topic(fmt.Sprint("x", i)))
			}
			v.stop(t)
		}
	})
}

// slow is a machine whose Apply waits while gate is open.
type slow struct {
	*publish.Machine
	gate atomic.Pointer[chan struct{}]
}

func (m *slow) Apply(batch []byte) (offset int64, rejected, fatal error) {
	if gate := m.gate.Load(); gate != nil {
		<-*gate
	}
	return m.Machine.Apply(batch)
}

// Proposals that are committed and wait for the machine are answered also when the voter is closed.
func TestRaft_CloseAnswersWhatItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &voter{machine: publish.NewMachine(publish.New())}
		machine := &slow{Machine: v.machine}
		var err error
		if v.store, err = raftstore.Open("/data/meta", raftstore.Config{}, raftstore.Deps{FS: mem(t)}); err != nil {
			t.Fatal(err)
		}
		v.Raft, err = quorum.Open(quorum.Config{ServerID: "dir-a"}, quorum.Deps{Store: v.store, Machine: machine, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		v.activate(t)
		gate := make(chan struct{})
		machine.gate.Store(&gate)
		const proposals = 30
		answered := make(chan error, proposals)
		batch := v.encode(t, topic("a"))
		for range proposals {
			go func() {
				_, err := v.Propose(context.Background(), batch)
				answered <- err
			}()
		}
		synctest.Wait() // all are committed, one is being applied
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			v.stop(t)
		}()
		synctest.Wait()
		close(gate)
		taken := 0
		for range proposals {
			switch err := <-answered; {
			case err == nil:
				taken++
			case !errors.Is(err, quorum.ErrRejected):
				t.Errorf("a proposal that was committed answers %v", err)
			}
		}
		if taken != 1 {
			t.Errorf("%d proposals of one state were taken, want 1", taken)
		}
		<-closed
	})
}

// More committed entries than raft's queue holds while it is made: it must not hang.
// A node whose power goes at any step of its first start begins at the next one as if there had been none.
func TestRaft_PowerLossDuringBootstrap(t *testing.T) {
	for step := 1; ; step++ {
		disk := mem(t)
		var ops atomic.Int64
		var left atomic.Pointer[vfs.Mem]
		watched := vfs.NewFaulty(disk, func(vfs.Op) error {
			if ops.Add(1) == int64(step) {
				left.Store(disk.CrashClone(vfs.CrashOptions{}))
			}
			return nil
		})
		v := openVoter(t, watched, "/data/raft", quorum.Config{ServerID: "one"}, nil)
		v.lead(t)
		v.stop(t)
		if left.Load() == nil {
			return
		}
		v = openVoter(t, left.Load(), "/data/raft", quorum.Config{ServerID: "one"}, nil)
		v.lead(t)
		v.stop(t)
	}
}

func TestRaft_RestartsOverALongLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := mem(t)
		cfg := quorum.Config{ServerID: "dir-a", SnapshotThreshold: 1 << 30}
		v := openVoter(t, disk, "/data/meta", cfg, nil)
		v.activate(t)
		const batches = 9000 // 128 groups of 64 entries are 8192
		for i := range batches {
			v.mustPropose(t, &metadata.FeatureLevelRecord{Name: "f", Level: int16(i%100 + 1), Epoch: v.machine.Image().Offset() + 1})
		}
		want := v.machine.Image().Offset()
		v.stop(t)
		v = openVoter(t, disk, "/data/meta", cfg, nil)
		v.lead(t)
		if err := v.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := v.machine.Image().Offset(); got != want {
			t.Errorf("offset %d after the restart, want %d", got, want)
		}
		v.stop(t)
	})
}

func TestRaft_RejectsStaleBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := openVoter(t, mem(t), "/data/meta", quorum.Config{ServerID: "dir-a"}, nil)
		defer v.stop(t)
		v.activate(t)
		stale := v.encode(t, topic("late"))
		v.mustPropose(t, topic("a"))
		if _, err := v.Propose(t.Context(), stale); !errors.Is(err, quorum.ErrRejected) || !errors.Is(err, metadata.ErrStale) {
			t.Errorf("stale batch: %v, want ErrRejected", err)
		}
		v.mustPropose(t, topic("b")) // life goes on
		if got, want := topics(v.machine.Image()), []string{"a", "b"}; !slices.Equal(got, want) {
			t.Errorf("topics %q, want %q", got, want)
		}
		if len(v.fatal) > 0 {
			t.Errorf("a stale batch was fatal: %v", <-v.fatal)
		}
	})
}

func TestRaft_ImpossibleBatchIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := openVoter(t, mem(t), "/data/meta", quorum.Config{ServerID: "dir-a"}, nil)
		defer v.stop(t)
		v.activate(t)
		if _, err := v.Propose(t.Context(), v.encode(t, &metadata.RemoveTopicRecord{ID: model.UUID{1}})); !errors.Is(err, metadata.ErrImpossible) {
			t.Errorf("propose: %v, want ErrImpossible", err)
		}
		if err := <-v.fatal; !errors.Is(err, metadata.ErrImpossible) {
			t.Errorf("fatal: %v", err)
		}
		if _, err := v.Propose(t.Context(), v.encode(t, topic("a"))); err == nil {
			t.Error("a node that cannot follow the log went on")
		}
	})
}

func TestRaft_ForeignDirectoryIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := mem(t)
		v := openVoter(t, disk, "/data/meta", quorum.Config{ServerID: "dir-a"}, nil)
		v.activate(t)
		v.stop(t)
		store, err := raftstore.Open("/data/meta", raftstore.Config{}, raftstore.Deps{FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		_, err = quorum.Open(quorum.Config{ServerID: "dir-b"}, quorum.Deps{
			Store: store, Machine: publish.NewMachine(publish.New()), Logger: slog.New(slog.DiscardHandler),
		})
		if err == nil {
			t.Error("a store of another directory was opened")
		}
	})
}

func TestRaft_CommitsFromAnyOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := mem(t)
		cfg := quorum.Config{ServerID: "dir-a"}
		v := openVoter(t, disk, "/data/meta", cfg, nil)
		v.activate(t)
		v.mustPropose(t, topic("a"))
		if err := v.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		v.stop(t)
		v = openVoter(t, disk, "/data/meta", cfg, nil)
		v.activate(t)
		v.mustPropose(t, topic("b"), topic("c"))

		for from := range int64(6) {
			follower := publish.NewMachine(publish.New())
			if from >= 2 { // it was at this offset before
				for c := range commits(t, v, 0, 1) {
					follow(t, follower, c)
				}
			}
			stream := v.Commits(follower.Image().Offset() + 1)
			for follower.Image().Offset() < v.machine.Image().Offset() {
				c, err := stream.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				follow(t, follower, c)
			}
			if got, want := topics(follower.Image()), []string{"a", "b", "c"}; !slices.Equal(got, want) {
				t.Errorf("from %d: topics %q, want %q", from, got, want)
			}
		}
		// A stream at the end waits.
		stream := v.Commits(v.machine.Image().Offset() + 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := stream.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a stream at the end: %v", err)
		}
		batch, proposed := v.encode(t, topic("d")), make(chan error, 1)
		go func() {
			_, err := v.Propose(t.Context(), batch)
			proposed <- err
		}()
		c, err := stream.Next(t.Context())
		if err := <-proposed; err != nil {
			t.Error(err)
		}
		if err != nil || c.Offset != v.machine.Image().Offset() || c.Batch == nil {
			t.Errorf("next commit %+v, %v", c, err)
		}
		v.stop(t)
		if _, err := stream.Next(t.Context()); !errors.Is(err, quorum.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	})
}

func commits(t *testing.T, v *voter, from int64, n int) func(func(quorum.Commit) bool) {
	return func(yield func(quorum.Commit) bool) {
		stream := v.Commits(from)
		for range n {
			c, err := stream.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !yield(c) {
				return
			}
		}
	}
}

func follow(t *testing.T, m *publish.Machine, c quorum.Commit) {
	t.Helper()
	if c.Snapshot != nil {
		if err := m.Restore(bytes.NewReader(c.Snapshot)); err != nil {
			t.Fatal(err)
		}
	} else if _, rejected, fatal := m.Apply(c.Batch); rejected != nil || fatal != nil {
		t.Fatal(rejected, fatal)
	}
	if m.Image().Offset() != c.Offset {
		t.Fatalf("offset %d after the commit, it says %d", m.Image().Offset(), c.Offset)
	}
}

// Three voters: a leader is cut off, another takes over, and what the old one proposed on what it knew
// has no effect when it comes back.
func TestRaft_DeposedLeaderChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var members []quorum.Member
		transports := map[string]*raft.InmemTransport{}
		for _, id := range []string{"dir-a", "dir-b", "dir-c"} {
			members = append(members, quorum.Member{ServerID: id, Address: id, Voter: true})
			_, transports[id] = raft.NewInmemTransport(raft.ServerAddress(id))
		}
		connect := func(id string, on bool) {
			for other, transport := range transports {
				if other == id {
					continue
				}
				if on {
					transport.Connect(raft.ServerAddress(id), transports[id])
					transports[id].Connect(raft.ServerAddress(other), transport)
				} else {
					transport.Disconnect(raft.ServerAddress(id))
					transports[id].Disconnect(raft.ServerAddress(other))
				}
			}
		}
		voters := map[string]*voter{}
		for id := range transports {
			connect(id, true)
			voters[id] = openVoter(t, mem(t), "/data/"+id, quorum.Config{ServerID: id, Bootstrap: members}, transports[id])
		}
		leader := func(not string) string {
			for {
				for id, v := range voters {
					if l, _ := v.Leadership(); l.Leading && id != not {
						return id
					}
				}
				time.Sleep(time.Millisecond)
			}
		}
		old := leader("")
		voters[old].activate(t)
		voters[old].mustPropose(t, topic("a"))
		stale := voters[old].encode(t, topic("stale"))
		connect(old, false)
		next := leader(old)
		if _, err := voters[old].Propose(t.Context(), stale); !errors.Is(err, quorum.ErrNotLeader) && !errors.Is(err, quorum.ErrUnknownOutcome) {
			t.Errorf("a leader that is cut off committed: %v", err)
		}
		voters[next].activate(t)
		voters[next].mustPropose(t, topic("b"))
		connect(old, true)
		// The stale batch lands in the log of the new leader, as if it had been on its way.
		if _, err := voters[next].Propose(t.Context(), stale); !errors.Is(err, quorum.ErrRejected) {
			t.Errorf("stale batch: %v, want ErrRejected", err)
		}
		want := voters[next].machine.Image().Offset()
		for id, v := range voters {
			for v.machine.Image().Offset() < want {
				time.Sleep(time.Millisecond)
			}
			if got := topics(v.machine.Image()); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("voter %s has topics %q", id, got)
			}
		}
		for _, v := range voters {
			v.stop(t)
		}
		for _, transport := range transports {
			transport.Close()
		}
	})
}

// BenchmarkFirstCommit is the time from opening the store to the first batch committed, on the disk of
// the temporary directory.
func BenchmarkFirstCommit(b *testing.B) {
	for _, fresh := range []bool{true, false} {
		b.Run(map[bool]string{true: "fresh", false: "restart"}[fresh], func(b *testing.B) {
			dir := b.TempDir()
			cfg := quorum.Config{ServerID: "dir-a"}
			if !fresh {
				v := openVoter(b, vfs.OS(), dir+"/meta", cfg, nil)
				v.activate(b)
				v.stop(b)
			}
			for n := 0; b.Loop(); n++ {
				at := dir + "/meta"
				if fresh {
					at = fmt.Sprint(dir, "/fresh", n)
				}
				v := openVoter(b, vfs.OS(), at, cfg, nil)
				v.activate(b)
				b.StopTimer()
				v.stop(b)
				b.StartTimer()
			}
		})
	}
}
