package produce

// Produce: v3-13, advertised from v0.
//
// Behaviour: batches are validated and appended in the order of the request. acks=0 answers nothing, and
// closes the connection where a batch failed; acks=1 answers after the append (after the flush, where
// write.caching makes the node wait for one); acks=-1 when the high watermark has passed. A request whose
// wait times out is answered with REQUEST_TIMED_OUT; its batches stay, as do those of a producer that hangs
// up. A retried batch is answered with the offsets of the first time.
//
// Versions: v3 headers and transactional ids; v5 log start offset; v7 zstd (KIP-110: before it zstd gets
// UNSUPPORTED_COMPRESSION_TYPE); v8 errors of single records (KIP-467); v9 flexible; v10 leader hints
// (KIP-951); v11-12 transaction verification (KIP-890); v13 topic ids (KIP-516). v0-2 are advertised and
// refused: librdkafka reads from a missing v0 that the broker cannot decompress (KAFKA-18659).
//
// On purpose other than Kafka: a partition that stands twice in a request is appended to and answered twice;
// bytes behind a batch, or behind its compressed records, are refused; a duplicate has no log append time.

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
	"github.com/walser-io/walser/internal/xsync"
)

// adminClientID may produce to internal topics: Kafka's own tools use it to.
const adminClientID = "__admin_client"

// firstZstdVersion is the first version whose clients can be told of zstd.
const firstZstdVersion = 7

type produce struct {
	deps  Deps
	calls sync.Pool // of *call
}

func newProduce(d Deps) *produce {
	p := &produce{deps: d}
	p.calls.New = func() any {
		c := &call{produce: p}
		c.append.Done = func(*replica.Append) { c.turn() }
		c.append.Abandoned = func() bool { return c.request.Gone() }
		c.done, c.cancel = c.recycle, c.hangUp
		return c
	}
	return p
}

// call is one Produce request on its way.
type call struct {
	produce *produce
	request *server.Request
	acks    int16
	append  replica.Append
	topics  []topicEntries
	names   []byte // the topics' names, which outlive the frame here
	done    func() // c.recycle and c.hangUp, bound once
	cancel  func(use uint64)
	// turns counts the handler and the append; whoever is last answers.
	turns atomic.Int32

	use struct {
		xsync.Mutex
		count uint64 // requests served: tells a late cancel that it is late
	}
}

// topicEntries says which entries of the append belong to a topic of the request.
type topicEntries struct {
	name    []byte
	id      model.TopicID
	count   int
	indexes []int32
}

func (p *produce) handle(r *server.Request) server.Outcome {
	c := p.newCall(r)
	c.start(r.Body.(*wire.ProduceRequest))
	p.deps.Replicas.Append(&c.append)
	if c.turns.Load() == 2 {
		// It waits: what the answer needs was copied, the frame can go.
		r.ReleaseFrame()
		r.OnHangUp(c.cancel, c.uses())
	}
	c.turn()
	return server.Parked
}

// uses tells this use of the call from those before and after.
func (c *call) uses() uint64 {
	c.use.Lock()
	defer c.use.Unlock()
	return c.use.count
}

// hangUp ends the wait of a request. It may come late, when the call serves another one already: then it does
// nothing.
func (c *call) hangUp(use uint64) {
	c.use.Lock()
	held := c.use.count == use && c.append.Hold()
	c.use.Unlock()
	if held {
		c.produce.deps.Replicas.CancelAppend(&c.append, errHungUp)
		c.append.Release()
	}
}

// errHungUp is what is left of a request that nobody waits for any more.
var errHungUp = kafkaerr.RequestTimedOut

// newCall returns a call from the pool for a request.
func (p *produce) newCall(r *server.Request) *call {
	c := p.calls.Get().(*call)
	c.request = r
	c.topics, c.names, c.append.Entries = c.topics[:0], c.names[:0], c.append.Entries[:0]
	return c
}

