package partition

import (
	"slices"
	"time"

	"github.com/walser-io/walser/internal/model"
)

// WriteCaching is the topic config write.caching.
type WriteCaching int8

// The values of write.caching. Auto flushes while the committed ISR has one member, since no other
// replica then holds what is acknowledged.
const (
	CachingAuto WriteCaching = iota
	CachingOn
	CachingOff
)

// Role is what this replica does in the partition's present leader epoch.
type Role int8

// The roles. An offline replica answers nothing: it has no metadata yet, is recovering, or its log
// directory failed.
const (
	Offline Role = iota
	Leader
	Follower
)

// Input is one of Lead, Follow, GoOffline, Configure, Appended, Flushed and FollowerFetched.
type Input interface{ isInput() }

type (
	// Lead makes this replica the leader of an epoch, or updates the ISR within it.
	Lead struct {
		LeaderEpoch    int32
		PartitionEpoch int32
		Replicas       []model.BrokerID
		ISR            []model.BrokerID
		End            int64 // of the local log, once it takes appends of this epoch
		Flushed        int64
	}
	// Follow makes this replica a follower.
	Follow struct {
		LeaderEpoch    int32
		PartitionEpoch int32
		Leader         model.BrokerID
	}
	// GoOffline takes the replica out of service.
	GoOffline struct{}
	// Configure sets what the topic's configuration decides.
	Configure struct {
		WriteCaching WriteCaching
		MinISR       int
	}
	// Appended reports the local log's end after an append. Reports may arrive out of order.
	Appended struct{ End int64 }
	// Flushed reports that everything below Offset is on disk.
	Flushed struct{ Offset int64 }
	// FollowerFetched reports that a follower fetches from End on: it holds everything below.
	FollowerFetched struct {
		Broker model.BrokerID
		End    int64
	}
)

func (Lead) isInput()            {}
func (Follow) isInput()          {}
func (GoOffline) isInput()       {}
func (Configure) isInput()       {}
func (Appended) isInput()        {}
func (Flushed) isInput()         {}
func (FollowerFetched) isInput() {}

// EffectKind says what the runner does with an Effect.
type EffectKind int8

// The effects.
const (
	// MoveHighWatermark: the high watermark is Offset now; wake who waited for it.
	MoveHighWatermark EffectKind = iota + 1
	// QueueFlush: hand the log to its directory's syncer.
	QueueFlush
	// ReleaseWaiters: the epoch or role changed; work that waited under the old one is answered.
	ReleaseWaiters
)

// Effect is a value for the runner to carry out, in order.
type Effect struct {
	Kind   EffectKind
	Offset int64
}

// Partition is the state of one replica. Not safe for concurrent use: its runner serialises Step.
type Partition struct {
	self           model.BrokerID
	role           Role
	leaderEpoch    int32
	partitionEpoch int32
	leader         model.BrokerID
	replicas       []model.BrokerID
	isr            []model.BrokerID // committed
	writeCaching   WriteCaching
	minISR         int

	followers     map[model.BrokerID]int64 // ends seen in this leader epoch; an absent one holds nothing
	end           int64                    // of the local log
	flushed       int64                    // everything below is on disk here
	highWatermark int64
	epochStart    int64 // of the log when this leader epoch began: what earlier epochs may have exposed
}

// New returns an offline replica on broker self, whose high watermark starts at what its checkpoint says.
func New(self model.BrokerID, highWatermark int64) *Partition {
	return &Partition{
		self: self, leader: model.NoBroker, leaderEpoch: -1, partitionEpoch: -1, minISR: 1, highWatermark: highWatermark,
	}
}

// Role returns what the replica does now.
func (p *Partition) Role() Role { return p.role }

// LeaderEpoch returns the epoch of the last Lead or Follow, -1 before the first.
func (p *Partition) LeaderEpoch() int32 { return p.leaderEpoch }

// LeaderID returns who leads that epoch.
func (p *Partition) LeaderID() model.BrokerID { return p.leader }

// HighWatermark returns the offset below which records are committed, as this replica knows it.
func (p *Partition) HighWatermark() int64 { return p.highWatermark }

// FlushedOffset returns the offset below which everything is on disk here, as far as was reported.
func (p *Partition) FlushedOffset() int64 { return p.flushed }

