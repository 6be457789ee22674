package produce

import (
	"time"

	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/replica"
	"github.com/walser-io/walser/internal/wire"
)

// A large request is taken while it arrives: each batch goes to its log as soon as it is there, and its
// bytes are free for the next. A request of 100 MiB so needs the memory of its largest batch, which
// max.message.bytes bounds. What is wrong with the request itself shows only when it comes to it: batches
// before are in their logs by then, and the connection is closed.

// keptBytes is what is kept of a topic or a partition until the answer, and takes there.
const keptBytes = 512

// streamed is a Produce request that is taken while it arrives.
type streamed struct {
	*call
	body     *server.Body
	flexible bool
	timeout  time.Duration
	appends  []*replica.Append // one for each partition
	refused  bool              // the request is none, and was answered
}

func (p *produce) stream(r *server.Request, body *server.Body) server.Outcome {
	s := &streamed{call: p.newCall(r), body: body, flexible: r.Version() >= 9}
	s.turns.Store(1)
	if err := s.take(); err != nil {
		s.refused = true
		r.CloseConnection(err)
		s.hangUp(0)
	} else if s.turns.Load() > 1 {
		r.OnHangUp(s.hangUp, 0)
	}
	s.turn()
	return server.Parked
}

// turn is taken by the handler and by each append when they are done; whoever is last answers.
func (s *streamed) turn() {
	if s.turns.Add(-1) > 0 || s.refused {
		return
	}
	for _, a := range s.appends {
		s.append.Entries = append(s.append.Entries, a.Entries[0])
	}
	s.answer()
}

// hangUp ends the wait of this request. Its appends serve no other.
func (s *streamed) hangUp(uint64) {
	for _, a := range s.appends {
		s.produce.deps.Replicas.CancelAppend(a, errHungUp)
	}
}

// take takes the whole body. An error is that of the connection, or of a request that is none.
func (s *streamed) take() error {
	topics := 0
	err := s.body.Decode(func(r *wire.Reader) {
		if s.flexible {
			r.CompactNullableString() // the transactional id
		} else {
			r.NullableString()
		}
		s.acks = r.Int16()
		s.timeout = time.Duration(max(r.Int32(), 0)) * time.Millisecond
		topics = s.count(r)
	})
	if err != nil {
		return err
	}
	if err := s.bound(topics, "topics"); err != nil {
		return err
	}
	for range topics {
		if err := s.takeTopic(); err != nil {
			return err
		}
	}
	if err := s.skipTags(); err != nil {
		return err
	}
	return s.body.Skip(s.body.Left()) // what is left over is overlooked, as behind any request
}

func (s *streamed) takeTopic() error {
	var topic wire.TopicProduceData
	partitions := 0
	err := s.body.Decode(func(r *wire.Reader) {
		switch {
		case s.request.Version() >= 13:
			topic.TopicID = r.UUID()
		case s.flexible:
			topic.Name = []byte(r.CompactString())
		default:
			topic.Name = []byte(r.String())
		}
		partitions = s.count(r)
	})
	if err != nil {
		return err
	}
	if err := s.bound(partitions, "partitions"); err != nil {
		return err
	}
	if !s.request.Reserve(keptBytes) {
		return server.ErrNoMemory
	}
	s.addTopic(topic.Name, topic.TopicID, 0)
	for range partitions {
		if err := s.takePartition(&topic); err != nil {
			return err
		}
	}
	return s.skipTags()
}

func (s *streamed) takePartition(topic *wire.TopicProduceData) error {
	var index int32
	var size int // of the records; -1 is null
	err := s.body.Decode(func(r *wire.Reader) {
		index = r.Int32()
		size = s.count(r)
	})
	if err != nil {
		return err
	}
	if size < -1 || size > s.body.Left() {
		return s.body.Malformed("%d bytes of records where %d are left", size, s.body.Left())
	}
	if !s.request.Reserve(keptBytes) {
		return server.ErrNoMemory
	}
	t := &s.topics[len(s.topics)-1]
	t.count++
	t.indexes = append(t.indexes, index)
	a := &replica.Append{Acks: s.acks, Timeout: s.timeout, Entries: make([]replica.AppendEntry, 1)}
	a.Done = func(*replica.Append) { s.turn() }
	s.appends = append(s.appends, a)
	if err := s.takeRecords(a, topic, index, max(size, 0)); err != nil {
		return err
	}
	return s.skipTags()
}

// takeRecords appends the records of a partition, size bytes, or notes why they are refused.
func (s *streamed) takeRecords(a *replica.Append, topic *wire.TopicProduceData, index int32, size int) error {
	e := &a.Entries[0]
	if err := s.find(e, topic, index); err != nil {
		refuse(e, err)
		return s.body.Skip(size)
	}
	wanted := size
	if size > e.Replica.MaxBatchBytes() {
		wanted = record.HeaderSize // the replica refuses it, and needs no more to know why
	}
	records, err := s.body.Peek(wanted)
	if err != nil {
		return err
	}
	n := min(wanted, len(records))
	records = records[:n:n]
	if err := s.check(e, records, size); err != nil {
		refuse(e, err)
		return s.body.Skip(size)
	}
	e.Batch = records
	s.turns.Add(1)
	s.produce.deps.Replicas.Append(a)
	return s.body.Skip(size)
}

// bound refuses a count that the body cannot hold.
func (s *streamed) bound(n int, what string) error {
	if n < 0 || n > s.body.Left() {
		return s.body.Malformed("%d %s in %d bytes", n, what, s.body.Left())
	}
	return nil
}

func (s *streamed) skipTags() error {
	if !s.flexible {
		return nil
	}
	return s.body.Decode(func(r *wire.Reader) { r.Tags(nil) })
}

// count reads a length or a count, -1 for null: the bytes that it counts need not be here yet.
func (s *streamed) count(r *wire.Reader) int {
	if s.flexible {
		return int(r.Uvarint()) - 1
	}
	return int(r.Int32())
}
