package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/walser-io/walser/internal/raftstore"
	"github.com/walser-io/walser/internal/xsync"
)

// Config is how a voter takes part.
type Config struct {
	// ServerID is this voter's id: ServerID of its metadata directory.
	ServerID string
	// Bootstrap are the voters of a cluster that begins. They count only where the store is empty; an
	// empty list makes this server the one voter.
	Bootstrap []Member
	// HeartbeatTimeout is how long a voter waits for its leader before it stands for election.
	// 0 means 500 ms. Election timeout is the same, the leader's lease half of it.
	HeartbeatTimeout time.Duration
	// SnapshotThreshold is how many log entries bring about a snapshot; 0 means 4096.
	SnapshotThreshold uint64
}

// Deps are what a voter works with.
type Deps struct {
	Store   *raftstore.Store
	Machine Machine
	Logger  *slog.Logger
	// Transport reaches the other voters. nil with one voter: no port is opened.
	Transport raft.Transport
	// Fatal is called, once, with what makes it wrong to go on. It must see to it that the process ends.
	// The store's Fatal is another one: give it the same function.
	Fatal func(error)
}

const (
	defaultHeartbeat = 500 * time.Millisecond
	// enqueueTimeout bounds the wait for raft to take a proposal; its leader does nothing slower than
	// one sync.
	enqueueTimeout = 10 * time.Second
)

// Raft is a voter.
type Raft struct {
	raft      *raft.Raft
	transport io.Closer // the one made here, nil otherwise
	tail      *tail
	fsm       *fsm
	proposals sync.WaitGroup // futures of raft that are not answered; their caller may have left
	watcher   sync.WaitGroup // of leadership
	done      chan struct{}
	mu        struct {
		xsync.Mutex
		leadership Leadership
		changed    chan struct{}
		closed     bool
	}
}

var _ Quorum = (*Raft)(nil)

// Open joins the quorum: it restores the newest snapshot and starts raft's goroutines. The log after the
// snapshot is applied once a leader has committed it; Barrier waits for that. The caller closes the store, after Close.
func Open(cfg Config, deps Deps) (*Raft, error) {
	r := &Raft{tail: newTail(deps.Machine), done: make(chan struct{})}
	r.mu.changed = make(chan struct{})
	r.fsm = &fsm{machine: deps.Machine, tail: r.tail, fatal: deps.Fatal}

	if len(cfg.Bootstrap) == 0 {
		cfg.Bootstrap = []Member{{ServerID: cfg.ServerID, Address: "local", Voter: true}}
	}
	transport := deps.Transport
	if transport == nil {
		if len(cfg.Bootstrap) > 1 {
			return nil, errors.New("open metadata quorum: several voters, but no transport between them")
		}
		_, memory := raft.NewInmemTransport(raft.ServerAddress(cfg.Bootstrap[0].Address))
		transport, r.transport = memory, memory
	}
	conf := raftConfig(cfg, deps.Logger)
	notify := make(chan bool, 16)
	conf.NotifyCh = notify
	store := deps.Store
	if err := bootstrap(conf, cfg.Bootstrap, store, transport); err != nil {
		return nil, fmt.Errorf("bootstrap metadata quorum: %w", err)
	}
	node, err := raft.NewRaft(conf, r.fsm, store.Log(), store.Stable(), store.Snapshots(), transport)
	if err != nil {
		return nil, fmt.Errorf("open metadata quorum: %w", err)
	}
	r.raft = node
	r.watcher.Go(func() { r.watchLeadership(notify) })
	if err := r.kick(cfg.ServerID); err != nil {
		return nil, errors.Join(fmt.Errorf("open metadata quorum: %w", err), r.Close())
	}
	return r, nil
}

func raftConfig(cfg Config, logger *slog.Logger) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(cfg.ServerID)
	conf.HeartbeatTimeout = defaultHeartbeat
	if cfg.HeartbeatTimeout > 0 {
		conf.HeartbeatTimeout = cfg.HeartbeatTimeout
	}
	conf.ElectionTimeout = conf.HeartbeatTimeout
	conf.LeaderLeaseTimeout = conf.HeartbeatTimeout / 2
	conf.CommitTimeout = 20 * time.Millisecond // how long an idle follower may be behind
	conf.SnapshotThreshold = 4096
	if cfg.SnapshotThreshold > 0 {
		conf.SnapshotThreshold = cfg.SnapshotThreshold
	}
	conf.SnapshotInterval = 30 * time.Second
	conf.TrailingLogs = 1024
	conf.ShutdownOnRemove = false
	conf.NoLegacyTelemetry = true
	// NB: RestoreCommittedLogs stays off. In raft v1.8.0 a node that replays its committed log while it is
	// made overlooks the configurations in it, so that a voter without a snapshot knows no voters; and
	// it waits forever when there are more than 128 groups of entries.
	conf.Logger = newRaftLog(logger)
	return conf
}

// bootstrap writes the first configuration into an empty store.
func bootstrap(conf *raft.Config, members []Member, store *raftstore.Store, transport raft.Transport) error {
	if err := forgetHalfBootstrap(store); err != nil {
		return err
	}
	exists, err := raft.HasExistingState(store.Log(), store.Stable(), store.Snapshots())
	if err != nil || exists {
		return err
	}
	var configuration raft.Configuration
	for _, m := range members {
		suffrage := raft.Voter
		if !m.Voter {
			suffrage = raft.Nonvoter
		}
		configuration.Servers = append(configuration.Servers, raft.Server{
			Suffrage: suffrage, ID: raft.ServerID(m.ServerID), Address: raft.ServerAddress(m.Address),
		})
	}
	return raft.BootstrapCluster(conf, store.Log(), store.Stable(), store.Snapshots(), transport, configuration)
}

// keyCurrentTerm is where raft stores its term.
var keyCurrentTerm = []byte("CurrentTerm")

// forgetHalfBootstrap undoes a bootstrap that a crash cut in half. raft saves term 1 first and the
// configuration after it, and would take the term alone for a voter that has begun, but knows no voters.
// No other store looks like that: who stands for election or follows a leader is in term 2 at least.
func forgetHalfBootstrap(store *raftstore.Store) error {
	term, err := store.Stable().GetUint64(keyCurrentTerm)
	if err != nil || term != 1 {
		return nil // an unset term is an error to raft; it reads the term again and reports a true one
	}
	last, err := store.Log().LastIndex()
	if err != nil || last > 0 {
		return err
	}
	snapshots, err := store.Snapshots().List()
	if err != nil || len(snapshots) > 0 {
		return err
	}
	return store.Stable().SetUint64(keyCurrentTerm, 0)
}

// kick makes the only voter stand for election now: it would wait for the heartbeat of a leader that
// cannot be. Lowering the timeout wakes raft's follower, which finds that it never heard of one.
func (r *Raft) kick(serverID string) error {
	members, err := r.Membership()
	if err != nil {
		return err
	}
	voters, self := 0, false
	for _, m := range members {
		if m.Voter {
			voters++
			self = self || m.ServerID == serverID
		}
	}
	if voters > 1 {
		return nil
	}
	if !self {
		return fmt.Errorf("the only voter of this metadata log is %v, but this directory is %s: it comes from another node or was formatted again", members, serverID)
	}
	conf := r.raft.ReloadableConfig()
	conf.HeartbeatTimeout -= time.Millisecond
	return r.raft.ReloadConfig(conf)
}

// watchLeadership notes every change that raft announces.
func (r *Raft) watchLeadership(notify <-chan bool) {
	for {
		select {
		case leading := <-notify:
			_, leader := r.raft.LeaderWithID()
			r.setLeadership(Leadership{Leading: leading, Term: r.raft.CurrentTerm(), Leader: string(leader)})
		case <-r.done:
			return
		}
	}
}

func (r *Raft) setLeadership(l Leadership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.leadership = l
	close(r.mu.changed)
	r.mu.changed = make(chan struct{})
}

// Leadership is documented at Quorum.
func (r *Raft) Leadership() (Leadership, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.leadership, r.mu.changed
}

// Propose is documented at Quorum.
func (r *Raft) Propose(ctx context.Context, batch []byte) (Committed, error) {
	future := r.raft.Apply(batch, enqueueTimeout)
	if err := r.wait(ctx, future); err != nil {
		return Committed{}, proposeError(err)
	}
	answer, ok := future.Response().(applied)
	switch {
	case !ok:
		return Committed{}, ErrUnknownOutcome
	case answer.fatal != nil:
		return Committed{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, answer.fatal)
	case answer.rejected != nil:
		return Committed{}, fmt.Errorf("%w: %w", ErrRejected, answer.rejected)
	}
	return Committed{Offset: answer.offset}, nil
}

// wait waits for a future of raft, which cannot be cancelled. Close waits for what was left behind.
func (r *Raft) wait(ctx context.Context, future raft.Future) error {
	done := make(chan error, 1)
	if !r.begin(func() { done <- future.Error() }) {
		return raft.ErrRaftShutdown
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin runs fn on a goroutine that Close waits for.
func (r *Raft) begin(fn func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return false
	}
	r.proposals.Go(fn)
	return true
}

// proposeError says what raft's error means for the batch.
func proposeError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err) // it never came into the log
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// Commits is documented at Quorum.
func (r *Raft) Commits(from int64) *Stream { return &Stream{tail: r.tail, next: from} }

// Barrier is documented at Quorum.
func (r *Raft) Barrier(ctx context.Context) error {
	if err := r.wait(ctx, r.raft.Barrier(enqueueTimeout)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return nil
}

// Snapshot is documented at Quorum.
func (r *Raft) Snapshot(ctx context.Context) error {
	err := r.wait(ctx, r.raft.Snapshot())
	if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return fmt.Errorf("store a metadata snapshot: %w", err)
}

// Membership is documented at Quorum.
func (r *Raft) Membership() ([]Member, error) {
	future := r.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, fmt.Errorf("read the members of the metadata quorum: %w", err)
	}
	var members []Member
	for _, s := range future.Configuration().Servers {
		members = append(members, Member{ServerID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return members, nil
}

// Close is documented at Quorum. It may be called twice.
func (r *Raft) Close() error {
	r.mu.Lock()
	again := r.mu.closed
	r.mu.closed = true
	r.mu.Unlock()
	if again {
		return nil
	}
	// As long as it runs raft answers everything that it took, at the latest when its leader's lease ends. What
	// is committed and waits for the machine when it is shut down it forgets: whoever asked would wait for ever.
	r.proposals.Wait()
	err := r.raft.Shutdown().Error()
	close(r.done)
	r.watcher.Wait()
	r.tail.close()
	r.setLeadership(Leadership{})
	if r.transport != nil {
		err = errors.Join(err, r.transport.Close())
	}
	return err
}

// applied is the machine's answer to one batch.
type applied struct {
	offset          int64
	rejected, fatal error
}

// fsm is the machine as raft sees it.
type fsm struct {
	machine Machine
	tail    *tail
	fatal   func(error)
	failed  atomic.Pointer[error]
}

var _ raft.FSM = (*fsm)(nil)

// Apply hands one committed entry to the machine. After a fatal error it applies nothing more.
func (f *fsm) Apply(entry *raft.Log) any {
	if err := f.failed.Load(); err != nil {
		return applied{fatal: *err}
	}
	offset, rejected, fatal := f.machine.Apply(entry.Data)
	if fatal != nil {
		return applied{fatal: f.fail(fmt.Errorf("apply metadata log entry %d: %w", entry.Index, fatal))}
	}
	if rejected == nil {
		f.tail.add(Commit{Offset: offset, Batch: entry.Data})
	}
	return applied{offset: offset, rejected: rejected}
}

func (f *fsm) fail(err error) error {
	if f.failed.CompareAndSwap(nil, &err) && f.fatal != nil {
		f.fatal(err)
	}
	return err
}

// Snapshot returns in O(1).
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.failed.Load(); err != nil {
		return nil, *err
	}
	_, write := f.machine.Snapshot()
	return fsmSnapshot(write), nil
}

// Restore replaces the machine's state.
func (f *fsm) Restore(r io.ReadCloser) error {
	if err := f.machine.Restore(r); err != nil {
		return errors.Join(fmt.Errorf("restore a metadata snapshot: %w", err), r.Close())
	}
	offset, _ := f.machine.Snapshot()
	f.tail.reset(offset)
	return r.Close()
}

type fsmSnapshot func(io.Writer) error

func (write fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := write(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (fsmSnapshot) Release() {}
