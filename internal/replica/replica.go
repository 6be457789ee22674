package replica

import (
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/xsync"
)

// Replica is one partition on this broker. Safe for concurrent use.
type Replica struct {
	manager *Manager
	tp      model.TopicPartition
	topicID model.TopicID
	log     *storage.Log // offline until it is recovered
	config  atomic.Pointer[TopicConfig]
	// serving is what handlers look at without the lock. It may be a moment old; the log's fence is what
	// keeps a stale leader from appending.
	serving atomic.Pointer[serving]

	waitsForSpace bool // to be recovered; touched by its recovery only

	// assigning is held while an assignment is applied, by metadata or by the recovery, so that none is overtaken: the
	// log refuses an epoch that is older than its own. It is taken before mu.
	assigning xsync.Mutex

	mu struct {
		xsync.Mutex
		machine  *partition.Partition
		assigned metadata.Partition // the newest metadata; applied once the log is recovered
		ready    bool               // the log is recovered, and machine is there
		dropped  bool               // the topic was deleted: it does not come back into service
		failed   bool               // the log is offline, for good
		effects  []partition.Effect // scratch of stepLocked
		appends  appendList
		fetches  []*FetchPartition
	}
}

// serving is a snapshot of the machine.
type serving struct {
	role        partition.Role
	leader      model.BrokerID
	leaderEpoch int32
	underMinISR bool
	catchingUp  bool // the high watermark may be lower than what consumers saw; see partition.CatchingUp
	failed      bool // the log is offline
}

// refusal is what a replica that does not lead answers.
func (s *serving) refusal() error {
	if s.failed {
		return kafkaerr.KafkaStorageError
	}
	return kafkaerr.NotLeaderOrFollower
}

// checkEpoch compares a client's idea of the leader epoch with ours (KIP-320); -1 is not checked.
func (s *serving) checkEpoch(current int32) error {
	switch {
	case current < 0 || s.role == partition.Offline || current == s.leaderEpoch:
		return nil
	case current < s.leaderEpoch:
		return kafkaerr.FencedLeaderEpoch
	}
	return kafkaerr.UnknownLeaderEpoch
}

// TopicPartition names the partition.
func (r *Replica) TopicPartition() model.TopicPartition { return r.tp }

// TopicID names the incarnation of the topic.
func (r *Replica) TopicID() model.TopicID { return r.topicID }

// Leadership returns who leads, as far as this replica knows, and in which epoch.
func (r *Replica) Leadership() (leader model.BrokerID, epoch int32) {
	s := r.serving.Load()
	return s.leader, s.leaderEpoch
}

// Recovering reports whether metadata makes this replica the leader, and its log is not recovered yet.
func (r *Replica) Recovering() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.mu.ready && r.mu.assigned.Leader == r.manager.self
}

// IsLeader reports whether this replica leads and serves.
func (r *Replica) IsLeader() bool { return r.serving.Load().role == partition.Leader }

// StartOffset, EndOffset and HighWatermark are the log's.
func (r *Replica) StartOffset() int64   { return r.log.StartOffset() }
func (r *Replica) EndOffset() int64     { return r.log.EndOffset() }
func (r *Replica) HighWatermark() int64 { return r.log.HighWatermark() }

// MaxBatchBytes returns max.message.bytes: how large a batch may be.
func (r *Replica) MaxBatchBytes() int { return int(r.config.Load().Log.MaxMessageBytes) }

// chores is what a turn of the lock leaves to be done after it.
type chores struct {
	flush    bool
	answered appendList        // done as they stand
	released appendList        // to be refused
	fetches  []*FetchPartition // claimed: to be examined
	spare    bool              // the last of them may be answered on the way
}

func (c *chores) run(r *Replica) {
	if c.flush {
		r.log.Dir().Queue(r.log)
	}
	for e := c.released.head; e != nil; {
		next := e.next
		e.Result.Err = r.serving.Load().refusal()
		e.owner.finishOne()
		e = next
	}
	for e := c.answered.head; e != nil; {
		next := e.next
		e.owner.finishOne()
		e = next
	}
	for i, p := range c.fetches {
		p.owner.examine(c.spare && i == len(c.fetches)-1)
	}
}

// step gives the machine an input and carries out its effects. A dropped replica stays as it is, and one that is not
// ready misses nothing: it takes all from the log when it begins to lead.
func (r *Replica) step(in partition.Input) {
	var todo chores
	r.mu.Lock()
	if r.mu.ready && !r.mu.dropped {
		todo = r.stepLocked(in)
	}
	r.mu.Unlock()
	todo.run(r)
}

