package group

import (
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
)

// The requests of this file are bodies of a coordinator.Request; each names its answer. The shard keeps
// strings and byte slices of a request, so they must not alias a frame. An empty string stands for null
// wherever the protocol allows null and gives the empty string no meaning of its own. What the shard has taken
// out of a JoinGroup or SyncGroup is gone from it afterwards, since these are kept while they wait.

// JoinGroup asks for a place in the next generation; the answer is a *JoinGroupResponse.
type JoinGroup struct {
	Version                              int16 // from 4 on a member id is required, from 9 on SkipAssignment is known
	GroupID                              string
	MemberID                             string  // empty: the member has no id yet
	InstanceID                           *string // set: a static member (KIP-345)
	ClientID                             string
	ClientHost                           string // as Kafka shows it: "/127.0.0.1"
	SessionTimeoutMs, RebalanceTimeoutMs int32  // a negative rebalance timeout stands for the session timeout
	ProtocolType                         string
	Protocols                            []Protocol // by the member's preference
	Reason                               string     // KIP-800; empty if none was given
}

// Protocol is one way to assign that a member supports, with what the member wants under it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// JoinGroupResponse answers a JoinGroup. With an error only MemberID means something.
type JoinGroupResponse struct {
	Err            kafkaerr.Code
	Generation     int32 // -1 with an error
	ProtocolType   string
	ProtocolName   string
	Leader         string
	SkipAssignment bool // KIP-814: a static leader came back, there is nothing to assign
	MemberID       string
	Members        []JoinedMember // for the leader alone
}

// JoinedMember is one member as the leader of the generation is told of it.
type JoinedMember struct {
	MemberID   string
	InstanceID *string
	Metadata   []byte
}

// SyncGroup brings the leader's assignment and waits for one's own; the answer is a *SyncGroupResponse.
type SyncGroup struct {
	GroupID, MemberID string
	InstanceID        *string
	Generation        int32
	ProtocolType      *string // null before v5: not checked
	ProtocolName      *string
	Assignments       []Assignment
}

// Assignment is what the leader gives one member.
type Assignment struct {
	MemberID   string
	Assignment []byte
}

// SyncGroupResponse answers a SyncGroup.
type SyncGroupResponse struct {
	Err                        kafkaerr.Code
	ProtocolType, ProtocolName string // empty with an error
	Assignment                 []byte // never nil without an error; an error stands for the empty one
}

// Heartbeat keeps a session alive; the answer is a *HeartbeatResponse.
type Heartbeat struct {
	GroupID, MemberID string
	InstanceID        *string
	Generation        int32
}

// HeartbeatResponse answers a Heartbeat.
type HeartbeatResponse struct{ Err kafkaerr.Code }

// LeaveGroup removes members; the answer is a *LeaveGroupResponse. Before v3 there is one.
type LeaveGroup struct {
	GroupID string
	Members []LeavingMember
}

// LeavingMember names a member by its id, or an absent static member by its instance id alone.
type LeavingMember struct {
	MemberID   string
	InstanceID *string
	Reason     string
}

// LeaveGroupResponse answers a LeaveGroup: Members holds one code for each member of the request, in its
// order, unless Err is set.
type LeaveGroupResponse struct {
	Err     kafkaerr.Code
	Members []kafkaerr.Code
}

// OffsetCommit stores positions; the answer is an *OffsetCommitResponse. The caller has resolved topic
// ids and left out topics that do not exist.
type OffsetCommit struct {
	Version     int16 // from 9 on a missing group is GROUP_ID_NOT_FOUND
	GroupID     string
	MemberID    string
	InstanceID  *string
	Generation  int32 // -1: not a member
	RetentionMs int64 // v2 to v4; -1: offsets.retention.minutes
	Topics      []OffsetCommitTopic
}

// OffsetCommitTopic holds the positions in one topic.
type OffsetCommitTopic struct {
	ID         model.TopicID // zero if unknown
	Name       string
	Partitions []OffsetCommitPartition
}

// OffsetCommitPartition is one position.
type OffsetCommitPartition struct {
	Partition   int32
	Offset      int64
	LeaderEpoch int32 // -1: none
	Metadata    string
}

// OffsetCommitResponse answers an OffsetCommit: one code for each partition of each topic of the
// request, in its order, unless Err is set, which then holds for all of them.
type OffsetCommitResponse struct {
	Err    kafkaerr.Code
	Topics [][]kafkaerr.Code
}

// OffsetFetch asks for the committed offsets of one group; the answer is an *OffsetFetchResponse. A
// member id and epoch mean nothing to a classic group.
type OffsetFetch struct {
	GroupID string
	All     bool // every topic that has offsets; Topics is not looked at
	Topics  []OffsetFetchTopic
	// RequireStable wants UNSTABLE_OFFSET_COMMIT where a transaction is open over the offset
	// (KIP-447). Offsets of transactions cannot be committed yet, so none is ever unstable.
	RequireStable bool
}

