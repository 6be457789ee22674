package groups_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// TestRequests_InTheCoordinatorsForm holds what a request of a version becomes.
func TestRequests_InTheCoordinatorsForm(t *testing.T) {
	str := kmsg.StringPtr
	join := func(change func(*kmsg.JoinGroupRequest)) kmsg.Request {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.MemberID, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "g", "m", 10, 20
		req.ProtocolType, req.Protocols = "consumer", []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("meta")}}
		change(req)
		return req
	}
	joined := func(change func(*group.JoinGroup)) *group.JoinGroup {
		body := &group.JoinGroup{
			GroupID: "g", MemberID: "m", ClientID: "client", ClientHost: "/127.0.0.1", SessionTimeoutMs: 10, RebalanceTimeoutMs: 20,
			ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range", Metadata: []byte("meta")}},
		}
		change(body)
		return body
	}
	sync := func(t, p *string) kmsg.Request {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID, req.ProtocolType, req.Protocol = "g", "m", 3, str("i"), t, p
		req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte("mine")}}
		return req
	}
	leave := func() *kmsg.LeaveGroupRequest {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = "g", "m"
		return req
	}
	leaveMany := leave()
	leaveMany.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "m", Reason: str("done")}, {InstanceID: str("i")}}
	commit := func(retention int64) *kmsg.OffsetCommitRequest {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID, req.RetentionTimeMillis = "g", "m", 3, str("i"), retention
		topic, partition := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
		partition.Partition, partition.Offset, partition.LeaderEpoch, partition.Metadata = 1, 42, 5, str("note")
		topic.Topic, topic.TopicID, topic.Partitions = "orders", ordersID, append(topic.Partitions, partition)
		req.Topics = append(req.Topics, topic)
		return req
	}
	committed := func(version int16, change func(*group.OffsetCommit)) *group.OffsetCommit {
		body := &group.OffsetCommit{
			Version: version, GroupID: "g", MemberID: "m", InstanceID: str("i"), Generation: 3, RetentionMs: -1,
			Topics: []group.OffsetCommitTopic{{ID: ordersID, Name: "orders", Partitions: []group.OffsetCommitPartition{
				{Partition: 1, Offset: 42, LeaderEpoch: 5, Metadata: "note"},
			}}},
		}
		change(body)
		return body
	}
	fetchSingle := func(topics ...kmsg.OffsetFetchRequestTopic) kmsg.Request {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group, req.Topics = "g", topics
		return req
	}
	fetchMany := func(topics ...kmsg.OffsetFetchRequestGroupTopic) kmsg.Request {
		req, g := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.Topics, req.RequireStable = "g", topics, true
		req.Groups = append(req.Groups, g)
		return req
	}
	list := kmsg.NewPtrListGroupsRequest()
	list.StatesFilter, list.TypesFilter = []string{"stable"}, []string{"Classic"}

	for _, tc := range []struct {
		name    string
		version int16
		request kmsg.Request
		want    []any // nothing: the coordinator is not asked
	}{
		{"join before rebalance timeouts", 0, join(func(*kmsg.JoinGroupRequest) {}), []any{
			joined(func(b *group.JoinGroup) { b.RebalanceTimeoutMs = -1 }),
		}},
		{"join with all there is", 9, join(func(r *kmsg.JoinGroupRequest) { r.InstanceID, r.Reason = str("i"), str("why") }), []any{
			joined(func(b *group.JoinGroup) { b.Version, b.InstanceID, b.Reason = 9, str("i"), "why" }),
		}},
		{"join of the empty group", 9, join(func(r *kmsg.JoinGroupRequest) { r.Group = "" }), nil},
		{"sync before static members", 2, sync(str("consumer"), str("range")), []any{&group.SyncGroup{
			GroupID: "g", MemberID: "m", Generation: 3, Assignments: []group.Assignment{{MemberID: "m", Assignment: []byte("mine")}},
		}}},
		{"sync with a protocol", 5, sync(str("consumer"), str("range")), []any{&group.SyncGroup{
			GroupID: "g", MemberID: "m", Generation: 3, InstanceID: str("i"), ProtocolType: str("consumer"), ProtocolName: str("range"),
			Assignments: []group.Assignment{{MemberID: "m", Assignment: []byte("mine")}},
		}}},
		{"sync without a protocol type", 5, sync(nil, str("range")), nil},
		{"sync without a protocol name", 5, sync(str("consumer"), nil), nil},
		{"leave alone", 2, leave(), []any{&group.LeaveGroup{GroupID: "g", Members: []group.LeavingMember{{MemberID: "m"}}}}},
		{"leave together", 5, leaveMany, []any{&group.LeaveGroup{GroupID: "g", Members: []group.LeavingMember{
			{MemberID: "m", Reason: "done"}, {InstanceID: str("i")},
		}}}},
		{"commit with a retention", 4, commit(1000), []any{committed(4, func(b *group.OffsetCommit) {
			b.InstanceID, b.RetentionMs, b.Topics[0].Partitions[0].LeaderEpoch = nil, 1000, -1
		})}},
		{"commit by name", 9, commit(1000), []any{committed(9, func(*group.OffsetCommit) {})}},
		{"commit by id", 10, commit(1000), []any{committed(10, func(*group.OffsetCommit) {})}},
		{"fetch nothing", 1, fetchSingle(), []any{&group.OffsetFetch{GroupID: "g"}}},
		{"fetch everything", 2, fetchSingle(), []any{&group.OffsetFetch{GroupID: "g", All: true}}},
		{"fetch by name", 7, fetchSingle(
			kmsg.OffsetFetchRequestTopic{Topic: "orders", Partitions: []int32{1, 9}}, kmsg.OffsetFetchRequestTopic{Topic: "gone", Partitions: []int32{0}},
		), []any{&group.OffsetFetch{GroupID: "g", Topics: []group.OffsetFetchTopic{
			{ID: ordersID, Name: "orders", Partitions: []int32{1, 9}}, {Name: "gone", Partitions: []int32{0}},
		}}}},
		{"fetch everything of many", 8, fetchMany(), []any{&group.OffsetFetch{GroupID: "g", All: true, RequireStable: true}}},
		{"fetch by id", 10, fetchMany(
			kmsg.OffsetFetchRequestGroupTopic{TopicID: goneID, Partitions: []int32{0}},
			kmsg.OffsetFetchRequestGroupTopic{TopicID: ordersID, Partitions: []int32{1}},
		), []any{&group.OffsetFetch{GroupID: "g", RequireStable: true, Topics: []group.OffsetFetchTopic{
			{ID: ordersID, Name: "orders", Partitions: []int32{1}},
		}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			f.answer = func(_ int32, body any) any { return group.Fail(body, kafkaerr.NotCoordinator) }
			f.ask(tc.version, tc.request)
			diff(t, "asked", f.took(), tc.want)
		})
	}
	t.Run("list with filters", func(t *testing.T) {
		f := newFake(t)
		var got any
		f.answer = func(_ int32, body any) any {
			got = body
			return group.Fail(body, kafkaerr.NotCoordinator)
		}
		f.ask(5, list)
		diff(t, "asked", got, any(&group.ListGroups{States: []string{"stable"}, Types: []string{"Classic"}}))
	})
}

