package metadata

// Metadata: v0-13.
//
// Behaviour: null topics are all (in v0 an empty list is), an empty list is none. A topic that is missing
// is created where auto.create.topics.enable and the request allow it; its answer is
// UNKNOWN_TOPIC_OR_PARTITION until the next request. A partition whose leader is not there, or is still
// recovering its log, has LEADER_NOT_AVAILABLE.
//
// Versions: v1 controller and racks; v2 cluster id; v4 auto-create by consent; v5 offline replicas; v6
// LISTENER_NOT_FOUND; v7 leader epochs; v8-10 authorised operations of the cluster; v9 flexible; v10
// topic ids in answers; v12 topic ids in requests (v10 and v11 refuse them with INVALID_REQUEST); v13 an
// error of the whole answer (KIP-1102).
//
// On purpose other than Kafka: LEADER_NOT_AVAILABLE while a log recovers; Kafka names the leader, and
// clients then ask it in vain.

import (
	"context"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
	"github.com/walser-io/walser/internal/xsync"
)

type topics struct {
	deps     Deps
	creating struct {
		xsync.Mutex
		names map[string]struct{} // topics whose creation is under way
	}
}

func newTopics(d Deps) *topics {
	h := &topics{deps: d}
	h.creating.names = map[string]struct{}{}
	return h
}

func (h *topics) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.MetadataRequest)
	resp := r.Response().(*wire.MetadataResponse)
	if !validIDs(req, r.Version()) {
		refuse(req, resp, r.Version())
		r.Reply(resp)
		return server.Done
	}
	a := &answer{
		handler: h, request: r, resp: resp, version: r.Version(), operations: req.IncludeTopicAuthorizedOperations,
		view: view{h.deps.Image(), r.Listener().Name, h.deps.Recovering},
	}
	if !r.ReserveWaiting(a.size(req)) {
		r.CloseConnection(server.ErrNoMemory)
		return server.Done
	}
	a.cluster(req.IncludeClusterAuthorizedOperations)
	if req.Topics == nil || r.Version() == 0 && len(req.Topics) == 0 {
		for topic := range a.view.Topics() {
			a.topic(topic)
		}
	}
	mayCreate := req.AllowAutoTopicCreation && h.deps.Settings().AutoCreateTopics
	for i := range req.Topics {
		if t := &req.Topics[i]; !a.isRepeated(t, len(req.Topics)) {
			a.named(t, mayCreate)
		}
	}
	if missing := h.begin(a.missing); len(missing) > 0 {
		h.create(r, missing)
	}
	r.Reply(resp)
	return server.Done
}

// validIDs reports whether the request names topics the way its version can: by id from v12 on.
func validIDs(req *wire.MetadataRequest, version int16) bool {
	for i := range req.Topics {
		t := &req.Topics[i]
		if version < 12 && !t.TopicID.IsZero() || t.Name == nil && (version < 12 || t.TopicID.IsZero()) {
			return version < 10 // which have neither ids nor null names
		}
	}
	return true
}

// refuse answers every topic with INVALID_REQUEST.
func refuse(req *wire.MetadataRequest, resp *wire.MetadataResponse, version int16) {
	for i := range req.Topics {
		t := wire.Add(&resp.Topics)
		t.ErrorCode = kafkaerr.InvalidRequest
		t.Name, t.TopicID = req.Topics[i].Name, req.Topics[i].TopicID
		if t.Name == nil && version < 12 {
			t.Name = []byte{}
		}
	}
	if version >= 13 {
		resp.ErrorCode = kafkaerr.InvalidRequest
	}
}

// answer is a Metadata response in the making.
type answer struct {
	handler    *topics
	request    *server.Request
	resp       *wire.MetadataResponse
	version    int16
	operations bool
	view       view
	missing    []string // topics to be created
	answered   map[topicKey]struct{}
}

// What a topic and a partition take in an answer and in its encoding, about.
const (
	topicBytes     = 256
	partitionBytes = 256
)

// size returns about how much memory the answer takes, where that is more than the request has paid for: what it
// says of partitions.
func (a *answer) size(req *wire.MetadataRequest) (bytes int) {
	if req.Topics == nil || a.version == 0 && len(req.Topics) == 0 {
		for topic := range a.view.Topics() {
			bytes += topicBytes + len(topic.Partitions)*partitionBytes
		}
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		topic, ok := a.view.TopicBytes(t.Name)
		if t.Name == nil {
			topic, ok = a.view.TopicByID(t.TopicID)
		}
		if ok {
			bytes += len(topic.Partitions) * partitionBytes
		}
	}
	return bytes
}

