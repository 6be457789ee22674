package cli

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/wire"
)

// decoder fills in what a record's key and value are. What it keeps must not alias r.
type decoder func(out *DumpedRecord, r record.Record)

// plainText takes keys and values for text.
func plainText(out *DumpedRecord, r record.Record) {
	if r.Key != nil {
		out.Key, out.keyText = append(Text{}, r.Key...), new(asText(r.Key))
	}
	if r.Value != nil {
		out.Value, out.valueText = append(Text{}, r.Value...), new(asText(r.Value))
	}
}

// asText replaces what is not UTF-8 as Java does: one replacement for as much as could have begun a
// character, surrogates included.
func asText(b []byte) string {
	var text strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			for size < len(b) && !utf8.FullRune(b[:size+1]) {
				size++
			}
			if len(b) >= 2 && b[0] == 0xed && b[1]&0xe0 == 0xa0 {
				if size = 2; len(b) >= 3 && b[2]&0xc0 == 0x80 {
					size = 3
				}
			}
		}
		text.WriteRune(r)
		b = b[size:]
	}
	return text.String()
}

// The records of __consumer_offsets.
const (
	typeOffsetCommitOld = 0
	typeOffsetCommit    = 1
	typeGroupMetadata   = 2
)

// decodedKey and decodedValue are the JSON in which kafka-dump-log shows internal records.
type decodedKey struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

type decodedValue struct {
	Version string `json:"version"`
	Data    any    `json:"data"`
}

// decodeOffsets reads the records of __consumer_offsets.
func decodeOffsets(out *DumpedRecord, r record.Record) {
	fail := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		out.Key, out.keyText = text, &text
	}
	if len(r.Key) < 2 {
		fail("Error at offset %d, skipping. The key has no type.", r.Offset)
		return
	}
	kind := int16(binary.BigEndian.Uint16(r.Key))
	var (
		key decodedKey
		err error
	)
	switch kind {
	case typeOffsetCommitOld, typeOffsetCommit:
		key.Data, err = decodeOffsetKey(r.Key[2:])
	case typeGroupMetadata:
		key.Data, err = decodeGroupKey(r.Key[2:])
	default:
		fail("Unknown record type %d at offset %d, skipping.", kind, r.Offset)
		return
	}
	if err != nil {
		fail("Error at offset %d, skipping. %v", r.Offset, err)
		return
	}
	key.Type = fmt.Sprint(kind)
	if r.Value == nil {
		out.Key, out.keyText = key, asJSON(key)
		out.valueText = new("<DELETE>")
		return
	}
	if len(r.Value) < 2 {
		fail("Error at offset %d, skipping. The value has no version.", r.Offset)
		return
	}
	version := int16(binary.BigEndian.Uint16(r.Value))
	if newest := newestValue(kind); version < 0 || version > newest {
		fail("Error at offset %d, skipping. Found an unknown record version %d for %d type", r.Offset, version, kind)
		return
	}
	value := decodedValue{Version: fmt.Sprint(version)}
	if kind == typeGroupMetadata {
		value.Data, err = decodeGroupValue(r.Value[2:], version)
	} else {
		value.Data, err = decodeOffsetValue(r.Value[2:], version)
	}
	if err != nil {
		fail("Error at offset %d, skipping. %v", r.Offset, err)
		return
	}
	out.Key, out.keyText = key, asJSON(key)
	out.Value, out.valueText = value, asJSON(value)
}

// newestValue returns the newest version of a type's value. The old type stayed at its first.
func newestValue(kind int16) int16 {
	if kind == typeOffsetCommitOld {
		return 0
	}
	return 4
}

func asJSON(v any) *string {
	b, err := encodeJSON(v, "")
	if err != nil {
		return new(err.Error())
	}
	return new(strings.TrimSuffix(string(b), "\n"))
}

// decodable is a message of package wire.
type decodable interface {
	Decode(r *wire.Reader, version int16)
}

// decode reads m from a copy of b, so that m may be kept.
func decode(m decodable, b []byte, version int16) error {
	var r wire.Reader
	r.Reset(append([]byte(nil), b...))
	m.Decode(&r, version)
	return r.Err()
}

type offsetKey struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func decodeOffsetKey(b []byte) (any, error) {
	var m wire.OffsetCommitKey
	err := decode(&m, b, 0)
	return offsetKey(m), err
}

type offsetValue struct {
	Offset          int64  `json:"offset"`
	LeaderEpoch     *int32 `json:"leaderEpoch,omitempty"`
	Metadata        string `json:"metadata"`
	CommitTimestamp int64  `json:"commitTimestamp"`
	ExpireTimestamp *int64 `json:"expireTimestamp,omitempty"`
	TopicID         string `json:"topicId,omitempty"`
}

func decodeOffsetValue(b []byte, version int16) (any, error) {
	var m wire.OffsetCommitValue
	if err := decode(&m, b, version); err != nil {
		return nil, err
	}
	v := offsetValue{Offset: m.Offset, Metadata: m.Metadata, CommitTimestamp: m.CommitTimestamp}
	if version >= 3 {
		v.LeaderEpoch = &m.LeaderEpoch
	}
	if version == 1 {
		v.ExpireTimestamp = &m.ExpireTimestamp
	}
	if m.TopicID != (model.UUID{}) {
		v.TopicID = m.TopicID.String()
	}
	return v, nil
}

