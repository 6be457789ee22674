package groups

// OffsetFetch: v1-10.
//
// Behaviour: the committed offsets of the partitions asked for, of null topics all that the group has. What
// was never committed has offset -1 and no error: a group or topic that does not exist is no error either.
// The answer shows only what is committed, so require_stable changes nothing while there are no
// transactions.
//
// Versions: v2 null topics, and an error of the group, which v1 puts into every partition; v5 leader epochs;
// v6 flexible; v7 require_stable (KIP-447); v8 many groups in one request (KIP-709), each with its error; v9
// member ids and epochs (KIP-848), which classic groups do not check; v10 topic ids, unknown ones
// UNKNOWN_TOPIC_ID behind the topics that exist, and left out where all were asked for.
//
// On purpose other than Kafka: who asks for all offsets of one group twice in a request gets INVALID_REQUEST the
// second time.

import (
	"fmt"
	"sync/atomic"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/wire"
)

// The versions of OffsetFetch that changed where things stand.
const (
	fetchGroupErrorVersion = 2
	fetchManyGroupsVersion = 8
)

type offsetFetch struct{ deps Deps }

// fetchedGroup is one group of a request, and what became of it.
type fetchedGroup struct {
	body    group.OffsetFetch
	unknown []*wire.OffsetFetchRequestTopics // topics whose ids nothing is known of
	answer  *group.OffsetFetchResponse
}

func (h *offsetFetch) handle(r *server.Request) server.Outcome {
	groups := h.asked(r.Body.(*wire.OffsetFetchRequest), r.Version())
	partitions := 0
	for i := range groups {
		for j := range groups[i].body.Topics {
			partitions += len(groups[i].body.Topics[j].Partitions)
		}
	}
	if !r.Reserve(partitions * fetchedBytes) { // a partition is asked for in four bytes
		r.CloseConnection(fmt.Errorf("fetch %d offsets: %w", partitions, server.ErrNoMemory))
		return server.Done
	}
	version, resp := r.Version(), r.Response().(*wire.OffsetFetchResponse)
	var missing atomic.Int64
	missing.Store(int64(len(groups)) + 1)
	answered := func() {
		if missing.Add(-1) == 0 {
			fillFetched(h.deps.Image(), resp, groups, version)
			r.Reply(resp)
		}
	}
	all := map[string]bool{} // the groups that all offsets were asked of
	for i := range groups {
		g := &groups[i]
		if g.body.All && all[g.body.GroupID] {
			g.answer = &group.OffsetFetchResponse{Err: kafkaerr.InvalidRequest}
			answered()
			continue
		}
		all[g.body.GroupID] = g.body.All || all[g.body.GroupID]
		h.deps.submit(g.body.GroupID, &g.body, func(answer any) {
			g.answer = answer.(*group.OffsetFetchResponse)
			answered()
		})
	}
	answered()
	return server.Parked
}

// fetchedBytes is about what one offset takes on its way from the shard into the answer and its encoding.
const fetchedBytes = 192

// asked brings the request of any version into the one form.
func (h *offsetFetch) asked(req *wire.OffsetFetchRequest, version int16) []fetchedGroup {
	image := h.deps.Image()
	if version < fetchManyGroupsVersion {
		g := fetchedGroup{body: group.OffsetFetch{
			GroupID: req.GroupID, All: req.Topics == nil, RequireStable: req.RequireStable,
		}}
		for i := range req.Topics {
			t := &req.Topics[i]
			g.body.Topics = append(g.body.Topics, namedTopic(image, t.Name, t.PartitionIndexes))
		}
		return []fetchedGroup{g}
	}
	groups := make([]fetchedGroup, len(req.Groups))
	for i := range req.Groups {
		asked, g := &req.Groups[i], &groups[i]
		g.body = group.OffsetFetch{GroupID: asked.GroupID, All: asked.Topics == nil, RequireStable: req.RequireStable}
		for j := range asked.Topics {
			t := &asked.Topics[j]
			if version < firstTopicIDVersion {
				g.body.Topics = append(g.body.Topics, namedTopic(image, t.Name, t.PartitionIndexes))
				continue
			}
			topic, ok := image.TopicByID(t.TopicID)
			if !ok {
				g.unknown = append(g.unknown, t)
				continue
			}
			g.body.Topics = append(g.body.Topics, group.OffsetFetchTopic{
				ID: topic.ID, Name: topic.Name, Partitions: t.PartitionIndexes,
			})
		}
	}
	return groups
}

