package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/lifecycle"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/partition"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/xsync"
)

// Deps is what a Manager works with.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Wall       func() time.Time
	Logs       *storage.Manager
	Deadlines  *deadline.Queue
	// TopicConfig resolves a topic's configuration over the image that is being applied.
	TopicConfig func(img *metadata.Image, topic string) *TopicConfig
}

// Config is what a Manager is told once.
type Config struct {
	Self            model.BrokerID
	RecoveryWorkers int // logs recovered at the same time at start
}

// Manager owns the replicas of one broker.
type Manager struct {
	self        model.BrokerID
	logger      *slog.Logger
	wall        func() time.Time
	logs        *storage.Manager
	deadlines   *deadline.Queue
	topicConfig func(*metadata.Image, string) *TopicConfig
	metrics     *metrics
	workers     int

	validator   *validator
	onRecovered func(*Replica) // nil: nobody wants to know

	strays         map[model.TopicPartition]struct{} // logs found at start that no replica has yet; for OnMetadata
	recoveryQueued chan struct{}                     // capacity 1: recoveries may have grown

	mu struct {
		xsync.RWMutex
		recoveries []*Replica // logs that wait for recovery
		topics     map[string]*topicReplicas
		byID       map[model.TopicID]*topicReplicas
	}
}

// topicReplicas is what of a topic lives here; nil where a partition does not.
type topicReplicas struct {
	name     string
	id       model.TopicID
	replicas []*Replica
}

// New returns a manager without replicas; they come with the first image.
func New(deps Deps, config Config) *Manager {
	m := &Manager{
		self: config.Self, logger: deps.Logger, wall: deps.Wall, logs: deps.Logs, deadlines: deps.Deadlines,
		topicConfig: deps.TopicConfig, metrics: newMetrics(deps.Registerer), workers: max(config.RecoveryWorkers, 1),
	}
	m.strays = map[model.TopicPartition]struct{}{}
	for _, tp := range deps.Logs.OnDisk() {
		m.strays[tp] = struct{}{}
	}
	m.recoveryQueued = make(chan struct{}, 1)
	m.validator = newValidator()
	m.mu.topics = map[string]*topicReplicas{}
	m.mu.byID = map[model.TopicID]*topicReplicas{}
	return m
}

// OnRecovered has fn called for every replica whose log is recovered only after it was assigned, once it
// takes part as the metadata says: a leader among them leads from then on. fn runs on any goroutine. Call
// this before the first image.
func (m *Manager) OnRecovered(fn func(*Replica)) { m.onRecovered = fn }

// now is the clock of deadlines. Wall time is for records only.
func (m *Manager) now() time.Time { return time.Now() }

// Replica returns this broker's replica of a partition. UNKNOWN_TOPIC_OR_PARTITION where none is assigned
// to this broker. Looking up a name allocates nothing.
func (m *Manager) Replica(topic []byte, index int32) (*Replica, error) {
	m.mu.RLock()
	t := m.mu.topics[string(topic)]
	m.mu.RUnlock()
	return t.replica(index, kafkaerr.UnknownTopicOrPartition)
}

// ReplicaNamed is Replica for a name that is a string.
func (m *Manager) ReplicaNamed(topic string, index int32) (*Replica, error) {
	m.mu.RLock()
	t := m.mu.topics[topic]
	m.mu.RUnlock()
	return t.replica(index, kafkaerr.UnknownTopicOrPartition)
}

// ReplicaByID is Replica for requests that name topics by id; an unknown id is UNKNOWN_TOPIC_ID.
func (m *Manager) ReplicaByID(id model.TopicID, index int32) (*Replica, error) {
	m.mu.RLock()
	t := m.mu.byID[id]
	m.mu.RUnlock()
	return t.replica(index, kafkaerr.UnknownTopicID)
}

func (t *topicReplicas) replica(index int32, unknown kafkaerr.Code) (*Replica, error) {
	switch {
	case t == nil:
		return nil, unknown
	case index < 0 || int(index) >= len(t.replicas) || t.replicas[index] == nil:
		return nil, kafkaerr.UnknownTopicOrPartition
	}
	return t.replicas[index], nil
}