// TestCoordinator_IsTheHashOfTheGroup sends each group's requests to the partition that Java's hash gives.
func TestCoordinator_IsTheHashOfTheGroup(t *testing.T) {
	f := newFake(t)
	var partitions []int32
	f.answer = func(partition int32, body any) any {
		partitions = append(partitions, partition)
		return group.Fail(body, kafkaerr.NotCoordinator)
	}
	for _, id := range []string{"a", "b", "group-é𝄞", "polygenelubricants"} {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group = id
		f.ask(4, req)
	}
	// "a" hashes to 97, "b" to 98, and the last to MinInt32, whose absolute value Java cannot hold.
	diff(t, "partitions", partitions, []int32{1, 2, model.CoordinatorPartition("group-é𝄞", 4), 0})
}

func TestGroups_OfOneRequestGoToTheirShards(t *testing.T) {
	f := newFake(t)
	asked := map[int32][]string{}
	f.answer = func(partition int32, body any) any {
		switch req := body.(type) {
		case *group.DescribeGroups:
			asked[partition] = req.GroupIDs
		case *group.DeleteGroups:
			asked[partition] = req.GroupIDs
		}
		if partition == 2 {
			return group.Fail(body, kafkaerr.NotCoordinator)
		}
		switch body.(type) {
		case *group.DescribeGroups:
			return described(body)
		default:
			return deleted(body)
		}
	}
	ids := []string{"a", "b", "g", "e", "f", "a"}                      // 97 to 103: partitions 1, 2, 3, 1, 2, 1
	want := map[int32][]string{1: {"a", "e"}, 2: {"b", "f"}, 3: {"g"}} // each is asked once

	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = ids
	var got []string
	for _, g := range ask[*kmsg.DescribeGroupsResponse](f.rawClient, 5, describe).Groups {
		got = append(got, g.Group+" "+kafkaerr.Code(g.ErrorCode).Error()+" "+g.State)
	}
	diff(t, "described", got, []string{"a NONE Dead", "b NOT_COORDINATOR ", "g NONE Stable", "e NONE Dead", "f NOT_COORDINATOR ", "a NONE Dead"})
	diff(t, "asked to describe", asked, want)

	clear(asked)
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = ids
	got = nil
	for _, g := range ask[*kmsg.DeleteGroupsResponse](f.rawClient, 2, remove).Groups {
		got = append(got, g.Group+" "+kafkaerr.Code(g.ErrorCode).Error())
	}
	diff(t, "deleted", got, []string{"a GROUP_ID_NOT_FOUND", "b NOT_COORDINATOR", "g NONE", "e GROUP_ID_NOT_FOUND", "f NOT_COORDINATOR"})
	diff(t, "asked to delete", asked, want)
}