// drop takes the replica of a deleted topic out of service for good, its log recovered or not.
func (r *Replica) drop() {
	var todo chores
	r.mu.Lock()
	if r.mu.ready {
		todo = r.stepLocked(partition.GoOffline{})
	}
	r.mu.dropped = true
	r.mu.Unlock()
	todo.run(r)
}

// stepLocked gives the machine an input; what must happen outside the lock is returned.
func (r *Replica) stepLocked(in partition.Input) chores {
	var todo chores
	m := r.mu.machine
	r.mu.effects = m.Step(time.Time{}, in, r.mu.effects[:0])
	moved := false
	for _, effect := range r.mu.effects {
		switch effect.Kind {
		case partition.MoveHighWatermark:
			r.log.SetHighWatermark(effect.Offset)
			moved = true
		case partition.QueueFlush:
			todo.flush = true
		case partition.ReleaseWaiters:
			todo.released, r.mu.appends = r.mu.appends, appendList{}
			r.claimFetchesLocked(&todo)
		}
	}
	if _, flushed := in.(partition.Flushed); moved || flushed {
		r.mu.appends.takeAnswered(m.HighWatermark(), m.FlushedOffset(), &todo.answered)
	}
	if moved {
		r.claimFetchesLocked(&todo)
	}
	if now := (serving{m.Role(), m.LeaderID(), m.LeaderEpoch(), m.UnderMinISR(), m.CatchingUp(), r.mu.failed}); now != *r.serving.Load() {
		changed := now // on the heap only where it is one
		r.serving.Store(&changed)
	}
	return todo
}

func (r *Replica) claimFetchesLocked(todo *chores) {
	for _, p := range r.mu.fetches {
		if p.owner.claim() {
			todo.fetches = append(todo.fetches, p)
		}
	}
}

// recovered opens the replica for service, now that its log can be read. A configuration that comes meanwhile finds
// it ready, or is the one that it begins with.
func (r *Replica) recovered() {
	r.mu.Lock()
	r.mu.machine = partition.New(r.manager.self, r.log.HighWatermark())
	r.mu.ready = true
	todo := r.stepLocked(r.config.Load().machineInput())
	r.mu.Unlock()
	todo.run(r)
}

// configure puts a configuration in force.
func (r *Replica) configure(config *TopicConfig) {
	r.config.Store(config)
	r.log.SetConfig(config.Log)
	r.step(config.machineInput())
}

// assign takes the newest metadata of the partition; it acts on it once the log is
// recovered.
func (r *Replica) assign(p metadata.Partition) {
	r.mu.Lock()
	r.mu.assigned = p
	ready := r.mu.ready
	r.mu.Unlock()
	if ready {
		r.applyAssignment()
	}
}

// applyAssignment fences the log to the epoch first and tells the machine second, so that no append of an
// older epoch lands after the machine counts in the new one.
func (r *Replica) applyAssignment() {
	r.assigning.Lock()
	defer r.assigning.Unlock()
	r.mu.Lock()
	p := r.mu.assigned
	r.mu.Unlock()
	if p.Leader != r.manager.self {
		if err := r.log.Follow(p.LeaderEpoch); err != nil {
			r.offline(err)
			return
		}
		r.step(partition.Follow{LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Leader: p.Leader})
		return
	}
	if err := r.log.Lead(p.LeaderEpoch); err != nil {
		r.offline(err)
		return
	}
	r.step(partition.Lead{
		LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Replicas: p.Replicas, ISR: p.ISR,
		End: r.log.EndOffset(), Flushed: r.log.FlushedOffset(),
	})
}

// offline takes the replica out of service after its log failed.
func (r *Replica) offline(err error) {
	var todo chores
	r.mu.Lock()
	if r.mu.dropped || r.mu.failed {
		r.mu.Unlock()
		return // its log was closed, and is nobody's any more; or the log has said so itself
	}
	r.mu.failed = true
	if r.mu.ready {
		todo = r.stepLocked(partition.GoOffline{})
	} else {
		r.serving.Store(&serving{leader: model.NoBroker, leaderEpoch: -1, failed: true})
	}
	r.mu.Unlock()
	r.manager.logger.Error("partition goes offline", "topic", r.tp.Topic, "partition", r.tp.Partition, "err", err)
	todo.run(r)
}