// CatchingUp reports whether a new leader's high watermark has not come to where its epoch began. Until
// then it may be lower than what consumers saw in the epoch before, and no end of the log that is told to
// them (KIP-207).
func (p *Partition) CatchingUp() bool { return p.role == Leader && p.highWatermark < p.epochStart }

// UnderMinISR reports whether acks=all must be refused, and the high watermark stands.
func (p *Partition) UnderMinISR() bool { return len(p.isr) < p.effectiveMinISR() }

// Durable reports whether answers wait for this replica's flush.
func (p *Partition) Durable() bool {
	switch p.writeCaching {
	case CachingOn:
		return false
	case CachingOff:
		return true
	default:
		return len(p.isr) <= 1
	}
}

// Step applies one input and appends what follows from it to out. Stale metadata (an epoch below the
// present one) changes nothing: deltas of one partition may be handed out again after a reload.
func (p *Partition) Step(_ time.Time, in Input, out []Effect) []Effect {
	switch in := in.(type) {
	case Lead:
		return p.lead(in, out)
	case Follow:
		return p.follow(in, out)
	case GoOffline:
		if p.role == Offline {
			return out
		}
		p.role = Offline
		return append(out, Effect{Kind: ReleaseWaiters})
	case Configure:
		p.writeCaching, p.minISR = in.WriteCaching, in.MinISR
		return p.afterRuleChange(out)
	case Appended:
		p.end = max(p.end, in.End)
		if p.role == Leader && p.Durable() {
			out = append(out, Effect{Kind: QueueFlush})
		}
		return p.advance(out)
	case Flushed:
		p.flushed = max(p.flushed, in.Offset)
		return p.advance(out)
	case FollowerFetched:
		if p.role != Leader {
			return out
		}
		if p.followers == nil {
			p.followers = map[model.BrokerID]int64{}
		}
		p.followers[in.Broker] = in.End
		return p.advance(out)
	}
	return out
}

func (p *Partition) lead(in Lead, out []Effect) []Effect {
	if in.LeaderEpoch < p.leaderEpoch || in.LeaderEpoch == p.leaderEpoch && in.PartitionEpoch < p.partitionEpoch {
		return out
	}
	if p.role != Leader || in.LeaderEpoch != p.leaderEpoch {
		out = append(out, Effect{Kind: ReleaseWaiters})
		p.followers = nil
		p.epochStart = in.End
	}
	p.role, p.leader = Leader, p.self
	p.leaderEpoch, p.partitionEpoch = in.LeaderEpoch, in.PartitionEpoch
	p.replicas, p.isr = slices.Clone(in.Replicas), slices.Clone(in.ISR)
	p.end, p.flushed = max(p.end, in.End), max(p.flushed, in.Flushed)
	return p.afterRuleChange(out)
}

func (p *Partition) follow(in Follow, out []Effect) []Effect {
	if in.LeaderEpoch < p.leaderEpoch || in.LeaderEpoch == p.leaderEpoch && in.PartitionEpoch < p.partitionEpoch {
		return out
	}
	if p.role != Follower || in.LeaderEpoch != p.leaderEpoch {
		out = append(out, Effect{Kind: ReleaseWaiters})
	}
	p.role, p.leader = Follower, in.Leader
	p.leaderEpoch, p.partitionEpoch = in.LeaderEpoch, in.PartitionEpoch
	return out
}

// afterRuleChange moves the high watermark under the new rule. Where flushing became the rule, what is
// in the page cache only is owed a flush, or nothing would ever wake the waiters behind it.
func (p *Partition) afterRuleChange(out []Effect) []Effect {
	if p.role == Leader && p.Durable() && p.flushed < p.end {
		out = append(out, Effect{Kind: QueueFlush})
	}
	return p.advance(out)
}

func (p *Partition) advance(out []Effect) []Effect {
	if p.role != Leader || p.UnderMinISR() {
		return out
	}
	to := p.end
	if p.Durable() {
		to = min(to, p.flushed)
	}
	for _, id := range p.isr {
		if id != p.self {
			to = min(to, p.followers[id])
		}
	}
	if to <= p.highWatermark {
		return out
	}
	p.highWatermark = to
	return append(out, Effect{Kind: MoveHighWatermark, Offset: to})
}

func (p *Partition) effectiveMinISR() int { return min(p.minISR, len(p.replicas)) }
