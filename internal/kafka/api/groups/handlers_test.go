package groups_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/kafka/api/groups"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/netx"
)

// fake is the coordinators of a broker, as one function, and what the handlers ask beside them.
type fake struct {
	*rawClient
	// answer returns what the shard of the partition answers.
	answer     func(partition int32, body any) any
	shards     int32 // that Gather asks
	img        *metadata.Image
	recovering map[int32]bool
	create     func(name string)

	mu    sync.Mutex
	asked []any // bodies
}

var (
	offsetsID = model.UUID{1}
	ordersID  = model.UUID{2}
	goneID    = model.UUID{3}
)

// newFake serves the handlers over an image with the topic of groups, of four partitions, and "orders", of
// two.
func newFake(t *testing.T) *fake {
	f := &fake{shards: 4, recovering: map[int32]bool{}, img: metadata.Empty()}
	f.apply(t,
		&metadata.ActivateControllerRecord{Epoch: 1},
		&metadata.RegisterBrokerRecord{
			ID: 1, Epoch: 1, Incarnation: model.UUID{7},
			Endpoints: []model.Endpoint{{Listener: "OTHER", Host: "inside", Port: 1}, {Listener: "PLAINTEXT", Host: "walser", Port: 9092}},
		})
	f.addTopic(t, model.GroupMetadataTopic, offsetsID, 4)
	f.addTopic(t, "orders", ordersID, 2)
	f.start(t)
	return f
}

func (f *fake) apply(t *testing.T, records ...metadata.Record) {
	t.Helper()
	img, _, err := f.img.Apply(f.img.Offset()+1, records)
	if err != nil {
		t.Fatal(err)
	}
	f.img = img
}

func (f *fake) addTopic(t *testing.T, name string, id model.TopicID, partitions int32) {
	t.Helper()
	records := []metadata.Record{&metadata.TopicRecord{Name: name, ID: id}}
	for i := range partitions {
		records = append(records, &metadata.PartitionRecord{TopicID: id, Partition: i, State: metadata.Partition{
			Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1,
		}})
	}
	f.apply(t, records...)
}

func (f *fake) start(t *testing.T) {
	t.Helper()
	srv, err := server.New(groups.APIs(groups.Deps{
		Coordinators:        f,
		Image:               func() *metadata.Image { return f.img },
		Recovering:          func(id model.TopicID, partition int32) bool { return id == offsetsID && f.recovering[partition] },
		CreateInternalTopic: func(_ context.Context, name string) error { f.create(name); return nil },
	}), server.Config{}, server.Deps{
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Wall: time.Now, NodeID: 1,
		Features:  func() server.Features { return server.Features{Epoch: -1} },
		ClusterID: func() string { return "cluster" },
	})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := netx.Pipe("client:1", "walser:9092")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Run(ctx) })
	running.Go(func() {
		_ = srv.ServeConn(ctx, theirs, server.ConnInfo{Listener: server.ListenerInfo{Name: "PLAINTEXT"}})
	})
	t.Cleanup(func() {
		ours.Close()
		srv.Close()
		cancel()
		running.Wait()
	})
	f.rawClient = &rawClient{t: t, conn: ours}
}

func (f *fake) Submit(tp model.TopicPartition, body any, done func(any)) *runtime.Call {
	f.mu.Lock()
	f.asked = append(f.asked, body)
	f.mu.Unlock()
	done(f.answer(tp.Partition, body))
	return &runtime.Call{}
}

func (f *fake) Gather(_ string, body any, done func([]any)) {
	answers := make([]any, f.shards)
	for i := range answers {
		answers[i] = f.answer(int32(i), body)
	}
	done(answers)
}

// took returns the bodies that the shards were asked since the last call.
func (f *fake) took() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// always is the answer to whatever is asked.
func always(answer any) func(int32, any) any { return func(int32, any) any { return answer } }

func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// goldenCase is a request whose answer is known byte for byte, at every version.
type goldenCase struct {
	min, max int16
	request  func(version int16) kmsg.Request
	answer   func(partition int32, body any) any
}

