package group

import (
	"slices"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// sync serves a SyncGroup: it waits for the leader's, whose assignment is answered to everyone once it
// is committed.
func (s *Shard) sync(w coordinator.WaiterID, req *SyncGroup) {
	g, m, code := s.findSynced(req)
	switch {
	case code != kafkaerr.None:
		s.reply(w, &SyncGroupResponse{Err: code})
	case g.state == PreparingRebalance:
		s.reply(w, &SyncGroupResponse{Err: kafkaerr.RebalanceInProgress})
	case g.state == Stable:
		s.markSynced(g, m)
		s.armSession(m)
		s.replyCommitted(w, g.synced(m))
	default:
		s.answerSync(m, &SyncGroupResponse{Err: kafkaerr.RebalanceInProgress}, false) // an older one lost its client
		m.sync = w
		s.markSynced(g, m)
		if m.id == g.leader {
			s.assign(g, req.Assignments)
		}
	}
}

func (s *Shard) findSynced(req *SyncGroup) (*group, *member, kafkaerr.Code) {
	g := s.groups[req.GroupID]
	switch {
	case req.GroupID == "":
		return nil, nil, kafkaerr.InvalidGroupID
	case g == nil || g.state == Empty:
		return nil, nil, kafkaerr.UnknownMemberID
	}
	m, code := g.find(req.MemberID, req.InstanceID)
	switch {
	case code != kafkaerr.None:
	case req.Generation != g.generation:
		code = kafkaerr.IllegalGeneration
	case differs(req.ProtocolType, g.protocolType), differs(req.ProtocolName, g.protocol):
		code = kafkaerr.InconsistentGroupProtocol
	}
	return g, m, code
}

// differs reports whether both names are known and not the same.
func differs(asked *string, held string) bool { return asked != nil && held != "" && *asked != held }

func (s *Shard) markSynced(g *group, m *member) {
	g.setUnsynced(m, false)
	if g.unsynced == 0 {
		s.timers.stop(&g.syncTimer)
	}
}

// assign takes the leader's assignment: it is written, the group is stable, and the answers go out when
// the record is committed. A member that the leader forgot gets nothing. If the record cannot be
// written, the members join again.
func (s *Shard) assign(g *group, assignments []Assignment) {
	given := make(map[string][]byte, len(assignments))
	for _, a := range assignments {
		given[a.MemberID] = a.Assignment
	}
	for _, m := range g.members {
		g.give(m, orEmpty(given[m.id]))
	}
	rec, err := s.codec.groupRecord(g, s.nowMs)
	if err != nil {
		s.refuseSyncs(g, kafkaerr.UnknownServerError)
		s.prepareRebalance(g, "the assignment cannot be encoded")
		return
	}
	if growth := len(rec.Value) + len(g.members)*memberOverhead - g.saved.size(); growth > 0 && !s.memory.Fits(growth) {
		s.noRoom(g.id, growth)
		s.refuseSyncs(g, kafkaerr.GroupMaxSizeReached)
		s.prepareRebalance(g, "there is no room for the assignment")
		return
	}
	s.record(rec)
	generation := g.generation
	s.onFailure(func(code kafkaerr.Code) {
		if g.generation != generation {
			return
		}
		s.refuseSyncs(g, code)
		if g.state == Stable {
			s.prepareRebalance(g, "the assignment could not be written: "+code.Error())
		}
	})
	for _, m := range g.members {
		if m.sync != 0 {
			s.answerSync(m, g.synced(m), true)
			s.armSession(m)
		}
	}
	g.enter(Stable, s.nowMs)
	s.event("group stable", "group", g.id, "generation", g.generation, "members", len(g.members))
}

func (g *group) synced(m *member) *SyncGroupResponse {
	return &SyncGroupResponse{ProtocolType: g.protocolType, ProtocolName: g.protocol, Assignment: m.assignment}
}

// refuseSyncs takes the assignments of the generation back and answers who waits for one.
func (s *Shard) refuseSyncs(g *group, code kafkaerr.Code) {
	for _, m := range slices.Clone(g.members) {
		g.give(m, nil)
		if m.sync != 0 {
			s.answerSync(m, &SyncGroupResponse{Err: code}, false)
			s.armSession(m)
		}
	}
}

func (s *Shard) answerSync(m *member, response *SyncGroupResponse, committed bool) {
	if m.sync == 0 {
		return
	}
	s.out.Replies = append(s.out.Replies, coordinator.Reply{Waiter: m.sync, Response: response, AfterCommit: committed})
	m.sync = 0
}
