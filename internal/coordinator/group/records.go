package group

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/wire"
)

// The record types of __consumer_offsets that this package reads. All others belong to group types that
// it does not know, and are skipped.
const (
	typeLegacyOffsetCommit int16 = 0 // read like type 1, never written
	typeOffsetCommit       int16 = 1
	typeGroupMetadata      int16 = 2
)

// The versions of the values that Kafka writes: an explicit expiry exists in version 1 alone.
const (
	groupMetadataVersion        int16 = 3
	offsetCommitVersion         int16 = 4
	offsetCommitExplicitVersion int16 = 1
)

// ErrCorruptRecord is in the chain of every error of Shard.Replay.
var ErrCorruptRecord = errors.New("corrupt coordinator record")

// savedGroup is what a GroupMetadata record holds. It never changes once it was decoded.
type savedGroup struct {
	protocolType string
	generation   int32
	protocol     string
	leader       string
	stateMs      int64 // -1: not known
	members      []savedMember
}

type savedMember struct {
	id, clientID, clientHost             string
	instanceID                           *string
	rebalanceTimeoutMs, sessionTimeoutMs int32
	subscription, assignment             []byte
}

// position is one committed offset.
type position struct {
	offset      int64
	leaderEpoch int32 // -1: none
	metadata    string
	commitMs    int64
	expireMs    int64 // -1: by offsets.retention.minutes
	topicID     model.TopicID
}

// offsets are the committed offsets of a group, by topic and partition. No topic is empty.
type offsets map[string]map[int32]position

// codec encodes and decodes records; its buffers are used again.
type codec struct {
	w             wire.Writer
	r             wire.Reader
	offsetKey     wire.OffsetCommitKey
	offsetValue   wire.OffsetCommitValue
	groupKey      wire.GroupMetadataKey
	metadataValue wire.GroupMetadataValue
	// arena is what records are cut from, in order; what was given out is never written again.
	arena []byte
}

const arenaBytes = 4 << 10

// encoded returns what the writer holds in memory that the record may keep.
func (c *codec) encoded() []byte {
	b := c.w.Bytes()
	if cap(c.arena)-len(c.arena) < len(b) {
		if len(b) > arenaBytes/4 {
			return bytes.Clone(b)
		}
		c.arena = make([]byte, 0, arenaBytes)
	}
	start := len(c.arena)
	c.arena = append(c.arena, b...)
	return c.arena[start:len(c.arena):len(c.arena)]
}

// offsetKeyBytes returns the key of a committed offset.
func (c *codec) offsetKeyBytes(group, topic string, partition int32) []byte {
	c.w.Reset()
	c.w.Int16(typeOffsetCommit)
	c.offsetKey = wire.OffsetCommitKey{Group: group, Topic: topic, Partition: partition}
	c.offsetKey.Encode(&c.w, 0)
	return c.encoded()
}

// offsetRecord returns the record that commits p, or why it cannot be encoded.
func (c *codec) offsetRecord(group, topic string, partition int32, p position, nowMs int64) (coordinator.Record, error) {
	key := c.offsetKeyBytes(group, topic, partition)
	if err := c.w.Err(); err != nil {
		return coordinator.Record{}, err
	}
	version := offsetCommitVersion
	if p.expireMs != -1 {
		version = offsetCommitExplicitVersion
	}
	c.w.Reset()
	c.w.Int16(version)
	c.offsetValue = wire.OffsetCommitValue{
		Offset: p.offset, LeaderEpoch: p.leaderEpoch, Metadata: p.metadata,
		CommitTimestamp: p.commitMs, ExpireTimestamp: p.expireMs, TopicID: p.topicID,
	}
	c.offsetValue.Encode(&c.w, version)
	return coordinator.Record{Key: key, Value: c.encoded(), TimestampMs: nowMs}, c.w.Err()
}

// groupKeyBytes returns the key of a group's metadata.
func (c *codec) groupKeyBytes(group string) []byte {
	c.w.Reset()
	c.w.Int16(typeGroupMetadata)
	c.groupKey = wire.GroupMetadataKey{Group: group}
	c.groupKey.Encode(&c.w, 0)
	return c.encoded()
}