// start fills the append from the request. What fails before a replica is asked has its result set.
func (c *call) start(body *wire.ProduceRequest) {
	c.acks = body.Acks
	c.turns.Store(2)
	c.append.Acks = body.Acks
	c.append.Timeout = time.Duration(max(body.TimeoutMs, 0)) * time.Millisecond
	c.names = appendNames(c.names, body)
	names := c.names
	for i := range body.TopicData {
		topic := &body.TopicData[i]
		name := names[:len(topic.Name)]
		names = names[len(topic.Name):]
		t := c.addTopic(name, topic.TopicID, len(topic.PartitionData))
		for j := range topic.PartitionData {
			partition := &topic.PartitionData[j]
			t.indexes = append(t.indexes, partition.Index)
			e := c.addEntry()
			err := c.find(e, topic, partition.Index)
			if err == nil {
				err = c.check(e, partition.Records, len(partition.Records))
			}
			if err != nil {
				refuse(e, err)
				continue
			}
			e.Batch = partition.Records
		}
	}
}

// appendNames copies the names in one run, so that growing moves none that is in use.
func appendNames(to []byte, body *wire.ProduceRequest) []byte {
	for i := range body.TopicData {
		to = append(to, body.TopicData[i].Name...)
	}
	return to
}

func (c *call) addTopic(name []byte, id model.TopicID, count int) *topicEntries {
	if len(c.topics) < cap(c.topics) {
		c.topics = c.topics[:len(c.topics)+1]
	} else {
		c.topics = append(c.topics, topicEntries{})
	}
	t := &c.topics[len(c.topics)-1]
	*t = topicEntries{name: name, id: id, count: count, indexes: t.indexes[:0]}
	return t
}

func (c *call) addEntry() *replica.AppendEntry {
	if len(c.append.Entries) < cap(c.append.Entries) {
		c.append.Entries = c.append.Entries[:len(c.append.Entries)+1]
	} else {
		c.append.Entries = append(c.append.Entries, replica.AppendEntry{})
	}
	e := &c.append.Entries[len(c.append.Entries)-1]
	*e = replica.AppendEntry{}
	return e
}

// refuse gives an entry that no replica is asked for its result.
func refuse(e *replica.AppendEntry, err error) {
	e.Replica = nil
	e.Result = replica.AppendResult{Err: err, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1}
}

var (
	errBatchCount = kafkaerr.New(kafkaerr.InvalidRecord, "a Produce request carries exactly one record batch for each partition")
	errMagic      = kafkaerr.New(kafkaerr.InvalidRecord, "only record batches of magic 2 are accepted")
	errZstd       = kafkaerr.New(kafkaerr.UnsupportedCompressionType, "zstd needs Produce version 7 or above")
	errInternal   = kafkaerr.New(kafkaerr.InvalidTopicException, "clients may not produce to internal topics")
)

// find finds the replica of a partition. What it and then check refuse is in Kafka's order of errors.
func (c *call) find(e *replica.AppendEntry, topic *wire.TopicProduceData, partition int32) (err error) {
	replicas := c.produce.deps.Replicas
	if c.request.Version() >= 13 {
		e.Replica, err = replicas.ReplicaByID(topic.TopicID, partition)
	} else {
		e.Replica, err = replicas.Replica(topic.Name, partition)
	}
	return err
}

// check looks at the shape of a partition's records, from their first bytes, and at who sends them.
func (c *call) check(e *replica.AppendEntry, head []byte, size int) error {
	if err := checkBatch(head, size, c.request.Version()); err != nil {
		return err
	}
	if c.acks < replica.AcksAll || c.acks > replica.AcksLeader {
		return kafkaerr.InvalidRequiredAcks
	}
	if model.IsInternalTopic(e.Replica.TopicPartition().Topic) && c.request.ClientID() != adminClientID {
		return errInternal
	}
	return nil
}