// OnMetadata opens logs, sets leader epochs and drops what was deleted, before anyone else sees the image
// (publish stage Logs). With the first image the logs that exist are queued for recovery instead; until
// that is done they answer NOT_LEADER_OR_FOLLOWER.
func (m *Manager) OnMetadata(_ context.Context, img *metadata.Image, delta *metadata.Delta) error {
	// First what goes: a topic may be deleted and created anew under its name in one step.
	for _, change := range delta.Topics {
		if change.New == nil {
			m.drop(change.Old.ID)
		}
	}
	for _, change := range delta.Topics {
		if change.New == nil {
			continue
		}
		if err := m.assignTopic(img, change, delta.From.Offset() < 0); err != nil {
			return err
		}
	}
	for _, resource := range delta.Configs {
		switch resource.Type {
		case metadata.TopicResource:
			m.reconfigure(img, resource.Name)
		case metadata.BrokerResource:
			m.reconfigureAll(img)
		}
	}
	if delta.From.Offset() < 0 {
		m.dropStrays()
	}
	return nil
}

// assignTopic hands the changed partitions of a topic to their replicas, and makes those that are new here.
// With the first image they are those of an earlier process.
func (m *Manager) assignTopic(img *metadata.Image, change metadata.TopicChange, first bool) error {
	topic := change.New
	t := m.topic(topic)
	config := m.topicConfig(img, topic.Name)
	for index := range change.Partitions {
		p := &topic.Partitions[index]
		at := slices.Index(p.Replicas, m.self)
		if at < 0 {
			continue
		}
		r := t.replicas[index]
		if r == nil {
			var err error
			if r, err = m.open(topic, index, p.Directories[at], config, first); err != nil {
				return err
			}
			m.mu.Lock()
			t.replicas[index] = r
			m.mu.Unlock()
		}
		r.assign(*p)
	}
	return nil
}

// topic returns the entry of a topic with room for all its partitions. The slice of replicas is replaced
// when it grows, so that readers without the lock keep a whole one.
func (m *Manager) topic(topic *metadata.Topic) *topicReplicas {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.mu.byID[topic.ID]
	if t != nil && len(t.replicas) >= len(topic.Partitions) {
		return t
	}
	grown := &topicReplicas{name: topic.Name, id: topic.ID, replicas: make([]*Replica, len(topic.Partitions))}
	if t != nil {
		copy(grown.replicas, t.replicas)
	}
	m.mu.byID[topic.ID], m.mu.topics[topic.Name] = grown, grown
	return grown
}

// open makes the replica of a partition. A log that is on disk is queued for recovery; a new one has no
// files before its first append. What an earlier topic of this name left makes way. One that existed is not
// begun anew where it may lie in a directory that cannot be read.
func (m *Manager) open(topic *metadata.Topic, index int32, dir model.UUID, config *TopicConfig, existed bool) (*Replica, error) {
	tp := model.TopicPartition{Topic: topic.Name, Partition: index}
	_, onDisk := m.strays[tp]
	delete(m.strays, tp)
	openLog := m.logs.Open
	if existed {
		openLog = m.logs.OpenExisting
	}
	log, recovered, err := openLog(tp, topic.ID, dir, config.Log)
	if errors.Is(err, storage.ErrWrongTopicID) {
		m.logger.Warn("deleting the log of an earlier topic of this name", "topic", tp.Topic, "partition", tp.Partition)
		if err = m.logs.Delete(tp); err == nil {
			log, recovered, err = openLog(tp, topic.ID, dir, config.Log)
		}
	}
	if err != nil {
		return nil, err
	}
	if onDisk {
		if err := m.logs.DeleteStale(tp); err != nil {
			m.logger.Error("delete log", "topic", tp.Topic, "partition", tp.Partition, "err", err)
		}
	}
	r := &Replica{manager: m, tp: tp, topicID: topic.ID, log: log}
	r.config.Store(config)
	r.serving.Store(&serving{leader: model.NoBroker, leaderEpoch: -1})
	log.SetHooks(storage.Hooks{
		Flushed: func(offset int64) { r.step(partition.Flushed{Offset: offset}) },
		Offline: r.offline,
	})
	if recovered {
		r.recovered()
	} else {
		m.queueRecovery(r)
	}
	return r, nil
}

