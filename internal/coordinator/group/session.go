package group

import (
	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// heartbeat serves a Heartbeat.
func (s *Shard) heartbeat(req *Heartbeat) kafkaerr.Code {
	if req.GroupID == "" {
		return kafkaerr.InvalidGroupID
	}
	g := s.groups[req.GroupID]
	if g == nil {
		return kafkaerr.UnknownMemberID
	}
	m, code := g.find(req.MemberID, req.InstanceID)
	switch {
	case code != kafkaerr.None:
		return code
	case req.Generation != g.generation:
		return kafkaerr.IllegalGeneration
	}
	s.armSession(m)
	if g.state == PreparingRebalance {
		return kafkaerr.RebalanceInProgress
	}
	return kafkaerr.None
}

// leave serves a LeaveGroup: the group rebalances once for all members that went.
func (s *Shard) leave(w coordinator.WaiterID, req *LeaveGroup) {
	if req.GroupID == "" {
		s.reply(w, &LeaveGroupResponse{Err: kafkaerr.InvalidGroupID})
		return
	}
	codes := make([]kafkaerr.Code, len(req.Members))
	g, left := s.groups[req.GroupID], false
	for i := range req.Members {
		codes[i] = s.leaveOne(g, &req.Members[i])
		left = left || codes[i] == kafkaerr.None
	}
	if left {
		switch g.state {
		case Stable, CompletingRebalance:
			s.prepareRebalance(g, "members left")
		default:
			s.completeJoinIfAllJoined(g)
		}
	}
	s.replyCommitted(w, &LeaveGroupResponse{Members: codes})
}

// leaveOne removes one member. An operator removes a static member by its instance id alone.
func (s *Shard) leaveOne(g *group, leaving *LeavingMember) kafkaerr.Code {
	switch {
	case g == nil:
		return kafkaerr.UnknownMemberID
	case leaving.MemberID == "":
		if leaving.InstanceID == nil || g.static[*leaving.InstanceID] == nil {
			return kafkaerr.UnknownMemberID
		}
		s.leaves(g, g.static[*leaving.InstanceID], leaving.Reason)
		return kafkaerr.None
	case g.pending[leaving.MemberID] != nil:
		s.dropPending(g, leaving.MemberID)
		return kafkaerr.None
	}
	m, code := g.find(leaving.MemberID, leaving.InstanceID)
	if code == kafkaerr.None {
		s.leaves(g, m, leaving.Reason)
	}
	return code
}

func (s *Shard) leaves(g *group, m *member, reason string) {
	s.event("member left", "group", g.id, "member", m.id, "reason", reason)
	s.removeMember(g, m)
}