// groupRecord returns the record of g's present generation, or why it cannot be encoded.
func (c *codec) groupRecord(g *group, nowMs int64) (coordinator.Record, error) {
	key := c.groupKeyBytes(g.id)
	if err := c.w.Err(); err != nil {
		return coordinator.Record{}, err
	}
	value := wire.GroupMetadataValue{
		ProtocolType: g.protocolType, Generation: g.generation,
		Protocol: orNull(g.protocol), Leader: orNull(g.leader),
		CurrentStateTimestamp: g.stateMs,
		Members:               make([]wire.MemberMetadata, len(g.members)),
	}
	for i, m := range g.members {
		value.Members[i] = wire.MemberMetadata{
			MemberID: m.id, GroupInstanceID: m.instanceID, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeout: m.rebalanceTimeoutMs, SessionTimeout: m.sessionTimeoutMs,
			Subscription: orEmpty(m.metadata(g.protocol)), Assignment: orEmpty(m.assignment),
		}
	}
	c.w.Reset()
	c.w.Int16(groupMetadataVersion)
	value.Encode(&c.w, groupMetadataVersion)
	return coordinator.Record{Key: key, Value: c.encoded(), TimestampMs: nowMs}, c.w.Err()
}

// recordType returns the type of a record and leaves the reader behind it.
func (c *codec) recordType(key []byte) (int16, error) {
	c.r.Reset(key)
	kind := c.r.Int16()
	if err := c.r.Err(); err != nil {
		return 0, corrupt("key", err)
	}
	return kind, nil
}

// readOffsetKey reads the key whose type recordType has read.
func (c *codec) readOffsetKey() (*wire.OffsetCommitKey, error) {
	c.offsetKey.Decode(&c.r, 0)
	return &c.offsetKey, corrupt("key of an offset commit", c.r.Err())
}

func (c *codec) readPosition(value []byte) (position, error) {
	c.r.Reset(value)
	version := c.r.Int16()
	v := &c.offsetValue
	v.Decode(&c.r, version)
	if err := c.r.Err(); err != nil {
		return position{}, corrupt(fmt.Sprintf("offset commit of version %d", version), err)
	}
	return position{
		offset: v.Offset, leaderEpoch: v.LeaderEpoch, metadata: v.Metadata,
		commitMs: v.CommitTimestamp, expireMs: max(v.ExpireTimestamp, -1), topicID: v.TopicID,
	}, nil
}

func (c *codec) readGroupKey() (string, error) {
	c.groupKey.Decode(&c.r, 0)
	return c.groupKey.Group, corrupt("key of a group", c.r.Err())
}

func (c *codec) readGroup(value []byte) (*savedGroup, error) {
	c.r.Reset(value)
	version := c.r.Int16()
	v := &c.metadataValue
	v.Decode(&c.r, version)
	if err := c.r.Err(); err != nil {
		return nil, corrupt(fmt.Sprintf("group of version %d", version), err)
	}
	saved := &savedGroup{
		protocolType: v.ProtocolType, generation: v.Generation, stateMs: v.CurrentStateTimestamp,
		protocol: deref(v.Protocol), leader: deref(v.Leader),
	}
	if len(v.Members) > 0 {
		saved.members = make([]savedMember, len(v.Members))
	}
	for i := range v.Members {
		m := &v.Members[i]
		saved.members[i] = savedMember{
			id: m.MemberID, instanceID: m.GroupInstanceID, clientID: m.ClientID, clientHost: m.ClientHost,
			rebalanceTimeoutMs: m.RebalanceTimeout, sessionTimeoutMs: m.SessionTimeout,
			subscription: bytes.Clone(m.Subscription), assignment: bytes.Clone(m.Assignment),
		}
		if m.RebalanceTimeout == -1 { // version 0 has none
			saved.members[i].rebalanceTimeoutMs = m.SessionTimeout
		}
	}
	return saved, nil
}

func corrupt(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrCorruptRecord, what, err)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