func goldenCases() map[string]goldenCase {
	join := func(int16) kmsg.Request {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.SessionTimeoutMillis, req.ProtocolType = "g", 10_000, "consumer"
		return req
	}
	sync := func(version int16) kmsg.Request {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Group, req.MemberID = "g", "m"
		if version >= 5 {
			req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		}
		return req
	}
	leave := func(version int16) kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = "g", "m"
		if version >= 3 {
			req.MemberID = ""
			req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "m"}, {InstanceID: kmsg.StringPtr("i")}}
		}
		return req
	}
	commit := func(version int16) kmsg.Request {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = "g", 1
		orders := kmsg.NewOffsetCommitRequestTopic()
		orders.Topic = "orders"
		for _, p := range []int32{0, 7, 1} {
			partition := kmsg.NewOffsetCommitRequestTopicPartition()
			partition.Partition = p
			orders.Partitions = append(orders.Partitions, partition)
		}
		gone := kmsg.NewOffsetCommitRequestTopic()
		gone.Topic, gone.Partitions = "gone", orders.Partitions[:1]
		if version >= 10 {
			orders.TopicID, gone.TopicID = ordersID, goneID
		}
		req.Topics = []kmsg.OffsetCommitRequestTopic{gone, orders}
		return req
	}
	fetch := func(version int16) kmsg.Request {
		req := kmsg.NewPtrOffsetFetchRequest()
		if version < 8 {
			req.Group = "g"
			req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{0, 1}}}
			return req
		}
		for _, name := range []string{"g", "h"} {
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = name
			topic := kmsg.NewOffsetFetchRequestGroupTopic()
			topic.Topic, topic.TopicID, topic.Partitions = "orders", ordersID, []int32{0, 1}
			g.Topics = append(g.Topics, topic)
			req.Groups = append(req.Groups, g)
		}
		return req
	}
	describe := func(version int16) kmsg.Request {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups, req.IncludeAuthorizedOperations = []string{"g", "missing"}, version >= 3
		return req
	}
	remove := func(int16) kmsg.Request {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{"g", "missing", "g"}
		return req
	}
	offsetDelete := func(int16) kmsg.Request {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = "g"
		orders := kmsg.NewOffsetDeleteRequestTopic()
		orders.Topic = "orders"
		orders.Partitions = []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 5}, {Partition: 1}, {Partition: 0}}
		gone := kmsg.NewOffsetDeleteRequestTopic()
		gone.Topic, gone.Partitions = "gone", orders.Partitions[:1]
		req.Topics = []kmsg.OffsetDeleteRequestTopic{gone, orders}
		return req
	}
	find := func(keyType int8) func(int16) kmsg.Request {
		return func(version int16) kmsg.Request {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey, req.CoordinatorType = "g", keyType
			req.CoordinatorKeys = []string{"g", "h"}
			return req
		}
	}
	heartbeat := func(int16) kmsg.Request {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation = "g", "m", 3
		return req
	}
	list := func(int16) kmsg.Request { return kmsg.NewPtrListGroupsRequest() }
	instance := "i"
	return map[string]goldenCase{
		"join": {0, 9, join, func(_ int32, body any) any {
			return &group.JoinGroupResponse{
				Generation: 3, ProtocolType: "consumer", ProtocolName: "range", Leader: "m", MemberID: "m",
				SkipAssignment: body.(*group.JoinGroup).Version >= 9,
				Members:        []group.JoinedMember{{MemberID: "m", InstanceID: &instance, Metadata: []byte("meta")}},
			}
		}},
		"join-refused":   {0, 9, join, always(&group.JoinGroupResponse{Err: kafkaerr.MemberIDRequired, Generation: -1, MemberID: "new"})},
		"sync":           {0, 5, sync, always(&group.SyncGroupResponse{ProtocolType: "consumer", ProtocolName: "range", Assignment: []byte("mine")})},
		"sync-refused":   {0, 5, sync, always(&group.SyncGroupResponse{Err: kafkaerr.RebalanceInProgress})},
		"heartbeat":      {0, 4, heartbeat, always(&group.HeartbeatResponse{Err: kafkaerr.IllegalGeneration})},
		"leave":          {0, 5, leave, func(_ int32, body any) any { return left(body) }},
		"leave-refused":  {0, 5, leave, always(&group.LeaveGroupResponse{Err: kafkaerr.NotCoordinator})},
		"commit":         {2, 10, commit, always(&group.OffsetCommitResponse{Topics: [][]kafkaerr.Code{{kafkaerr.None, kafkaerr.OffsetMetadataTooLarge}}})},
		"commit-refused": {2, 10, commit, always(&group.OffsetCommitResponse{Err: kafkaerr.IllegalGeneration})},
		"fetch":          {1, 10, fetch, func(_ int32, body any) any { return fetched(body) }},
		"fetch-refused":  {1, 10, fetch, always(&group.OffsetFetchResponse{Err: kafkaerr.CoordinatorLoadInProgress})},
		"describe":       {0, 6, describe, func(_ int32, body any) any { return described(body) }},
		"list": {0, 5, list, func(partition int32, _ any) any {
			return &group.ListGroupsResponse{Groups: []group.ListedGroup{
				{GroupID: fmt.Sprint("g", 4-partition), ProtocolType: "consumer", State: "Stable", Type: "classic"},
			}}
		}},
		"list-refused": {0, 5, list, func(partition int32, _ any) any {
			if partition == 2 {
				return &group.ListGroupsResponse{Err: kafkaerr.CoordinatorLoadInProgress}
			}
			return &group.ListGroupsResponse{Groups: []group.ListedGroup{{GroupID: "g"}}}
		}},
		"delete":                {0, 2, remove, func(_ int32, body any) any { return deleted(body) }}, // kmsg has no v3
		"offset-delete":         {0, 0, offsetDelete, always(&group.OffsetDeleteResponse{Topics: [][]kafkaerr.Code{{}, {kafkaerr.GroupSubscribedToTopic, 0}}})},
		"offset-delete-refused": {0, 0, offsetDelete, always(&group.OffsetDeleteResponse{Err: kafkaerr.GroupIDNotFound})},
		"find":                  {0, 6, find(0), nil},
		"find-transaction":      {1, 6, find(1), nil},
		"find-share":            {1, 6, find(2), nil},
	}
}

