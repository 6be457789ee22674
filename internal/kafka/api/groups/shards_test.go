package groups_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/model"
)

// raw connects to the broker as it is now.
func (c *cluster) raw() *rawClient {
	c.t.Helper()
	conn, err := c.at.Load().Dial(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return &rawClient{t: c.t, conn: conn}
}

// joinRequest is a JoinGroup that is parked at once, as versions before 4 are.
func joinRequest() kmsg.Request {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = "g", 30_000, 30_000, "consumer"
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	return req
}

// TestHangUp_EndsAParkedJoin lets one of two members go away while both wait for the rebalance: the
// generation is of those who are there.
func TestHangUp_EndsAParkedJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic(model.GroupMetadataTopic, 3)
		synctest.Wait()
		stays, goes := c.raw(), c.raw()
		stays.send(3, joinRequest())
		goes.send(3, joinRequest())
		synctest.Wait()
		goes.conn.Close()
		resp := kmsg.NewPtrJoinGroupResponse()
		resp.SetVersion(3)
		if err := resp.ReadFrom(stays.recv(false)); err != nil {
			t.Fatal(err)
		}
		if resp.ErrorCode != 0 || len(resp.Members) != 1 {
			t.Errorf("joined with code %d and %d members, want 1", resp.ErrorCode, len(resp.Members))
		}
	})
}

// TestHangUp_BeforeTheJoinIsParked lets the connection go while the join is on its way to the coordinator.
func TestHangUp_BeforeTheJoinIsParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic(model.GroupMetadataTopic, 1)
		synctest.Wait()
		c.submitting = func() { c.node.server.Close() }
		c.raw().send(3, joinRequest())
		time.Sleep(10 * time.Second) // the initial rebalance ends
		members := -1
		c.node.runtime.Submit(model.TopicPartition{Topic: model.GroupMetadataTopic}, &group.DescribeGroups{GroupIDs: []string{"g"}}, func(answer any) {
			members = len(answer.(*group.DescribeGroupsResponse).Groups[0].Members)
		})
		synctest.Wait()
		if members != 0 {
			t.Errorf("the group has %d members, of which nobody is there", members)
		}
	})
}

// TestMembers_OwnTheirBytes has others use the memory of a member's requests after it: what the member
// brought, and what the leader gave it, stay as they were.
func TestMembers_OwnTheirBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic(model.GroupMetadataTopic, 3)
		synctest.Wait()
		leader, other := c.raw(), c.raw()
		disturb := func() {
			synctest.Wait()
			for range 20 {
				beat := kmsg.NewPtrHeartbeatRequest()
				beat.Group, beat.MemberID = "h", strings.Repeat("z", 100)
				other.ask(4, beat)
			}
		}
		join := joinRequest().(*kmsg.JoinGroupRequest)
		join.Protocols[0].Metadata = []byte(strings.Repeat("mine", 10))
		leader.send(3, join)
		disturb()
		joined := kmsg.NewPtrJoinGroupResponse()
		joined.SetVersion(3)
		if err := joined.ReadFrom(leader.recv(false)); err != nil {
			t.Fatal(err)
		}
		diff(t, "metadata", string(joined.Members[0].ProtocolMetadata), strings.Repeat("mine", 10))

		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID, sync.Generation = "g", joined.MemberID, joined.Generation
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{
			{MemberID: joined.MemberID, MemberAssignment: []byte(strings.Repeat("give", 10))},
		}
		ask[*kmsg.SyncGroupResponse](leader, 3, sync)
		disturb()
		describe := kmsg.NewPtrDescribeGroupsRequest()
		describe.Groups = []string{"g"}
		member := ask[*kmsg.DescribeGroupsResponse](other, 4, describe).Groups[0].Members[0]
		diff(t, "assignment", string(member.MemberAssignment), strings.Repeat("give", 10))
	})
}

// commitMany commits 10 partitions of topic "t" for each of n groups that have no members, at an offset of
// their own.
func (c *cluster) commitMany(n int) {
	c.t.Helper()
	synctest.Wait() // for the load
	cl := c.raw()
	for g := range n {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group = fmt.Sprint("group-", g)
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic = "t"
		for p := range int32(10) {
			partition := kmsg.NewOffsetCommitRequestTopicPartition()
			partition.Partition, partition.Offset, partition.Metadata = p, int64(100*g)+int64(p), kmsg.StringPtr(strings.Repeat("x", 100))
			topic.Partitions = append(topic.Partitions, partition)
		}
		req.Topics = append(req.Topics, topic)
		for _, p := range ask[*kmsg.OffsetCommitResponse](cl, 9, req).Topics[0].Partitions {
			if p.ErrorCode != 0 {
				c.t.Fatalf("group %d, partition %d: %v", g, p.Partition, kafkaerr.Code(p.ErrorCode))
			}
		}
	}
}

