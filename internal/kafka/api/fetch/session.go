package fetch

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
	"github.com/walser-io/walser/internal/xsync"
)

// The epochs of a session with a meaning of their own.
const (
	finalEpoch   int32 = -1 // a full fetch outside any session; ends the one it names
	initialEpoch int32 = 0  // a full fetch that asks for a session; ends the one it names
)

// nextEpoch counts a session's requests, skipping 0 on the way round.
func nextEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// key names a partition the way the session's requests do: by topic name, or from v13 on by id.
type key struct {
	topic     string
	id        model.TopicID
	partition int32
}

// interest is one partition of a session: what the consumer wants of it and what it was last told.
type interest struct {
	key                key
	offset             int64
	maxBytes           int32
	currentLeaderEpoch int32
	lastFetchedEpoch   int32

	// As last told; a difference is news. -1 is told nothing, or an error, yet.
	highWatermark int64
	logStart      int64

	before, after *interest // order in which the session is served
}

func (in *interest) want(p *wire.FetchRequestFetchPartition) {
	in.offset, in.maxBytes = p.FetchOffset, p.PartitionMaxBytes
	in.currentLeaderEpoch, in.lastFetchedEpoch = p.CurrentLeaderEpoch, p.LastFetchedEpoch
}

// session is what KIP-227 calls an incremental fetch session: the set of partitions a consumer fetches,
// so that its requests and our answers carry only what changed.
type session struct {
	id      int32
	byID    bool // its requests name topics by id
	created time.Time

	mu struct {
		xsync.Mutex
		epoch     int32 // of the request to come
		used      time.Time
		interests map[key]*interest
		ring      interest // head of the order
		gone      bool     // out of the cache: its interests are not counted any more
	}
}

func newSession(id int32, byID bool, now time.Time) *session {
	s := &session{id: id, byID: byID, created: now}
	s.mu.epoch, s.mu.used = nextEpoch(initialEpoch), now
	s.mu.interests = map[key]*interest{}
	s.mu.ring.before, s.mu.ring.after = &s.mu.ring, &s.mu.ring
	return s
}

// addLocked takes a partition into the session, or changes what is wanted of it.
func (s *session) addLocked(k key, p *wire.FetchRequestFetchPartition) {
	in := s.mu.interests[k]
	if in == nil {
		in = &interest{key: k, highWatermark: -1, logStart: -1}
		s.mu.interests[k] = in
		s.lastLocked(in)
	}
	in.want(p)
}

func (s *session) removeLocked(k key) {
	if in := s.mu.interests[k]; in != nil {
		delete(s.mu.interests, k)
		in.before.after, in.after.before = in.after, in.before
		in.before, in.after = nil, nil
	}
}

// lastLocked puts a partition at the end of the order: it was served, the others come first next time.
func (s *session) lastLocked(in *interest) {
	if in.before != nil {
		in.before.after, in.after.before = in.after, in.before
	}
	tail := s.mu.ring.before
	in.before, in.after = tail, &s.mu.ring
	tail.after, s.mu.ring.before = in, in
}

// sessions is the cache of all sessions of a broker.
type sessions struct {
	limit  int
	random func() uint32
	now    func() time.Time

	// interests counts those of all sessions in the cache. They are what sessions cost, some 200 bytes each,
	// and one request may bring a million that name nothing.
	interests atomic.Int64

	mu struct {
		xsync.Mutex
		byID map[int32]*session
	}
}

// staleAfter is how long a session rests before any other may take its place
// (min.incremental.fetch.session.eviction.ms).
const staleAfter = 120 * time.Second

// interestsPerSession bounds the interests of all sessions, by the mean over a full cache. A client whose
// partitions have no room goes on with full fetches.
const interestsPerSession = 256

func newSessions(d Deps) *sessions {
	c := &sessions{limit: d.Config.MaxSessions, random: d.Random, now: d.Now}
	c.mu.byID = map[int32]*session{}
	return c
}

