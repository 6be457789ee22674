package group

import (
	"slices"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/wire"
)

// State is where a classic group stands.
type State int8

// The states of a classic group. A group that does not exist is described as Dead.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

// String returns the state's name in Kafka's protocol.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

const (
	typeClassic          = "classic"
	consumerProtocolType = "consumer"
)

// group is one classic group, or a simple one: an id under which someone stores offsets.
type group struct {
	id     string
	memory coordinator.Memory
	held   int // bytes of memory

	// Durable: written by Shard.Replay alone.
	saved   *savedGroup // nil: there is no GroupMetadata record
	offsets offsets

	// Soft, from here on.
	state, previous State
	stateMs         int64 // when state was entered, in ms since the epoch; -1: unknown (an old record)
	generation      int32
	protocolType    string // empty: no member was ever seen
	protocol        string // of the generation; empty: none was chosen
	leader          string // a member id; empty: none

	members  []*member          // in the order they were added: the first is preferred as leader
	byID     map[string]*member // of members
	static   map[string]*member // by instance id
	pending  map[string]*timer  // member ids that were handed out (KIP-394) and not used yet
	support  map[string]int     // how many members support a protocol
	joining  int                // members with a parked join
	unsynced int                // members that have not sent their sync in this generation

	subscribed      map[string]struct{} // the topics of all members
	subscribedKnown bool                // false: members exist whose metadata nobody could read

	memberAdded      bool  // during the initial delay, which it prolongs
	initialRemaining int64 // ms by which the initial delay may still be prolonged
	initialDelay     int64 // ms that are running now; 0: the join timer is not an initial delay
	joinTimer        timer
	syncTimer        timer
}

// member is one member of a group; all of it is soft.
type member struct {
	id         string
	instanceID *string
	clientID   string
	clientHost string

	rebalanceTimeoutMs, sessionTimeoutMs int32

	protocols  []Protocol
	assignment []byte

	// fresh: the member waits for the answer to its first join. Its client may not know its id and so
	// cannot heartbeat, so its session runs out even while it waits.
	fresh    bool
	unsynced bool
	join     coordinator.WaiterID // 0: none is parked
	sync     coordinator.WaiterID // 0: none is parked
	session  timer
}

func newGroup(id string, nowMs int64, memory coordinator.Memory) *group {
	g := &group{
		id:       id,
		memory:   memory,
		previous: Dead,
		stateMs:  nowMs,
		byID:     map[string]*member{},
		static:   map[string]*member{},
		pending:  map[string]*timer{},
		support:  map[string]int{},
	}
	g.joinTimer = timer{kind: joinTimer, group: g}
	g.syncTimer = timer{kind: syncTimer, group: g}
	g.hold(groupOverhead + len(id))
	return g
}