func left(body any) any {
	answer := &group.LeaveGroupResponse{}
	for i := range body.(*group.LeaveGroup).Members {
		answer.Members = append(answer.Members, []kafkaerr.Code{kafkaerr.FencedInstanceID, kafkaerr.None}[i])
	}
	return answer
}

func fetched(body any) any {
	req := body.(*group.OffsetFetch)
	if req.GroupID == "h" {
		return &group.OffsetFetchResponse{Err: kafkaerr.NotCoordinator}
	}
	answer := &group.OffsetFetchResponse{}
	for _, asked := range req.Topics {
		topic := group.FetchedTopic{ID: asked.ID, Name: asked.Name}
		for _, p := range asked.Partitions {
			topic.Partitions = append(topic.Partitions, group.FetchedOffset{Partition: p, Offset: 10 + int64(p), LeaderEpoch: 5, Metadata: "note"})
		}
		answer.Topics = append(answer.Topics, topic)
	}
	return answer
}

func described(body any) any {
	req := body.(*group.DescribeGroups)
	answer := &group.DescribeGroupsResponse{}
	instance := "i"
	for _, id := range req.GroupIDs {
		g := group.DescribedGroup{GroupID: id, State: "Dead"}
		switch {
		case id == "g":
			g.State, g.ProtocolType, g.Protocol = "Stable", "consumer", "range"
			g.Members = []group.DescribedMember{{
				MemberID: "m", InstanceID: &instance, ClientID: "c", ClientHost: "/127.0.0.1",
				Metadata: []byte("meta"), Assignment: []byte("mine"),
			}}
		case req.Version >= 6:
			g.Err, g.Message = kafkaerr.GroupIDNotFound, "Group missing not found."
		}
		answer.Groups = append(answer.Groups, g)
	}
	return answer
}

func deleted(body any) any {
	answer := &group.DeleteGroupsResponse{}
	for _, id := range body.(*group.DeleteGroups).GroupIDs {
		code := kafkaerr.None
		if id != "g" {
			code = kafkaerr.GroupIDNotFound
		}
		answer.Groups = append(answer.Groups, code)
	}
	return answer
}

// TestAnswers_Golden holds the bytes of answers at every version: testdata/answers.
func TestAnswers_Golden(t *testing.T) {
	cases := goldenCases()
	datadriven.RunTest(t, "testdata/answers", func(t *testing.T, d *datadriven.TestData) string {
		tc, ok := cases[d.Cmd]
		if !ok {
			d.Fatalf(t, "no case %s", d.Cmd)
		}
		delete(cases, d.Cmd)
		f := newFake(t)
		f.answer = tc.answer
		out := ""
		for version := tc.min; version <= tc.max; version++ {
			_, body := f.ask(version, tc.request(version))
			out += fmt.Sprintf("v%d %s\n", version, hex.EncodeToString(body))
		}
		return out
	})
	if len(cases) > 0 {
		t.Errorf("cases that testdata/answers does not have: %v", cases)
	}
}