// open finds the session that a request continues, after it has taken the request's changes. A nil
// session without an error is a fetch outside any session: a full one, or one that leaves its session without
// partitions, which ends it.
func (c *sessions) open(req *wire.FetchRequest, version int16) (*session, error) {
	c.mu.Lock()
	s := c.mu.byID[req.SessionID]
	c.mu.Unlock()
	if req.SessionEpoch == finalEpoch || req.SessionEpoch == initialEpoch {
		if s != nil {
			c.end(s)
		}
		return nil, nil
	}
	if s == nil {
		return nil, kafkaerr.FetchSessionIDNotFound
	}
	left, err := c.proceed(s, req, version)
	switch {
	case err != nil:
		return nil, err
	case left == 0:
		c.end(s)
		return nil, nil
	case c.interests.Load() > c.mostInterests():
		c.end(s) // the client begins anew, and finds no room
		return nil, kafkaerr.FetchSessionIDNotFound
	}
	return s, nil
}

// proceed has a session take the changes of its next request, and returns how many partitions are left in it.
func (c *sessions) proceed(s *session, req *wire.FetchRequest, version int16) (left int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.gone:
		return 0, kafkaerr.FetchSessionIDNotFound
	case req.SessionEpoch != s.mu.epoch:
		return 0, kafkaerr.InvalidFetchSessionEpoch
	case s.byID != (version >= 13):
		return 0, kafkaerr.FetchSessionTopicIDError
	}
	s.mu.epoch, s.mu.used = nextEpoch(s.mu.epoch), c.now()
	before := len(s.mu.interests)
	s.takeLocked(req)
	c.interests.Add(int64(len(s.mu.interests) - before))
	return len(s.mu.interests), nil
}

func (c *sessions) mostInterests() int64 { return int64(c.limit) * interestsPerSession }

// end takes a session out of the cache.
func (c *sessions) end(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(s)
}

func (c *sessions) endLocked(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.gone {
		return
	}
	s.mu.gone = true
	c.interests.Add(-int64(len(s.mu.interests)))
	delete(c.mu.byID, s.id)
}

// takeLocked applies what a request adds to its session and removes from it.
func (s *session) takeLocked(req *wire.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		k := key{topic: string(t.Topic), id: t.TopicID}
		for j := range t.Partitions {
			k.partition = t.Partitions[j].Partition
			s.addLocked(k, &t.Partitions[j])
		}
	}
	for i := range req.ForgottenTopicsData {
		t := &req.ForgottenTopicsData[i]
		k := key{topic: string(t.Topic), id: t.TopicID}
		for _, k.partition = range t.Partitions {
			s.removeLocked(k)
		}
	}
}

// create starts a session for a full fetch that asks for one, or returns nil where there is no place:
// a client that gets session id 0 goes on with full fetches.
func (c *sessions) create(req *wire.FetchRequest, version int16) *session {
	if req.SessionEpoch != initialEpoch || c.limit == 0 {
		return nil
	}
	partitions := 0
	for i := range req.Topics {
		partitions += len(req.Topics[i].Partitions)
	}
	if int64(partitions) > c.mostInterests() {
		return nil
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.interests.Load()+int64(partitions) > c.mostInterests() {
		if !c.evictLocked(0, now) { // stale ones only: a large session pushes nobody out
			return nil
		}
	}
	if len(c.mu.byID) >= c.limit && !c.evictLocked(partitions, now) {
		return nil
	}
	id := int32(0)
	for id == 0 || c.mu.byID[id] != nil {
		id = int32(c.random() & math.MaxInt32)
	}
	s := newSession(id, version >= 13, now)
	s.mu.Lock()
	s.takeLocked(req)
	c.interests.Add(int64(len(s.mu.interests)))
	s.mu.Unlock()
	c.mu.byID[id] = s
	return s
}

// evictLocked makes room for a session of so many partitions: the one that rests longest goes if it is
// stale, else the smallest if it is smaller and has had its time.
func (c *sessions) evictLocked(partitions int, now time.Time) bool {
	var oldest, smallest *session
	var oldestUsed time.Time
	least := partitions
	for _, s := range c.mu.byID {
		s.mu.Lock()
		used, size := s.mu.used, len(s.mu.interests)
		s.mu.Unlock()
		if oldest == nil || used.Before(oldestUsed) {
			oldest, oldestUsed = s, used
		}
		if size < least && now.Sub(s.created) > staleAfter {
			smallest, least = s, size
		}
	}
	switch {
	case oldest != nil && now.Sub(oldestUsed) > staleAfter:
		c.endLocked(oldest)
	case smallest != nil:
		c.endLocked(smallest)
	default:
		return false
	}
	return true
}
