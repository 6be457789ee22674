package group_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
)

func TestFail_AnswersEveryRequest(t *testing.T) {
	const code = kafkaerr.NotCoordinator
	for _, tc := range []struct{ body, want any }{
		{&group.JoinGroup{MemberID: "m"}, &group.JoinGroupResponse{Err: code, Generation: -1, MemberID: "m"}},
		{&group.SyncGroup{}, &group.SyncGroupResponse{Err: code}},
		{&group.Heartbeat{}, &group.HeartbeatResponse{Err: code}},
		{&group.LeaveGroup{}, &group.LeaveGroupResponse{Err: code}},
		{&group.OffsetCommit{}, &group.OffsetCommitResponse{Err: code}},
		{&group.OffsetFetch{}, &group.OffsetFetchResponse{Err: code}},
		{&group.OffsetDelete{}, &group.OffsetDeleteResponse{Err: code}},
		{&group.ListGroups{}, &group.ListGroupsResponse{Err: code}},
		{&group.DescribeGroups{GroupIDs: []string{"a", "b"}}, &group.DescribeGroupsResponse{Groups: []group.DescribedGroup{
			{Err: code, GroupID: "a"}, {Err: code, GroupID: "b"},
		}}},
		{&group.DeleteGroups{GroupIDs: []string{"a", "b"}}, &group.DeleteGroupsResponse{Groups: []kafkaerr.Code{code, code}}},
		{&group.TopicsDeleted{}, &group.TopicsDeletedResponse{Err: code}},
		{"no request", nil},
	} {
		if diff := cmp.Diff(tc.want, group.Fail(tc.body, code)); diff != "" {
			t.Errorf("Fail(%T) (-want +got):\n%s", tc.body, diff)
		}
	}
}

// A member whose coordinator loads must not think that it lost its place.
func TestFail_HeartbeatWhileLoading(t *testing.T) {
	got := group.Fail(&group.Heartbeat{}, kafkaerr.CoordinatorLoadInProgress)
	if diff := cmp.Diff(&group.HeartbeatResponse{}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A member id that no string of the protocol can hold would make every answer about its group unsendable.
func TestJoin_RefusesNamesThatLeaveNoRoomForAnID(t *testing.T) {
	long := strings.Repeat("i", 32767-37)
	for _, tc := range []struct {
		name       string
		clientID   string
		instanceID *string
		want       kafkaerr.Code
	}{
		{"the longest client id", long, nil, kafkaerr.MemberIDRequired},
		{"one byte more", long + "i", nil, kafkaerr.InvalidRequest},
		{"the longest instance id", long + "i", &long, kafkaerr.None},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Unix(1, 0)
			s := group.New(group.DefaultConfig(), func() model.UUID { return model.UUID{1} }, nil)
			s.Loaded(now)
			out := s.Handle(now, coordinator.Request{Waiter: 1, Body: &group.JoinGroup{
				Version: 9, GroupID: "g", ClientID: tc.clientID, InstanceID: tc.instanceID, SessionTimeoutMs: 30_000, RebalanceTimeoutMs: 30_000,
				ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range"}},
			}})
			got := kafkaerr.None // a static member waits for the rebalance
			if len(out.Replies) > 0 {
				answer := out.Replies[0].Response.(*group.JoinGroupResponse)
				if got = answer.Err; len(answer.MemberID) > 32767 {
					t.Errorf("a member id of %d bytes", len(answer.MemberID))
				}
			}
			if got != tc.want {
				t.Errorf("the join is answered %v, want %v", got, tc.want)
			}
		})
	}
}

func TestConfig_ValidateSaysEverything(t *testing.T) {
	if err := group.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := group.Config{MaxSessionTimeout: -1, InitialRebalanceDelay: -time.Second, OffsetMetadataMax: -1}.Validate()
	for _, name := range []string{
		"group.min.session.timeout.ms", "group.max.session.timeout.ms", "group.initial.rebalance.delay.ms", "group.max.size",
		"offset.metadata.max.bytes", "offsets.retention.minutes", "offsets.retention.check.interval.ms", "new members",
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("no word of %s in: %v", name, err)
		}
	}
}
