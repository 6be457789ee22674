package group

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
)

// Shard is one partition of __consumer_offsets: the classic groups whose ids hash to it.
type Shard struct {
	config Config
	// newUUID draws the random part of a member id.
	newUUID func() model.UUID
	memory  coordinator.Memory

	groups map[string]*group
	timers timers
	expiry timer
	codec  codec
	loaded bool

	// The call that is being served.
	now    time.Time
	nowMs  int64
	out    coordinator.Output
	failed []func(code kafkaerr.Code)
}

var _ coordinator.Shard = (*Shard)(nil)

// New returns an empty shard. newUUID is called for each member id that is given out; ids must not
// repeat over the life of a cluster. Groups and their members, but not committed offsets, are held in memory;
// nil sets no bound.
func New(config Config, newUUID func() model.UUID, memory coordinator.Memory) *Shard {
	if memory == nil {
		memory = unlimited{}
	}
	s := &Shard{config: config, newUUID: newUUID, memory: memory, groups: map[string]*group{}}
	s.expiry.kind = expiryTimer
	return s
}

// Replay implements coordinator.Shard.
func (s *Shard) Replay(rec coordinator.Record) error {
	kind, err := s.codec.recordType(rec.Key)
	if err != nil {
		return err
	}
	switch kind {
	case typeLegacyOffsetCommit, typeOffsetCommit:
		return s.replayOffset(rec.Value)
	case typeGroupMetadata:
		return s.replayGroup(rec.Value)
	default:
		return nil
	}
}

func (s *Shard) replayOffset(value []byte) error {
	key, err := s.codec.readOffsetKey()
	if err != nil {
		return err
	}
	if value == nil {
		if g := s.groups[key.Group]; g != nil {
			if delete(g.offsets[key.Topic], key.Partition); len(g.offsets[key.Topic]) == 0 {
				delete(g.offsets, key.Topic)
			}
			s.dropUnusedWhileLoading(g)
		}
		return nil
	}
	group, topic, partition := key.Group, key.Topic, key.Partition
	p, err := s.codec.readPosition(value)
	if err != nil {
		return err
	}
	g := s.groups[group]
	if g == nil {
		g = s.create(group, p.commitMs)
	}
	if g.offsets == nil {
		g.offsets = offsets{}
	}
	if g.offsets[topic] == nil {
		g.offsets[topic] = map[int32]position{}
	}
	g.offsets[topic][partition] = p
	return nil
}

func (s *Shard) replayGroup(value []byte) error {
	id, err := s.codec.readGroupKey()
	if err != nil {
		return err
	}
	if value == nil {
		if g := s.groups[id]; g != nil {
			g.save(nil)
			s.dropDeleted(g)
		}
		return nil
	}
	saved, err := s.codec.readGroup(value)
	if err != nil {
		return err
	}
	g := s.groups[id]
	if g == nil {
		g = s.create(id, saved.stateMs)
	}
	g.save(saved)
	return nil
}

// dropDeleted forgets a group whose record was deleted. Offsets without a record make a simple group; a
// group that has members again lives on in them.
func (s *Shard) dropDeleted(g *group) {
	if len(g.offsets) > 0 || len(g.members) > 0 {
		return
	}
	for _, tm := range g.pending {
		s.timers.stop(tm)
	}
	s.forget(g)
}

// dropUnusedWhileLoading forgets a simple group with its last offset. While the shard serves, such a
// group stays until offsets are looked through, as in Kafka.
func (s *Shard) dropUnusedWhileLoading(g *group) {
	if !s.loaded && g.isUnused() {
		s.forget(g)
	}
}

func (s *Shard) create(id string, nowMs int64) *group {
	g := newGroup(id, nowMs, s.memory)
	s.groups[id] = g
	return g
}

func (s *Shard) forget(g *group) {
	delete(s.groups, g.id)
	g.hold(-g.held)
}

// Loaded implements coordinator.Shard. Every session starts anew: while nobody coordinated the group,
// nobody could heartbeat.
func (s *Shard) Loaded(now time.Time) coordinator.Output {
	s.begin(now)
	s.loaded = true
	for _, g := range s.sorted() {
		g.restore()
		for _, m := range g.members {
			s.armSession(m)
		}
		if len(g.members) > s.config.MaxSize {
			s.prepareRebalance(g, fmt.Sprintf("loaded with %d members, more than group.max.size %d", len(g.members), s.config.MaxSize))
		}
	}
	s.timers.arm(&s.expiry, now.Add(s.config.OffsetsCheckInterval))
	return s.end()
}

