package group

import (
	"slices"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// minRejoinMs keeps a group whose members all ask for no time to join from looking again without a pause.
const minRejoinMs = 1000

// rebalanceOrComplete is called after a member came, changed or went.
func (s *Shard) rebalanceOrComplete(g *group, reason string) {
	if g.state == PreparingRebalance {
		s.completeJoinIfAllJoined(g)
		return
	}
	s.prepareRebalance(g, reason)
}

// prepareRebalance opens the join phase. The first one of an empty group stays open for a while, so that
// the members of a deployment that is just starting come into one generation (KIP-134).
func (s *Shard) prepareRebalance(g *group, reason string) {
	if g.state == CompletingRebalance {
		s.refuseSyncs(g, kafkaerr.RebalanceInProgress)
	}
	for _, m := range g.members {
		g.setUnsynced(m, false)
	}
	s.timers.stop(&g.syncTimer)
	s.event("group rebalances", "group", g.id, "generation", g.generation, "state", g.state.String(), "reason", reason)

	initial := g.state == Empty
	g.enter(PreparingRebalance, s.nowMs)
	switch {
	case initial:
		g.memberAdded = false
		delay := s.config.InitialRebalanceDelay.Milliseconds()
		g.initialDelay = delay
		g.initialRemaining = max(g.rebalanceTimeoutMs()-delay, 0)
		s.timers.arm(&g.joinTimer, s.after(delay))
	case g.everyoneJoined():
		s.completeJoin(g)
	default:
		s.timers.arm(&g.joinTimer, s.after(g.rebalanceTimeoutMs()))
	}
}

// completeJoinIfAllJoined ends the join phase early, except the initial one, which takes its time.
func (s *Shard) completeJoinIfAllJoined(g *group) {
	if g.state == PreparingRebalance && g.previous != Empty && g.everyoneJoined() {
		s.completeJoin(g)
	}
}

// joinTimeUp ends the join phase, or prolongs the initial one if members came during it.
func (s *Shard) joinTimeUp(g *group) {
	if g.previous == Empty && g.memberAdded && g.initialRemaining > 0 {
		g.memberAdded = false
		delay := min(s.config.InitialRebalanceDelay.Milliseconds(), g.initialRemaining)
		g.initialRemaining = max(g.initialRemaining-g.initialDelay, 0)
		g.initialDelay = delay
		s.timers.arm(&g.joinTimer, s.after(delay))
		return
	}
	s.completeJoin(g)
}

// completeJoin makes the next generation of those who joined. Dynamic members that did not are dropped;
// static ones keep their place until their session expires.
func (s *Shard) completeJoin(g *group) {
	s.timers.stop(&g.joinTimer)
	for _, m := range slices.Clone(g.members) {
		if m.join == 0 && m.instanceID == nil {
			s.event("member dropped", "group", g.id, "member", m.id, "reason", "did not join in time")
			s.drop(g, m)
		}
	}
	if len(g.members) > 0 && !g.electLeader() {
		// Only static members are left and none of them joined: their sessions decide.
		s.timers.arm(&g.joinTimer, s.after(max(g.rebalanceTimeoutMs(), minRejoinMs)))
		return
	}
	g.generation++
	if len(g.members) == 0 {
		s.becomeEmpty(g)
		return
	}
	g.protocol = g.elect()
	g.findSubscribed()
	g.enter(CompletingRebalance, s.nowMs)
	s.event("group generation", "group", g.id, "generation", g.generation, "members", len(g.members), "protocol", g.protocol)
	for _, m := range g.members {
		s.answerJoin(g, m, g.joined(m, m.id == g.leader))
		s.armSession(m)
		m.fresh = false
		g.setUnsynced(m, true)
	}
	s.timers.arm(&g.syncTimer, s.after(g.rebalanceTimeoutMs()))
}

// becomeEmpty writes the generation without members. If that fails, the one before it comes back after a
// restart and expires: nobody is in it.
func (s *Shard) becomeEmpty(g *group) {
	g.protocol, g.leader = "", ""
	g.findSubscribed()
	g.enter(Empty, s.nowMs)
	s.event("group empty", "group", g.id, "generation", g.generation)
	if rec, err := s.codec.groupRecord(g, s.nowMs); err == nil {
		s.record(rec)
	}
}

// electLeader makes sure that the leader is one who joined, and reports whether there is one.
func (g *group) electLeader() bool {
	if m := g.byID[g.leader]; m != nil && m.join != 0 {
		return true
	}
	for _, m := range g.members {
		if m.join != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

// syncTimeUp drops the members that took their generation and never synced.
func (s *Shard) syncTimeUp(g *group) {
	if g.state != CompletingRebalance && g.state != Stable || g.unsynced == 0 {
		return
	}
	for _, m := range slices.Clone(g.members) {
		if m.unsynced {
			s.event("member dropped", "group", g.id, "member", m.id, "reason", "did not sync in time")
			s.drop(g, m)
		}
	}
	s.prepareRebalance(g, "members did not sync in time")
}

// expireSession removes a member that was silent for too long. One that waits for an answer is not
// silent, unless it waits for the first one of all.
func (s *Shard) expireSession(g *group, m *member) {
	if !m.fresh && (m.join != 0 || m.sync != 0) {
		return
	}
	s.event("member dropped", "group", g.id, "member", m.id, "reason", "its session expired")
	s.removeMember(g, m)
	if g.state == PreparingRebalance {
		s.completeExpired(g)
	} else {
		s.prepareRebalance(g, "the session of member "+m.id+" expired")
	}
}

// expirePending takes a member id back that nobody used.
func (s *Shard) expirePending(g *group, id string) {
	g.unpend(id)
	s.completeExpired(g)
}

// completeExpired ends the join phase if whoever went was the last that it waited for, the initial delay
// included: who is left has joined.
func (s *Shard) completeExpired(g *group) {
	if g.state == PreparingRebalance && g.everyoneJoined() {
		s.completeJoin(g)
	}
}

// removeMember answers what the member has parked and drops it. A client that is still there finds that
// it is not known and joins anew.
func (s *Shard) removeMember(g *group, m *member) {
	s.answerJoin(g, m, failedJoin("", kafkaerr.UnknownMemberID))
	s.drop(g, m)
}

// drop takes a member out of the group and stops its clock.
func (s *Shard) drop(g *group, m *member) {
	s.timers.stop(&m.session)
	s.answerJoin(g, m, failedJoin("", kafkaerr.UnknownMemberID))
	s.answerSync(m, &SyncGroupResponse{Err: kafkaerr.UnknownMemberID}, false)
	g.remove(m)
}

func (s *Shard) dropPending(g *group, id string) {
	if tm := g.pending[id]; tm != nil {
		s.timers.stop(tm)
		g.unpend(id)
	}
}

// parkJoin keeps the join of m. An older one that is still parked has lost its client.
func (s *Shard) parkJoin(g *group, m *member, w coordinator.WaiterID) {
	s.answerJoin(g, m, failedJoin(m.id, kafkaerr.RebalanceInProgress))
	m.join = w
	g.joining++
}

func (s *Shard) answerJoin(g *group, m *member, response *JoinGroupResponse) {
	if m.join != 0 {
		s.reply(m.join, response)
		m.join = 0
		g.joining--
	}
}

// armSession starts the session of m anew.
func (s *Shard) armSession(m *member) { s.timers.arm(&m.session, s.after(int64(m.sessionTimeoutMs))) }
