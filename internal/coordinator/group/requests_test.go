package group_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafkaerr"
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