// Handle implements coordinator.Shard.
func (s *Shard) Handle(now time.Time, req coordinator.Request) coordinator.Output {
	s.begin(now)
	switch body := req.Body.(type) {
	case *JoinGroup:
		s.join(req.Waiter, body)
		body.Protocols, body.Reason = nil, ""
	case *SyncGroup:
		s.sync(req.Waiter, body)
		body.Assignments = nil
	case *Heartbeat:
		s.reply(req.Waiter, &HeartbeatResponse{Err: s.heartbeat(body)})
	case *LeaveGroup:
		s.leave(req.Waiter, body)
	case *OffsetCommit:
		s.commit(req.Waiter, body)
	case *OffsetFetch:
		s.replyCommitted(req.Waiter, s.fetch(body))
	case *OffsetDelete:
		s.replyCommitted(req.Waiter, s.deleteOffsets(body))
	case *ListGroups:
		s.replyCommitted(req.Waiter, s.list(body))
	case *DescribeGroups:
		s.replyCommitted(req.Waiter, s.describe(body))
	case *DeleteGroups:
		s.replyCommitted(req.Waiter, s.deleteGroups(body))
	case *TopicsDeleted:
		s.replyCommitted(req.Waiter, s.topicsDeleted(body))
	default:
		s.reply(req.Waiter, nil)
	}
	return s.end()
}

// Cancel implements coordinator.Shard. A member whose join is freed is one that has not joined: the
// rebalance does not wait for it longer than for any other, and its session runs again.
func (s *Shard) Cancel(now time.Time, waiter coordinator.WaiterID) coordinator.Output {
	s.begin(now)
	if m, g := s.parked(waiter); m != nil {
		if m.join == waiter {
			m.join = 0
			g.joining--
		} else {
			m.sync = 0
		}
		s.armSession(m)
	}
	return s.end()
}

// parked finds who waits. Hang-ups are rare, so no index is kept for them.
func (s *Shard) parked(waiter coordinator.WaiterID) (*member, *group) {
	if waiter == 0 {
		return nil, nil
	}
	for _, g := range s.groups {
		for _, m := range g.members {
			if m.join == waiter || m.sync == waiter {
				return m, g
			}
		}
	}
	return nil, nil
}

// Tick implements coordinator.Shard.
func (s *Shard) Tick(now time.Time) coordinator.Output {
	s.begin(now)
	for {
		tm := s.timers.fired(now)
		if tm == nil {
			return s.end()
		}
		switch tm.kind {
		case sessionTimer:
			s.expireSession(tm.group, tm.member)
		case pendingTimer:
			s.expirePending(tm.group, tm.id)
		case joinTimer:
			s.joinTimeUp(tm.group)
		case syncTimer:
			s.syncTimeUp(tm.group)
		case expiryTimer:
			s.expireOffsets()
			s.timers.arm(&s.expiry, now.Add(s.config.OffsetsCheckInterval))
		}
	}
}

// NextDeadline implements coordinator.Shard.
func (s *Shard) NextDeadline() (time.Time, bool) { return s.timers.next() }

// Unload implements coordinator.Shard.
func (s *Shard) Unload() coordinator.Output {
	s.begin(s.now)
	for _, g := range s.sorted() {
		for _, m := range g.members {
			s.answerJoin(g, m, failedJoin(m.id, kafkaerr.NotCoordinator))
			s.answerSync(m, &SyncGroupResponse{Err: kafkaerr.NotCoordinator}, false)
		}
	}
	return s.end()
}

// sorted returns the groups by id, where their order can be seen from outside.
func (s *Shard) sorted() []*group {
	groups := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return strings.Compare(a.id, b.id) })
	return groups
}

// begin starts a call: what it asks of the runtime collects in s.out.
func (s *Shard) begin(now time.Time) {
	s.now, s.nowMs = now, now.UnixMilli()
	s.out, s.failed = coordinator.Output{}, nil
}

// end hands over what the call asks.
func (s *Shard) end() coordinator.Output {
	if failed, now := s.failed, s.now; failed != nil {
		s.out.Failed = func(err error) coordinator.Output {
			s.begin(now)
			for _, undo := range failed {
				undo(coordinator.ErrorCode(err))
			}
			return s.end()
		}
	}
	out := s.out
	s.out, s.failed = coordinator.Output{}, nil
	return out
}

// reply answers at once: with what soft state alone decides.
func (s *Shard) reply(w coordinator.WaiterID, response any) {
	s.out.Replies = append(s.out.Replies, coordinator.Reply{Waiter: w, Response: response})
}

// replyCommitted answers once everything that was appended up to now is committed.
func (s *Shard) replyCommitted(w coordinator.WaiterID, response any) {
	s.out.Replies = append(s.out.Replies, coordinator.Reply{Waiter: w, Response: response, AfterCommit: true})
}

func (s *Shard) record(rec coordinator.Record) { s.out.Records = append(s.out.Records, rec) }

// tombstone deletes what a key holds.
func (s *Shard) tombstone(key []byte) { s.record(coordinator.Record{Key: key, TimestampMs: s.nowMs}) }

// onFailure says how soft state that runs ahead of this call's records comes back.
func (s *Shard) onFailure(undo func(kafkaerr.Code)) { s.failed = append(s.failed, undo) }

func (s *Shard) event(name string, attrs ...any) {
	s.out.Events = append(s.out.Events, coordinator.Event{Name: name, Attrs: attrs})
}

func (s *Shard) after(ms int64) time.Time { return s.now.Add(time.Duration(ms) * time.Millisecond) }