// namedTopic asks for offsets in a topic of a name, of the incarnation that there is now if there is one.
func namedTopic(image *metadata.Image, name string, partitions []int32) group.OffsetFetchTopic {
	t := group.OffsetFetchTopic{Name: name, Partitions: partitions}
	if topic, ok := image.Topic(name); ok {
		t.ID = topic.ID
	}
	return t
}

func fillFetched(image *metadata.Image, resp *wire.OffsetFetchResponse, groups []fetchedGroup, version int16) {
	if version < fetchManyGroupsVersion {
		groups[0].fillSingle(resp, version)
		return
	}
	for i := range groups {
		groups[i].fill(image, wire.Add(&resp.Groups), version)
	}
}

// fill answers for one group of many.
func (g *fetchedGroup) fill(image *metadata.Image, resp *wire.OffsetFetchResponseGroup, version int16) {
	resp.GroupID = g.body.GroupID
	if resp.ErrorCode = g.answer.Err; resp.ErrorCode != kafkaerr.None {
		return
	}
	for i := range g.answer.Topics {
		t := &g.answer.Topics[i]
		id := t.ID
		if g.body.All && version >= firstTopicIDVersion {
			topic, ok := image.Topic(t.Name)
			if !ok {
				continue // it has no id to be named by
			}
			id = topic.ID
		}
		topic := wire.Add(&resp.Topics)
		topic.Name, topic.TopicID = t.Name, id
		for j := range t.Partitions {
			p, fetched := wire.Add(&topic.Partitions), &t.Partitions[j]
			p.PartitionIndex, p.ErrorCode = fetched.Partition, fetched.Err
			p.CommittedOffset, p.CommittedLeaderEpoch, p.Metadata = fetched.Offset, fetched.LeaderEpoch, &fetched.Metadata
		}
	}
	for _, t := range g.unknown {
		topic := wire.Add(&resp.Topics)
		topic.TopicID = t.TopicID
		for _, index := range t.PartitionIndexes {
			p := wire.Add(&topic.Partitions)
			p.PartitionIndex, p.ErrorCode, p.CommittedOffset, p.Metadata = index, kafkaerr.UnknownTopicID, -1, new(string)
		}
	}
}

// fillSingle answers in the form that has room for one group.
func (g *fetchedGroup) fillSingle(resp *wire.OffsetFetchResponse, version int16) {
	if g.answer.Err != kafkaerr.None {
		g.refuse(resp, version)
		return
	}
	for i := range g.answer.Topics {
		t := &g.answer.Topics[i]
		topic := wire.Add(&resp.Topics)
		topic.Name = t.Name
		for j := range t.Partitions {
			p, fetched := wire.Add(&topic.Partitions), &t.Partitions[j]
			p.PartitionIndex, p.ErrorCode = fetched.Partition, fetched.Err
			p.CommittedOffset, p.CommittedLeaderEpoch, p.Metadata = fetched.Offset, fetched.LeaderEpoch, &fetched.Metadata
		}
	}
}

// refuse answers with the group's error: above the topics, or in every partition while there was no such
// place.
func (g *fetchedGroup) refuse(resp *wire.OffsetFetchResponse, version int16) {
	if version >= fetchGroupErrorVersion {
		resp.ErrorCode = g.answer.Err
		return
	}
	for i := range g.body.Topics {
		t := &g.body.Topics[i]
		topic := wire.Add(&resp.Topics)
		topic.Name = t.Name
		for _, index := range t.Partitions {
			p := wire.Add(&topic.Partitions)
			p.PartitionIndex, p.ErrorCode, p.CommittedOffset, p.Metadata = index, g.answer.Err, -1, new(string)
		}
	}
}
