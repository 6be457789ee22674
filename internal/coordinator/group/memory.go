package group

import (
	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/kafkaerr"
)

// What is held for a thing beside its own bytes: its struct, its places in maps, its timer.
const (
	groupOverhead    = 1 << 10
	memberOverhead   = 1 << 10
	pendingOverhead  = 256
	protocolOverhead = 128
	topicOverhead    = 64
)

// hold counts bytes that the group takes, or gives back where they are negative.
func (g *group) hold(bytes int) {
	g.held += bytes
	g.memory.Hold(bytes)
}

// size returns what the member holds.
func (m *member) size() int {
	return memberSize(m.id, m.instanceID, m.clientID, m.clientHost) + protocolsSize(m.protocols) + len(m.assignment)
}

func memberSize(id string, instanceID *string, clientID, clientHost string) int {
	return memberOverhead + len(id) + len(deref(instanceID)) + len(clientID) + len(clientHost)
}

func protocolsSize(protocols []Protocol) int {
	size := 0
	for _, p := range protocols {
		size += protocolOverhead + len(p.Name) + len(p.Metadata)
	}
	return size
}

func pendingSize(id string) int { return pendingOverhead + len(id) }

// size returns what the record of a generation holds.
func (saved *savedGroup) size() int {
	if saved == nil {
		return 0
	}
	size := 0
	for i := range saved.members {
		m := &saved.members[i]
		size += memberSize(m.id, m.instanceID, m.clientID, m.clientHost) + len(m.subscription) + len(m.assignment)
	}
	return size
}

func topicsSize(topics map[string]struct{}) int {
	size := 0
	for topic := range topics {
		size += topicOverhead + len(topic)
	}
	return size
}

// growth returns how many bytes more are held once the request is served: those of a member, or what a member
// wants beyond what it wanted before.
func (s *Shard) growth(g *group, req *JoinGroup) int {
	size := memberSize(req.memberIDPrefix(), req.InstanceID, req.ClientID, req.ClientHost) + protocolsSize(req.Protocols)
	if g == nil {
		return size + groupOverhead + len(req.GroupID)
	}
	m := g.byID[req.MemberID]
	if req.MemberID == "" && req.InstanceID != nil {
		m = g.static[*req.InstanceID]
	}
	switch {
	case m != nil:
		return protocolsSize(req.Protocols) - protocolsSize(m.protocols)
	case req.MemberID != "" && g.pending[req.MemberID] == nil:
		return 0 // it is not known, and told so
	}
	return size
}

// refuseForMemory answers a join that there is no room for.
func (s *Shard) refuseForMemory(w coordinator.WaiterID, req *JoinGroup, growth int) {
	s.noRoom(req.GroupID, growth)
	s.reply(w, failedJoin("", kafkaerr.GroupMaxSizeReached))
}

func (s *Shard) noRoom(groupID string, bytes int) {
	s.event("group memory is full", "group", groupID, "bytes", bytes, "setting", "group.coordinator.memory.max.bytes")
}

// unlimited is the memory of a shard that was given none.
type unlimited struct{}

func (unlimited) Fits(int) bool { return true }
func (unlimited) Hold(int)      {}
