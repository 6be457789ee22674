package group

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// The versions of JoinGroup from which on an answer differs.
const (
	joinRequiresMemberID = 4 // KIP-394
	joinSkipsAssignment  = 9 // KIP-814
)

// join serves a JoinGroup: an answer at once, or a parked join that completing the rebalance answers.
func (s *Shard) join(w coordinator.WaiterID, req *JoinGroup) {
	if code := s.checkJoin(req); code != kafkaerr.None {
		s.reply(w, failedJoin(req.MemberID, code))
		return
	}
	g := s.groups[req.GroupID]
	if growth := s.growth(g, req); growth > 0 && !s.memory.Fits(growth) {
		s.refuseForMemory(w, req, growth)
		return
	}
	if g == nil {
		if req.MemberID != "" {
			s.reply(w, failedJoin(req.MemberID, kafkaerr.UnknownMemberID))
			return
		}
		s.joinNewGroup(w, req)
		return
	}
	s.joinGroup(w, g, req)
}

func (s *Shard) checkJoin(req *JoinGroup) kafkaerr.Code {
	timeout := time.Duration(req.SessionTimeoutMs) * time.Millisecond
	switch {
	case req.GroupID == "":
		return kafkaerr.InvalidGroupID
	case timeout < s.config.MinSessionTimeout || timeout > s.config.MaxSessionTimeout:
		return kafkaerr.InvalidSessionTimeout
	case req.MemberID == "" && len(req.memberIDPrefix()) > maxMemberIDPrefix:
		// No answer could carry the id, and none about the group with such a member.
		return kafkaerr.InvalidRequest
	}
	return kafkaerr.None
}

// maxMemberIDPrefix leaves room for the rest of a member id in a string of the protocol.
const maxMemberIDPrefix = math.MaxInt16 - len("-00000000-0000-0000-0000-000000000000")

// memberIDPrefix is what a new member's id begins with.
func (req *JoinGroup) memberIDPrefix() string {
	if req.InstanceID != nil {
		return *req.InstanceID
	}
	return req.ClientID
}

// joinNewGroup creates the group with a record of its own, so that it is there after a restart too. If
// that cannot be written the group is gone again, and what waits for it is answered.
func (s *Shard) joinNewGroup(w coordinator.WaiterID, req *JoinGroup) {
	g := s.create(req.GroupID, s.nowMs)
	rec, err := s.codec.groupRecord(g, s.nowMs)
	if err != nil {
		s.forget(g)
		s.reply(w, failedJoin("", kafkaerr.UnknownServerError))
		return
	}
	s.record(rec)
	s.onFailure(func(code kafkaerr.Code) {
		if g.saved != nil || len(g.offsets) > 0 {
			return
		}
		for _, m := range slices.Clone(g.members) {
			s.answerJoin(g, m, failedJoin(m.id, code))
			s.drop(g, m)
		}
		s.stopGroup(g)
		s.forget(g)
	})
	s.joinGroup(w, g, req)
}

// stopGroup stops every timer of a group that is about to be forgotten.
func (s *Shard) stopGroup(g *group) {
	s.timers.stop(&g.joinTimer)
	s.timers.stop(&g.syncTimer)
	for _, tm := range g.pending {
		s.timers.stop(tm)
	}
}

func (s *Shard) joinGroup(w coordinator.WaiterID, g *group, req *JoinGroup) {
	if !s.hasRoom(g, req.MemberID) {
		if m := g.byID[req.MemberID]; m != nil {
			s.drop(g, m)
			s.completeJoinIfAllJoined(g)
		}
		s.dropPending(g, req.MemberID)
		s.reply(w, failedJoin("", kafkaerr.GroupMaxSizeReached))
		return
	}
	protocols := distinct(req.Protocols)
	if !g.supports(req.ProtocolType, protocols) {
		s.reply(w, failedJoin(req.MemberID, kafkaerr.InconsistentGroupProtocol))
		return
	}
	switch {
	case req.MemberID != "":
		s.joinKnown(w, g, req, protocols)
	case req.InstanceID != nil:
		s.joinStatic(w, g, req, protocols)
	default:
		s.joinDynamic(w, g, req, protocols)
	}
}