// restore makes the soft state what the record of the last stable generation says.
func (g *group) restore() {
	rec := g.saved
	if rec == nil {
		return
	}
	g.state = Empty
	if len(rec.members) > 0 {
		g.state = Stable
	}
	g.stateMs, g.generation = rec.stateMs, rec.generation
	g.protocolType, g.protocol = rec.protocolType, rec.protocol
	g.leader = rec.leader
	for i := range rec.members {
		m := &rec.members[i]
		if g.byID[m.id] != nil || m.instanceID != nil && g.static[*m.instanceID] != nil {
			continue // no coordinator writes that
		}
		g.add(&member{
			id: m.id, instanceID: m.instanceID, clientID: m.clientID, clientHost: m.clientHost,
			rebalanceTimeoutMs: m.rebalanceTimeoutMs, sessionTimeoutMs: m.sessionTimeoutMs,
			protocols:  []Protocol{{Name: rec.protocol, Metadata: m.subscription}},
			assignment: m.assignment,
		})
	}
	if g.byID[g.leader] == nil {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
	g.findSubscribed()
}

// isUnused reports whether nothing at all is known of the group but its id.
func (g *group) isUnused() bool {
	return g.saved == nil && len(g.offsets) == 0 && len(g.members) == 0 && len(g.pending) == 0
}

// enter moves the group to state.
func (g *group) enter(state State, nowMs int64) {
	if invariants.Enabled {
		valid := map[State][]State{
			Empty:               {PreparingRebalance},
			PreparingRebalance:  {Stable, CompletingRebalance, Empty},
			CompletingRebalance: {PreparingRebalance},
			Stable:              {CompletingRebalance},
		}[state]
		invariants.Assertf(slices.Contains(valid, g.state), "group %q goes from %s to %s", g.id, g.state, state)
	}
	g.previous, g.state, g.stateMs = g.state, state, nowMs
}

// add takes a member in. The caller has checked supports.
func (g *group) add(m *member) {
	if g.leader == "" {
		g.leader = m.id
	}
	m.session = timer{kind: sessionTimer, group: g, member: m}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	if m.instanceID != nil {
		g.static[*m.instanceID] = m
	}
	g.countSupport(m, 1)
	g.hold(m.size())
}

// save makes saved the record of the group; nil is none.
func (g *group) save(saved *savedGroup) {
	g.hold(saved.size() - g.saved.size())
	g.saved = saved
}

// pend keeps a member id that was handed out.
func (g *group) pend(id string, tm *timer) {
	g.pending[id] = tm
	g.hold(pendingSize(id))
}

// unpend forgets a member id that was handed out.
func (g *group) unpend(id string) {
	delete(g.pending, id)
	g.hold(-pendingSize(id))
}

// give makes assignment that of the member.
func (g *group) give(m *member, assignment []byte) {
	g.hold(len(assignment) - len(m.assignment))
	m.assignment = assignment
}

// remove takes a member out, with all that counts it. Its waiters and its timer are the caller's.
func (g *group) remove(m *member) {
	g.hold(-m.size())
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	delete(g.byID, m.id)
	if m.instanceID != nil && g.static[*m.instanceID] == m {
		delete(g.static, *m.instanceID)
	}
	g.countSupport(m, -1)
	g.setUnsynced(m, false)
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// rename gives the member a new id in place: a static member came back (KIP-345).
func (g *group) rename(m *member, id string) {
	delete(g.byID, m.id)
	g.byID[id] = m
	if g.leader == m.id {
		g.leader = id
	}
	g.hold(len(id) - len(m.id))
	m.id = id
}

// prefer replaces what the member supports.
func (g *group) prefer(m *member, protocols []Protocol) {
	g.countSupport(m, -1)
	g.hold(protocolsSize(protocols) - protocolsSize(m.protocols))
	m.protocols = protocols
	g.countSupport(m, 1)
}

func (g *group) countSupport(m *member, by int) {
	for _, p := range m.protocols {
		if g.support[p.Name] += by; g.support[p.Name] == 0 {
			delete(g.support, p.Name)
		}
	}
}

func (g *group) setUnsynced(m *member, unsynced bool) {
	if m.unsynced == unsynced {
		return
	}
	if m.unsynced = unsynced; unsynced {
		g.unsynced++
	} else {
		g.unsynced--
	}
}

// supports reports whether someone with these protocols could be a member.
func (g *group) supports(protocolType string, protocols []Protocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return g.protocolType == protocolType && slices.ContainsFunc(protocols, func(p Protocol) bool {
		return g.support[p.Name] == len(g.members)
	})
}

// elect returns the protocol with the most votes among those that every member supports: each member
// votes for the one it likes best. Among equals the one that was voted for first wins.
func (g *group) elect() string {
	votes := map[string]int{}
	winner := ""
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.support[p.Name] == len(g.members) {
				votes[p.Name]++
				break
			}
		}
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if votes[p.Name] > votes[winner] {
				winner = p.Name
			}
		}
	}
	return winner
}

// everyoneJoined reports whether nobody is waited for.
func (g *group) everyoneJoined() bool { return g.joining == len(g.members) && len(g.pending) == 0 }

// rebalanceTimeoutMs is the longest of any member.
func (g *group) rebalanceTimeoutMs() int64 {
	longest := int32(0)
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeoutMs)
	}
	return int64(longest)
}

// isSubscribed reports whether offsets in topic are in use. A consumer group whose subscriptions nobody
// could read is taken to use all topics.
func (g *group) isSubscribed(topic string) bool {
	if !g.subscribedKnown {
		return g.protocolType == consumerProtocolType
	}
	_, ok := g.subscribed[topic]
	return ok
}

// findSubscribed reads the topics that the members want under the chosen protocol. Every version of
// ConsumerProtocolSubscription starts with version 0, so newer ones are read as that.
func (g *group) findSubscribed() {
	g.hold(-topicsSize(g.subscribed))
	g.subscribed, g.subscribedKnown = nil, false
	if g.protocolType != consumerProtocolType {
		return
	}
	topics := map[string]struct{}{}
	if len(g.members) > 0 && g.protocol == "" {
		return
	}
	for _, m := range g.members {
		var (
			r            wire.Reader
			subscription wire.ConsumerProtocolSubscription
		)
		r.Reset(m.metadata(g.protocol))
		r.Int16()
		if subscription.Decode(&r, 0); r.Err() != nil {
			return
		}
		for _, topic := range subscription.Topics {
			topics[topic] = struct{}{}
		}
	}
	g.subscribed, g.subscribedKnown = topics, true
	g.hold(topicsSize(topics))
}

// metadata returns what the member wants under protocol, or nil if it does not support it.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// wants reports whether the member asks for exactly what it asked for before.
func (m *member) wants(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && string(a.Metadata) == string(b.Metadata)
	})
}
