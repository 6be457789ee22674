package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Durable renders everything that Replay has written: two shards with equal text hold the same records.
func (s *Shard) Durable() string {
	var b strings.Builder
	for _, g := range s.sorted() {
		if saved := g.saved; saved != nil {
			fmt.Fprintf(&b, "group %s type=%q generation=%d protocol=%q leader=%q since=%d\n",
				g.id, saved.protocolType, saved.generation, saved.protocol, saved.leader, saved.stateMs)
			for _, m := range saved.members {
				fmt.Fprintf(&b, "  member %s instance=%s client=%s%s rebalance=%d session=%d wants=%q has=%q\n",
					m.id, deref(m.instanceID), m.clientID, m.clientHost, m.rebalanceTimeoutMs, m.sessionTimeoutMs,
					m.subscription, m.assignment)
			}
		}
		for _, topic := range slices.Sorted(maps.Keys(g.offsets)) {
			for _, partition := range slices.Sorted(maps.Keys(g.offsets[topic])) {
				p := g.offsets[topic][partition]
				fmt.Fprintf(&b, "offset %s %s-%d = %d epoch=%d %q at=%d expires=%d id=%s\n",
					g.id, topic, partition, p.offset, p.leaderEpoch, p.metadata, p.commitMs, p.expireMs, p.topicID)
			}
		}
	}
	return b.String()
}

// CheckInvariants says what does not add up in the soft state, and in the bytes that the shard holds.
func (s *Shard) CheckInvariants(held int) error {
	for _, g := range s.groups {
		held -= g.held
		if sum := g.sum(); sum != g.held {
			return fmt.Errorf("group %s counts %d bytes, holds %d", g.id, g.held, sum)
		}
		joining, unsynced, support := 0, 0, map[string]int{}
		for _, m := range g.members {
			if g.byID[m.id] != m {
				return fmt.Errorf("group %s: member %s is not found by its id", g.id, m.id)
			}
			if m.instanceID != nil && g.static[*m.instanceID] != m {
				return fmt.Errorf("group %s: static member %s is not found by its instance id", g.id, m.id)
			}
			if m.join != 0 {
				joining++
			}
			if m.unsynced {
				unsynced++
			}
			for _, p := range m.protocols {
				support[p.Name]++
			}
			if m.session.pos == 0 && m.join == 0 && m.sync == 0 {
				return fmt.Errorf("group %s: the session of member %s never ends", g.id, m.id)
			}
		}
		switch {
		case joining != g.joining:
			return fmt.Errorf("group %s counts %d joining members, has %d", g.id, g.joining, joining)
		case unsynced != g.unsynced:
			return fmt.Errorf("group %s counts %d members without sync, has %d", g.id, g.unsynced, unsynced)
		case !maps.Equal(support, g.support):
			return fmt.Errorf("group %s counts support %v, has %v", g.id, g.support, support)
		case len(g.byID) != len(g.members):
			return fmt.Errorf("group %s knows %d ids for %d members", g.id, len(g.byID), len(g.members))
		case (g.state == Empty) != (len(g.members) == 0) && g.state != PreparingRebalance:
			return fmt.Errorf("group %s is %s with %d members", g.id, g.state, len(g.members))
		case len(g.members) > 0 && g.byID[g.leader] == nil:
			return fmt.Errorf("group %s is led by %q, who is no member", g.id, g.leader)
		case g.state == PreparingRebalance && g.joinTimer.pos == 0:
			return fmt.Errorf("group %s rebalances without end", g.id)
		case g.state == CompletingRebalance && g.unsynced > 0 && g.syncTimer.pos == 0:
			return fmt.Errorf("group %s waits for syncs without end", g.id)
		}
	}
	if held != 0 {
		return fmt.Errorf("%d bytes are held by no group", held)
	}
	for i, tm := range s.timers.heap {
		if tm.pos != i+1 || tm.due.Before(tm.at) {
			return fmt.Errorf("timer %d stands at %d, due %v, at %v", i+1, tm.pos, tm.due, tm.at)
		}
	}
	return nil
}

// sum returns what the group holds, counted anew.
func (g *group) sum() int {
	sum := groupOverhead + len(g.id) + g.saved.size() + topicsSize(g.subscribed)
	for _, m := range g.members {
		sum += m.size()
	}
	for id := range g.pending {
		sum += pendingSize(id)
	}
	return sum
}