// TestWithoutCoordinator_AnswersComeAllTheSame asks every API while the topic of groups does not exist, and
// while the log of the shard is recovered.
func TestWithoutCoordinator_AnswersComeAllTheSame(t *testing.T) {
	for _, tc := range []struct {
		name      string
		arrange   func(t *testing.T, f *fake)
		want      kafkaerr.Code
		heartbeat kafkaerr.Code
		list      kafkaerr.Code
	}{
		{
			"no topic of groups",
			func(t *testing.T, f *fake) { f.apply(t, &metadata.RemoveTopicRecord{ID: offsetsID}); f.shards = 0 },
			kafkaerr.NotCoordinator, kafkaerr.NotCoordinator, kafkaerr.None,
		},
		{
			"recovering",
			func(_ *testing.T, f *fake) { f.recovering[3] = true }, // of "g"
			kafkaerr.CoordinatorLoadInProgress, kafkaerr.None, kafkaerr.CoordinatorLoadInProgress,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			tc.arrange(t, f)
			f.answer = func(partition int32, body any) any {
				if _, ok := body.(*group.ListGroups); !ok && partition == 3 {
					t.Errorf("asked %T", body)
				}
				return group.Fail(body, kafkaerr.None)
			}
			cases := goldenCases()
			code := func(resp kmsg.Response) int16 {
				switch r := resp.(type) {
				case *kmsg.JoinGroupResponse:
					return r.ErrorCode
				case *kmsg.SyncGroupResponse:
					return r.ErrorCode
				case *kmsg.LeaveGroupResponse:
					return r.ErrorCode
				case *kmsg.OffsetCommitResponse:
					return r.Topics[1].Partitions[0].ErrorCode
				case *kmsg.OffsetFetchResponse:
					return r.Groups[0].ErrorCode
				case *kmsg.DescribeGroupsResponse:
					return r.Groups[0].ErrorCode
				case *kmsg.DeleteGroupsResponse:
					return r.Groups[0].ErrorCode
				case *kmsg.OffsetDeleteResponse:
					return r.ErrorCode
				case *kmsg.HeartbeatResponse:
					return r.ErrorCode
				case *kmsg.ListGroupsResponse:
					return r.ErrorCode
				}
				t.Fatalf("no code in %T", resp)
				return 0
			}
			for name, want := range map[string]kafkaerr.Code{
				"join": tc.want, "sync": tc.want, "leave": tc.want, "commit": tc.want, "fetch": tc.want,
				"delete": tc.want, "offset-delete": tc.want, "describe": tc.want, "heartbeat": tc.heartbeat, "list": tc.list,
			} {
				g := cases[name]
				resp, _ := f.ask(g.max, g.request(g.max))
				if got := kafkaerr.Code(code(resp)); got != want {
					t.Errorf("%s: %v, want %v", name, got, want)
				}
			}
		})
	}
}

func TestOffsetCommit_AsksNobodyForWhatDoesNotExist(t *testing.T) {
	f := newFake(t)
	req := goldenCases()["commit"].request(9).(*kmsg.OffsetCommitRequest)
	req.Topics = req.Topics[:1] // "gone"
	resp := ask[*kmsg.OffsetCommitResponse](f.rawClient, 9, req)
	if got := kafkaerr.Code(resp.Topics[0].Partitions[0].ErrorCode); got != kafkaerr.UnknownTopicOrPartition {
		t.Errorf("code %v", got)
	}
	diff(t, "asked", len(f.took()), 0)
}

