package model

import (
	"fmt"
	"strconv"
	"strings"
)

// TopicPartition names a partition by its topic's name.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns topic-partition, which is also the name of the partition's directory.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// TopicIDPartition names a partition by its topic's id, and so one incarnation of it.
type TopicIDPartition struct {
	TopicID   TopicID
	Partition int32
}

// Internal topics hold the state of the coordinators. Clients may not produce to them, and
// DeleteRecords refuses them.
const (
	GroupMetadataTopic    = "__consumer_offsets"
	TransactionStateTopic = "__transaction_state"
	ShareStateTopic       = "__share_group_state"
	ClusterMetadataTopic  = "__cluster_metadata"
)

// IsInternalTopic reports whether name is one of the internal topics.
func IsInternalTopic(name string) bool {
	return name == GroupMetadataTopic || name == TransactionStateTopic || name == ShareStateTopic
}

// MaxTopicNameLength leaves room in a 255-byte file name for the partition and a `.<uuid>-delete` suffix.
const MaxTopicNameLength = 249

// ValidateTopicName says what is wrong with a topic's name, or nothing: 1 to 249 of [a-zA-Z0-9._-],
// and not "." or "..".
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the topic name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("the topic name cannot be %q", name)
	case len(name) > MaxTopicNameLength:
		return fmt.Errorf("the topic name has %d characters, more than %d", len(name), MaxTopicNameLength)
	}
	for i := range len(name) {
		if !legalTopicByte(name[i]) {
			return fmt.Errorf("the topic name %q contains a character other than ASCII alphanumerics, '.', '_' and '-'", name)
		}
	}
	return nil
}

func legalTopicByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// TopicCollisionKey maps names that would collide in metric names ('.' and '_' are one character
// there) to the same string. Two topics with the same key cannot coexist.
func TopicCollisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }
