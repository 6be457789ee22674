package groups

// DescribeGroups: v0-6.
//
// Behaviour: state, protocol and members of each group, in the order of the request; metadata and protocol
// of a group only while it is stable. A group that does not exist is Dead.
//
// Versions: v3 authorised operations (KIP-430); v4 instance ids (KIP-345); v5 flexible; v6 a group that does
// not exist has GROUP_ID_NOT_FOUND and a message (KIP-1043).
//
// On purpose other than Kafka: the order; Kafka's is that of a hash table.

import (
	"fmt"

	"github.com/walser-io/walser/internal/coordinator/group"
	"github.com/walser-io/walser/internal/kafka/server"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/wire"
)

// allGroupOperations are the operations that exist on a group, as the bit set that clients get who ask what
// they may do.
const allGroupOperations = 1<<server.Read | 1<<server.Delete | 1<<server.Describe | 1<<server.DescribeConfigs |
	1<<server.AlterConfigs

type describeGroups struct{ deps Deps }

func (h *describeGroups) handle(r *server.Request) server.Outcome {
	req := r.Body.(*wire.DescribeGroupsRequest)
	version := r.Version()
	ids, places := placed(req.Groups)
	described := make([]group.DescribedGroup, len(ids))
	h.deps.submitAll(ids, func(ids []string) any {
		return &group.DescribeGroups{Version: version, GroupIDs: ids}
	}, func(shards []groupsOfShard, answers []any) {
		for i, answer := range answers {
			for j, g := range answer.(*group.DescribeGroupsResponse).Groups {
				described[shards[i].places[j]] = g
			}
		}
		resp := r.Response().(*wire.DescribeGroupsResponse)
		for _, place := range places {
			if !r.Reserve(sizeOf(&described[place])) {
				r.CloseConnection(fmt.Errorf("describe %d groups: %w", len(places), server.ErrNoMemory))
				return
			}
			g := wire.Add(&resp.Groups)
			fillDescribed(g, &described[place])
			if req.IncludeAuthorizedOperations && g.ErrorCode == kafkaerr.None {
				g.AuthorizedOperations = allGroupOperations
			}
		}
		r.Reply(resp)
	})
	return server.Parked
}

// placed returns the ids without repetitions, and where each id of the request stands among them.
func placed(ids []string) (once []string, places []int) {
	places = make([]int, len(ids))
	at := make(map[string]int, min(len(ids), 1024))
	for i, id := range ids {
		place, again := at[id]
		if !again {
			place = len(once)
			at[id] = place
			once = append(once, id)
		}
		places[i] = place
	}
	return once, places
}

// sizeOf returns about what a group takes in the answer and in its encoding.
func sizeOf(g *group.DescribedGroup) int {
	size := 256
	for i := range g.Members {
		size += 512 + len(g.Members[i].Metadata) + len(g.Members[i].Assignment)
	}
	return size
}

func fillDescribed(resp *wire.DescribeGroupsResponseDescribedGroup, g *group.DescribedGroup) {
	resp.ErrorCode, resp.ErrorMessage = g.Err, optional(g.Message)
	resp.GroupID, resp.GroupState, resp.ProtocolType, resp.ProtocolData = g.GroupID, g.State, g.ProtocolType, g.Protocol
	for i := range g.Members {
		m, member := wire.Add(&resp.Members), &g.Members[i]
		m.MemberID, m.GroupInstanceID = member.MemberID, member.InstanceID
		m.ClientID, m.ClientHost = member.ClientID, member.ClientHost
		m.MemberMetadata, m.MemberAssignment = member.Metadata, member.Assignment
	}
}