func TestOffsetFetch_ByID(t *testing.T) {
	f := newFake(t)
	f.answer = func(_ int32, body any) any {
		if body.(*group.OffsetFetch).All {
			return &group.OffsetFetchResponse{Topics: []group.FetchedTopic{
				{Name: "gone", Partitions: []group.FetchedOffset{{Offset: 1}}},
				{Name: "orders", Partitions: []group.FetchedOffset{{Partition: 1, Offset: 2, LeaderEpoch: -1}}},
			}}
		}
		return fetched(body)
	}
	topic := func(id model.TopicID) kmsg.OffsetFetchRequestGroupTopic {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.TopicID, t.Partitions = id, []int32{1}
		return t
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	some, all := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroup()
	some.Group, some.Topics = "g", []kmsg.OffsetFetchRequestGroupTopic{topic(goneID), topic(ordersID)}
	all.Group, all.Topics = "g", nil
	req.Groups = []kmsg.OffsetFetchRequestGroup{some, all}
	resp := ask[*kmsg.OffsetFetchResponse](f.rawClient, 10, req)
	type offset struct {
		ID     model.TopicID
		At     int64
		Epoch  int32
		Code   int16
		IsNull bool
	}
	var got []offset
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				got = append(got, offset{t.TopicID, p.Offset, p.LeaderEpoch, p.ErrorCode, p.Metadata == nil})
			}
		}
	}
	diff(t, "offsets", got, []offset{
		{ordersID, 11, 5, 0, false},
		{goneID, -1, -1, int16(kafkaerr.UnknownTopicID), false}, // behind those that exist
		{ordersID, 2, -1, 0, false},                             // and no "gone", which has no id
	})
}

// A few bytes may name a group of any size, again and again.
func TestGroups_RepeatedInARequest(t *testing.T) {
	f := newFake(t)
	f.answer = func(_ int32, body any) any {
		switch body := body.(type) {
		case *group.OffsetFetch:
			return &group.OffsetFetchResponse{Topics: []group.FetchedTopic{{Name: "orders", Partitions: []group.FetchedOffset{{Offset: 1}}}}}
		case *group.DescribeGroups:
			members := make([]group.DescribedMember, 1000)
			return &group.DescribeGroupsResponse{Groups: []group.DescribedGroup{{GroupID: body.GroupIDs[0], State: "Stable", Members: members}}}
		}
		return nil
	}
	fetch := kmsg.NewPtrOffsetFetchRequest()
	for _, id := range []string{"g", "h", "g"} {
		asked := kmsg.NewOffsetFetchRequestGroup()
		asked.Group, asked.Topics = id, nil
		fetch.Groups = append(fetch.Groups, asked)
	}
	var got []string
	for _, g := range ask[*kmsg.OffsetFetchResponse](f.rawClient, 8, fetch).Groups {
		got = append(got, fmt.Sprintf("%s %v %d", g.Group, kafkaerr.Code(g.ErrorCode), len(g.Topics)))
	}
	diff(t, "fetched", got, []string{"g NONE 1", "h NONE 1", "g INVALID_REQUEST 0"})
	diff(t, "shards asked", len(f.took()), 2)

	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{"g", "g"}
	resp := ask[*kmsg.DescribeGroupsResponse](f.rawClient, 5, describe)
	diff(t, "members", []int{len(resp.Groups[0].Members), len(resp.Groups[1].Members)}, []int{1000, 1000})
	// Half a megabyte each, of the 256 MiB that requests may take.
	describe.Groups = make([]string, 1000)
	for i := range describe.Groups {
		describe.Groups[i] = "g"
	}
	f.send(5, describe)
	if _, err := io.ReadFull(f.conn, make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a thousand times a thousand members: %v, want the connection closed", err)
	}
}

// An offset is asked for in four bytes.
func TestOffsetFetch_OfMoreThanThereIsRoomFor(t *testing.T) {
	f := newFake(t)
	f.answer = func(_ int32, body any) any { return fetched(body) }
	req := kmsg.NewPtrOffsetFetchRequest()
	asked, topic := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.Partitions = "orders", make([]int32, 1_300_000)
	asked.Topics = append(asked.Topics, topic)
	req.Groups = append(req.Groups, asked)
	f.send(8, req)
	if _, err := io.ReadFull(f.conn, make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the connection closed", err)
	}
	diff(t, "shards asked", len(f.took()), 0)
}

func TestListGroups_ForgivesWhatMovedAway(t *testing.T) {
	f := newFake(t)
	f.answer = func(partition int32, _ any) any {
		if partition == 1 {
			return &group.ListGroupsResponse{Err: kafkaerr.NotCoordinator}
		}
		return &group.ListGroupsResponse{Groups: []group.ListedGroup{{GroupID: "g" + string('0'+partition)}}}
	}
	resp := ask[*kmsg.ListGroupsResponse](f.rawClient, 5, kmsg.NewPtrListGroupsRequest())
	var got []string
	for _, g := range resp.Groups {
		got = append(got, g.Group)
	}
	diff(t, "groups", got, []string{"g0", "g2", "g3"})
	diff(t, "code", resp.ErrorCode, int16(0))
}