// OffsetFetchTopic names partitions of one topic.
type OffsetFetchTopic struct {
	ID         model.TopicID // zero if the request named the topic
	Name       string
	Partitions []int32
}

// OffsetFetchResponse answers an OffsetFetch: the topics of the request in its order, or with All every
// topic by name.
type OffsetFetchResponse struct {
	Err    kafkaerr.Code
	Topics []FetchedTopic
}

// FetchedTopic holds the committed offsets in one topic.
type FetchedTopic struct {
	ID         model.TopicID
	Name       string
	Partitions []FetchedOffset
}

// FetchedOffset is one committed offset; Offset is -1 where there is none.
type FetchedOffset struct {
	Err         kafkaerr.Code
	Partition   int32
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// OffsetDelete drops committed offsets (KIP-496); the answer is an *OffsetDeleteResponse.
type OffsetDelete struct {
	GroupID string
	Topics  []OffsetFetchTopic
}

// OffsetDeleteResponse answers an OffsetDelete: one code for each partition of each topic of the
// request, unless Err is set.
type OffsetDeleteResponse struct {
	Err    kafkaerr.Code
	Topics [][]kafkaerr.Code
}

// ListGroups asks for the groups of one shard; the answer is a *ListGroupsResponse. Filters match without
// regard to case; an empty one matches all (KIP-518, KIP-848).
type ListGroups struct{ States, Types []string }

// ListGroupsResponse answers a ListGroups.
type ListGroupsResponse struct {
	Err    kafkaerr.Code
	Groups []ListedGroup
}

// ListedGroup is one group of a list.
type ListedGroup struct{ GroupID, ProtocolType, State, Type string }

// DescribeGroups asks for groups of one shard; the answer is a *DescribeGroupsResponse.
type DescribeGroups struct {
	Version  int16 // from 6 on a missing group is GROUP_ID_NOT_FOUND
	GroupIDs []string
}

// DescribeGroupsResponse answers a DescribeGroups: one entry for each id of the request.
type DescribeGroupsResponse struct{ Groups []DescribedGroup }

// DescribedGroup is one group with its members.
type DescribedGroup struct {
	Err          kafkaerr.Code
	Message      string
	GroupID      string
	State        string
	ProtocolType string
	Protocol     string
	Members      []DescribedMember
}

// DescribedMember is one member; Metadata is there only while the group is stable.
type DescribedMember struct {
	MemberID, ClientID, ClientHost string
	InstanceID                     *string
	Metadata, Assignment           []byte
}

// DeleteGroups deletes groups of one shard with their offsets; the answer is a *DeleteGroupsResponse.
type DeleteGroups struct{ GroupIDs []string }

// DeleteGroupsResponse answers a DeleteGroups: one code for each id of the request.
type DeleteGroupsResponse struct{ Groups []kafkaerr.Code }

// TopicsDeleted tells a shard that topics are gone: their committed offsets go too. It has no answer of
// its own; the reply is a *TopicsDeletedResponse.
type TopicsDeleted struct{ Topics []DeletedTopic }

// DeletedTopic is one incarnation of a topic.
type DeletedTopic struct {
	ID   model.TopicID
	Name string
}

// TopicsDeletedResponse answers a TopicsDeleted.
type TopicsDeletedResponse struct{ Err kafkaerr.Code }

// Fail returns the answer to body where the shard could not be asked, or could not commit: it is not
// here, it is loading, its partition failed. It returns nil for what is no request of this package.
func Fail(body any, code kafkaerr.Code) any {
	switch req := body.(type) {
	case *JoinGroup:
		return failedJoin(req.MemberID, code)
	case *SyncGroup:
		return &SyncGroupResponse{Err: code}
	case *Heartbeat:
		if code == kafkaerr.CoordinatorLoadInProgress {
			code = kafkaerr.None // a session cannot expire while it loads; to say otherwise only makes a storm
		}
		return &HeartbeatResponse{Err: code}
	case *LeaveGroup:
		return &LeaveGroupResponse{Err: code}
	case *OffsetCommit:
		return &OffsetCommitResponse{Err: code}
	case *OffsetFetch:
		return &OffsetFetchResponse{Err: code}
	case *OffsetDelete:
		return &OffsetDeleteResponse{Err: code}
	case *ListGroups:
		return &ListGroupsResponse{Err: code}
	case *DescribeGroups:
		groups := make([]DescribedGroup, len(req.GroupIDs))
		for i, id := range req.GroupIDs {
			groups[i] = DescribedGroup{Err: code, GroupID: id}
		}
		return &DescribeGroupsResponse{Groups: groups}
	case *DeleteGroups:
		codes := make([]kafkaerr.Code, len(req.GroupIDs))
		for i := range codes {
			codes[i] = code
		}
		return &DeleteGroupsResponse{Groups: codes}
	case *TopicsDeleted:
		return &TopicsDeletedResponse{Err: code}
	default:
		return nil
	}
}

func failedJoin(memberID string, code kafkaerr.Code) *JoinGroupResponse {
	return &JoinGroupResponse{Err: code, Generation: -1, MemberID: memberID}
}
