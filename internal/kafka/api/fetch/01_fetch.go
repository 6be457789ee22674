package fetch

// Fetch: v4-18.
//
// Behaviour: partitions are read in the order of the request (of the session), until fetch.max.bytes and
// the request's own limits are reached; the first batch may exceed them (KIP-74). The answer waits for
// MinBytes or MaxWaitMs; an error of any partition ends the wait, unless it is that there is no such
// partition. Consumers read up to the high watermark, or under read_committed up to the last stable offset.
// A client that says which epoch it read last is told where that ends here, if its records are not ours
// (KIP-595). One that names a replica id is known to no partition: UNKNOWN_LEADER_EPOCH, or
// NOT_LEADER_OR_FOLLOWER where it does not say which epoch it knows.
//
// Versions: v4 isolation levels; v5 log start offset; v7 sessions (KIP-227); v9 leader epochs (KIP-320);
// v11 racks; v12 flexible; v13 topic ids (KIP-516); v15 replica state; v16 leader hints (KIP-951).
// KAFKA_STORAGE_ERROR is NOT_LEADER_OR_FOLLOWER up to v5.
//
// On purpose other than Kafka: a consumer is never pointed at a nearer replica (KIP-392 needs replicas). An
// answer ends at the end of a batch; Kafka cuts off by bytes, and clients throw the part away.

import (
	"sync"
	"time"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/netx"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
	"github.com/walser-io/walser/internal/xsync"
)

type fetch struct {
	deps     Deps
	sessions *sessions
	calls    sync.Pool // of *call
}

func newFetch(d Deps) *fetch {
	f := &fetch{deps: d, sessions: newSessions(d)}
	f.calls.New = func() any {
		c := &call{owner: f, places: map[key]int{}}
		c.fetch.Ready = func(f *replica.Fetch) {
			if f.Spare {
				c.request.ReplyHere(c.collect)
			} else {
				c.request.ReplyLazily(c.collect)
			}
		}
		c.collect, c.done, c.cancel = c.fill, c.recycle, c.hangUp
		return c
	}
	return f
}

// call is one Fetch request on its way.
type call struct {
	owner     *fetch
	request   *server.Request
	fetch     replica.Fetch
	session   *session // nil without one
	full      bool     // the answer lists every partition
	interests []*interest
	loose     []interest  // of a fetch without a session
	places    map[key]int // of loose, while takeRequest fills it
	regions   []netx.FileRegion

	use struct {
		xsync.Mutex
		count uint64 // requests served: tells a late cancel that it is late
	}
	collect func(wire.Response) // c.fill, c.recycle and c.hangUp, bound once
	done    func()
	cancel  func(use uint64)
}

func (f *fetch) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.FetchRequest)
	s, err := f.sessions.open(req, r.Version())
	if err != nil {
		return f.refuse(r, err)
	}
	c := f.calls.Get().(*call)
	c.start(r, req, s)
	cancel, use, waits := c.cancel, c.uses(), c.fetch.MaxWait > 0
	f.deps.Replicas.Fetch(&c.fetch) // from here on c may be another request's
	r.ReleaseFrame()
	if waits {
		r.OnCancel(cancel, use) // not before there is something to cancel: it runs at once if the peer has gone
	}
	return server.Parked
}

// uses tells this use of the call from those before and after.
func (c *call) uses() uint64 {
	c.use.Lock()
	defer c.use.Unlock()
	return c.use.count
}

// hangUp gives up a fetch. It may come late, when the call serves another request already: then it does
// nothing.
func (c *call) hangUp(use uint64) {
	c.use.Lock()
	cancelled := c.use.count == use && c.owner.deps.Replicas.CancelFetch(&c.fetch)
	c.use.Unlock()
	if cancelled {
		c.recycle()
	}
}

// refuse answers with an error of the whole request.
func (f *fetch) refuse(r *server.Request, err error) server.Outcome {
	resp := r.Response().(*wire.FetchResponse)
	resp.ErrorCode = kafkaerr.CodeOf(err)
	r.Reply(resp)
	return server.Done
}

func (c *call) start(r *server.Request, req *wire.FetchRequest, s *session) {
	c.request, c.session, c.full = r, s, s == nil
	c.interests, c.loose = c.interests[:0], c.loose[:0]
	if s == nil {
		c.session = c.owner.sessions.create(req, r.Version())
	}
	if c.session != nil {
		c.takeSession()
	} else {
		c.takeRequest(req)
	}
	c.fetch.MaxWait = time.Duration(req.MaxWaitMs) * time.Millisecond
	c.fetch.MaxBytes = min(req.MaxBytes, c.owner.deps.Config.FetchMaxBytes)
	c.fetch.MinBytes = min(req.MinBytes, c.fetch.MaxBytes) // more would be waited for in vain
	c.fetch.ReadCommitted = req.IsolationLevel == 1
	c.fetch.Follower = req.ReplicaID >= 0 || req.ReplicaState.ReplicaID >= 0
	c.resolve(r.Version())
}

// takeSession lists the session's partitions in its order.
func (c *call) takeSession() {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for in := s.mu.ring.after; in != &s.mu.ring; in = in.after {
		c.interests = append(c.interests, in)
		c.loose = append(c.loose, *in) // as it stands now; the session may change while this one waits
	}
}

// takeRequest lists the partitions of a fetch outside any session, each once: of those that are named again
// the last word counts, as in Kafka. Otherwise one frame could have a record read a million times.
func (c *call) takeRequest(req *wire.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		k := key{topic: string(t.Topic), id: t.TopicID}
		for j := range t.Partitions {
			k.partition = t.Partitions[j].Partition
			at, again := c.places[k]
			if !again {
				at = len(c.loose)
				c.places[k] = at
				c.loose = append(c.loose, interest{key: k})
			}
			c.loose[at].want(&t.Partitions[j])
		}
	}
	clear(c.places)
}

// resolve finds the replicas.
func (c *call) resolve(version int16) {
	replicas := c.owner.deps.Replicas
	if cap(c.fetch.Partitions) < len(c.loose) {
		c.fetch.Partitions = make([]replica.FetchPartition, len(c.loose))
	}
	c.fetch.Partitions = c.fetch.Partitions[:len(c.loose)]
	for i := range c.loose {
		in, p := &c.loose[i], &c.fetch.Partitions[i]
		*p = replica.FetchPartition{
			Offset: in.offset, MaxBytes: in.maxBytes,
			CurrentLeaderEpoch: in.currentLeaderEpoch, LastFetchedEpoch: in.lastFetchedEpoch,
		}
		if version >= 13 {
			p.Replica, p.Err = replicas.ReplicaByID(in.key.id, in.key.partition)
		} else {
			p.Replica, p.Err = replicas.ReplicaNamed(in.key.topic, in.key.partition)
		}
	}
}

// fill reads what there is and lays out the answer. It runs when the answer's turn has come.
func (c *call) fill(response wire.Response) {
	resp := response.(*wire.FetchResponse)
	c.owner.deps.Replicas.Collect(&c.fetch)
	c.request.AfterSend(c.done)
	c.regions = c.regions[:0]
	if cap(c.regions) < len(c.fetch.Partitions) {
		c.regions = make([]netx.FileRegion, 0, len(c.fetch.Partitions))
	}
	if c.session == nil {
		for i := range c.fetch.Partitions {
			c.add(resp, i)
		}
		return
	}
	resp.SessionID = c.session.id
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	for i := range c.fetch.Partitions {
		if c.newsLocked(i) || c.full {
			c.add(resp, i)
		}
	}
}

// newsLocked reports whether a partition of a session has something to tell, and notes that it was told.
func (c *call) newsLocked(i int) bool {
	result, in := &c.fetch.Partitions[i].Result, c.interests[i]
	if result.Err != nil {
		in.highWatermark = -1 // so that the recovery is news
		return true
	}
	records := result.Records.Size > 0
	if records && in.before != nil {
		c.session.lastLocked(in)
	}
	news := records || result.Diverging != nil || in.highWatermark != result.HighWatermark || in.logStart != result.LogStartOffset
	in.highWatermark, in.logStart = result.HighWatermark, result.LogStartOffset
	return news
}