func TestFindCoordinator_WithoutOneToName(t *testing.T) {
	for _, tc := range []struct {
		name    string
		keyType int8
		arrange func(t *testing.T, f *fake)
		want    kafkaerr.Code
	}{
		{"fenced leader", 0, func(t *testing.T, f *fake) {
			f.apply(t, &metadata.RegisterBrokerRecord{
				ID: 1, Epoch: f.img.Offset() + 1, Incarnation: model.UUID{8}, Fenced: true,
				Endpoints: []model.Endpoint{{Listener: "PLAINTEXT", Host: "walser", Port: 9092}},
			})
		}, kafkaerr.CoordinatorNotAvailable},
		{"leader without the listener", 0, func(t *testing.T, f *fake) {
			f.apply(t, &metadata.RegisterBrokerRecord{
				ID: 1, Epoch: f.img.Offset() + 1, Incarnation: model.UUID{8},
				Endpoints: []model.Endpoint{{Listener: "OTHER", Host: "inside", Port: 1}},
			})
		}, kafkaerr.CoordinatorNotAvailable},
		{"unknown type", 3, func(*testing.T, *fake) {}, kafkaerr.InvalidRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			tc.arrange(t, f)
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey, req.CoordinatorType, req.CoordinatorKeys = "g", tc.keyType, []string{"g"}
			old := ask[*kmsg.FindCoordinatorResponse](f.rawClient, 3, req)
			many := ask[*kmsg.FindCoordinatorResponse](f.rawClient, 6, req).Coordinators[0]
			if old.ErrorMessage == nil || *old.ErrorMessage == "" || many.ErrorMessage == nil || *many.ErrorMessage != *old.ErrorMessage {
				t.Error("not the same message")
			}
			want := []any{int16(tc.want), int32(-1), "", int32(-1)}
			diff(t, "answer before v4", []any{old.ErrorCode, old.NodeID, old.Host, old.Port}, want)
			diff(t, "answer from v4 on", []any{many.ErrorCode, many.NodeID, many.Host, many.Port}, want)
		})
	}
}

// TestFindCoordinator_CreatesTheTopicOnce lets many clients ask while the topic is being created.
func TestFindCoordinator_CreatesTheTopicOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.apply(t, &metadata.RemoveTopicRecord{ID: offsetsID})
		var created []string
		goOn := make(chan struct{})
		f.create = func(name string) {
			created = append(created, name)
			<-goOn
		}
		find := func() kafkaerr.Code {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKeys = []string{"g", "h"}
			code := ask[*kmsg.FindCoordinatorResponse](f.rawClient, 4, req).Coordinators[0].ErrorCode
			synctest.Wait()
			return kafkaerr.Code(code)
		}
		codes := []kafkaerr.Code{find(), find()}
		diff(t, "creations under way", slices.Clone(created), []string{model.GroupMetadataTopic})
		goOn <- struct{}{} // it failed: the topic is not there
		synctest.Wait()
		codes = append(codes, find())
		diff(t, "creations", slices.Clone(created), []string{model.GroupMetadataTopic, model.GroupMetadataTopic})
		f.addTopic(t, model.GroupMetadataTopic, model.UUID{9}, 4)
		close(goOn)
		codes = append(codes, find())
		notYet := kafkaerr.CoordinatorNotAvailable
		diff(t, "codes", codes, []kafkaerr.Code{notYet, notYet, notYet, kafkaerr.None})
	})
}

// TestNothingAsked_IsAnswered asks for no groups: there is nobody to wait for.
func TestNothingAsked_IsAnswered(t *testing.T) {
	f := newFake(t)
	describe, remove, fetch := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrDeleteGroupsRequest(), kmsg.NewPtrOffsetFetchRequest()
	diff(t, "described", len(ask[*kmsg.DescribeGroupsResponse](f.rawClient, 6, describe).Groups), 0)
	diff(t, "deleted", len(ask[*kmsg.DeleteGroupsResponse](f.rawClient, 2, remove).Groups), 0)
	diff(t, "fetched", len(ask[*kmsg.OffsetFetchResponse](f.rawClient, 10, fetch).Groups), 0)
	diff(t, "asked", len(f.took()), 0)
}