func (a *answer) cluster(operations bool) {
	nodes := a.view.nodes(false)
	for _, n := range nodes {
		b := wire.Add(&a.resp.Brokers)
		b.NodeID, b.Host, b.Port = int32(n.ID), []byte(n.at.Host), n.at.Port
		if n.Rack != "" {
			b.Rack = []byte(n.Rack)
		}
	}
	a.resp.ClusterID = []byte(a.view.ClusterID())
	a.resp.ControllerID = int32(a.view.controller(nodes))
	if operations && a.version >= 8 && a.version <= 10 {
		a.resp.ClusterAuthorizedOperations = allClusterOperations
	}
}

// topicKey is how a request names a topic: by one of them.
type topicKey struct {
	name string
	id   model.TopicID
}

// isRepeated reports whether a topic was answered already: as in Kafka, who names one again gets it once, and a
// topic of a thousand partitions is no way to have a frame of a few bytes answered with megabytes.
func (a *answer) isRepeated(t *wire.MetadataRequestTopic, count int) bool {
	if count == 1 {
		return false
	}
	if a.answered == nil {
		a.answered = make(map[topicKey]struct{})
	}
	key := topicKey{name: string(t.Name)}
	if t.Name == nil {
		key.id = t.TopicID
	}
	_, repeated := a.answered[key]
	a.answered[key] = struct{}{}
	return repeated
}

// named answers for one topic that the request names.
func (a *answer) named(asked *wire.MetadataRequestTopic, mayCreate bool) {
	if asked.Name == nil {
		if topic, ok := a.view.TopicByID(asked.TopicID); ok {
			a.topic(topic)
			return
		}
		t := wire.Add(&a.resp.Topics)
		t.ErrorCode, t.TopicID = kafkaerr.UnknownTopicID, asked.TopicID
		return
	}
	if topic, ok := a.view.TopicBytes(asked.Name); ok {
		a.topic(topic)
		return
	}
	t := wire.Add(&a.resp.Topics)
	t.Name, t.ErrorCode = asked.Name, kafkaerr.UnknownTopicOrPartition
	t.IsInternal = model.IsInternalTopic(string(asked.Name))
	switch name := string(asked.Name); {
	case model.ValidateTopicName(name) != nil:
		t.ErrorCode = kafkaerr.InvalidTopicException
	case mayCreate:
		a.missing = append(a.missing, name)
	}
}

func (a *answer) topic(topic *metadata.Topic) {
	t := wire.Add(&a.resp.Topics)
	t.Name, t.TopicID, t.IsInternal = []byte(topic.Name), topic.ID, model.IsInternalTopic(topic.Name)
	if a.operations && a.version >= 8 {
		t.TopicAuthorizedOperations = allTopicOperations
	}
	for i := range topic.Partitions {
		at := &topic.Partitions[i]
		p := wire.Add(&t.Partitions)
		leader, code := a.view.leader(topic, int32(i))
		if code == kafkaerr.ListenerNotFound && a.version < 6 {
			code = kafkaerr.LeaderNotAvailable
		}
		p.ErrorCode, p.PartitionIndex, p.LeaderID, p.LeaderEpoch = code, int32(i), int32(leader), at.LeaderEpoch
		p.ReplicaNodes, p.IsrNodes, p.OfflineReplicas = ids(at.Replicas), ids(at.ISR), a.view.offline(at)
	}
}

// maxCreating bounds the topics whose creation is under way. One request may name millions; a client that
// asks again finds that some are there, and has the next ones created.
const maxCreating = 10_000

// begin returns those of the topics whose creation is not under way, which from here on it is.
func (h *topics) begin(missing []string) (begun []string) {
	h.creating.Lock()
	defer h.creating.Unlock()
	for _, name := range missing {
		if _, underWay := h.creating.names[name]; !underWay && len(h.creating.names) < maxCreating {
			h.creating.names[name] = struct{}{}
			begun = append(begun, name)
		}
	}
	return begun
}

// create creates topics, all of a request by one change of the cluster, as in Kafka. The outcome shows in the
// image; a client that asks again finds them there.
func (h *topics) create(r *server.Request, names []string) {
	r.Go(func(ctx context.Context) {
		defer func() {
			h.creating.Lock()
			defer h.creating.Unlock()
			for _, name := range names {
				delete(h.creating.names, name)
			}
		}()
		h.deps.CreateTopics(ctx, names)
	})
}