// add lays out the answer for one partition.
func (c *call) add(resp *wire.FetchResponse, i int) {
	in, asked := &c.loose[i], &c.fetch.Partitions[i]
	p := c.partition(resp, in)
	result := &asked.Result
	p.ErrorCode = kafkaerr.CodeOf(result.Err)
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = result.HighWatermark, result.LastStableOffset, result.LogStartOffset
	p.Records.Bytes = noRecords
	if p.ErrorCode != kafkaerr.UnknownTopicOrPartition && p.ErrorCode != kafkaerr.UnknownTopicID {
		p.AbortedTransactions = nil // as Kafka has it: null unless aborts are asked for, the preset where nothing was read
	}
	if result.Err != nil {
		c.addError(resp, p, asked)
		return
	}
	if d := result.Diverging; d != nil {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = d.Epoch, d.Offset
		return
	}
	if c.fetch.ReadCommitted {
		p.AbortedTransactions = noTransactions
		for _, txn := range result.Aborted {
			aborted := wire.Add(&p.AbortedTransactions)
			aborted.ProducerID, aborted.FirstOffset = txn.ProducerID, txn.FirstOffset
		}
	}
	if records := &result.Records; records.Size > 0 {
		c.regions = append(c.regions, netx.FileRegion{File: records.File, Offset: records.Position, Length: records.Size})
		p.Records = wire.Records{Region: &c.regions[len(c.regions)-1]}
	}
}

var (
	noRecords      = []byte{}                    // an empty set, which is not null
	noTransactions = []wire.AbortedTransaction{} // likewise
)

func (c *call) addError(resp *wire.FetchResponse, p *wire.FetchResponsePartitionData, asked *replica.FetchPartition) {
	version := c.request.Version()
	switch p.ErrorCode {
	case kafkaerr.KafkaStorageError:
		if version <= 5 {
			p.ErrorCode = kafkaerr.NotLeaderOrFollower
		}
	case kafkaerr.NotLeaderOrFollower, kafkaerr.FencedLeaderEpoch:
		if version < 16 || asked.Replica == nil {
			return
		}
		leader, epoch := asked.Replica.Leadership()
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(leader), epoch
		if c.fetch.Follower {
			return // a broker knows where the others are
		}
		for i := range resp.NodeEndpoints {
			if resp.NodeEndpoints[i].NodeID == int32(leader) {
				return
			}
		}
		if at, ok := c.owner.deps.Endpoints.Endpoint(leader, c.request.Listener().Name); ok {
			node := wire.Add(&resp.NodeEndpoints)
			node.NodeID, node.Host, node.Port = int32(leader), []byte(at.Host), at.Port
		}
	}
}

// partition adds a partition to the answer, under the topic before it where that is the same.
func (c *call) partition(resp *wire.FetchResponse, in *interest) *wire.FetchResponsePartitionData {
	var t *wire.FetchableTopicResponse
	if n := len(resp.Responses); n > 0 && resp.Responses[n-1].TopicID == in.key.id && string(resp.Responses[n-1].Topic) == in.key.topic {
		t = &resp.Responses[n-1]
	} else {
		t = wire.Add(&resp.Responses)
		t.Topic, t.TopicID = append(t.Topic[:0:0], in.key.topic...), in.key.id
	}
	p := wire.Add(&t.Partitions)
	p.PartitionIndex = in.key.partition
	return p
}

// maxPooledPartitions keeps a call that once held a huge fetch from holding its memory for ever.
const maxPooledPartitions = 4096

// recycle lets go of the files once the answer has left, or never will.
func (c *call) recycle() {
	for i := range c.fetch.Partitions {
		c.fetch.Partitions[i].Result.Records.Release()
	}
	c.request, c.session = nil, nil
	c.use.Lock()
	c.use.count++
	c.use.Unlock()
	if !c.fetch.Reusable() || cap(c.fetch.Partitions) > maxPooledPartitions {
		return
	}
	clear(c.fetch.Partitions)
	clear(c.interests)
	c.owner.calls.Put(c)
}