// fetchAll returns all offsets of a group, or its error.
func (c *cluster) fetchAll(group string) ([]int64, kafkaerr.Code) {
	c.t.Helper()
	req, g := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, nil
	req.Groups = append(req.Groups, g)
	resp := ask[*kmsg.OffsetFetchResponse](c.raw(), 9, req).Groups[0]
	var offsets []int64
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			offsets = append(offsets, p.Offset)
		}
	}
	return offsets, kafkaerr.Code(resp.ErrorCode)
}

// expectMany waits until the groups of commitMany are loaded, and checks their offsets.
func (c *cluster) expectMany(n int) {
	c.t.Helper()
	for g := range n {
		var offsets []int64
		c.await("the group is loaded", func() bool {
			var code kafkaerr.Code
			offsets, code = c.fetchAll(fmt.Sprint("group-", g))
			return code == kafkaerr.None
		})
		if len(offsets) != 10 || offsets[0] != int64(100*g) || offsets[9] != int64(100*g+9) {
			c.t.Fatalf("group %d has offsets %v", g, offsets)
		}
	}
}

// TestLoad_ReadsEveryBatch loads partitions of many batches, some larger than the buffer they are read by.
func TestLoad_ReadsEveryBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic(model.GroupMetadataTopic, 3)
		c.createTopic("t", 10)
		c.commitMany(40)
		c.crash()
		c.expectMany(40)
		c.loadBuffer = 100
		c.crash()
		c.expectMany(40)
	})
}

// TestLeadership_IsFollowed moves the coordinator's partition away and back.
func TestLeadership_IsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic(model.GroupMetadataTopic, 1)
		c.createTopic("t", 10)
		c.commitMany(1)
		offsets, _ := c.img.Load().Topic(model.GroupMetadataTopic)
		move := func(to model.BrokerID) {
			change := metadata.NewPartitionChange(offsets.ID, 0)
			change.Leader = to
			c.apply(change)
		}

		parked := c.raw()
		parked.send(3, joinRequest())
		synctest.Wait()
		move(model.NoBroker)
		resp := kmsg.NewPtrJoinGroupResponse()
		resp.SetVersion(3)
		if err := resp.ReadFrom(parked.recv(false)); err != nil {
			t.Fatal(err)
		}
		if got := kafkaerr.Code(resp.ErrorCode); got != kafkaerr.NotCoordinator {
			t.Errorf("who was parked is answered %v", got)
		}
		if _, code := c.fetchAll("group-0"); code != kafkaerr.NotCoordinator {
			t.Errorf("without the leadership: %v", code)
		}
		move(1)
		c.expectMany(1)
		c.commitMany(1)
	})
}

// TestTopicOfGroups_CreatedAnew deletes the topic of groups in one step with its next incarnation: nothing
// of the old one is left, and the new one is coordinated though its epochs begin anew.
func TestTopicOfGroups_CreatedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic(model.GroupMetadataTopic, 1)
		c.createTopic("t", 10)
		c.commitMany(1)
		old, _ := c.img.Load().Topic(model.GroupMetadataTopic)
		id := model.UUID{} // before the old one's in the order of ids
		id[15] = 1
		c.apply(&metadata.RemoveTopicRecord{ID: old.ID}, &metadata.TopicRecord{Name: old.Name, ID: id}, &metadata.PartitionRecord{
			TopicID: id, State: metadata.Partition{Replicas: []model.BrokerID{1}, Directories: []model.UUID{{}}, ISR: []model.BrokerID{1}, Leader: 1},
		})
		c.await("the new topic is coordinated", func() bool {
			offsets, code := c.fetchAll("group-0")
			return code == kafkaerr.None && len(offsets) == 0
		})
		c.commitMany(1)
		c.expectMany(1)
	})
}

// TestTopicDeleted_TakesItsOffsets deletes a topic that offsets are committed in.
func TestTopicDeleted_TakesItsOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.createTopic(model.GroupMetadataTopic, 3)
		c.createTopic("t", 10)
		c.commitMany(3)
		c.deleteTopic("t")
		c.await("the offsets are gone", func() bool {
			left := 0
			for g := range 3 {
				offsets, _ := c.fetchAll(fmt.Sprint("group-", g))
				left += len(offsets)
			}
			return left == 0
		})
		c.crash()
		time.Sleep(time.Second)
		for g := range 3 {
			if offsets, code := c.fetchAll(fmt.Sprint("group-", g)); len(offsets) > 0 || code != kafkaerr.None {
				t.Errorf("after a restart group %d has %v, %v", g, offsets, code)
			}
		}
	})
}