// checkBatch says what is wrong with the one batch that size bytes of records must be, of which the header, or
// more, is here.
func checkBatch(head []byte, size int, version int16) error {
	_, _, err := record.ParseBatch(head)
	if errors.Is(err, record.ErrShort) && len(head) >= record.HeaderSize && record.Batch(head).Size() <= size {
		err = nil // the rest is not here
	}
	switch {
	case errors.Is(err, record.ErrBadMagic):
		return errMagic
	case errors.Is(err, record.ErrShort): // what is cut off is no batch
		return errBatchCount
	case err != nil:
		return kafkaerr.New(kafkaerr.CorruptMessage, "%v", err)
	}
	batch := record.Batch(head)
	switch {
	case batch.Codec() == record.Zstd && version < firstZstdVersion:
		return errZstd
	case batch.Size() < size:
		return errBatchCount
	}
	return nil
}

// turn is taken by the handler and by the append when they are done with the call.
func (c *call) turn() {
	if c.turns.Add(-1) == 0 {
		c.answer()
	}
}

// answer answers the request, now that every entry has its result.
func (c *call) answer() {
	r := c.request
	if c.acks == replica.AcksNone {
		if err := c.firstError(); err != nil {
			r.CloseConnection(err)
		} else {
			r.NoReply()
		}
		c.recycle()
		return
	}
	resp := r.Response().(*wire.ProduceResponse)
	c.fill(resp)
	r.AfterSend(c.done) // the response points at the names until it is encoded
	r.Reply(resp)
}

func (c *call) firstError() error {
	for i := range c.append.Entries {
		if err := c.append.Entries[i].Result.Err; err != nil {
			return err
		}
	}
	return nil
}

func (c *call) fill(resp *wire.ProduceResponse) {
	entries := c.append.Entries
	for i := range c.topics {
		t := &c.topics[i]
		if t.count == 0 {
			continue // as in Kafka, a topic of no partitions has no answer
		}
		topic := wire.Add(&resp.Responses)
		topic.Name, topic.TopicID = t.name, t.id
		for j, index := range t.indexes {
			p := wire.Add(&topic.PartitionResponses)
			p.Index = index
			c.fillPartition(resp, p, &entries[j])
		}
		entries = entries[t.count:]
	}
}

func (c *call) fillPartition(resp *wire.ProduceResponse, p *wire.PartitionProduceResponse, e *replica.AppendEntry) {
	result := &e.Result
	p.ErrorCode = kafkaerr.CodeOf(result.Err)
	p.BaseOffset, p.LogAppendTimeMs, p.LogStartOffset = result.BaseOffset, result.LogAppendTime, result.LogStartOffset
	if result.Err == nil {
		return
	}
	if message := kafkaerr.MessageOf(result.Err); message != "" {
		p.ErrorMessage = []byte(message)
	}
	for i := range result.RecordErrors {
		wrong := wire.Add(&p.RecordErrors)
		wrong.BatchIndex = result.RecordErrors[i].Index
		wrong.BatchIndexErrorMessage = []byte(result.RecordErrors[i].Message)
	}
	if p.ErrorCode == kafkaerr.NotLeaderOrFollower && e.Replica != nil && c.request.Version() >= 10 {
		c.hintLeader(resp, p, e.Replica)
	}
}

// hintLeader tells a client that asked the wrong broker who leads, so that it need not fetch metadata.
func (c *call) hintLeader(resp *wire.ProduceResponse, p *wire.PartitionProduceResponse, asked *replica.Replica) {
	leader, epoch := asked.Leadership()
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(leader), epoch
	for i := range resp.NodeEndpoints {
		if resp.NodeEndpoints[i].NodeID == int32(leader) {
			return
		}
	}
	if at, ok := c.produce.deps.Endpoints.Endpoint(leader, c.request.Listener().Name); ok {
		node := wire.Add(&resp.NodeEndpoints)
		node.NodeID, node.Host, node.Port = int32(leader), []byte(at.Host), at.Port
	}
}

// maxPooledEntries keeps a call that once held a huge request from holding its memory for ever.
const maxPooledEntries = 4096

func (c *call) recycle() {
	c.request = nil
	c.use.Lock()
	c.use.count++
	c.use.Unlock()
	if !c.append.Reusable() || cap(c.append.Entries) > maxPooledEntries {
		return
	}
	c.produce.calls.Put(c)
}