// retryRecovery is when a recovery that found the disk full is tried again.
const retryRecovery = 5 * time.Second

func (m *Manager) recover(ctx context.Context, r *Replica) {
	// A log that no recovery can cope with is one log: the node serves the others.
	err := lifecycle.Protect(func() error { return r.log.Recover(ctx) })
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return
	case errors.Is(err, storage.ErrNoSpace):
		if !r.waitsForSpace {
			r.waitsForSpace = true // said once
			m.logger.Warn("log not recovered: trying again until there is space", "topic", r.tp.Topic, "partition", r.tp.Partition, "err", err)
		}
		m.deadlines.Schedule(m.now().Add(retryRecovery), func(time.Time) { m.queueRecovery(r) })
		return
	default:
		r.offline(fmt.Errorf("recover the log: %w", err))
		return
	}
	r.recovered()
	r.applyAssignment()
	if m.onRecovered != nil {
		m.onRecovered(r)
	}
}

// dropStrays deletes the logs on disk that no partition of the first image belongs to: their topics were
// deleted while this node was down.
func (m *Manager) dropStrays() {
	for tp := range m.strays {
		m.logger.Warn("deleting the log of a topic that is gone", "topic", tp.Topic, "partition", tp.Partition)
		if err := m.logs.Delete(tp); err != nil {
			m.logger.Error("delete log", "topic", tp.Topic, "partition", tp.Partition, "err", err)
		}
	}
	clear(m.strays)
}

// drop takes a deleted topic's replicas out of service and hands their logs to deletion.
func (m *Manager) drop(id model.TopicID) {
	m.mu.Lock()
	t := m.mu.byID[id]
	delete(m.mu.byID, id)
	if t != nil && m.mu.topics[t.name] == t {
		delete(m.mu.topics, t.name)
	}
	m.mu.Unlock()
	if t == nil {
		return
	}
	for _, r := range t.replicas {
		if r == nil {
			continue
		}
		r.drop()
		if err := m.logs.Delete(r.tp); err != nil {
			m.logger.Error("delete log", "topic", r.tp.Topic, "partition", r.tp.Partition, "err", err)
		}
	}
}

// reconfigure hands a topic's new configuration to its logs and machines.
func (m *Manager) reconfigure(img *metadata.Image, name string) {
	m.mu.RLock()
	t := m.mu.topics[name]
	m.mu.RUnlock()
	if t == nil {
		return
	}
	config := m.topicConfig(img, name)
	for _, r := range t.replicas {
		if r == nil {
			continue
		}
		r.configure(config)
	}
}

// reconfigureAll resolves every topic's configuration again, after a broker default changed.
func (m *Manager) reconfigureAll(img *metadata.Image) {
	for topic := range img.Topics() {
		m.reconfigure(img, topic.Name)
	}
}

func (m *Manager) queueRecovery(r *Replica) {
	m.mu.Lock()
	m.mu.recoveries = append(m.mu.recoveries, r)
	m.mu.Unlock()
	select {
	case m.recoveryQueued <- struct{}{}:
	default:
	}
}

// nextRecovery takes the log to recover next. The coordinators' logs come first: every group waits for one.
func (m *Manager) nextRecovery() *Replica {
	m.mu.Lock()
	defer m.mu.Unlock()
	queue := m.mu.recoveries
	if len(queue) == 0 {
		return nil
	}
	first := 0
	for i, r := range queue {
		if model.IsInternalTopic(r.tp.Topic) {
			first = i
			break
		}
	}
	r := queue[first]
	queue[first] = queue[len(queue)-1]
	m.mu.recoveries = queue[:len(queue)-1]
	return r
}

// Run recovers queued logs until ctx ends. It returns when the recoveries under way have.
func (m *Manager) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	slots := make(chan struct{}, m.workers)
	defer workers.Wait()
	for ctx.Err() == nil {
		r := m.nextRecovery()
		if r == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-m.recoveryQueued:
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case slots <- struct{}{}:
		}
		workers.Go(func() {
			defer func() { <-slots }()
			m.recover(ctx, r)
		})
	}
	return nil
}