// hasRoom reports whether the group may take one who joins. While it rebalances those who have joined
// are counted, so that a group that was over its size sheds the last to come.
func (s *Shard) hasRoom(g *group, memberID string) bool {
	m := g.byID[memberID]
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.join != 0 || g.joining < s.config.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < s.config.MaxSize
	default:
		return true
	}
}

func (s *Shard) joinDynamic(w coordinator.WaiterID, g *group, req *JoinGroup, protocols []Protocol) {
	id := s.newMemberID(req.memberIDPrefix())
	if req.Version < joinRequiresMemberID {
		s.addMember(w, g, req, protocols, id)
		return
	}
	tm := &timer{kind: pendingTimer, group: g, id: id}
	g.pend(id, tm)
	s.timers.arm(tm, s.after(int64(req.SessionTimeoutMs)))
	s.reply(w, failedJoin(id, kafkaerr.MemberIDRequired))
}

func (s *Shard) joinStatic(w coordinator.WaiterID, g *group, req *JoinGroup, protocols []Protocol) {
	id := s.newMemberID(req.memberIDPrefix())
	if m := g.static[*req.InstanceID]; m != nil {
		s.replaceStatic(w, g, m, req, protocols, id)
		return
	}
	s.addMember(w, g, req, protocols, id)
}

// joinKnown serves a member that has an id: handed out before, or in the group already.
func (s *Shard) joinKnown(w coordinator.WaiterID, g *group, req *JoinGroup, protocols []Protocol) {
	if g.pending[req.MemberID] != nil {
		if req.InstanceID != nil { // ids of static members are never handed out beforehand
			s.reply(w, failedJoin("", kafkaerr.UnknownServerError))
			return
		}
		s.addMember(w, g, req, protocols, req.MemberID)
		return
	}
	m, code := g.find(req.MemberID, req.InstanceID)
	if code != kafkaerr.None {
		s.reply(w, failedJoin(req.MemberID, code))
		return
	}
	changed := !m.wants(protocols)
	switch {
	case g.state == PreparingRebalance:
		s.rejoin(w, g, m, req, protocols, "member "+m.id+" joins during the rebalance")
	case changed:
		s.rejoin(w, g, m, req, protocols, "member "+m.id+" changes what it wants")
	case g.state == Stable && g.leader == m.id:
		// The leader asks for a rebalance this way when topics changed.
		s.rejoin(w, g, m, req, protocols, "leader "+m.id+" joins again")
	default:
		// The answer to the join was lost, or a follower makes sure: the generation stands.
		s.armSession(m)
		s.reply(w, g.joined(m, g.leader == m.id && g.state == CompletingRebalance))
	}
}

// find returns the member, or why there is none by that name: a static member's id is checked against
// the one that holds its instance id now.
func (g *group) find(memberID string, instanceID *string) (*member, kafkaerr.Code) {
	if instanceID != nil {
		switch holder := g.static[*instanceID]; {
		case holder == nil:
			return nil, kafkaerr.UnknownMemberID
		case holder.id != memberID:
			return nil, kafkaerr.FencedInstanceID
		}
	}
	if m := g.byID[memberID]; m != nil {
		return m, kafkaerr.None
	}
	return nil, kafkaerr.UnknownMemberID
}

// joined is the answer of a completed join.
func (g *group) joined(m *member, withMembers bool) *JoinGroupResponse {
	response := &JoinGroupResponse{
		Generation: g.generation, ProtocolType: g.protocolType, ProtocolName: g.protocol,
		Leader: g.leader, MemberID: m.id,
	}
	if withMembers {
		response.Members = make([]JoinedMember, len(g.members))
		for i, o := range g.members {
			response.Members[i] = JoinedMember{MemberID: o.id, InstanceID: o.instanceID, Metadata: o.metadata(g.protocol)}
		}
	}
	return response
}

// addMember takes a new member in and parks its join.
func (s *Shard) addMember(w coordinator.WaiterID, g *group, req *JoinGroup, protocols []Protocol, id string) {
	s.dropPending(g, id)
	m := &member{
		id: id, instanceID: req.InstanceID, clientID: req.ClientID, clientHost: req.ClientHost,
		rebalanceTimeoutMs: req.rebalanceTimeoutMs(), sessionTimeoutMs: req.SessionTimeoutMs,
		protocols: protocols, fresh: true,
	}
	if g.state == PreparingRebalance && g.previous == Empty {
		g.memberAdded = true
	}
	if len(g.members) == 0 {
		g.protocolType = req.ProtocolType
	}
	g.add(m)
	s.parkJoin(g, m, w)
	s.timers.arm(&m.session, s.now.Add(s.config.NewMemberJoinTimeout))
	s.rebalanceOrComplete(g, withReason("member "+id+" is new", req.Reason))
}