type groupKey struct {
	Group string `json:"group"`
}

func decodeGroupKey(b []byte) (any, error) {
	var m wire.GroupMetadataKey
	err := decode(&m, b, 0)
	return groupKey(m), err
}

type groupValue struct {
	ProtocolType          string        `json:"protocolType"`
	Generation            int32         `json:"generation"`
	Protocol              *string       `json:"protocol"`
	Leader                *string       `json:"leader"`
	CurrentStateTimestamp *int64        `json:"currentStateTimestamp,omitempty"`
	Members               []groupMember `json:"members"`
}

type groupMember struct {
	MemberID         string           `json:"memberId"`
	GroupInstanceID  *json.RawMessage `json:"groupInstanceId,omitempty"` // a string, or null from version 3 on
	ClientID         string           `json:"clientId"`
	ClientHost       string           `json:"clientHost"`
	RebalanceTimeout *int32           `json:"rebalanceTimeout,omitempty"`
	SessionTimeout   int32            `json:"sessionTimeout"`
	Subscription     any              `json:"subscription"` // of consumers decoded, else bytes in Base64
	Assignment       any              `json:"assignment"`
}

func decodeGroupValue(b []byte, version int16) (any, error) {
	var m wire.GroupMetadataValue
	if err := decode(&m, b, version); err != nil {
		return nil, err
	}
	v := groupValue{ProtocolType: m.ProtocolType, Generation: m.Generation, Protocol: m.Protocol, Leader: m.Leader, Members: []groupMember{}}
	if version >= 2 {
		v.CurrentStateTimestamp = &m.CurrentStateTimestamp
	}
	for _, from := range m.Members {
		to := groupMember{
			MemberID: from.MemberID, ClientID: from.ClientID, ClientHost: from.ClientHost, SessionTimeout: from.SessionTimeout,
			Subscription: from.Subscription, Assignment: from.Assignment,
		}
		if version >= 3 {
			id, err := json.Marshal(from.GroupInstanceID)
			if err != nil {
				return nil, err
			}
			to.GroupInstanceID = new(json.RawMessage(id))
		}
		if version >= 1 {
			to.RebalanceTimeout = &from.RebalanceTimeout
		}
		if m.ProtocolType == "consumer" {
			// Bytes that are not a consumer's stay as they are.
			if s, err := decodeSubscription(from.Subscription); err == nil {
				to.Subscription = s
			}
			if s, err := decodeAssignment(from.Assignment); err == nil {
				to.Assignment = s
			}
		}
		v.Members = append(v.Members, to)
	}
	return v, nil
}

type subscription struct {
	Topics          []string           `json:"topics"`
	UserData        []byte             `json:"userData"`
	OwnedPartitions *[]topicPartitions `json:"ownedPartitions,omitempty"`
	GenerationID    *int32             `json:"generationId,omitempty"`
	RackID          *json.RawMessage   `json:"rackId,omitempty"` // a string, or null from version 3 on
}

type topicPartitions struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions"`
}

// consumerVersion splits a consumer's bytes into version and message.
func consumerVersion(b []byte, newest int16) (int16, []byte, error) {
	if len(b) < 2 {
		return 0, nil, wire.ErrMalformed
	}
	v := int16(binary.BigEndian.Uint16(b))
	if v < 0 || v > newest {
		return 0, nil, wire.ErrUnsupportedVersion
	}
	return v, b[2:], nil
}

func decodeSubscription(b []byte) (any, error) {
	version, b, err := consumerVersion(b, 3)
	if err != nil {
		return nil, err
	}
	var m wire.ConsumerProtocolSubscription
	if err := decode(&m, b, version); err != nil {
		return nil, err
	}
	s := subscription{Topics: append([]string{}, m.Topics...), UserData: m.UserData}
	if version >= 1 {
		owned := []topicPartitions{}
		for _, p := range m.OwnedPartitions {
			owned = append(owned, topicPartitions{p.Topic, nonNil(p.Partitions)})
		}
		s.OwnedPartitions = &owned
	}
	if version >= 2 {
		s.GenerationID = &m.GenerationID
	}
	if version >= 3 {
		rack, err := json.Marshal(m.RackID)
		if err != nil {
			return nil, err
		}
		s.RackID = new(json.RawMessage(rack))
	}
	return s, nil
}

type assignment struct {
	AssignedPartitions []topicPartitions `json:"assignedPartitions"`
	UserData           []byte            `json:"userData"`
}

func decodeAssignment(b []byte) (any, error) {
	version, b, err := consumerVersion(b, 3)
	if err != nil {
		return nil, err
	}
	var m wire.ConsumerProtocolAssignment
	if err := decode(&m, b, version); err != nil {
		return nil, err
	}
	a := assignment{AssignedPartitions: []topicPartitions{}, UserData: m.UserData}
	for _, p := range m.AssignedPartitions {
		a.AssignedPartitions = append(a.AssignedPartitions, topicPartitions{p.Topic, nonNil(p.Partitions)})
	}
	return a, nil
}