// rejoin parks the join of a member and has the group rebalance.
func (s *Shard) rejoin(w coordinator.WaiterID, g *group, m *member, req *JoinGroup, protocols []Protocol, reason string) {
	s.update(g, m, req, protocols)
	s.parkJoin(g, m, w)
	s.rebalanceOrComplete(g, withReason(reason, req.Reason))
}

func (s *Shard) update(g *group, m *member, req *JoinGroup, protocols []Protocol) {
	g.prefer(m, protocols)
	m.rebalanceTimeoutMs, m.sessionTimeoutMs = req.rebalanceTimeoutMs(), req.SessionTimeoutMs
}

// replaceStatic lets a static member that came back without its id take its own place (KIP-345). In a
// stable group whose protocol stays the same nobody else notices.
func (s *Shard) replaceStatic(w coordinator.WaiterID, g *group, m *member, req *JoinGroup, protocols []Protocol, id string) {
	before, oldLeader := *m, g.leader
	fenced := failedJoin(m.id, kafkaerr.FencedInstanceID)
	s.answerJoin(g, m, fenced)
	s.answerSync(m, &SyncGroupResponse{Err: kafkaerr.FencedInstanceID}, false)
	g.rename(m, id)
	s.update(g, m, req, protocols)
	s.armSession(m)
	m.fresh = false
	switch {
	case g.state == Stable && g.elect() == g.protocol:
		rec, err := s.codec.groupRecord(g, s.nowMs)
		if err != nil {
			s.restoreStatic(g, m, &before)
			s.reply(w, failedJoin("", kafkaerr.UnknownServerError))
			return
		}
		s.record(rec)
		g.findSubscribed()
		s.onFailure(func(kafkaerr.Code) {
			if g.byID[id] == m && g.state == Stable {
				s.restoreStatic(g, m, &before)
			}
		})
		response := g.joined(m, false)
		if leads := g.leader == id; leads && req.Version >= joinSkipsAssignment {
			response = g.joined(m, true)
			response.SkipAssignment = true
		} else if leads {
			// A client that cannot skip the assignment must not think that it leads.
			response.Leader = oldLeader
		}
		s.replyCommitted(w, response)
	case g.state == Stable, g.state == CompletingRebalance:
		// In CompletingRebalance the leader may assign to the old id, so the new one would get nothing.
		s.parkJoin(g, m, w)
		s.prepareRebalance(g, withReason("static member "+*req.InstanceID+" came back as "+id, req.Reason))
	default:
		s.parkJoin(g, m, w)
		s.completeJoinIfAllJoined(g)
	}
}

// restoreStatic undoes replaceStatic: the new id could not be written.
func (s *Shard) restoreStatic(g *group, m, before *member) {
	g.rename(m, before.id)
	g.prefer(m, before.protocols)
	m.rebalanceTimeoutMs, m.sessionTimeoutMs = before.rebalanceTimeoutMs, before.sessionTimeoutMs
	g.findSubscribed()
	s.armSession(m)
}

// newMemberID draws an id as Kafka does: a name the operator knows, and a random UUID.
func (s *Shard) newMemberID(prefix string) string {
	u := s.newUUID()
	return fmt.Sprintf("%s-%x-%x-%x-%x-%x", prefix, u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

func (req *JoinGroup) rebalanceTimeoutMs() int32 {
	if req.RebalanceTimeoutMs < 0 {
		return req.SessionTimeoutMs
	}
	return req.RebalanceTimeoutMs
}

// distinct drops protocols that were named before: they would be counted twice.
func distinct(protocols []Protocol) []Protocol {
	seen := make(map[string]struct{}, len(protocols))
	return slices.DeleteFunc(slices.Clone(protocols), func(p Protocol) bool {
		_, again := seen[p.Name]
		seen[p.Name] = struct{}{}
		return again
	})
}

func withReason(what, clients string) string {
	if clients == "" {
		return what
	}
	return fmt.Sprintf("%s; client reason: %s", what, clients)
}
